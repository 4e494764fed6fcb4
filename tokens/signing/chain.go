package signing

import (
	"cmp"
	"slices"
	"time"

	"github.com/imara/apikeys/tokens"
)

// chain is the keys of one algorithm, the newest first, withdrawn ones among them:
// each replaces the one after it.
type chain []*key

// newest is the kid that a new key replaces, active or not; empty for the first.
func (c chain) newest() string {
	if len(c) == 0 {
		return ""
	}
	return c[0].ID
}

// current is the key that signs, nil when there is none. Where the only one is that
// which a server with a faster clock has just made to sign, that one does.
func (c chain) current(now time.Time) (current *key) {
	for _, k := range c {
		switch {
		case k.Withdrawn != 0:
		case k.active(now):
			return k
		case k.ActiveAt.Before(Never):
			current = k
		}
	}
	return current
}

// next is the key that will sign after the current one, nil when there is none.
func (c chain) next(now time.Time) *key {
	for _, k := range c {
		if k.Withdrawn == 0 {
			if k.active(now) {
				return nil
			}
			return k
		}
	}
	return nil
}

// keyring is all keys as they were read at one moment.
type keyring struct {
	chains map[string]chain // of an algorithm
	byID   map[string]*key
}

func newKeyring(keys []*key, retire time.Duration) *keyring {
	r := &keyring{chains: map[string]chain{}, byID: map[string]*key{}}
	for _, k := range keys {
		r.byID[k.ID] = k
		r.chains[k.Algorithm] = append(r.chains[k.Algorithm], k)
	}
	for _, c := range r.chains {
		slices.SortFunc(c, func(a, b *key) int {
			return cmp.Or(cmp.Compare(r.length(b), r.length(a)), cmp.Compare(b.ID, a.ID))
		})
		retired := time.Time{} // when a newer key took over, zero while none has
		for _, k := range c {
			if !retired.IsZero() {
				k.until = retired.Add(retire)
			}
			if k.ActiveAt.Before(Never) {
				retired = k.ActiveAt
			}
		}
	}
	return r
}

// length of the chain that ends with k.
func (r *keyring) length(k *key) (n int) {
	for ; k != nil && n <= len(r.byID); k = r.byID[k.Replaces] {
		n++
	}
	return n
}

// all keys, in the order of [tokens.Algorithms].
func (r *keyring) all() (list []*key) {
	for _, algorithm := range tokens.Algorithms() {
		list = append(list, r.chains[algorithm]...)
	}
	return list
}

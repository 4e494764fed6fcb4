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
		case !k.usable():
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
		if k.usable() {
			if k.active(now) {
				return nil
			}
			return k
		}
	}
	return nil
}

// check returns why the key that has to sign cannot be opened; nil when it can, or when
// there is none yet.
func (c chain) check(now time.Time) (err error) {
	waiting := false // one that can sign, and does not yet
	for _, k := range c {
		switch {
		case k.Withdrawn != 0:
		case k.active(now):
			return k.closed
		case k.closed == nil:
			waiting = true
		case err == nil:
			err = k.closed
		}
	}
	if waiting {
		return nil
	}
	return err
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
			return cmp.Or(cmp.Compare(r.length(b), r.length(a)), b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
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
	for ; k != nil && n <= len(r.byID); k = r.before(k) {
		n++
	}
	return n
}

// before is the key that k replaces. Where that is not there, a row was damaged, and it is
// the newest that was made before k.
func (r *keyring) before(k *key) (old *key) {
	if k.Replaces == "" || r.byID[k.Replaces] != nil {
		return r.byID[k.Replaces]
	}
	for _, other := range r.byID {
		if other.Algorithm == k.Algorithm && other.CreatedAt.Before(k.CreatedAt) &&
			(old == nil || other.CreatedAt.After(old.CreatedAt)) {
			old = other
		}
	}
	return old
}

// all keys, in the order of [tokens.Algorithms].
func (r *keyring) all() (list []*key) {
	for _, algorithm := range tokens.Algorithms() {
		list = append(list, r.chains[algorithm]...)
	}
	return list
}

package signing

import "time"

// A KeyState is what a signing key is for at the moment.
type KeyState string

// The states. A next key is published and has signed nothing; a previous one is
// published until no token of it can be alive. A withdrawn one is not published, and
// no token of it is good.
const (
	Next      KeyState = "next"
	Current   KeyState = "current"
	Previous  KeyState = "previous"
	Withdrawn KeyState = "withdrawn"
)

// A KeyInfo describes a signing key.
type KeyInfo struct {
	ID        string
	Algorithm string
	State     KeyState
	CreatedAt time.Time
	// ReadyAt is from when on a next key may be made to sign.
	ReadyAt time.Time
	// ActiveAt is when it began to sign; zero for a key that never did.
	ActiveAt time.Time
	// Until is when a previous key is published no more.
	Until time.Time
	// Withdrawn is the position of the cut of its tokens, 0 for none.
	Withdrawn uint64
}

// Keys describes those that are published, and those that were withdrawn, by
// algorithm and the newest first.
func (r *Ring) Keys() []KeyInfo {
	var list []KeyInfo
	ring, now := r.keys.Load(), time.Now()
	for _, k := range ring.all() {
		if k.Withdrawn == 0 && !k.published(now) {
			continue
		}
		list = append(list, ring.describe(k, now))
	}
	return list
}

func (r *keyring) describe(k *key, now time.Time) KeyInfo {
	info := KeyInfo{ID: k.ID, Algorithm: k.Algorithm, State: Previous, CreatedAt: k.CreatedAt,
		ReadyAt: k.CreatedAt.Add(Lead), Until: k.until, Withdrawn: k.Withdrawn}
	if k.ActiveAt.Before(Never) {
		info.ActiveAt = k.ActiveAt
	}
	switch c := r.chains[k.Algorithm]; k {
	case c.current(now):
		info.State = Current
	case c.next(now):
		info.State = Next
	}
	if k.Withdrawn != 0 {
		info.State, info.Until = Withdrawn, time.Time{}
	}
	return info
}

package signing

import "time"

// A KeyState is what a signing key is for at the moment.
type KeyState string

// The states. A next key is published before it signs, and a previous one until no
// token of it can be alive.
const (
	Next     KeyState = "next"
	Current  KeyState = "current"
	Previous KeyState = "previous"
)

// A KeyInfo describes a signing key.
type KeyInfo struct {
	ID        string
	Algorithm string
	State     KeyState
	ActiveAt  time.Time
	Until     time.Time // zero while no newer key exists
}

// Keys describes those that are published, the newest first.
func (r *Ring) Keys() []KeyInfo {
	var list []KeyInfo
	now := time.Now()
	for _, k := range *r.keys.Load() {
		if !k.published(now) {
			continue
		}
		info := KeyInfo{ID: k.id, Algorithm: k.public.Algorithm, State: Previous, ActiveAt: k.activeAt, Until: k.until}
		if current, err := r.active(info.Algorithm); k.activeAt.After(now) {
			info.State = Next
		} else if err == nil && current == k {
			info.State = Current
		}
		list = append(list, info)
	}
	return list
}

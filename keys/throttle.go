package keys

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrTooManyTries: wrong passwords came too fast from where this one does; a [WaitError]
// says how long to wait.
var ErrTooManyTries = errors.New("too many tries")

// A WaitError says how long a sign-in has to wait. It wraps [ErrTooManyTries].
type WaitError struct{ Wait time.Duration }

func (e *WaitError) Error() string { return fmt.Sprintf("%v: wait %v", ErrTooManyTries, e.Wait) }
func (e *WaitError) Unwrap() error { return ErrTooManyTries }

// How many passwords may be wrong. A password is hashed only while there is something left
// of each budget that it would be taken from.
var (
	// networkTries are of a network, whichever accounts it tries: a hash costs much.
	networkTries = Rate{Burst: 20, Every: 6 * time.Second}
	// accountTries are of an account from one network.
	accountTries = Rate{Burst: 5, Every: time.Minute}
	// allTries are of an account from everywhere.
	allTries = Rate{Burst: 50, Every: time.Minute}
	// knownTries are of an account in a session, or in a browser that signed in before: of
	// these alone, so that nobody elsewhere can be in the way.
	knownTries = Rate{Burst: 10, Every: 10 * time.Second}
)

// A spending is what a try has taken, until it turns out to be right.
type spending []spent

type spent struct {
	of   Limited
	rate Rate
}

// passwordOf is the budget of an account, from where; either may be empty.
func passwordOf(email, from string) Limited { return Limited{"password", email, from} }

// take takes all, or nothing: then a [WaitError] says until when.
func (s spending) take(l Limiter) error {
	for i, one := range s {
		if left := l.Take(one.of, one.rate, 1); left.Wait > 0 {
			s[:i].giveBack(l)
			return &WaitError{left.Wait.Truncate(time.Second) + time.Second}
		}
	}
	return nil
}

func (s spending) giveBack(l Limiter) {
	for _, one := range s {
		l.Take(one.of, one.rate, -1)
	}
}

// try takes what a password costs that may be wrong, so that many at once are no way around
// it. known names the session or the browser that somebody signed in with before; empty for
// strangers.
func (r *Registry) try(ctx context.Context, email, network, known string) (spending, error) {
	if known != "" {
		s := spending{{passwordOf(email, known), knownTries}}
		return s, s.take(r.config.Limiter)
	}
	s := spending{{passwordOf("", network), networkTries}, {passwordOf(email, network), accountTries}}
	if err := s.take(r.config.Limiter); err != nil {
		return nil, err
	}
	all := spending{{passwordOf(email, ""), allTries}}
	if err := all.take(r.config.Limiter); err != nil && !r.wasHere(ctx, email, network) {
		s.giveBack(r.config.Limiter)
		return nil, err
	} else if err == nil {
		s = append(s, all...)
	}
	return s, nil
}

// wasHere tells whether the account has a session that began in a network.
func (r *Registry) wasHere(ctx context.Context, email, network string) bool {
	sessions, err := r.config.Store.WebSessions(ctx, email)
	return err == nil && slices.ContainsFunc(sessions, func(s WebSession) bool { return Network(s.Address) == network })
}

// Device returns what a browser keeps in which the person with an address signed in, and
// shows at the next sign-in: then others who guess that person's password are not in the
// way. It lets nobody in.
func (r *Registry) Device(email string) string {
	id := make([]byte, deviceID)
	rand.Read(id)
	return base64.RawURLEncoding.EncodeToString(append(id, r.sealDevice(id, canonical(email))...))
}

const deviceID = 16 // bytes, before the MAC

// device returns the id of a device of an account; empty for what is none.
func (r *Registry) device(token, email string) string {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < deviceID || !hmac.Equal(raw[deviceID:], r.sealDevice(raw[:deviceID], email)) {
		return ""
	}
	return "device " + string(raw[:deviceID])
}

func (r *Registry) sealDevice(id []byte, email string) []byte {
	return r.config.Peppers.mac(r.config.Peppers.current(), "device "+string(id), email)
}

// canonical is an address as accounts have it.
func canonical(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

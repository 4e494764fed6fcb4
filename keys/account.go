package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"time"
	"unicode/utf8"
)

// Accounts is the part of a [Store] that keeps who can sign in to the panel.
type Accounts interface {
	// Memberships returns the members with an address, of all organisations, that
	// were not removed, the oldest first, and those who are invited.
	Memberships(ctx context.Context, email string) ([]Member, error)
	// Account returns the one with an address.
	Account(ctx context.Context, email string) (Account, error)
	// AddLink stores a link with the entry, and removes those that ended before it was made.
	AddLink(ctx context.Context, l Link, entry Entry) (Commit, error)
	// Link returns the one with a hash.
	Link(ctx context.Context, hash []byte) (Link, error)
	// UseLink stores a in place of the account with its address, with the entry, and
	// removes that one's sessions and links; [ErrNotFound] unless a link of the address
	// has hash.
	UseLink(ctx context.Context, hash []byte, a Account, entry Entry) (Commit, error)
	// Found stores what a server begins with, with the entry, and removes every link
	// without an address; [ErrNotFound] unless one of those has hash.
	Found(ctx context.Context, hash []byte, b Beginning, entry Entry) (Commit, error)
	// BindAccount binds the account of an address, which it stores without a password if
	// there is none, to a subject of an issuer; [ErrSubject] when it is bound to another.
	BindAccount(ctx context.Context, email, issuer, subject string) error
	// UnbindAccount takes that back, with the entry, and removes the sessions of the
	// account; [ErrNotFound] when it is not bound.
	UnbindAccount(ctx context.Context, email string, entry Entry) (Commit, error)
	// AddWebSession stores one, and removes those that ended before it was made;
	// [ErrNotFound] unless the account of its address still has this password.
	AddWebSession(ctx context.Context, s WebSession, password string) error
	// WebSession returns the one with a hash.
	WebSession(ctx context.Context, hash []byte) (WebSession, error)
	// WebSessions returns those of an address, the latest first, and those that ended by
	// themselves among them.
	WebSessions(ctx context.Context, email string) ([]WebSession, error)
	// SeeWebSession raises SeenAt.
	SeeWebSession(ctx context.Context, hash []byte, t time.Time) error
	// EndWebSession removes one; removing it again is no error.
	EndWebSession(ctx context.Context, hash []byte) error
}

// An Account is a person who can sign in. Which organisations the person is a member
// of follows from the address.
type Account struct {
	Email    string // in lower case
	Password string // argon2id, as a PHC string
	// Issuer and Subject are whom a provider of single sign-on said that it is, the first
	// time; empty: none did. An address that is given to another person is no proof.
	Issuer, Subject string
}

// A Link lets a person choose a password, once.
type Link struct {
	Hash  []byte // SHA-256 of what is in the URL
	Email string // empty: whoever has it becomes the first owner
	// OrganizationID is for which it was made: its invitation is accepted with the link.
	OrganizationID string
	// Opens, unless empty, are the organisations that the operator knows to be opened by
	// a link that replaces a password; the others are for accounts that have nothing yet.
	Opens     []string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// A WebSession is a browser that is signed in.
type WebSession struct {
	Hash      []byte // SHA-256 of the cookie
	Email     string
	CreatedAt time.Time
	SeenAt    time.Time
	ProvedAt  time.Time // when the person last proved to be it; zero: not known
	Address   string    // from which it began
	Agent     string    // family of the program that began it
}

// Of tells whether the session is the one with a token.
func (s WebSession) Of(token string) bool { return bytes.Equal(s.Hash, hashToken(token)) }

// ID names the session to its person; nobody can enter with it.
func (s WebSession) ID() string { return hex.EncodeToString(s.Hash[:8]) }

// A Visitor is a person who is signed in, with what that person is a member of now.
type Visitor struct {
	Email       string
	ProvedAt    time.Time // as of [WebSession]
	Memberships []Member
	Invitations []Member // not accepted yet
}

// How long sessions and links last.
const (
	SessionIdle = 30 * time.Minute // without a request
	SessionLife = 12 * time.Hour
	LinkLife    = 24 * time.Hour
)

// Live tells whether the session counts at time t.
func (s WebSession) Live(t time.Time) bool {
	return t.Before(s.SeenAt.Add(SessionIdle)) && t.Before(s.CreatedAt.Add(SessionLife))
}

// Link returns the one with a token while it works, or [ErrNotFound]; [ErrElsewhere] when a
// provider speaks for its address by now, and an [AccountError] when it would open more
// than when it was made.
func (r *Registry) Link(ctx context.Context, token string) (Link, error) {
	l, err := r.config.Store.Link(ctx, hashToken(token))
	if err == nil && !now().Before(l.ExpiresAt) {
		err = ErrNotFound
	}
	if err == nil && l.Email == "" { // made before there were customers
		if err = r.unowned(ctx); errors.Is(err, ErrExists) {
			err = ErrNotFound
		}
	} else if err == nil {
		_, err = r.mayLink(ctx, l)
	}
	return l, err
}

// UseLink sets the password of a link's person, accepts the invitation that the link is
// for, and signs in. Every session that the person had ends, and every other link. Without
// an error the password is set; the session is empty if none could begin, and the person
// signs in with the password, and accepts then what could not be accepted.
// Errors: those of [Registry.Link], an [InputError], [ErrBusy].
func (r *Registry) UseLink(ctx context.Context, by Actor, token, password string) (session string, err error) {
	l, err := r.Link(ctx, token)
	if err == nil && l.Email == "" {
		err = ErrNotFound
	}
	if err != nil {
		return "", err
	}
	hash, err := r.newPassword(ctx, by, l.Email, password)
	if err != nil {
		return "", err
	}
	session, err = r.setPassword(ctx, by, l, hash)
	if err == nil {
		r.acceptFor(ctx, by, l)
	}
	return session, err
}

// setPassword sets the password of a link's person, as a hash, and signs in.
func (r *Registry) setPassword(ctx context.Context, by Actor, l Link, hash string) (session string, err error) {
	commit, err := r.config.Store.UseLink(ctx, l.Hash, Account{Email: l.Email, Password: hash}, ofLink("account.password", by, l))
	if err != nil {
		return "", err
	}
	if _, err := r.settle(ctx, by, commit); err != nil {
		return "", err
	}
	if session, err = r.beginSession(ctx, by, Account{Email: l.Email, Password: hash}, now()); err != nil {
		return "", nil
	}
	return session, nil
}

// newPassword checks a password that somebody chose, and hashes it.
func (r *Registry) newPassword(ctx context.Context, by Actor, email, password string) (hash string, err error) {
	switch n := utf8.RuneCountInString(password); {
	case n < MinPassword || len(password) > MaxPassword:
		return "", invalid("password", "use %d to %d characters", MinPassword, MaxPassword)
	case guessable(password, email):
		return "", invalid("password", "it is among the first that somebody would guess")
	}
	leave, err := r.passwords.enter(ctx, by.Address, true) // by a link, or in a session
	if err != nil {
		return "", err
	}
	defer leave()
	return hashPassword(password), nil
}

// SignIn begins a session. device is what [Registry.Device] returned to this browser before,
// or empty. Errors: [ErrCredentials], which never says whether there is such an account, a
// [WaitError], and [ErrBusy].
func (r *Registry) SignIn(ctx context.Context, by Actor, email, password, device string) (session string, err error) {
	session, err = r.signIn(ctx, by, r.device(device, canonical(email)), email, password)
	return session, r.outcome(ctx, by, "account.sign_in", email, err)
}

// SignInAgain is [Registry.SignIn] for who is signed in, in a session: wrong passwords are
// counted for it alone, so that nobody without one can be in the way.
func (r *Registry) SignInAgain(ctx context.Context, by Actor, old, email, password string) (session string, err error) {
	session, err = r.signIn(ctx, by, old, email, password)
	return session, r.outcome(ctx, by, "account.step_up", email, err)
}

func (r *Registry) signIn(ctx context.Context, by Actor, known, email, password string) (session string, err error) {
	account, err := r.proven(ctx, by, known, email, password)
	if err != nil {
		return "", err
	}
	session, err = r.beginSession(ctx, by, account, now())
	if errors.Is(err, ErrNotFound) {
		err = ErrCredentials
	}
	return session, err
}

// proven returns the account of an address whose password this is. known is as in
// [Registry.try].
func (r *Registry) proven(ctx context.Context, by Actor, known, email, password string) (Account, error) {
	email = canonical(email)
	if password == "" || len(password) > MaxPassword {
		return Account{}, ErrCredentials
	}
	taken, err := r.try(ctx, email, Network(by.Address), known)
	if err != nil {
		return Account{}, err
	}
	leave, err := r.passwords.enter(ctx, by.Address, known != "")
	if err != nil {
		taken.giveBack(r.config.Limiter)
		return Account{}, err
	}
	defer leave()
	account, err := r.config.Store.Account(ctx, email)
	if errors.Is(err, ErrNotFound) || err == nil && account.Password == "" {
		account, err = Account{Password: decoy}, nil
	}
	switch {
	case err != nil:
		return Account{}, err
	case !matches(account.Password, password) || account.Email == "":
		return Account{}, ErrCredentials
	}
	taken.giveBack(r.config.Limiter)
	return account, nil
}

// ChangePassword sets another password of the account of a session, whose old one this is,
// and begins another session; every other one ends, as after a link. Errors: those of
// [Registry.SignInAgain] and [Registry.UseLink].
func (r *Registry) ChangePassword(ctx context.Context, by Actor, in, email, old, password string) (session string, err error) {
	account, err := r.proven(ctx, by, in, email, old)
	if err := r.outcome(ctx, by, "account.step_up", email, err); err != nil {
		return "", err
	}
	hash, err := r.newPassword(ctx, by, account.Email, password)
	if err != nil {
		return "", err
	}
	_, l, err := r.addLink(ctx, by, Link{Email: account.Email})
	if err != nil {
		return "", err
	}
	return r.setPassword(ctx, by, l, hash)
}

func (r *Registry) beginSession(ctx context.Context, by Actor, a Account, proved time.Time) (string, error) {
	token, hash := newToken()
	made := now()
	s := WebSession{Hash: hash, Email: a.Email, CreatedAt: made, SeenAt: made, ProvedAt: proved,
		Address: by.Address, Agent: by.Agent}
	return token, r.config.Store.AddWebSession(ctx, s, a.Password)
}

// Sessions returns those of a visitor that have not ended, the latest first.
func (r *Registry) Sessions(ctx context.Context, v Visitor) ([]WebSession, error) {
	list, err := r.config.Store.WebSessions(ctx, v.Email)
	t := now()
	return slices.DeleteFunc(list, func(s WebSession) bool { return !s.Live(t) }), err
}

// EndSessions ends those sessions of a visitor that are meant.
func (r *Registry) EndSessions(ctx context.Context, by Actor, v Visitor, meant func(WebSession) bool) error {
	list, err := r.config.Store.WebSessions(ctx, v.Email)
	ended := false
	for _, s := range list {
		if meant(s) {
			ended = true
			err = errors.Join(err, r.config.Store.EndWebSession(ctx, s.Hash))
		}
	}
	if ended && err == nil {
		err = r.signedIn(ctx, by, "account.sign_out", v.Email)
	}
	return err
}

// SignOut ends the session of who leaves.
func (r *Registry) SignOut(ctx context.Context, by Actor, v Visitor, session string) error {
	if err := r.EndSession(ctx, session); err != nil || v.Email == "" {
		return err
	}
	return r.signedIn(ctx, by, "account.sign_out", v.Email)
}

// EndSession ends a session in whose place another one is.
func (r *Registry) EndSession(ctx context.Context, session string) error {
	return r.config.Store.EndWebSession(ctx, hashToken(session))
}

// Visitor returns whose session it is, with the memberships as they are now, or
// [ErrNotFound].
func (r *Registry) Visitor(ctx context.Context, session string) (Visitor, error) {
	s, err := r.config.Store.WebSession(ctx, hashToken(session))
	t := now()
	if err == nil && !s.Live(t) {
		err = ErrNotFound
	}
	// The time of every request would be a write for every request.
	if err == nil && t.Sub(s.SeenAt) > time.Minute {
		// A store that takes no writes ends sessions early, and shows its pages until then.
		r.config.Store.SeeWebSession(ctx, s.Hash, t)
	}
	if err != nil {
		return Visitor{}, err
	}
	v := Visitor{Email: s.Email, ProvedAt: s.ProvedAt}
	members, err := r.config.Store.Memberships(ctx, s.Email)
	for _, m := range members {
		if m.Active() {
			v.Memberships = append(v.Memberships, m)
		} else {
			v.Invitations = append(v.Invitations, m)
		}
	}
	return v, err
}

// newToken returns a random token of 256 bits, and the hash that is stored of it.
func newToken() (token string, hash []byte) {
	raw := make([]byte, 32)
	rand.Read(raw)
	token = base64.RawURLEncoding.EncodeToString(raw)
	return token, hashToken(token)
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

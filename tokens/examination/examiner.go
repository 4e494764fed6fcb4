package examination

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// Config of an [Examiner]. Both fields are required.
type Config struct {
	// Issuer is whose verifiers are examined.
	Issuer string
	// Key seals tickets: 32 bytes, the same for every server of the issuer.
	Key tokens.Secret
}

// An Examiner examines the verifiers of one issuer.
type Examiner struct {
	issuer string
	aead   cipher.AEAD

	mu      sync.Mutex
	current *set
	signing bool // the next set
}

// New checks config. It signs nothing yet.
func New(config Config) (*Examiner, error) {
	aead, err := chacha20poly1305.NewX([]byte(config.Key))
	if err != nil {
		return nil, fmt.Errorf("examination: %w", err)
	}
	return &Examiner{issuer: config.Issuer, aead: aead}, nil
}

// How long a set is shared before another is made in the background, and when it is of
// no use any more: its tokens must live longer than clocks may differ.
const (
	shared = 5 * time.Minute
	worn   = tokenLife - 2*drift
)

// set returns what examinations are drawn from now.
func (e *Examiner) set() *set {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.current == nil || time.Since(e.current.made) > worn:
		e.current = newSet(e.issuer)
	case time.Since(e.current.made) > shared && !e.signing:
		e.signing = true
		go e.renew(e.current.algorithms())
	}
	return e.current
}

// renew signs another set with the algorithms that were asked for.
func (e *Examiner) renew(algorithms []string) {
	next := newSet(e.issuer)
	for _, algorithm := range algorithms {
		next.kit(algorithm) // an error comes again to who asks
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.current, e.signing = next, false
}

// Examine draws an examination for a client's verifier with a lease. Algorithms that
// are not ours are passed over; [ErrAlgorithms] when none is left.
func (e *Examiner) Examine(
	clientID string, algorithms []string, lease time.Duration,
) (*httpfeed.Examination, error) {
	s := e.set()
	var kits []*kit
	for _, algorithm := range tokens.Algorithms() {
		asked := slices.Contains(algorithms, algorithm)
		if algorithm == tokens.EdDSA { // by its name of RFC 9864 too
			asked = asked || slices.Contains(algorithms, "Ed25519")
		}
		if !asked {
			continue
		}
		k, err := s.kit(algorithm)
		if err != nil {
			return nil, err
		}
		kits = append(kits, k)
	}
	if len(kits) == 0 {
		return nil, ErrAlgorithms
	}
	x := draw(s, kits, lease)
	t := ticket{Ends: time.Now().Add(httpfeed.TicketLife).Unix(), Lease: lease.Milliseconds()}
	examination := &httpfeed.Examination{Issuer: s.issuer, Audience: s.audience,
		Keys: tokens.JWKSet{Keys: x.keys}, Sessions: x.sessions}
	for _, q := range x.questions {
		t.Rules = append(t.Rules, q.rule)
		examination.Tokens = append(examination.Tokens, q.raw)
	}
	for _, stage := range x.stages {
		t.Stages = append(t.Stages, stage.rule)
		t.Expect = append(t.Expect, stage.expect)
	}
	var err error
	examination.Ticket, err = e.seal(clientID, t)
	return examination, err
}

// The errors of the examiner.
var (
	// ErrAlgorithms: the verifier verifies no algorithm that tokens are signed with.
	ErrAlgorithms = errors.New("no algorithm of access tokens")
	// ErrTicket: it was not given to this client for this lease, or has ended.
	ErrTicket = errors.New("not a ticket of this examination, or too old")
	// ErrVerdicts: they are not as many as were asked for, or say something else.
	ErrVerdicts = errors.New("not the verdicts of this examination")
)

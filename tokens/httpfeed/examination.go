package httpfeed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Verdict is what a verifier decides about a token.
type Verdict string

// The verdicts: over HTTP 200, 401 and 503.
const (
	Accept  Verdict = "accept"
	Refuse  Verdict = "refuse"
	Unknown Verdict = "unknown"
)

// Examined is the answer to a join that lacks verdicts. Nothing was stored.
type Examined struct {
	Protocol    int          `json:"protocol"` // whose rules it has
	Examination *Examination `json:"examination"`
}

// An Examination asks a verifier what it decides about tokens of an issuer that does
// not exist, as sessions of that issuer go on.
type Examination struct {
	// Ticket goes back with the verdicts, within [TicketLife].
	Ticket   string        `json:"ticket"`
	Issuer   string        `json:"issuer"`
	Audience string        `json:"audience"`
	Keys     tokens.JWKSet `json:"keys"`
	Tokens   []string      `json:"tokens"`
	// Sessions follow the same issuer one after the other, each with nothing known.
	Sessions []Trial `json:"sessions"`
}

// A Trial is one session of an [Examination], as a verifier sees it. Verdicts about
// all tokens are asked for before the session, after Joined, and after each page.
type Trial struct {
	Joined Joined `json:"joined"`
	Pages  []Page `json:"pages"`
}

// TicketLife is how long a verifier may take to answer an examination.
const TicketLife = time.Minute

// Answer returns the verdicts of a [tokens.Verifier] whose view is kept as [Feed]
// keeps it, with a lease and without [tokens.Stale]: one list for each time that they
// are asked for, in the order of the tokens. It is an error when the process had so
// little time to run that its views became too old meanwhile.
func (e *Examination) Answer(lease time.Duration) ([][]Verdict, error) {
	keys := make(published, len(e.Keys.Keys))
	for _, jwk := range e.Keys.Keys {
		key, err := jwk.Key()
		if err != nil {
			return nil, fmt.Errorf("examination: %w", err)
		}
		keys[jwk.ID] = key
	}
	view := &stage{tokens.NewRevocations(lease)}
	verifier, err := tokens.NewVerifier(tokens.Config{
		Issuer: e.Issuer, Audience: e.Audience, Feed: view, Keys: keys,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("examination: %w", err)
	}
	var verdicts [][]Verdict
	ask := func() {
		list := make([]Verdict, len(e.Tokens))
		for i, raw := range e.Tokens {
			list[i] = verdict(verifier, raw)
		}
		verdicts = append(verdicts, list)
	}
	for _, session := range e.Sessions {
		view.revocations = tokens.NewRevocations(lease)
		ask()
		if joined := session.Joined; !joined.ended() {
			view.revocations.Start(joined.Cuts, joined.Watermark, joined.Floor)
		}
		ask()
		for _, page := range session.Pages {
			turned := time.Now()
			view.turn(session.Joined.Session, page, turned)
			ask()
			if took := time.Since(turned); took > lease/2 {
				return nil, fmt.Errorf("examination: its tokens took %v, with a lease of %v", took, lease)
			}
		}
	}
	return verdicts, nil
}

// verdict is what a verifier decides about one token.
func verdict(verifier *tokens.Verifier, raw string) Verdict {
	switch _, err := verifier.Verify(raw); {
	case err == nil:
		return Accept
	case errors.Is(err, tokens.ErrStale):
		return Unknown
	}
	return Refuse
}

// stage is the feed of a verifier that is examined: its view is made anew for each
// session. It implements [tokens.Feed].
type stage struct{ revocations *tokens.Revocations }

// turn does with a page what [Feed.follow] does.
func (s *stage) turn(session string, page Page, sent time.Time) {
	fresh, err := take(s.revocations, session, page, sent)
	switch {
	case err != nil:
		s.revocations.Lapse()
	case !fresh.IsZero():
		s.revocations.Confirm(fresh, page.Floor)
	}
}

func (s *stage) Revocations() *tokens.Revocations { return s.revocations }

func (s *stage) Run(context.Context) error { return nil }

// published is a set of signing keys. It implements [tokens.KeySet].
type published map[string]tokens.Key

func (p published) Key(kid string) (tokens.Key, error) {
	key, ok := p[kid]
	if !ok {
		return tokens.Key{}, tokens.ErrUnknownKey
	}
	return key, nil
}

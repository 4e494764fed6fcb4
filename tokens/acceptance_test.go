package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// moment is another one, half a second later each time, with other revocations.
func (w *world) moment() moment {
	m := moment{now: time.Now(), leeway: one(w, 5*time.Second, time.Second, 1500*time.Millisecond),
		audience: one(w, audience, audience, audience, audience, otherAudience),
		cuts:     map[string]uint64{}, terminal: map[string]bool{},
		floor: uint64(one(w, 0, 1, 96+w.IntN(10))), stale: w.IntN(5) == 0}
	for _, subject := range []string{"c:c1", "o:o1", "j:j1", "s:s1", "s:", "k:k1", "*", "c:o1", "o:c2", "j:c1"} {
		if w.IntN(6) == 0 {
			m.cuts[subject], m.terminal[subject] = uint64(93+w.IntN(17)), w.IntN(4) == 0
		}
	}
	return m
}

// told is a feed that has told what is so at a moment.
type told struct{ is *tokens.Revocations }

func (f *told) Revocations() *tokens.Revocations { return f.is }
func (f *told) Run(context.Context) error        { return nil }

func (f *told) tell(m moment) {
	f.is = tokens.NewRevocations(time.Hour)
	var entries []tokens.Entry
	for subject, position := range m.cuts {
		entries = append(entries, tokens.Entry{Position: position, Subject: tokens.Subject(subject),
			Kind: tokens.Cut, Terminal: m.terminal[subject]})
	}
	f.is.Start(entries, 200, m.floor)
	f.is.Confirm(time.Now(), m.floor)
	if m.stale {
		f.is.Lapse()
	}
}

// verdict is the model's word for what a verifier has answered.
func verdict(err error) string {
	for word, errs := range map[string][]error{"accept": {nil}, "revoked": {tokens.ErrRevoked}, "stale": {tokens.ErrStale},
		"no": {tokens.ErrMalformed, tokens.ErrUnknownKey, tokens.ErrSignature, tokens.ErrExpired, tokens.ErrNotForUs}} {
		for _, e := range errs {
			if errors.Is(err, e) {
				return word
			}
		}
	}
	return fmt.Sprint(err)
}

// perVerifier is how many moments a verifier lives, and keeps what it has seen.
const perVerifier = 5

// decisions calls each with what a verifier answers about every token at many moments. A
// token that a verifier sees first is asked about twice: new, and from its cache.
func (w *world) decisions(t *testing.T, moments int, each func(at moment, token int, got string)) {
	var verifiers map[string]*tokens.Verifier
	feed := &told{tokens.NewRevocations(0)}
	var leeway time.Duration
	for n := range moments {
		at := w.moment()
		if n%perVerifier == 0 {
			leeway = at.leeway
			v, err := tokens.NewVerifier(tokens.Config{Issuer: tokenstest.URL, Audience: audience, Leeway: leeway, Feed: feed,
				Keys: w.keys, CacheSize: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			other, err := v.WithAudience(otherAudience)
			if err != nil {
				t.Fatal(err)
			}
			verifiers = map[string]*tokens.Verifier{audience: v, otherAudience: other}
		}
		at.leeway = leeway
		feed.tell(at)
		for i, raw := range w.tokens {
			_, err := verifiers[at.audience].Verify(raw)
			each(at, i, verdict(err))
			if n%perVerifier == 0 {
				_, err = verifiers[at.audience].Verify(raw)
				each(at, i, verdict(err))
			}
		}
		time.Sleep(time.Duration(w.IntN(3)) * 500 * time.Millisecond) // of the bubble's clock
	}
}

// model returns one that has learned all rules but one.
func (w *world) model(without string) *model {
	keys := map[string]string{"k1": "ES256", "k2": "ES256", "k3": "EdDSA"}
	return &model{without: without, issuer: tokenstest.URL, keys: keys, signed: w.signed}
}

// forms are what a model finds in the tokens.
func (w *world) forms(m *model) []*said {
	var forms []*said
	for _, raw := range w.tokens {
		forms = append(forms, m.form(raw))
	}
	return forms
}

// number is what an environment variable says, or something else.
func number(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestVerifierAcceptsWhatTheModelAccepts, and nothing else, in MODEL_CASES decisions about
// tokens good and bad, new and from the cache; MODEL_SEED draws others (S-081, S-125).
func TestVerifierAcceptsWhatTheModelAccepts(t *testing.T) {
	cases, seed := number(t, "MODEL_CASES", 100_000), number(t, "MODEL_SEED", 1)
	synctest.Test(t, func(t *testing.T) {
		const moments = 50
		w := newWorld(t, uint64(seed), cases/moments)
		m := w.model("")
		forms, words, wrong := w.forms(m), map[string]int{}, 0
		w.decisions(t, moments, func(at moment, i int, got string) {
			want := m.decide(forms[i], at)
			if words[want]++; got != want && wrong < 5 {
				wrong++
				t.Errorf("%s, want %s\n%s\n%+v", got, want, w.tokens[i], at)
			}
		})
		t.Logf("seed %d: %v", seed, words)
		for _, word := range []string{"accept", "revoked", "stale", "no"} {
			if words[word] < cases/50 {
				t.Errorf("%d of %d are %s: the tokens are not well drawn", words[word], cases, word)
			}
		}
	})
}

// TestModelWithoutAnyRuleIsFoundOut: a difference between the two would be seen, whichever
// rule it is about.
func TestModelWithoutAnyRuleIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, 1200)
		forms := w.forms(w.model(""))
		type control struct {
			*model
			differ map[int]*said // what it finds in tokens in which others find something else
		}
		controls := map[string]control{}
		for _, rule := range decideRules {
			controls[rule] = control{w.model(rule), nil}
		}
		for _, rule := range formRules {
			c := control{w.model(rule), map[int]*said{}}
			for i, form := range w.forms(c.model) {
				if (form == nil) != (forms[i] == nil) {
					c.differ[i] = form
				}
			}
			controls[rule] = c
		}
		w.decisions(t, 30, func(at moment, i int, got string) {
			for rule, c := range controls {
				form, differs := c.differ[i]
				if !differs {
					form = forms[i]
				}
				if (differs || c.differ == nil) && c.decide(form, at) != got {
					delete(controls, rule)
				}
			}
		})
		for rule := range controls {
			t.Errorf("a model without the rule %q decides alike", rule)
		}
	})
}

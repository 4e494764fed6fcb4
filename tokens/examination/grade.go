package examination

import (
	"slices"
	"time"

	"github.com/imara/apikeys/tokens/httpfeed"
)

// A Result is what a verifier's verdicts show.
type Result struct {
	// Accepted are the rules by which it accepted a token that it must not accept, and
	// Mistaken those by which it was wrong without that: it refused a good token, or one
	// about which it cannot know. Both are sorted; empty is right.
	Accepted, Mistaken []string
}

// Broken are the rules of both kinds.
func (r Result) Broken() []string {
	all := slices.Concat(r.Accepted, r.Mistaken)
	slices.Sort(all)
	return slices.Compact(all)
}

// Grade compares a client's verdicts with what they have to be. It returns [ErrTicket]
// or [ErrVerdicts] for what is no answer to an examination.
func (e *Examiner) Grade(
	clientID, sealed string, lease time.Duration, verdicts [][]httpfeed.Verdict,
) (r Result, err error) {
	t, err := e.open(clientID, sealed)
	if err != nil {
		return Result{}, err
	}
	if t.Lease != lease.Milliseconds() || time.Now().Unix() > t.Ends {
		return Result{}, ErrTicket
	}
	if len(verdicts) != len(t.Expect) {
		return Result{}, ErrVerdicts
	}
	for i, list := range verdicts {
		if len(list) != len(t.Expect[i]) {
			return Result{}, ErrVerdicts
		}
		for j, verdict := range list {
			rule := t.Stages[i]
			if rule == "" {
				rule = t.Rules[j]
			}
			if err := r.note(rule, t.Expect[i][j], verdict); err != nil {
				return Result{}, err
			}
		}
	}
	for _, list := range []*[]string{&r.Accepted, &r.Mistaken} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return r, nil
}

// note records a verdict that is not what it has to be.
func (r *Result) note(rule string, want byte, got httpfeed.Verdict) error {
	switch got {
	case httpfeed.Accept:
		if want != wantAccept {
			r.Accepted = append(r.Accepted, rule)
		}
	case httpfeed.Refuse:
		if want != wantRefuse && want != wantEither {
			r.Mistaken = append(r.Mistaken, rule)
		}
	case httpfeed.Unknown:
		if want != wantUnknown && want != wantEither {
			r.Mistaken = append(r.Mistaken, rule)
		}
	default:
		return ErrVerdicts
	}
	return nil
}

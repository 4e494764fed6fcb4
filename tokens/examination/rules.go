package examination

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/imara/apikeys/tokens"
)

// The rules that hold for every token at some time of a session.
const (
	ruleJoin  = "join"        // joining is no evidence
	ruleTip   = "tip"         // nor is an answer that leaves entries out
	ruleLease = "lease"       // nothing is accepted on a view past its lease
	ruleEnd   = "session_end" // nor after the end of one's own session
)

// Rules are the names of all that a verifier can break.
func Rules() []string {
	names := []string{ruleJoin, ruleTip, ruleLease, ruleEnd}
	for _, r := range pairRules {
		names = append(names, r.name)
	}
	slices.Sort(names)
	return names
}

// The positions of the log that is examined, above its base.
const (
	emptyFloor   = 1 // of the session that begins with nothing but a cut of everything
	oldestCut    = 3 // that cut
	terminalCut  = 4 // of a signing key
	floor        = 6 // at first
	raisedFloor  = 9 // by a page
	usual        = 10
	positionCut  = 12
	snapshotFrom = 13 // every other cut of the snapshot
)

// A draft is a token that is not signed yet.
type draft struct {
	claims tokens.Claims
	typ    string
	signer int  // of the two signing keys
	kid    int  // whose kid it names
	flawed bool // it is refused whatever was revoked
}

// pairRules say what makes one of two tokens, which are alike until then, one that is
// refused. It may change both in the same way. What it returns is cut in some session;
// nothing when no cut is needed.
var pairRules = []struct {
	name  string
	spoil func(s *set, bad, good *draft) tokens.Subject
}{
	{"client", func(_ *set, bad, _ *draft) tokens.Subject {
		bad.claims.ClientID = name()
		return tokens.Client(bad.claims.ClientID)
	}},
	{"organization", func(_ *set, bad, _ *draft) tokens.Subject {
		bad.claims.Organization = name()
		return tokens.Organization(bad.claims.Organization)
	}},
	{"token", func(_ *set, bad, _ *draft) tokens.Subject {
		bad.claims.ID = name()
		return tokens.Token(bad.claims.ID)
	}},
	{"secret", func(_ *set, bad, _ *draft) tokens.Subject {
		bad.claims.Credential = name()
		return tokens.Credential(bad.claims.Credential)
	}},
	{"signing_key", func(_ *set, bad, _ *draft) tokens.Subject {
		bad.kid, bad.signer = 1, 1
		return ""
	}},
	{"everything", below(oldestCut)},
	{"position", func(s *set, bad, good *draft) tokens.Subject {
		below(positionCut)(s, bad, good)
		return tokens.Client(bad.claims.ClientID)
	}},
	{"floor", below(floor)},
	{"floor_raised", below(raisedFloor)},
	{"type", flaw(func(_ *set, bad, _ *draft) { bad.typ = "JWT" })},
	{"signature", flaw(func(_ *set, bad, _ *draft) { bad.signer = 1 })},
	{"audience", flaw(func(_ *set, bad, _ *draft) {
		bad.claims.Audience = tokens.Audience{audience()}
	})},
	{"issuer", flaw(func(_ *set, bad, _ *draft) { bad.claims.Issuer += name() })},
	{"expiry", flaw(func(s *set, bad, good *draft) {
		bad.claims.IssuedAt = s.made.Add(-time.Hour - drift).Unix()
		good.claims.IssuedAt = bad.claims.IssuedAt
		bad.claims.ExpiresAt = s.made.Add(-drift).Unix()
	})},
}

// below is a rule that refuses tokens from before a position.
func below(position uint64) func(*set, *draft, *draft) tokens.Subject {
	return func(s *set, bad, good *draft) tokens.Subject {
		bad.claims.Position, good.claims.Position = s.base+position-1, s.base+position
		return ""
	}
}

// flaw is a rule that needs nothing to have been revoked.
func flaw(spoil func(s *set, bad, good *draft)) func(*set, *draft, *draft) tokens.Subject {
	return func(s *set, bad, good *draft) tokens.Subject {
		bad.flawed = true
		spoil(s, bad, good)
		return ""
	}
}

// drift is how far a verifier's clock may be from ours.
const drift = 10 * time.Minute

// name is an id that nobody has.
func name() string { return "probe-" + rand.Text() }

// audience is of an API that does not exist.
func audience() string { return "urn:imara:probe:" + rand.Text() }

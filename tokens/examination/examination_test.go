package examination

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

const (
	issuer = "https://auth.example.com"
	client = "imara_ci_verifier"
	lease  = 10 * time.Second
)

func newExaminer(t testing.TB) *Examiner {
	t.Helper()
	e, err := New(Config{Issuer: issuer, Key: tokens.Secret(make([]byte, 32))})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *Examiner) exam(t testing.TB, algorithms ...string) *httpfeed.Examination {
	t.Helper()
	x, err := e.Examine(client, algorithms, lease)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func answer(t testing.TB, x *httpfeed.Examination) [][]httpfeed.Verdict {
	t.Helper()
	verdicts, err := x.Answer(lease)
	if err != nil {
		t.Fatal(err)
	}
	return verdicts
}

// TestOurVerifierPassesEveryExamination: what is expected is written down by a model
// that knows nothing of the verifier, and drawn anew each time.
func TestOurVerifierPassesEveryExamination(t *testing.T) {
	e := newExaminer(t)
	for _, algorithms := range [][]string{{tokens.ES256}, {tokens.EdDSA, "PS256"}, {tokens.RS256},
		{tokens.ES256, tokens.RS256, tokens.EdDSA}} {
		for range 20 {
			x := e.exam(t, algorithms...)
			result, err := e.Grade(client, x.Ticket, lease, answer(t, x))
			if err != nil || len(result.Broken()) > 0 {
				t.Fatalf("%v: %+v, %v", algorithms, result, err)
			}
		}
	}
	if _, err := e.Examine(client, []string{"HS256"}, lease); !errors.Is(err, ErrAlgorithms) {
		t.Errorf("no algorithm: %v", err)
	}
}

// TestEachWrongVerdictIsNamed: of any token, at any time, in both directions.
func TestEachWrongVerdictIsNamed(t *testing.T) {
	e := newExaminer(t)
	x := e.exam(t, tokens.ES256)
	right := answer(t, x)
	sealed, err := e.open(client, x.Ticket)
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for i, list := range right {
		for j, verdict := range list {
			for _, other := range []httpfeed.Verdict{httpfeed.Accept, httpfeed.Refuse, httpfeed.Unknown} {
				wrong := slices.Clone(right)
				wrong[i] = slices.Clone(list)
				wrong[i][j] = other
				result, err := e.Grade(client, x.Ticket, lease, wrong)
				if err != nil {
					t.Fatal(err)
				}
				rule := sealed.Stages[i]
				if rule == "" {
					rule = sealed.Rules[j]
				}
				want := Result{}
				switch either := sealed.Expect[i][j] == wantEither; {
				case other == verdict || either && other != httpfeed.Accept:
				case other == httpfeed.Accept:
					want.Accepted, named[rule] = []string{rule}, true
				default:
					want.Mistaken = []string{rule}
				}
				if !reflect.DeepEqual(result, want) {
					t.Errorf("%s in place of %s: %+v, want %+v", other, verdict, result, want)
				}
			}
		}
	}
	for _, rule := range Rules() {
		if !named[rule] {
			t.Errorf("nothing breaks %s by accepting", rule)
		}
	}
}

// decode returns header and claims of a token.
func decode(t *testing.T, raw string) map[string]any {
	t.Helper()
	all := make(map[string]any)
	for i, part := range strings.Split(raw, ".")[:2] {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		members := make(map[string]any)
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		for name, value := range members {
			all[[]string{"header ", "claim "}[i]+name] = value
		}
	}
	return all
}

// TestPairsDifferInNothingElse: a verdict can have no other reason.
func TestPairsDifferInNothingElse(t *testing.T) {
	want := map[string]string{"client": "claim client_id", "organization": "claim org", "token": "claim jti", "secret": "claim crd",
		"signing_key": "header kid", "everything": "claim rv", "position": "claim rv", "floor": "claim rv", "floor_raised": "claim rv",
		"type": "header typ", "signature": "", "audience": "claim aud", "issuer": "claim iss", "expiry": "claim exp"}
	k, err := newSet(issuer).kit(tokens.ES256)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.pairs) != len(want) {
		t.Errorf("%d pairs, want %d", len(k.pairs), len(want))
	}
	for rule, pair := range k.pairs {
		bad, good := decode(t, pair.bad.raw), decode(t, pair.good.raw)
		var differ []string
		for name := range bad {
			if !reflect.DeepEqual(bad[name], good[name]) {
				differ = append(differ, name)
			}
		}
		if strings.Join(differ, " ") != want[rule] || len(bad) != len(good) || pair.bad.raw == pair.good.raw {
			t.Errorf("%s: %v differ, want %s", rule, differ, want[rule])
		}
	}
}

// TestExaminationHoldsNothingReal: whoever reads it has nothing that is good anywhere,
// in numbers that every language has, and without null where a list belongs.
func TestExaminationHoldsNothingReal(t *testing.T) {
	e := newExaminer(t)
	for range 50 {
		x := e.exam(t, tokens.ES256, tokens.EdDSA)
		text, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "null") {
			t.Fatalf("null in %s", text)
		}
		if !strings.HasPrefix(x.Issuer, issuer+"/probe/") || tokens.CheckIdentifier(x.Issuer) != nil ||
			!strings.HasPrefix(x.Audience, "urn:imara:probe:") {
			t.Fatalf("issuer %s, audience %s", x.Issuer, x.Audience)
		}
		for _, jwk := range x.Keys.Keys {
			if !strings.HasPrefix(jwk.ID, "probe-") {
				t.Errorf("kid %s", jwk.ID)
			}
		}
		for _, raw := range x.Tokens {
			token := decode(t, raw)
			if token["claim scope"] != nil || !strings.HasPrefix(token["claim iss"].(string), issuer+"/probe/") ||
				!strings.HasPrefix(token["claim aud"].(string), "urn:imara:probe:") {
				t.Errorf("%v", token)
			}
		}
		var largest func(any) float64
		largest = func(value any) (n float64) {
			switch v := value.(type) {
			case float64:
				return v
			case []any:
				for _, x := range v {
					n = max(n, largest(x))
				}
			case map[string]any:
				for _, x := range v {
					n = max(n, largest(x))
				}
			}
			return n
		}
		var whole any
		if err := json.Unmarshal(text, &whole); err != nil || largest(whole) >= 1<<53 {
			t.Fatalf("%v, largest %v", err, largest(whole))
		}
	}
}

// TestEveryExaminationCutsEachTime: with the snapshot and with both pages; else a
// verdict that is remembered, or a page that is passed over, is not found.
func TestEveryExaminationCutsEachTime(t *testing.T) {
	e := newExaminer(t)
	orders := make(map[string]bool)
	for range 50 {
		x := e.exam(t, tokens.ES256)
		sealed, err := e.open(client, x.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		orders[fmt.Sprint(sealed.Rules)] = true
		cuts := make(map[string]int) // how many are cut by the page
		for j := range x.Tokens {
			switch before, first, second := sealed.Expect[1][j], sealed.Expect[2][j], sealed.Expect[3][j]; {
			case first == wantRefuse && before == wantEither:
				cuts["snapshot"]++
			case first == wantRefuse:
				cuts["first"]++
			case second == wantRefuse && sealed.Rules[j] != "floor_raised":
				cuts["second"]++
			}
		}
		if cuts["snapshot"] < 2 || cuts["first"] == 0 || cuts["second"] == 0 {
			t.Fatalf("%v", cuts)
		}
	}
	if len(orders) < 40 {
		t.Errorf("%d orders of 50", len(orders))
	}
}

// TestTicketIsForOneClientAndOneMinute: any server of the issuer opens it, nobody else.
func TestTicketIsForOneClientAndOneMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExaminer(t)
		x := e.exam(t, tokens.ES256)
		verdicts := answer(t, x)
		other, err := New(Config{Issuer: issuer, Key: tokens.Secret(append(make([]byte, 31), 1))})
		if err != nil {
			t.Fatal(err)
		}
		replica := newExaminer(t)
		short := slices.Clone(verdicts)
		short[0] = short[0][1:]
		strange := slices.Clone(verdicts)
		strange[0] = slices.Repeat([]httpfeed.Verdict{"maybe"}, len(verdicts[0]))
		for name, row := range map[string]struct {
			by       *Examiner
			client   string
			ticket   string
			lease    time.Duration
			verdicts [][]httpfeed.Verdict
			want     error
		}{
			"right":             {e, client, x.Ticket, lease, verdicts, nil},
			"at another server": {replica, client, x.Ticket, lease, verdicts, nil},
			"another key":       {other, client, x.Ticket, lease, verdicts, ErrTicket},
			"another client":    {e, "imara_ci_other", x.Ticket, lease, verdicts, ErrTicket},
			"another lease":     {e, client, x.Ticket, lease + time.Second, verdicts, ErrTicket},
			"changed":           {e, client, x.Ticket[:100] + "A" + x.Ticket[101:], lease, verdicts, ErrTicket},
			"empty":             {e, client, "", lease, verdicts, ErrTicket},
			"no base64url":      {e, client, "?", lease, verdicts, ErrTicket},
			"none":              {e, client, x.Ticket, lease, nil, ErrVerdicts},
			"too few":           {e, client, x.Ticket, lease, verdicts[1:], ErrVerdicts},
			"too few of one":    {e, client, x.Ticket, lease, short, ErrVerdicts},
			"another word":      {e, client, x.Ticket, lease, strange, ErrVerdicts},
		} {
			if _, err := row.by.Grade(row.client, row.ticket, row.lease, row.verdicts); !errors.Is(err, row.want) {
				t.Errorf("%s: %v, want %v", name, err, row.want)
			}
		}
		time.Sleep(httpfeed.TicketLife + 2*time.Second)
		if _, err := e.Grade(client, x.Ticket, lease, verdicts); !errors.Is(err, ErrTicket) {
			t.Errorf("after its life: %v", err)
		}
	})
}

// TestProbesAreSharedForMinutes: the next ones are signed in the background, and what
// is handed out never runs out, whatever the pauses.
func TestProbesAreSharedForMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExaminer(t)
		first := e.exam(t, tokens.ES256)
		for _, row := range []struct {
			pause time.Duration
			same  bool
		}{{0, true}, {shared, true}, {time.Second, true}, {time.Second, false}, {worn + time.Second, false}, {24 * time.Hour, false}} {
			time.Sleep(row.pause)
			next := e.exam(t, tokens.ES256)
			if (next.Issuer == first.Issuer) != row.same {
				t.Errorf("after %v: %s and %s", row.pause, first.Issuer, next.Issuer)
			}
			if result, err := e.Grade(client, next.Ticket, lease, answer(t, next)); err != nil || len(result.Broken()) > 0 {
				t.Errorf("after %v: %+v, %v", row.pause, result, err)
			}
			synctest.Wait() // the next set is signed
			first = next
		}
	})
}

// TestVerifierMayCallEdDSAEd25519: it is examined with the same tokens (RFC 9864).
func TestVerifierMayCallEdDSAEd25519(t *testing.T) {
	e := newExaminer(t)
	x := e.exam(t, "Ed25519")
	for _, key := range x.Keys.Keys {
		if key.Algorithm != tokens.EdDSA {
			t.Errorf("a key for %s", key.Algorithm)
		}
	}
	if result, err := e.Grade(client, x.Ticket, lease, answer(t, x)); err != nil || len(result.Broken()) > 0 {
		t.Errorf("%+v, %v", result, err)
	}
}

// FuzzGrade: no ticket and no verdicts panic.
func FuzzGrade(f *testing.F) {
	e := newExaminer(f)
	x := e.exam(f, tokens.ES256)
	text, err := json.Marshal(answer(f, x))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(x.Ticket, text)
	f.Add("", []byte(`[["accept"],[]]`))
	f.Fuzz(func(t *testing.T, ticket string, text []byte) {
		var verdicts [][]httpfeed.Verdict
		if json.Unmarshal(text, &verdicts) == nil {
			e.Grade(client, ticket, lease, verdicts)
			e.Grade(client, x.Ticket, lease, verdicts)
		}
	})
}

// BenchmarkExamination is what the server does for one: draw, write, and grade.
func BenchmarkExamination(b *testing.B) {
	e := newExaminer(b)
	words := map[rune]httpfeed.Verdict{wantAccept: httpfeed.Accept, wantRefuse: httpfeed.Refuse,
		wantUnknown: httpfeed.Unknown, wantEither: httpfeed.Refuse}
	for b.Loop() {
		x := e.exam(b, tokens.ES256, tokens.RS256, tokens.EdDSA)
		text, err := json.Marshal(x)
		if err != nil {
			b.Fatal(err)
		}
		sealed, err := e.open(client, x.Ticket)
		if err != nil {
			b.Fatal(err)
		}
		verdicts := make([][]httpfeed.Verdict, len(sealed.Expect))
		for i, stage := range sealed.Expect {
			for _, want := range stage {
				verdicts[i] = append(verdicts[i], words[want])
			}
		}
		if result, err := e.Grade(client, x.Ticket, lease, verdicts); err != nil || len(result.Broken()) > 0 {
			b.Fatal(result, err)
		}
		b.ReportMetric(float64(len(text)), "B/examination")
	}
}

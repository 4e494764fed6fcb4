package tokens_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A model decides as PROTOCOL.md says, with other means than the verifier.
type model struct {
	// without is the rule that this one has not learned, for the controls.
	without string
	issuer  string
	keys    map[string]string // the alg of each kid
	signed  func(kid, raw string) bool
}

// A moment is when and where a decision is made.
type moment struct {
	now      time.Time
	leeway   time.Duration
	audience string
	cuts     map[string]uint64 // by subject
	terminal map[string]bool
	floor    uint64
	stale    bool
}

// The rules that a model may be without, of form and of decide. Each makes a difference.
var (
	formRules = strings.Fields(`length parts letters bits utf8 surrogates object members repeat
		names typ alg needless signature required text integer range null cnf`)
	decideRules = strings.Fields(`iss aud exp exp-edge iat iat-edge nbf nbf-edge client org jti crd
		key everything terminal position floor floor-edge stale`)
)

// said is what a well-formed token says.
type said struct {
	kid      string
	text     map[string]string
	number   map[string]uint64
	audience []string
}

var (
	letters    = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	digits     = regexp.MustCompile(`^(0|[1-9][0-9]{0,15})$`)
	backslash  = regexp.MustCompile(`\\\\`)
	pair       = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)
	half       = regexp.MustCompile(`\\u[dD][89a-fA-F]`)
	typ        = regexp.MustCompile(`^(?i:(application/)?at\+jwt)$`)
	needless   = strings.Fields("crit b64 jku jwk x5u x5c cty zip enc p2c")
	texts      = strings.Fields("iss sub jti client_id org scope crd")
	integers   = strings.Fields("exp iat rv nbf")
	optional   = strings.Fields("scope crd nbf")
	algorithms = map[string]string{"ES256": "ES256", "EdDSA": "EdDSA", "Ed25519": "EdDSA"}
)

// form is section 2 but for what depends on the moment. It returns nil for what no
// verifier accepts, ever.
func (m *model) form(raw string) *said {
	good := true
	must := func(rule string, holds bool) { good = good && (holds || rule == m.without) }
	must("length", len(raw) <= 8192)
	parts := strings.Split(raw, ".")
	if must("parts", len(parts) == 3); len(parts) < 3 {
		return nil
	}
	var decoded [3][]byte
	for i, part := range parts[:3] {
		var err error
		must("letters", letters.MatchString(part))
		decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil && m.without == "bits" {
			decoded[i], err = base64.RawURLEncoding.DecodeString(part)
		}
		good = good && err == nil
	}
	header := m.object(decoded[0], must, append([]string{"typ", "alg", "kid"}, needless...))
	claims := m.object(decoded[1], must, slices.Concat(texts, integers, []string{"aud", "cnf"}))
	if !good {
		return nil
	}
	kid, _ := header["kid"].(string)
	alg, _ := header["alg"].(string)
	kind, _ := header["typ"].(string)
	must("typ", typ.MatchString(kind))
	must("alg", algorithms[alg] != "" && algorithms[alg] == m.keys[kid])
	for _, name := range needless {
		_, there := header[name]
		must("needless", !there)
	}
	must("signature", m.signed(kid, raw))
	s := &said{kid: kid, text: map[string]string{}, number: map[string]uint64{}}
	m.read(s, claims, must)
	if !good {
		return nil
	}
	return s
}

// read takes the claims over.
func (m *model) read(s *said, claims map[string]any, must func(string, bool)) {
	for _, name := range texts {
		value, there := claims[name]
		text, ok := value.(string)
		must("null", !there || value != nil)
		must("text", !there || ok || value == nil)
		must("required", text != "" || there && !ok || slices.Contains(optional, name))
		s.text[name] = text
	}
	for _, name := range integers {
		value, there := claims[name]
		number, _ := value.(json.Number)
		n, err := number.Int64()
		must("null", !there || value != nil)
		must("integer", !there || value == nil || digits.MatchString(number.String()) || err == nil && n > 1<<53)
		must("range", err != nil || n < 1<<53)
		must("required", n != 0 || there && err != nil && value != nil || slices.Contains(optional, name))
		s.number[name] = uint64(n)
	}
	list, _ := claims["aud"].([]any)
	if one, ok := claims["aud"].(string); ok {
		list = []any{one}
	}
	for _, one := range list {
		text, ok := one.(string)
		must("null", one != nil)
		must("text", ok || one == nil)
		s.audience = append(s.audience, text)
	}
	_, bound := claims["cnf"]
	must("cnf", !bound)
}

// object reads the members of an object; known are those whose names matter.
func (m *model) object(data []byte, must func(string, bool), known []string) map[string]any {
	must("utf8", utf8.Valid(data))
	must("surrogates", !half.Match(pair.ReplaceAll(backslash.ReplaceAll(data, nil), nil)))
	var members map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	err := d.Decode(&members)
	_, end := d.Token()
	if must("object", err == nil && members != nil && end == io.EOF); err != nil || members == nil {
		return nil
	}
	d = json.NewDecoder(bytes.NewReader(data))
	d.Token()
	var names []string
	for value := (json.RawMessage)(nil); d.More(); d.Decode(&value) {
		name, _ := d.Token()
		names = append(names, strings.ToLower(strings.ToUpper(name.(string))))
		must("names", !slices.Contains(known, names[len(names)-1]) || slices.Contains(known, name.(string)))
	}
	must("members", len(names) <= 32)
	slices.Sort(names)
	must("repeat", len(slices.Compact(slices.Clone(names))) == len(names))
	return members
}

// decide is the rest of section 2, and section 5.
func (m *model) decide(s *said, at moment) string {
	if s == nil {
		return "no"
	}
	holds := func(rule string, right, wrong bool) bool {
		return right && rule != m.without || wrong && rule == m.without
	}
	second := func(claim string) time.Time { return time.Unix(int64(s.number[claim]), 0) }
	exp, iat, nbf := second("exp"), second("iat"), second("nbf")
	late, early := at.now.Add(-at.leeway), at.now.Add(at.leeway)
	if holds("iss", s.text["iss"] != m.issuer, false) || holds("aud", !slices.Contains(s.audience, at.audience), false) ||
		holds("exp", late.After(exp), false) || holds("exp-edge", late.Equal(exp), false) ||
		holds("iat", early.Before(iat), false) || holds("iat-edge", false, early.Equal(iat)) ||
		holds("nbf", early.Before(nbf), false) || holds("nbf-edge", false, early.Equal(nbf)) {
		return "no"
	}
	rv, revoked := s.number["rv"], false
	for _, subject := range [][2]string{{"client", "c:" + s.text["client_id"]}, {"org", "o:" + s.text["org"]},
		{"jti", "j:" + s.text["jti"]}, {"crd", "s:" + s.text["crd"]}, {"key", "k:" + s.kid}, {"everything", "*"}} {
		rule, subject := subject[0], subject[1]
		cut := at.cuts[subject]
		denies := cut > rv || holds("position", false, cut == rv && cut > 0) || holds("terminal", at.terminal[subject], false)
		revoked = revoked || denies && rule != m.without && subject != "s:"
	}
	if revoked || holds("floor", rv < at.floor, false) || holds("floor-edge", false, rv == at.floor) {
		return "revoked"
	}
	if holds("stale", at.stale, false) {
		return "stale"
	}
	return "accept"
}

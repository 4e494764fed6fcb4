package keys

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
)

// form is what the documentation and scanners say a secret looks like.
var form = regexp.MustCompile(`^imara_cs_(live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$`)

func TestSecretsHaveTheDocumentedForm(t *testing.T) {
	seen := map[string]bool{}
	for range 100_000 {
		s := newSecret()
		if !form.MatchString(s.text) || seen[s.text] || seen[s.CredentialID()] {
			t.Fatalf("%s", s.text)
		}
		seen[s.text], seen[s.CredentialID()] = true, true
		if parsed, err := ParseSecret(s.text); err != nil || parsed != s {
			t.Fatalf("%s: %v", s.text, err)
		}
	}
}

// TestChecksumCatchesTyping substitutes and swaps single characters.
func TestChecksumCatchesTyping(t *testing.T) {
	for range 3000 {
		text := []byte(newSecret().text)
		i := len(secretPrefix) + rand.IntN(len(text)-len(secretPrefix))
		original := string(text)
		if rand.IntN(2) == 0 {
			text[i] = base62[rand.IntN(62)]
		} else if i+1 < len(text) {
			text[i], text[i+1] = text[i+1], text[i]
		}
		if _, err := ParseSecret(string(text)); (err == nil) != (string(text) == original) {
			t.Fatalf("%s instead of %s: %v", text, original, err)
		}
	}
}

// TestOtherFormsAreNotSecrets is R-015, and what people paste by mistake.
func TestOtherFormsAreNotSecrets(t *testing.T) {
	good := newSecret().text
	for n := range len(good) {
		if _, err := ParseSecret(good[:n]); !errors.Is(err, ErrSecretForm) {
			t.Errorf("the first %d characters: %v", n, err)
		}
	}
	for _, text := range []string{good + "A", " " + good, good + "\n", strings.ToUpper(good), strings.Replace(good, "live", "test", 1),
		"imara_ci_" + good[9:], strings.Replace(good, "_", "-", 1), good + good, "\x00", strings.Repeat("é", 40)} {
		if _, err := ParseSecret(text); !errors.Is(err, ErrSecretForm) {
			t.Errorf("%q: %v", text, err)
		} else if strings.Contains(err.Error(), good[20:]) {
			t.Errorf("the error quotes the secret: %v", err)
		}
	}
}

func TestSecretNeverPrintsItself(t *testing.T) {
	s := newSecret()
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("x", "secret", s, "pointer", &s, "struct", struct{ S Secret }{s})
	data, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	c := Peppers{1: tokens.Secret(make([]byte, 32))}.credential(s, time.Now())
	logger.Info("x", "credential", c, "mac", c.MAC)
	record, err := json.Marshal(Record{Key: Key{Credentials: []Credential{c}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{log.String(), string(record), fmt.Sprintf("%v %+v %#v", c, c, c), fmt.Sprintf("%x %v", c.MAC, c.MAC)} {
		for _, spelled := range []string{fmt.Sprintf("%x", []byte(c.MAC[:8])), fmt.Sprint([]byte(c.MAC[:8]))[1:20], base64.StdEncoding.EncodeToString(c.MAC)[:12]} {
			if strings.Contains(strings.ToLower(out), strings.ToLower(spelled)) {
				t.Errorf("a MAC: %s", out)
			}
		}
	}
	for _, out := range []string{log.String(), string(data), string(text), fmt.Sprint(s, &s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", struct{ S Secret }{s}, []Secret{s}, map[string]Secret{"s": s}), s.GoString(), s.String()} {
		if strings.Contains(out, s.text[14:30]) || strings.Contains(out, fmt.Sprintf("%x", s.text[14:30])) {
			t.Errorf("%s", out)
		}
	}
	if s.Reveal() != s.text {
		t.Error("Reveal does not")
	}
}

func TestMACIsBoundToItsCredentialAndPepper(t *testing.T) {
	p := Peppers{1: tokens.Secret(strings.Repeat("a", 32)), 2: tokens.Secret(strings.Repeat("b", 32))}
	s := newSecret()
	c := p.credential(s, time.Now())
	if c.Pepper != 2 || !p.match(c, s.text) {
		t.Fatalf("pepper %d", c.Pepper)
	}
	other, old, short, none, gone := c, c, c, c, c
	other.ID = newSecret().CredentialID()
	old.Pepper = 1
	short.MAC = c.MAC[:31]
	none.MAC = nil
	gone.Pepper = 3
	for name, wrong := range map[string]Credential{"copied to another": other, "another pepper": old, "short": short, "empty": none, "no such pepper": gone} {
		if p.match(wrong, s.text) {
			t.Errorf("%s: matches", name)
		}
	}
	gone.MAC = p.mac(3, gone.ID, s.text)
	if p.match(gone, s.text) {
		t.Error("a MAC under no pepper matches")
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add(newSecret().text)
	f.Add("imara_cs_live_")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSecret(text); err == nil && (!form.MatchString(text) || s.Reveal() != text || len(s.CredentialID()) != 12) {
			t.Fatalf("%q", text)
		}
	})
}

// TestSecretStateFollowsTheKey: a secret ends by itself, and with its key.
func TestSecretStateFollowsTheKey(t *testing.T) {
	at := time.Now()
	works := Credential{}
	for name, row := range map[string]struct {
		key    Key
		secret Credential
		want   SecretState
	}{
		"active":       {Key{}, works, SecretActive},
		"retiring":     {Key{}, Credential{EndsAt: at.Add(time.Hour)}, SecretRetiring},
		"ended":        {Key{}, Credential{EndsAt: at}, SecretEnded},
		"expired key":  {Key{Access: Access{ExpiresAt: at}}, works, SecretEnded},
		"revoked key":  {Key{RevokedAt: at}, works, SecretEnded},
		"suspended":    {Key{SuspendedAt: at}, works, SecretActive},
		"ends at once": {Key{RevokedAt: at}, Credential{EndsAt: at.Add(time.Hour)}, SecretEnded},
	} {
		if got := row.key.SecretState(row.secret, at); got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
	}
}

// TestAConfigurationShowsNoSecret: whoever logs one whole.
func TestAConfigurationShowsNoSecret(t *testing.T) {
	pepper, seed := strings.Repeat("p", 32), strings.Repeat("s", 32)
	config := Config{Peppers: Peppers{1: tokens.Secret(pepper)}, CheckpointKey: tokens.Secret(seed)}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		fmt.Fprintf(&shown, verb+"\n", config)
	}
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("start", "config", config)
	for _, text := range []string{pepper, seed} {
		for _, form := range []string{text, fmt.Sprintf("%x", text), strings.Trim(fmt.Sprint([]byte(text)), "[]"), base64.StdEncoding.EncodeToString([]byte(text))} {
			if strings.Contains(shown.String(), form) {
				t.Errorf("%s stands in\n%s", form, shown.String())
			}
		}
	}
	if !strings.Contains(shown.String(), "[redacted]") {
		t.Errorf("%s", shown.String())
	}
}

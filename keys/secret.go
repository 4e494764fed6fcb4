package keys

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
)

// A Secret is the text of a client secret:
//
//	imara_cs_live_<credential id: 12><random: 43><CRC-32: 6>, base62, with _ after the id
//
// 256 random bits, one string that scanners can recognise alone, and an
// alphabet that HTTP Basic carries alike whether or not a client encodes it. It
// never prints itself; [Secret.Reveal] is for the one answer that shows it.
type Secret struct{ text string }

// A Credential is a secret as it is stored.
type Credential struct {
	// ID is the part of the secret that finds it, 12 of base62; not secret.
	ID string
	// Hint is the last four characters.
	Hint string
	// MAC is HMAC-SHA-256 of id and secret under the pepper of that version.
	MAC       MAC
	Pepper    int
	CreatedAt time.Time
	EndsAt    time.Time // zero: with the key
	// EndsAfterUse, unless 0, brings EndsAt forward to so long after the first use
	// of a newer secret.
	EndsAfterUse time.Duration
	// FirstUsedAt and LastUsedAt are zero while it was never used, and up to a flush
	// interval behind. LastUsedFrom is the address of the last use.
	FirstUsedAt, LastUsedAt time.Time
	LastUsedFrom            string
	// LeakedAt is when somebody reported that they found it; zero: nobody did.
	LeakedAt time.Time
}

// A MAC is what is stored of a secret. It never prints itself either.
type MAC []byte

func (MAC) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (MAC) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (MAC) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// A SecretState says whether a secret works.
type SecretState string

// The states. A retiring secret works until its end, which is set.
const (
	SecretActive   SecretState = "active"
	SecretRetiring SecretState = "retiring"
	SecretEnded    SecretState = "ended"
)

// SecretState at time t of a secret of the key: it ends with the key.
func (k *Key) SecretState(c Credential, t time.Time) SecretState {
	switch {
	case !c.Live(t) || !k.Counts(t):
		return SecretEnded
	case !c.EndsAt.IsZero():
		return SecretRetiring
	}
	return SecretActive
}

// Live tells whether the secret still counts at time t.
func (c Credential) Live(t time.Time) bool { return c.EndsAt.IsZero() || t.Before(c.EndsAt) }

const (
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	secretPrefix = "imara_cs_live_"
	clientPrefix = "imara_ci_"
	idLength     = 12
	randomLength = 43 // 62^43 is above 2^256
	crcLength    = 6

	clientIDLength = 20
)

// newSecret returns a fresh one.
func newSecret() Secret {
	text := secretPrefix + random62(idLength) + "_" + random62(randomLength)
	return Secret{text + checksum(text)}
}

// ErrSecretForm: the text is not one of our secrets: prefix, length, alphabet or
// checksum is wrong.
var ErrSecretForm = errors.New("not a client secret")

// ParseSecret recognises a secret without asking anyone. The error never quotes it.
func ParseSecret(text string) (Secret, error) {
	rest, ok := strings.CutPrefix(text, secretPrefix)
	if !ok || len(rest) != idLength+1+randomLength+crcLength || rest[idLength] != '_' {
		return Secret{}, ErrSecretForm
	}
	if strings.Trim(rest[:idLength]+rest[idLength+1:], base62) != "" {
		return Secret{}, ErrSecretForm
	}
	body := len(text) - crcLength
	if text[body:] != checksum(text[:body]) {
		return Secret{}, ErrSecretForm
	}
	return Secret{text}, nil
}

// CredentialID finds the stored credential.
func (s Secret) CredentialID() string { return s.text[len(secretPrefix):][:idLength] }

// Hint is what may be shown of it later; the zero Secret has none.
func (s Secret) Hint() string { return s.text[max(0, len(s.text)-4):] }

// Masked is the text as far as the credential id, which may be shown.
func (s Secret) Masked() string { return s.text[:len(secretPrefix)+idLength] + "_…" }

// Reveal returns the text itself.
func (s Secret) Reveal() string { return s.text }

const redacted = "[redacted]"

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ValidClientID tells whether id has the form of our client ids:
// imara_ci_ and 20 of base62.
func ValidClientID(id string) bool {
	rest, ok := strings.CutPrefix(id, clientPrefix)
	return ok && len(rest) == clientIDLength && strings.Trim(rest, base62) == ""
}

// checksum is the CRC-32 of text in base62, as GitHub's tokens have it.
func checksum(text string) string {
	var out [crcLength]byte
	sum := crc32.ChecksumIEEE([]byte(text))
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return string(out[:])
}

// random62 returns n characters of base62, each equally likely.
func random62(n int) string {
	out := make([]byte, 0, n)
	buffer := make([]byte, 2*n)
	for {
		rand.Read(buffer)
		for _, b := range buffer {
			if b < 248 { // the largest multiple of 62 in a byte
				out = append(out, base62[b%62])
			}
			if len(out) == n {
				return string(out)
			}
		}
	}
}

// Peppers are the secret keys of the stored MACs, 32 bytes each, by version. The
// highest version makes new ones. They live outside the database: whoever can
// write there still cannot plant a secret.
type Peppers map[int]tokens.Secret

func (p Peppers) current() int {
	newest := 0
	for version := range p {
		newest = max(newest, version)
	}
	return newest
}

// mac binds the secret to its credential: a row copied to another key is worthless.
func (p Peppers) mac(version int, credentialID, text string) MAC {
	m := hmac.New(sha256.New, []byte(p[version]))
	io.WriteString(m, "v1\x00"+credentialID+"\x00"+text)
	return m.Sum(nil)
}

// credential is how s is stored.
func (p Peppers) credential(s Secret, at time.Time) Credential {
	id, version := s.CredentialID(), p.current()
	return Credential{ID: id, Hint: s.Hint(), MAC: p.mac(version, id, s.text), Pepper: version, CreatedAt: at}
}

// match compares in the time of one MAC, whatever is wrong.
func (p Peppers) match(c Credential, text string) bool {
	_, known := p[c.Pepper]
	same := subtle.ConstantTimeCompare(c.MAC, p.mac(c.Pepper, c.ID, text)) == 1
	return same && known && len(c.MAC) == sha256.Size
}

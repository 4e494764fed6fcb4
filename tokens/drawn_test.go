package tokens_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// A world has tokens that were signed beforehand, and asks model and verifier about them
// at many moments.
type world struct {
	*rand.Rand
	begun   time.Time
	ecdsa   map[string]*ecdsa.PrivateKey
	private ed25519.PrivateKey
	keys    keyMap
	known   map[string]bool // whether a text is signed, by kid and text
	tokens  []string
}

const otherAudience = "https://other.example"

func newWorld(t *testing.T, seed uint64, size int) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 0)), begun: time.Now(), ecdsa: map[string]*ecdsa.PrivateKey{},
		keys: keyMap{}, known: map[string]bool{}}
	for _, kid := range []string{"k1", "k2"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), nil)
		if err != nil {
			t.Fatal(err)
		}
		w.ecdsa[kid], w.keys[kid] = key, tokens.Key{Algorithm: tokens.ES256, Public: key.Public()}
	}
	_, edwards, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.private, w.keys["k3"] = edwards, tokens.Key{Algorithm: tokens.EdDSA, Public: edwards.Public()}
	for range size {
		w.tokens = append(w.tokens, w.token(t))
	}
	return w
}

func one[T any](w *world, of ...T) T { return of[w.IntN(len(of))] }

// An object is the members of one in order, each a name and a value as they are written.
type object [][2]string

func (m object) set(name, value string) object {
	for i := range m {
		if m[i][0] == name {
			m[i][1] = value
			return m
		}
	}
	return append(m, [2]string{name, value})
}

func (m object) text() string {
	var parts []string
	for _, member := range m {
		parts = append(parts, `"`+member[0]+`":`+member[1])
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// token is good, or has one or two faults, somewhere.
func (w *world) token(t *testing.T) string {
	signer := one(w, "k1", "k2", "k3")
	alg := `"ES256"`
	if signer == "k3" {
		alg = one(w, `"EdDSA"`, `"Ed25519"`)
	}
	at := func(from, to int) string { return strconv.FormatInt(w.begun.Unix()+int64(from+w.IntN(to-from)), 10) }
	header := object{{"typ", one(w, `"at+jwt"`, `"application/at+jwt"`, `"AT+JWT"`)}, {"alg", alg},
		{"kid", `"` + signer + `"`}}
	claims := object{{"iss", `"` + tokenstest.URL + `"`}, {"sub", `"s"`}, {"exp", at(600, 601)}, {"iat", at(-600, -599)},
		{"aud", one(w, `"`+audience+`"`, `["`+audience+`"]`, `["`+otherAudience+`","`+audience+`"]`)},
		{"jti", one(w, `"j1"`, `"j2"`)}, {"client_id", one(w, `"c1"`, `"c2"`)}, {"org", one(w, `"o1"`, `"o2"`)},
		{"rv", strconv.Itoa(95 + w.IntN(15))}}
	for _, more := range (object{{"scope", one(w, `""`, `"a b"`)}, {"crd", one(w, `"s1"`, `"s2"`, `""`)},
		{"note", one(w, `{"a":1,"a":[]}`, `null`)}}) {
		if w.IntN(2) == 0 {
			claims = append(claims, more)
		}
	}
	if w.IntN(3) == 0 { // at the edges of its time
		claims = claims.set(one(w, "exp", "iat", "nbf"), at(-10, 25))
	}
	for range one(w, 0, 0, 0, 0, 1, 1, 2) {
		if w.IntN(4) == 0 {
			header = w.fault(header)
		} else {
			claims = w.fault(claims)
		}
	}
	if w.IntN(30) == 0 {
		signer = one(w, "k1", "k2", "k3")
	}
	return w.spell(w.sign(t, signer, w.around(header.text()), w.around(claims.text())))
}

// fault changes one member of an object, or adds one.
func (w *world) fault(m object) object {
	i, names := w.IntN(len(m)), append(slices.Concat(texts, integers, needless), "aud", "cnf", "note")
	switch w.IntN(10) {
	case 0:
		return slices.Delete(m, i, i+1)
	case 1:
		m[i][0] = w.inAnotherCase(m[i][0])
		return m
	case 2:
		name := one(w, m[i][0], w.inAnotherCase(m[i][0]), fmt.Sprintf(`\u00%x`, m[i][0][0])+m[i][0][1:])
		return append(m, [2]string{name, one(w, m[i][1], `"x"`, "1")})
	case 3:
		for n := range 33 - len(m) - w.IntN(2) {
			m = append(m, [2]string{fmt.Sprintf("m%d", n), "0"})
		}
		return m
	case 4:
		text := one(w, "\xff", "\xed\xa0\x80", `\ud800`, `\udc00x`, `\ud83d\ud83d`, `\ud83d\\ude00`,
			`\ud83d\ude00`, `\\ud800`, "😀")
		return m.set(one(w, "note", "sub", "note "+text), one(w, `"`+text+`"`, `[{"`+text+`":"`+text+`"}]`))
	case 5:
		return m.set(one(w, integers...), one(w, "0", "-0", "-1", "1.5", "1e9", "1E3", "9007199254740991",
			"9007199254740992", "9223372036854775807", "18446744073709551617", `"99"`, "null"))
	case 6:
		return m.set("aud", one(w, `"`+otherAudience+`"`, `["`+audience+`",null]`, `["`+audience+`",1]`,
			`[]`, `null`, `""`, `{}`, `"`+audience+`/"`))
	case 7:
		return m.set(one(w, needless...), one(w, `{}`, `null`, `"x"`))
	case 8:
		return m.set("cnf", one(w, `{"jkt":"x"}`, `null`, `""`))
	}
	return m.set(one(w, names...), one(w, `null`, `""`, `"x"`, `{}`, `[]`, `true`, `7`,
		`"`+strings.Repeat("x", 7000)+`"`))
}

func (w *world) inAnotherCase(name string) string {
	return one(w, strings.ToUpper(name), strings.ToTitle(name[:1])+name[1:],
		strings.Replace(name, "s", "ſ", 1), strings.Replace(name, "k", "\u212a", 1))
}

// around has something before or after a text, now and then.
func (w *world) around(text string) string {
	if w.IntN(25) == 0 {
		return one(w, " "+text+"\n", strings.ReplaceAll(text, ",", " , "), "\ufeff"+text, text+"{}", text+"x",
			"["+text+"]", "null", text[1:])
	}
	return text
}

// spell writes a token in another way, now and then.
func (w *world) spell(raw string) string {
	if w.IntN(20) > 0 {
		return raw
	}
	i := w.IntN(len(raw))
	return one(w, raw+"\n", raw[:i]+"\r\n"+raw[i:], raw+"=", raw+".x", raw[:len(raw)-1],
		raw[:i]+one(w, "A", ".", "-")+raw[i+1:], raw[:len(raw)-1]+next64(raw[len(raw)-1]),
		strings.Replace(raw, ".", "..", 1), raw[:strings.LastIndexByte(raw, '.')], "")
}

// next64 is the next letter of base64url.
func next64(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[(strings.IndexByte(alphabet, c)+1)%64])
}

func (w *world) sign(t *testing.T, kid, header, claims string) string {
	input := encode(header) + "." + encode(claims)
	if kid == "k3" {
		return input + "." + encode(string(ed25519.Sign(w.private, []byte(input))))
	}
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(nil, w.ecdsa[kid], digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + rs(r, s)
}

// signed tells whether the first three parts of a text carry the signature of a key, by
// the standard library. It is asked often.
func (w *world) signed(kid, raw string) bool {
	parts := strings.SplitN(strings.NewReplacer("\r", "", "\n", "").Replace(raw), ".", 4)
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	input := parts[0] + "." + parts[1]
	id := kid + " " + input + "." + string(signature)
	if known, ok := w.known[id]; ok {
		return known
	}
	if digest := sha256.Sum256([]byte(input)); kid == "k3" {
		w.known[id] = len(signature) == 64 && ed25519.Verify(w.private.Public().(ed25519.PublicKey), []byte(input), signature)
	} else if key := w.ecdsa[kid]; key != nil && len(signature) == 64 {
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		w.known[id] = ecdsa.Verify(&key.PublicKey, digest[:], r, s)
	}
	return w.known[id]
}

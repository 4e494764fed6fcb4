package tokens

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func jwkOf(t testing.TB, kid, algorithm string) JWK {
	t.Helper()
	var key Key
	switch key.Algorithm = algorithm; algorithm {
	case ES256:
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key.Public = private.Public()
	case RS256:
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key.Public = private.Public()
	case EdDSA:
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key.Public = public
	}
	j, err := NewJWK(kid, key)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestJWKRoundTrip(t *testing.T) {
	for _, algorithm := range []string{ES256, RS256, EdDSA} {
		j := jwkOf(t, "k", algorithm)
		key, err := j.Key()
		if err != nil {
			t.Fatal(err)
		}
		again, err := NewJWK("k", key)
		if err != nil || again != j {
			t.Errorf("%s: %+v, %v, want %+v", algorithm, again, err, j)
		}
	}
}

// TestBadKeyIsRefusedByItsMember is R-035.
func TestBadKeyIsRefusedByItsMember(t *testing.T) {
	ec, rs := jwkOf(t, "k", ES256), jwkOf(t, "k", RS256)
	offCurve, short, e1 := ec, rs, rs
	offCurve.Y = offCurve.X
	short.N = b64(new(big.Int).Lsh(big.NewInt(1), 1023).Bytes())
	e1.E = b64([]byte{1})
	p384, wrongAlg, truncated, longE := ec, ec, ec, rs
	p384.Curve = "P-384"
	wrongAlg.Algorithm = RS256
	truncated.X = truncated.X[:20]
	longE.E = b64([]byte{1, 0, 0, 0, 0, 0, 1})
	for name, j := range map[string]JWK{"off curve": offCurve, "RSA 1024": short, "e=1": e1, "P-384": p384,
		"algorithm of another type": wrongAlg, "short x": truncated, "huge e": longE} {
		if _, err := j.Key(); err == nil {
			t.Errorf("%s: accepted", name)
		}
		set, _ := json.Marshal(JWKSet{Keys: []JWK{j}})
		if keys, err := parseJWKSet(set); err == nil {
			t.Errorf("%s: set accepted with %d keys", name, len(keys))
		}
	}
}

// TestUnknownKeysInASetArePassedOver is S-060.
func TestUnknownKeysInASetArePassedOver(t *testing.T) {
	good, err := json.Marshal(jwkOf(t, "good", ES256))
	if err != nil {
		t.Fatal(err)
	}
	set := `{"keys":[{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"x"},{"kty":"OKP-X","kid":"z"},7,null,{},
	  {"kty":"RSA","use":"enc","alg":"RS256","kid":"enc","n":"x","e":"AQAB"},{"kty":"EC","alg":"ES256","kid":"../x"},` + string(good) + `],"more":1}`
	keys, err := parseJWKSet([]byte(set))
	if err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	for name, bad := range map[string]string{"empty": `{"keys":[]}`, "no keys": `{}`, "html": `<html>`, "array": `[]`, "nothing": ``,
		"same kid twice": `{"keys":[` + string(good) + `,` + string(good) + `]}`} {
		if _, err := parseJWKSet([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzJWKSet(f *testing.F) {
	for _, algorithm := range []string{ES256, RS256, EdDSA} {
		set, _ := json.Marshal(JWKSet{Keys: []JWK{jwkOf(f, "k", algorithm)}})
		f.Add(set)
	}
	f.Add([]byte(`{"keys":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseJWKSet(data)
		if err == nil && len(keys) == 0 {
			t.Fatal("an empty set was accepted")
		}
		for kid := range keys {
			if !validKID(kid) {
				t.Fatalf("kid %q", kid)
			}
		}
	})
}

// site answers requests of a key set without a network, so that time can be faked.
type site struct {
	fetches atomic.Int64 // of the JWK Set
	answer  atomic.Pointer[answerer]
}

type answerer = func(path string) (status int, body string)

func newSite(answer answerer) *site {
	s := &site{}
	s.answer.Store(&answer)
	return s
}

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "jwks.json") {
		s.fetches.Add(1)
	}
	status, body := (*s.answer.Load())(r.URL.Path)
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

const testIssuer = "https://issuer.example"

func serveKeys(t testing.TB, keys ...JWK) answerer {
	set, err := json.Marshal(JWKSet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return func(path string) (int, string) {
		if strings.HasSuffix(path, "jwks.json") {
			return 200, string(set)
		}
		return 200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, testIssuer, testIssuer+"/.well-known/jwks.json")
	}
}

// following runs a key set in a bubble of fake time.
func following(t *testing.T, s *site, test func(*testing.T, *remoteKeySet)) {
	synctest.Test(t, func(t *testing.T) {
		set := newRemoteKeySet(Config{Issuer: testIssuer,
			Client: &http.Client{Transport: s}}, &changes{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); set.Run(ctx) }()
		synctest.Wait()
		test(t, set)
		cancel()
		<-done
	})
}

// TestMetadataLeadsToNoPlainKeys: metadata that came safely may name keys that do not.
func TestMetadataLeadsToNoPlainKeys(t *testing.T) {
	keys := serveKeys(t, jwkOf(t, "good", ES256))
	s := newSite(func(path string) (int, string) {
		status, body := keys(path)
		return status, strings.Replace(body, `"jwks_uri":"https`, `"jwks_uri":"http`, 1)
	})
	following(t, s, func(t *testing.T, set *remoteKeySet) {
		if _, err := set.Key("good"); !errors.Is(err, ErrStale) || s.fetches.Load() > 0 {
			t.Errorf("%v, after %d fetches", err, s.fetches.Load())
		}
	})
}

// TestUnknownKidFloodCostsOneFetchPerFloor is R-033: ten thousand unknown kids
// in ten seconds cause no more fetches than one every ten seconds.
func TestUnknownKidFloodCostsOneFetchPerFloor(t *testing.T) {
	s := newSite(serveKeys(t, jwkOf(t, "good", ES256)))
	following(t, s, func(t *testing.T, set *remoteKeySet) {
		for i := range 10_000 {
			if _, err := set.Key(fmt.Sprintf("random%d", i)); !errors.Is(err, ErrUnknownKey) {
				t.Fatal(err)
			}
			if _, err := set.Key("good"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := s.fetches.Load(); n > 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

// TestNewKeyIsFoundAfterOneRefresh: rotation reaches a verifier that runs.
func TestNewKeyIsFoundAfterOneRefresh(t *testing.T) {
	old, next := jwkOf(t, "old", ES256), jwkOf(t, "next", ES256)
	s := newSite(serveKeys(t, old))
	following(t, s, func(t *testing.T, set *remoteKeySet) {
		both := serveKeys(t, old, next)
		s.answer.Store(&both)
		time.Sleep(keysRefresh)
		synctest.Wait()
		if _, err := set.Key("next"); err != nil {
			t.Error(err)
		}
	})
}

// TestTheLogAsksForTheKeysAtOnce: past the floor, again and again while there is no
// answer, and meanwhile a kid that is not known yet is not refused for good.
func TestTheLogAsksForTheKeysAtOnce(t *testing.T) {
	stolen, next, other := jwkOf(t, "stolen", ES256), jwkOf(t, "next", ES256), jwkOf(t, "other", ES256)
	want := func(set *remoteKeySet, when, kid string, want error) {
		t.Helper()
		if _, err := set.Key(kid); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %s: %v, want %v", when, kid, err, want)
		}
	}
	s := newSite(serveKeys(t, stolen, other))
	following(t, s, func(t *testing.T, set *remoteKeySet) {
		without, away := serveKeys(t, next, other), answerer(func(string) (int, string) { return 0, "" })
		s.answer.Store(&without)
		began := time.Now()
		set.changes.add()
		want(set, "asked for", "next", ErrStale)
		want(set, "asked for", "other", nil)
		synctest.Wait()
		want(set, "fetched", "next", nil)
		want(set, "fetched", "stolen", ErrUnknownKey)
		if time.Since(began) > 0 || s.fetches.Load() != 2 {
			t.Errorf("after %v, %d fetches", time.Since(began), s.fetches.Load())
		}
		time.Sleep(keysAgain)
		synctest.Wait()
		if s.fetches.Load() != 3 {
			t.Errorf("a kid that is unknown after all: %d fetches", s.fetches.Load())
		}

		s.answer.Store(&away)
		set.changes.add()
		time.Sleep(10 * keysRetry)
		want(set, "no answer", "third", ErrStale)
		want(set, "no answer", "other", nil)
		third := serveKeys(t, jwkOf(t, "third", ES256), other)
		s.answer.Store(&third)
		time.Sleep(10 * keysRetry)
		synctest.Wait()
		want(set, "an answer", "third", nil)
	})
}

// TestEntriesAboutSigningKeysAskForThem: of either kind, in a page or a snapshot, once.
func TestEntriesAboutSigningKeysAskForThem(t *testing.T) {
	r := NewRevocations(time.Minute)
	entry := func(position uint64, subject Subject, kind Kind) []Entry {
		return []Entry{{Position: position, Subject: subject, Kind: kind}}
	}
	asked := func(what string, want uint64) {
		t.Helper()
		if count, _ := r.signing.seen(); count != want {
			t.Errorf("%s: asked %d times, want %d", what, count, want)
		}
	}
	cut := entry(9, SigningKey("a"), Cut)
	r.Start(cut, 10, 1)
	asked("a snapshot", 1)
	for i, row := range []struct {
		subject Subject
		kind    Kind
		want    uint64
	}{{Client("k:x"), Cut, 1}, {SigningKey("b"), Touch, 2}, {SigningKey("b"), Cut, 3}, {Everything, Cut, 3}} {
		if err := r.Apply(entry(11+uint64(i), row.subject, row.kind)); err != nil {
			t.Fatal(err)
		}
		asked(string(row.subject), row.want)
	}
	r.Confirm(time.Now(), 1)
	r.Start(append(cut, entry(13, SigningKey("b"), Cut)...), 20, 1)
	asked("the same in another session's snapshot", 3)
	r.Start(entry(21, SigningKey("c"), Cut), 22, 1)
	asked("a new one there", 4)
}

// TestBadAnswerNeverReplacesAGoodSet is R-033, F-37 and S-090.
func TestBadAnswerNeverReplacesAGoodSet(t *testing.T) {
	good := serveKeys(t, jwkOf(t, "good", ES256))
	metadata := func(text string) answerer {
		return func(path string) (int, string) {
			if strings.HasSuffix(path, "jwks.json") {
				return good(path)
			}
			return 200, text
		}
	}
	keys := func(status int, text string) answerer {
		return func(path string) (int, string) {
			if strings.HasSuffix(path, "jwks.json") {
				return status, text
			}
			return good(path)
		}
	}
	refused := answerer(func(string) (int, string) { return 0, "" })
	for name, bad := range map[string]answerer{
		"refused":             refused,
		"500":                 keys(500, `{"keys":[]}`),
		"redirect":            keys(302, ""),
		"empty":               keys(200, ""),
		"empty set":           keys(200, `{"keys":[]}`),
		"html":                keys(200, "<html>"),
		"huge":                keys(200, `{"keys":[`+strings.Repeat(" ", fetchLimit)+`]}`),
		"metadata html":       metadata("<html>"),
		"another issuer":      metadata(`{"issuer":"https://evil.example","jwks_uri":"https://issuer.example/jwks.json"}`),
		"issuer with a slash": metadata(`{"issuer":"https://issuer.example/","jwks_uri":"https://issuer.example/jwks.json"}`),
		"no jwks_uri":         metadata(`{"issuer":"https://issuer.example"}`),
	} {
		s := newSite(good)
		following(t, s, func(t *testing.T, set *remoteKeySet) {
			s.answer.Store(&bad)
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			if _, err := set.Key("good"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			s.answer.Store(&refused) // a day of the huge one takes a minute
			time.Sleep(keysMaxStale)
			if _, err := set.Key("good"); !errors.Is(err, ErrStale) {
				t.Errorf("%s, a day later: %v", name, err)
			}
			s.answer.Store(&good)
			time.Sleep(2 * keysFloor)
			synctest.Wait()
			if _, err := set.Key("good"); err != nil {
				t.Errorf("%s, when it is well again: %v", name, err)
			}
		})
	}
}

func TestKeySetThatNeverLoadedIsStale(t *testing.T) {
	following(t, newSite(func(string) (int, string) { return 0, "" }), func(t *testing.T, set *remoteKeySet) {
		if _, err := set.Key("good"); !errors.Is(err, ErrStale) {
			t.Error(err)
		}
	})
}

func TestMetadataURLInsertsBeforeThePath(t *testing.T) {
	for identifier, want := range map[string]string{
		"https://h":      "https://h/.well-known/x",
		"https://h:1/t1": "https://h:1/.well-known/x/t1",
	} {
		if got, err := MetadataURL(identifier, "x"); err != nil || got != want {
			t.Errorf("%s: %s, %v", identifier, got, err)
		}
	}
	for _, bad := range []string{"", "h", "ftp://h", "https://", "https://h/", "https://h?x", "https://h#", "https://u@h", "https://h/ x"} {
		if got, err := MetadataURL(bad, "x"); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

// TestIdentifiersThatNobodyCouldUseAreRefused: each of them was one that no verifier takes,
// that no server can be mounted at, or that proxies write in another way.
func TestIdentifiersThatNobodyCouldUseAreRefused(t *testing.T) {
	for _, good := range []string{"https://h", "http://127.0.0.1:8080/demo", "http://[::1]:8080", "https://h.example:65535/a/b",
		"https://api_1.example/caf%C3%A9/~x,v=1/a@b:c", "http://redis_1", "https://h/" + strings.Repeat("x", 900)} {
		if err := CheckIdentifier(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{`http://000"0000000`, `https://a\b`, "https://a<b", "https://h:", "https://h:0", "https://h:65536", "https://h:080",
		"https://:443", "https://.", "https://a..b", "https://h.", "https://a%2fb", "https://caf\u00e9.example", "https://[::1%25lo]", "https://[127.0.0.1]",
		"https://[::1]:", "https://a,b", "https://a;b", "https://a*b", "https://h//a", "https://h/a//b", "https://h/.", "https://h/a/../b", "https://h/%2e%2e/b",
		"https://h/a%2Fb", "https://h/a%5Cb", "https://h/%00", "https://h/%0d%0a", "https://h/%ff", "https://h/{x}", `https://h/"`, "https://h/a b", "https://h/\u00e9",
		"HTTPS://h", "https://h/" + strings.Repeat("x", 1000), "https://" + strings.Repeat("a.", 130) + "b"} {
		if err := CheckIdentifier(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// noFeed is one that knows nothing.
type noFeed struct{ view *Revocations }

func (f noFeed) Revocations() *Revocations { return f.view }
func (noFeed) Run(context.Context) error   { return nil }

// FuzzIdentifier: what is accepted has one spelling, is a prefix of what is made of it,
// can be asked for, and is the issuer and the audience of a verifier whose challenges
// are whole.
func FuzzIdentifier(f *testing.F) {
	for _, seed := range []string{"https://issuer.example/t1", "http://[::1]:8080", "https://a%2fb/\u00e9?#", "https://h/a//b", "http://h:0",
		`http://000"0000000`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, identifier string) {
		if CheckIdentifier(identifier) != nil {
			return
		}
		location, err := MetadataURL(identifier, "x")
		if err != nil || !strings.Contains(location, "/.well-known/x") || strings.ContainsAny(identifier, " \"\\?#\n") {
			t.Fatalf("%q: %q, %v", identifier, location, err)
		}
		r, err := http.NewRequest("GET", location, nil)
		if err != nil || r.URL.Hostname() == "" || r.URL.String() != location || path.Clean(r.URL.Path) != r.URL.Path {
			t.Fatalf("%q: %v, %v", identifier, r, err)
		}
		v, err := NewVerifier(Config{Issuer: identifier, Audience: identifier,
			Feed: noFeed{NewRevocations(0)}, InsecureHTTP: true})
		if err != nil {
			t.Fatalf("%q: %v", identifier, err)
		}
		if challenge := v.Refuse(ErrMissing).Challenge; challenge != `Bearer realm="`+identifier+`"` {
			t.Fatalf("%q: %s", identifier, challenge)
		}
	})
}

package panel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxDocument bounds what is read of a provider.
const maxDocument = 1 << 20

// signatures are the algorithms with which a provider may sign, of those that it names.
var signatures = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// A keySet is a provider's JWK Set. It implements oidc.KeySet, whose own takes no set with
// a key that it cannot read; here such a key is none.
type keySet struct {
	url  string
	http *http.Client

	mu   sync.Mutex
	keys []jose.JSONWebKey
	read time.Time
}

// VerifySignature returns the payload of a JWS with a signature of one of the keys. The
// set is read again for one that none of them made, but not more often than once a second.
func (s *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, signatures)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	payload, err := verifyWith(jws, s.keys)
	if err == nil || time.Since(s.read) < time.Second {
		return payload, err
	}
	data, _, err := fetch(ctx, s.http, s.url, "")
	if err != nil {
		return nil, fmt.Errorf("JWK Set: %w", err)
	}
	if s.keys, err = readKeys(data); err != nil {
		return nil, err
	}
	s.read = time.Now()
	return verifyWith(jws, s.keys)
}

var errNoKey = errors.New("no key of the provider's made the signature")

func verifyWith(jws *jose.JSONWebSignature, keys []jose.JSONWebKey) ([]byte, error) {
	for _, k := range keys {
		if id := jws.Signatures[0].Header.KeyID; id != "" && k.KeyID != "" && k.KeyID != id {
			continue
		}
		if payload, err := jws.Verify(k); err == nil {
			return payload, nil
		}
	}
	return nil, errNoKey
}

// readKeys reads the public keys of a JWK Set that can be read (RFC 7517, section 5).
func readKeys(data []byte) (keys []jose.JSONWebKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("JWK Set: %w", err)
	}
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) == nil && k.IsPublic() && k.Use != "enc" {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// fetch reads a document of a provider, with an access token unless that is empty.
func fetch(ctx context.Context, client *http.Client, url, token string) (data []byte, media string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%s answers %d", url, answer.StatusCode)
	}
	data, err = io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	if err == nil && len(data) > maxDocument {
		err = fmt.Errorf("%s answers more than %d bytes", url, maxDocument)
	}
	return data, answer.Header.Get("Content-Type"), err
}

package management

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/imara/apikeys/keys"
)

// A GitHubMatch is one secret that GitHub's secret scanning found.
type GitHubMatch struct {
	Token  string `json:"token"`
	Type   string `json:"type"`
	URL    string `json:"url"`
	Source string `json:"source"`
}

// GitHubFeedback tells GitHub what a match was.
type GitHubFeedback struct {
	TokenHash string `json:"token_hash"` // SHA-256 in hex
	TokenType string `json:"token_type"`
	Label     string `json:"label" enum:"true_positive,false_positive"`
}

// errSignature: the report is not GitHub's.
var errSignature = errors.New("bad signature")

// maxMatches in one report.
const maxMatches = 1000

// gitHubLeaks ends what GitHub's secret scanning found: an ECDSA signature over the
// raw body, by a key that GitHub publishes (docs.github.com, secret scanning
// partner program). An error makes GitHub send the report again.
func (s *server) gitHubLeaks(ctx context.Context, c call, in *struct {
	KeyID     string        `header:"Github-Public-Key-Identifier"`
	Signature string        `header:"Github-Public-Key-Signature"`
	RawBody   []byte        `contentType:"application/json"`
	Body      []GitHubMatch `maxItems:"1000"`
}) (*answer[[]GitHubFeedback], error) {
	key, err := s.github.key(ctx, in.KeyID)
	if err != nil {
		return nil, err
	}
	signature, err := base64.StdEncoding.DecodeString(in.Signature)
	sum := sha256.Sum256(in.RawBody)
	if err != nil || !ecdsa.VerifyASN1(key, sum[:], signature) {
		return nil, errSignature
	}
	if len(in.Body) > maxMatches {
		return nil, &keys.InputError{Field: "", Reason: fmt.Sprintf("at most %d matches", maxMatches)}
	}
	out := &answer[[]GitHubFeedback]{Body: []GitHubFeedback{}}
	for _, match := range in.Body {
		report, _, err := s.leaked(ctx, c, match.Token, "GitHub ("+checked(match.Source)+")")
		if err != nil {
			return nil, err
		}
		label := "false_positive"
		if report.Known {
			label = "true_positive"
		}
		hash := sha256.Sum256([]byte(match.Token))
		out.Body = append(out.Body, GitHubFeedback{hex.EncodeToString(hash[:]), match.Type, label})
	}
	return out, nil
}

// checked is one of GitHub's words for where, or other.
func checked(source string) string {
	for _, c := range source {
		if c != '_' && (c < 'a' || c > 'z') {
			return "other"
		}
	}
	return source[:min(len(source), 40)]
}

// githubKeys are the keys that sign reports. They are fetched when a report names
// one that is not known, at most once in a minute.
type githubKeys struct {
	url string

	mu    sync.Mutex
	keys  map[string]*ecdsa.PublicKey
	asked time.Time
	err   error // of the last time
}

const githubKeyPause = time.Minute

func (g *githubKeys) key(ctx context.Context, id string) (*ecdsa.PublicKey, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys[id] == nil && id != "" && time.Since(g.asked) >= githubKeyPause {
		// Anybody can send a report: others do not wait, and do not ask too.
		g.asked, g.err = time.Now(), errors.New("they are being fetched")
		g.mu.Unlock()
		found, err := fetchGitHubKeys(context.WithoutCancel(ctx), g.url)
		g.mu.Lock()
		if g.err = err; err == nil {
			g.keys = found
		}
	}
	switch key := g.keys[id]; {
	case key != nil:
		return key, nil
	case id != "" && g.err != nil:
		return nil, fmt.Errorf("%w: GitHub's keys: %w", keys.ErrUnavailable, g.err)
	}
	return nil, errSignature
}

func fetchGitHubKeys(ctx context.Context, url string) (map[string]*ecdsa.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var list struct {
		PublicKeys []struct {
			ID  string `json:"key_identifier"`
			Key string `json:"key"`
		} `json:"public_keys"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&list); err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	found := map[string]*ecdsa.PublicKey{}
	for _, k := range list.PublicKeys {
		block, _ := pem.Decode([]byte(k.Key))
		if block == nil {
			continue
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if key, ok := public.(*ecdsa.PublicKey); err == nil && ok && key.Curve == elliptic.P256() {
			found[k.ID] = key
		}
	}
	return found, nil
}

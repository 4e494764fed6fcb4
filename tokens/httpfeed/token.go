package httpfeed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// errToken: the server does not accept the access token.
var errToken = errors.New("access token refused")

// ErrCredentials: the token endpoint knows the credentials and refuses them, or their scope,
// from the first time on. Asking again changes nothing.
var ErrCredentials = errors.New("the feed's credentials are refused")

// final tells whether an answer of the token endpoint is its last word (RFC 6749 §5.2): not
// one of a proxy before it, nor of a server that cannot say now.
func final(status int, code string) bool {
	if status != http.StatusBadRequest && status != http.StatusUnauthorized {
		return false
	}
	switch code {
	case "invalid_client", "invalid_scope", "unauthorized_client", "invalid_target",
		"invalid_request", "unsupported_grant_type", "invalid_grant":
		return true
	}
	return false
}

// accessToken is the feed's own, while it is good.
type accessToken struct {
	mu   sync.Mutex
	text string
	ends time.Time
	ever bool // there was one
}

func (t *accessToken) get() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Now().After(t.ends) {
		return ""
	}
	return t.text
}

func (t *accessToken) set(text string, ends time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text, t.ends, t.ever = text, ends, t.ever || text != ""
}

// granted tells whether there ever was one.
func (t *accessToken) granted() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ever
}

func (t *accessToken) drop() { t.set("", time.Time{}) }

// authorize returns an access token for the feed (RFC 6749 §4.4), within the
// caller's context.
func (f *Feed) authorize(ctx context.Context) (string, error) {
	if token := f.token.get(); token != "" {
		return token, nil
	}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"revocations:read"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.config.URL+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(url.QueryEscape(f.config.ClientID), url.QueryEscape(f.config.ClientSecret.Reveal()))
	response, err := f.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&answer); err != nil {
		return "", fmt.Errorf("token endpoint: status %d: %w", response.StatusCode, err)
	}
	if response.StatusCode != http.StatusOK || answer.AccessToken == "" {
		err := fmt.Errorf("token endpoint: status %d: %.100q %.200q",
			response.StatusCode, answer.Error, answer.Description)
		// Credentials that were right may be so again: a suspended key is resumed.
		if final(response.StatusCode, answer.Error) && !f.token.granted() {
			err = fmt.Errorf("%w: %w", ErrCredentials, err)
		}
		return "", err
	}
	// Renewed when nine tenths of its life are over.
	life := time.Duration(max(0, min(answer.ExpiresIn, 86400))) * time.Second
	f.token.set(answer.AccessToken, time.Now().Add(life*9/10))
	return answer.AccessToken, nil
}

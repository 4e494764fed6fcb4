package authz

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-oauth2/oauth2/v4"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// token answers POST /oauth2/token (RFC 6749 §4.4).
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, maxBody)
	if err != nil {
		return err
	}
	switch f.get("grant_type") {
	case "client_credentials":
	case "":
		return invalidRequest("grant_type is required.")
	default:
		return &oauthError{http.StatusBadRequest, "unsupported_grant_type", "This server offers client_credentials only."}
	}
	// The client before everything else: an answer about scopes is for its owner only.
	p, err := s.authenticate(w, r, f)
	if err != nil {
		return err
	}
	catalogue, err := s.resources(r.Context())
	if err != nil {
		return err
	}
	g, err := decide(catalogue, &p.record.Key, f.get("scope"), f["resource"])
	if err == nil {
		err = g.meets(f.get("audience"))
	}
	if err != nil {
		s.clients.usage.refused(p.record.Key.ID, err, time.Now(), web.Address(r))
		return err
	}
	x := &exchange{principal: p, grant: g}
	if x.ttl(time.Now()) == 0 {
		return ending(p)
	}
	if err := s.spend(w.Header(), &p.record.Key); err != nil {
		s.clients.usage.refused(p.record.Key.ID, err, time.Now(), web.Address(r))
		return err
	}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	r.Form = map[string][]string{"grant_type": {"client_credentials"}}
	r.PostForm = r.Form
	info, err := s.mint(r)
	if err != nil {
		return err
	}
	web.Observe(w, "jti", x.claims.ID)
	s.clients.usage.issued(p.record.Key.ID, x.claims.Scope, time.Now())
	return web.WriteJSON(w, http.StatusOK, struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
		Scope       string `json:"scope,omitempty"`
	}{info.GetAccess(), "Bearer", x.claims.ExpiresAt - x.claims.IssuedAt, x.claims.Scope})
}

// ending is the answer in the last second of a key, or of a secret: a token lives for whole
// seconds, and outlives neither.
func ending(p *principal) error {
	err := keys.ErrSecretEnded
	if end := p.record.Key.ExpiresAt; !end.IsZero() && (p.credential.EndsAt.IsZero() || end.Before(p.credential.EndsAt)) {
		err = keys.ErrExpired
	}
	return refusal(err, false)
}

// mint runs the engine.
func (s *Server) mint(r *http.Request) (oauth2.TokenInfo, error) {
	grantType, request, err := s.engine.ValidationTokenRequest(r)
	if err != nil {
		return nil, err
	}
	return s.engine.GetAccessToken(r.Context(), grantType, request)
}

// authenticate returns the client of a request to any of the OAuth endpoints.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request, f form) (*principal, error) {
	c, err := readCredentials(r, f)
	if err != nil {
		return nil, s.failed(r, "", err)
	}
	id := ""
	if keys.ValidClientID(c.id) {
		id = c.id
		web.Observe(w, "client_id", id)
	}
	p, err := s.clients.authenticate(r.Context(), c.id, c.secret.Reveal(), web.Address(r))
	if err != nil {
		return nil, s.failed(r, id, refusal(err, c.inHeader))
	}
	return p, nil
}

// failed counts a request that was refused because of what its client sent, and returns why:
// that there were too many, or err.
func (s *Server) failed(r *http.Request, clientID string, err error) error {
	answer, _, known := explain(err)
	if !known || answer.status >= http.StatusInternalServerError || answer.status == http.StatusTooManyRequests {
		return err
	}
	limit := s.throttle.Failed(web.Address(r), clientID)
	if limit == nil {
		return err
	}
	limit.Reason = answer.description
	return limit
}

// introspectScope lets a resource server ask about tokens for its resources.
const introspectScope = "tokens:introspect"

// introspect answers POST /oauth2/introspect (RFC 7662). A client learns about
// its own tokens; one with the scope tokens:introspect about every token for a
// resource that it was given. To anybody else a token is not active.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) error {
	p, raw, err := s.aboutToken(w, r)
	if err != nil {
		return err
	}
	claims, err := s.verifyAny(raw)
	if errors.Is(err, tokens.ErrStale) {
		return err
	}
	if err != nil || !p.mayAskAbout(claims) {
		return web.WriteJSON(w, http.StatusOK, struct {
			Active bool `json:"active"`
		}{false})
	}
	return web.WriteJSON(w, http.StatusOK, struct {
		Active    bool   `json:"active"`
		TokenType string `json:"token_type"`
		*tokens.Claims
	}{true, "Bearer", claims})
}

func (p *principal) mayAskAbout(claims *tokens.Claims) bool {
	key := &p.record.Key
	if claims.ClientID == key.ClientID {
		return true
	}
	if !slices.Contains(key.Scopes, introspectScope) {
		return false
	}
	for _, resource := range key.Resources {
		if claims.Audience.Has(resource) {
			return true
		}
	}
	return false
}

// aboutToken reads a request that asks about a token: who asks, and the token.
func (s *Server) aboutToken(w http.ResponseWriter, r *http.Request) (*principal, string, error) {
	f, err := readForm(w, r, maxTokenBody)
	if err != nil {
		return nil, "", err
	}
	p, err := s.authenticate(w, r, f)
	if err != nil {
		return nil, "", err
	}
	raw := strings.TrimSpace(f.get("token"))
	if raw == "" {
		err = invalidRequest("token is required.")
	}
	return p, raw, err
}

// Check verifies a token of ours for whatever audience it names. Beside an error, there
// are claims if only the signature is right.
func (s *Server) Check(raw string) (*tokens.Claims, error) {
	claims, err := s.verifyAny(raw)
	if err == nil {
		return claims, nil
	}
	if signed, e := s.verifier.VerifySignature(raw); e == nil {
		return signed, err
	}
	return nil, err
}

// verifyAny verifies a token of ours for whatever audience it names.
func (s *Server) verifyAny(raw string) (*tokens.Claims, error) {
	unverified, err := tokens.Inspect(raw)
	if err != nil {
		return nil, err
	}
	if len(unverified.Claims.Audience) == 0 {
		return nil, tokens.ErrMalformed
	}
	v, err := s.verifier.WithAudience(unverified.Claims.Audience[0])
	if err != nil {
		return nil, err
	}
	return v.Verify(raw)
}

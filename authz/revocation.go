package authz

import (
	"net/http"
	"strings"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// revoke answers POST /oauth2/revoke (RFC 7009): it cuts one access token of the
// calling client, whenever any verifier may still accept it. What cannot be such a
// token is revoked already. The answer is 200 only once no verifier accepts the token;
// until then it is 503 (RFC 7009 §2.2.1), and a repetition waits on. A key may revoke ten
// tokens a second, and a hundred at once; more is 429.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	p, raw, err := s.aboutToken(w, r)
	if err != nil {
		return err
	}
	claims, err := s.verifier.VerifySignature(raw)
	switch {
	case err != nil && s.embeds(raw):
		return invalidRequest("There is something around the token. Send the token alone.")
	case err != nil || time.Now().After(claims.Expires().Add(tokens.MaxLeeway)):
		return revoked(w)
	case claims.ClientID != p.record.Key.ClientID:
		return &oauthError{http.StatusBadRequest, "invalid_grant", "This token belongs to another client."}
	}
	web.Observe(w, "jti", claims.ID)
	cut := s.config.Relay.changes.Newest(tokens.Token(claims.ID)) > 0
	if !cut && !s.cutRates.allow(claims.ClientID, time.Now()) {
		return &oauthError{http.StatusTooManyRequests, "temporarily_unavailable",
			"This key revokes too many tokens. Try again in a second, or suspend the key, which ends all of them."}
	}
	by := keys.Actor{ClientID: claims.ClientID, RequestID: w.Header().Get("X-Request-Id"), Address: web.Address(r), Wait: ReceiptWait}
	receipt, err := s.config.Registry.RevokeToken(r.Context(), by, claims.Organization, claims.ID)
	switch {
	case err != nil:
		return err
	case !receipt.Settled():
		return &oauthError{http.StatusServiceUnavailable, "temporarily_unavailable",
			"The token is revoked, and a verifier that is silent may accept it for a moment. Ask again for the confirmation."}
	}
	return revoked(w)
}

func revoked(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// embeds tells whether a text has a token of ours in it: with Bearer before it, in quotes,
// with padding or other letters behind its signature.
func (s *Server) embeds(text string) bool {
	for range 20 { // a text of another kind has seldom more beginnings
		at := strings.Index(text, "eyJ") // every JSON object begins so in base64url
		if at < 0 {
			return false
		}
		text = text[at:]
		if s.begins(text) {
			return true
		}
		text = text[1:]
	}
	return false
}

// begins tells whether a text begins with a token of ours.
func (s *Server) begins(text string) bool {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 3 {
		return false
	}
	signature := parts[2]
	if end := strings.IndexFunc(signature, func(c rune) bool {
		return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	}); end >= 0 {
		signature = signature[:end]
	}
	for _, length := range []int{86, 342} { // of ES256 and EdDSA, and of RS256 with 2048 bits
		if len(signature) < length {
			break
		}
		if _, err := s.verifier.VerifySignature(parts[0] + "." + parts[1] + "." + signature[:length]); err == nil {
			return true
		}
	}
	return false
}

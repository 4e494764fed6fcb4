package authz

import (
	"encoding/json"
	"net/http"

	"github.com/imara/apikeys/tokens"
)

// cacheable is how long clients may keep metadata and keys: a new signing key is
// published signing.Lead, three times as long, before it is used.
const cacheable = "public, max-age=300"

// metadata answers with the authorization server metadata (RFC 8414 §2).
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) error {
	issuer := s.config.Issuer
	methods := []string{"client_secret_basic", "client_secret_post"}
	catalogue, err := s.resources(r.Context())
	if err != nil {
		return err
	}
	var scopes []string
	audiences := []string{ManagementAudience(issuer)}
	for _, resource := range catalogue {
		if resource.Audience != audiences[0] {
			audiences = append(audiences, resource.Audience)
		}
		for _, scope := range resource.Scopes {
			if !scope.Restricted {
				scopes = append(scopes, scope.Name)
			}
		}
	}
	return writePublic(w, struct {
		Issuer               string   `json:"issuer"`
		TokenEndpoint        string   `json:"token_endpoint"`
		JWKSURI              string   `json:"jwks_uri"`
		RevocationEndpoint   string   `json:"revocation_endpoint"`
		IntrospectEndpoint   string   `json:"introspection_endpoint"`
		GrantTypes           []string `json:"grant_types_supported"`
		TokenAuthMethods     []string `json:"token_endpoint_auth_methods_supported"`
		RevokeAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
		IntrospectMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
		Scopes               []string `json:"scopes_supported,omitempty"`
		ProtectedResources   []string `json:"protected_resources"`
		SubjectTypes         []string `json:"subject_types_supported"`
		AccessTokenAlgorithm []string `json:"access_token_signing_alg_values_supported"`
	}{
		issuer, issuer + "/oauth2/token", issuer + "/.well-known/jwks.json", issuer + "/oauth2/revoke", issuer + "/oauth2/introspect",
		[]string{"client_credentials"}, methods, methods, methods, scopes,
		audiences, []string{"public"}, tokens.Algorithms(),
	})
}

// jwks answers with the JWK Set (RFC 7517 §5).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	set, err := s.config.Ring.JWKSet()
	if err != nil {
		return err
	}
	return writePublic(w, set)
}

func writePublic(w http.ResponseWriter, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", cacheable)
	return json.NewEncoder(w).Encode(body)
}

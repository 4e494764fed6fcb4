package authz

import (
	"encoding/json"
	"net/http"

	"github.com/imara/apikeys/tokens"
)

// algorithms are those with which tokens are signed, by both names of the last one
// (RFC 9864): clients choose the names that they know from a list. Tokens say EdDSA,
// because HAProxy and golang-jwt know no Ed25519.
var algorithms = []string{tokens.ES256, tokens.RS256, tokens.EdDSA, "Ed25519"}

// metadata answers with the authorization server metadata (RFC 8414 §2), which is the
// configuration of OpenID Connect Discovery too, for programs that look only there. They
// take the algorithms of tokens from id_token_signing_alg_values_supported.
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
	return writePublic(w, r, struct {
		Issuer             string   `json:"issuer"`
		AuthorizeEndpoint  string   `json:"authorization_endpoint"`
		TokenEndpoint      string   `json:"token_endpoint"`
		JWKSURI            string   `json:"jwks_uri"`
		RevocationEndpoint string   `json:"revocation_endpoint"`
		IntrospectEndpoint string   `json:"introspection_endpoint"`
		ResponseTypes      []string `json:"response_types_supported"`
		GrantTypes         []string `json:"grant_types_supported"`
		TokenAuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
		RevokeAuthMethods  []string `json:"revocation_endpoint_auth_methods_supported"`
		IntrospectMethods  []string `json:"introspection_endpoint_auth_methods_supported"`
		Scopes             []string `json:"scopes_supported,omitempty"`
		ProtectedResources []string `json:"protected_resources,omitempty"`
		SubjectTypes       []string `json:"subject_types_supported"`
		SigningAlgorithms  []string `json:"id_token_signing_alg_values_supported"`
	}{
		issuer, issuer + "/oauth2/authorize", issuer + "/oauth2/token", issuer + "/.well-known/jwks.json",
		issuer + "/oauth2/revoke", issuer + "/oauth2/introspect",
		[]string{"none"}, []string{"client_credentials"}, methods, methods, methods, scopes, audiences,
		[]string{"public"}, algorithms,
	})
}

// authorize answers for an endpoint that some clients require the metadata to name. It
// never redirects (RFC 6749 §4.1.2.1): there is no client whose redirection URI it knows.
func (s *Server) authorize(http.ResponseWriter, *http.Request) error {
	return &oauthError{http.StatusBadRequest, "unsupported_response_type",
		"This server has no users to authorize anything. Use client_credentials at the token endpoint."}
}

// jwks answers with the JWK Set (RFC 7517 §5).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	set, err := s.config.Ring.JWKSet()
	if err != nil {
		return err
	}
	return writePublic(w, r, set)
}

// writePublic lets clients keep metadata and keys for 5 minutes: a new signing key is
// published signing.Lead, three times as long, before it is used.
func writePublic(w http.ResponseWriter, r *http.Request, body any) error {
	data, err := json.Marshal(body)
	if err == nil {
		tokens.ServePublic(w, r, "application/json", append(data, '\n'))
	}
	return err
}

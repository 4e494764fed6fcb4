package tokens

import (
	"encoding/json"
	"net/http"
)

// resourceMetadata is the protected resource metadata document (RFC 9728 §2).
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name,omitempty"`
}

// Metadata serves the RFC 9728 document of this audience. Mount it where
// [MetadataURL] of the audience and "oauth-protected-resource" points, and give
// that URL to [Config.ResourceMetadata].
func (v *Verifier) Metadata(name string, scopes ...string) http.Handler {
	document := resourceMetadata{
		Resource:             v.config.Audience,
		AuthorizationServers: []string{v.config.Issuer},
		ScopesSupported:      scopes,
		BearerMethods:        []string{"header"},
		Name:                 name,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=300")
		json.NewEncoder(w).Encode(document)
	})
}

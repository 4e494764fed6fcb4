package tokens

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"
)

// resourceMetadata is the protected resource metadata document (RFC 9728 §2).
type resourceMetadata struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Name                 string   `json:"resource_name,omitempty"`
}

// Metadata serves the RFC 9728 document of this audience to everybody, as
// [ServePublic] does. Mount it, for every method, where [MetadataURL] of the audience and
// "oauth-protected-resource" points, and give that URL to [Config.ResourceMetadata].
func (v *Verifier) Metadata(name string, scopes ...string) http.Handler {
	document, err := json.Marshal(resourceMetadata{
		Resource:             v.config.Audience,
		AuthorizationServers: []string{v.config.Issuer},
		ScopesSupported:      scopes,
		BearerMethods:        []string{"header"},
		Name:                 name,
	})
	if err != nil {
		panic(err) // strings only
	}
	document = append(document, '\n')
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ServePublic(w, r, "application/json", document)
	})
}

// publicMethods are those that ServePublic answers.
const publicMethods = "GET, HEAD, OPTIONS"

// ServePublic answers with a document that everybody may read, who asks from a page of
// another origin too, and whose preflight it answers: it must depend on no credentials.
// Caches may keep it for 5 minutes; its ETag is of its bytes, and If-None-Match is 304.
func ServePublic(w http.ResponseWriter, r *http.Request, media string, body []byte) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", publicMethods)
		h.Set("Access-Control-Allow-Headers", "*")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		h.Set("Allow", publicMethods)
		h.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusMethodNotAllowed)
		w.Write([]byte(`{"error":"invalid_request","error_description":"Use GET."}` + "\n"))
		return
	}
	sum := sha256.Sum256(body)
	h.Set("Access-Control-Expose-Headers", "ETag")
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:12])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

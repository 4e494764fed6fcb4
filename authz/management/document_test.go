package management

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// TestAnswersAreWhatTheDocumentSays: successes, problems and challenges of every
// route have the media type and the schema that the document promises.
func TestAnswersAreWhatTheDocumentSays(t *testing.T) {
	w := newWorld(t)
	api := w.server.api.OpenAPI()
	for _, rt := range w.server.routes {
		path := api.Paths["/v1"+rt.path]
		op := map[string]*huma.Operation{"GET": path.Get, "POST": path.Post, "PUT": path.Put, "PATCH": path.Patch, "DELETE": path.Delete}[rt.method]
		for name, ids := range map[string]map[string]string{"org": w.ids["org"], "nobody": {"org": "nobody"}} {
			for _, token := range []string{w.token("staff", everything+" operator"), ""} {
				got := w.ask(rt, fill(rt.path, ids), token, "")
				response, ok := op.Responses[fmt.Sprint(got.Code)]
				if !ok {
					response = op.Responses["default"]
				}
				if got.Code == http.StatusNoContent {
					continue
				}
				media, _, _ := mime.ParseMediaType(got.Header().Get("Content-Type"))
				if response.Content[media] == nil {
					t.Errorf("%s of %s: %d as %s", op.OperationID, name, got.Code, media)
					continue
				}
				var body any = got.Body.String()
				if strings.HasSuffix(media, "json") && media != "application/x-ndjson" {
					json.Unmarshal(got.Body.Bytes(), &body)
				}
				var found huma.ValidateResult
				huma.Validate(api.Components.Schemas, response.Content[media].Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, body, &found)
				for _, err := range found.Errors {
					t.Errorf("%s of %s: %v in %s", op.OperationID, name, err, got.Body)
				}
			}
		}
	}
}

// TestDocumentSaysWhereItIs: the server and a path together are the URL, for an
// issuer with a path too.
func TestDocumentSaysWhereItIs(t *testing.T) {
	for _, issuer := range []string{"https://id.example.com", "https://example.com/imara"} {
		s := newServer(Config{Issuer: issuer})
		s.handler()
		api := s.api.OpenAPI()
		for path := range api.Paths {
			if url := api.Servers[0].URL + path; !strings.HasPrefix(url, issuer+"/v1/") {
				t.Errorf("%s has %s", issuer, url)
			}
		}
	}
}

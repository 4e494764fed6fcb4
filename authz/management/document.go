package management

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/imara/apikeys/tokens"
)

// document is the OpenAPI document.
func (s *server) document() []byte {
	api := s.api.OpenAPI()
	schemas := api.Components.Schemas.Map()
	delete(schemas, "ErrorModel") // the library's own, which is never sent
	delete(schemas, "ErrorDetail")
	asked := map[string]bool{} // schemas of requests, in which nothing else may stand
	for _, path := range api.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Put, path.Patch, path.Delete} {
			if op != nil && op.RequestBody != nil {
				for _, media := range op.RequestBody.Content {
					asked[strings.TrimPrefix(media.Schema.Ref, "#/components/schemas/")] = true
				}
			}
		}
	}
	for name, schema := range schemas {
		if !asked[name] {
			schema.AdditionalProperties = nil // answers grow
		}
		for _, property := range schema.Properties {
			// A list is empty or not there, but never null.
			property.Nullable = property.Nullable && property.Type != huma.TypeArray
		}
	}
	data, err := json.Marshal(api)
	if err != nil {
		panic(err) // of types that are known when this is written
	}
	return data
}

// newSchemas holds the schemas of bodies: a page of keys is a KeyList.
func newSchemas() huma.Registry {
	schemas := huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string {
		name := huma.DefaultSchemaNamer(t, hint)
		if element, ok := strings.CutPrefix(name, "List"); ok {
			return element + "List"
		}
		return name
	})
	schemas.RegisterTypeAlias(reflect.TypeFor[tokens.Audience](), reflect.TypeFor[audience]())
	return schemas
}

// audience is what the document says of the aud claim, which no tag can say.
type audience struct{}

// Schema implements huma.SchemaProvider.
func (audience) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{
		huma.SchemaFromType(r, reflect.TypeFor[string]()),
		{Type: huma.TypeArray, Items: huma.SchemaFromType(r, reflect.TypeFor[string]())},
	}}
}

// responses are those of a route that its types do not tell.
func (s *server) responses(rt route) map[string]*huma.Response {
	body := func(t reflect.Type) *huma.MediaType {
		return &huma.MediaType{Schema: s.api.OpenAPI().Components.Schemas.Schema(t, true, "")}
	}
	problem := map[string]*huma.MediaType{"application/problem+json": body(reflect.TypeFor[Problem]())}
	all := map[string]*huma.Response{"default": {Description: "Problem (RFC 9457)", Content: problem}}
	for _, media := range rt.media {
		if all["200"] == nil {
			all["200"] = &huma.Response{Content: map[string]*huma.MediaType{}}
		}
		all["200"].Content[media] = body(reflect.TypeFor[string]())
	}
	return all
}

package management

import (
	"context"
	"net/http"

	"github.com/imara/apikeys/keys"
)

// A Resource is an API that keys may call.
type Resource struct {
	ID              string  `json:"id"`
	Audience        string  `json:"audience" doc:"The aud of its tokens (RFC 8707)."`
	Name            string  `json:"name"`
	Algorithm       string  `json:"algorithm" enum:"ES256,RS256,EdDSA"`
	TokenTTLSeconds int     `json:"token_ttl_seconds"`
	Scopes          []Scope `json:"scopes"`
}

// A Scope is something that a key may be allowed to do.
type Scope struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Group       string `json:"group,omitempty"`
	Level       string `json:"level,omitempty" enum:"read,write"`
	GrantedBy   string `json:"granted_by,omitempty" enum:"admin,owner" doc:"The least role that may give it to a key; a key that acts for itself may give what it has."`
	Restricted  bool   `json:"restricted,omitempty" doc:"For the operator's own keys only."`
}

// PutResource is the request for a resource: a new one, or all that is to be
// replaced of one.
type PutResource struct {
	Audience        string  `json:"audience"`
	Name            string  `json:"name"`
	Algorithm       string  `json:"algorithm,omitempty" doc:"ES256, RS256 or EdDSA; ES256 without it."`
	TokenTTLSeconds int     `json:"token_ttl_seconds,omitempty" doc:"600 without it."`
	Scopes          []Scope `json:"scopes,omitempty" maxItems:"500"`
}

// A Preset is a named choice of scopes.
type Preset struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Scopes      []string `json:"scopes"`
}

// PutPreset is the request for a preset.
type PutPreset struct {
	Name        string   `json:"name" maxLength:"80"`
	Description string   `json:"description,omitempty" maxLength:"500"`
	Scopes      []string `json:"scopes" maxItems:"100"`
}

// A Plan limits what organisations may have.
type Plan struct {
	Name      string `json:"name"`
	APIAccess bool   `json:"api_access"`
	MaxKeys   int    `json:"max_keys"`
}

type ResourcePath struct {
	Resource string `path:"resource"`
}

type PresetPath struct {
	Preset string `path:"preset"`
}

func (s *server) catalogueRoutes() {
	register(s, route{id: "list-resources", method: "GET", path: "/resources", scope: "keys:read", action: "catalogue.read", summary: "List resources and their scopes"}, s.listResources, nil)
	register(s, route{id: "put-resource", replaces: true, method: "POST", path: "/resources", scope: "operator", action: "resource.set", summary: "Add or replace a resource, by its audience", status: 201}, s.putResource, s.resourcePut)
	register(s, route{id: "show-resource", method: "GET", path: "/resources/{resource}", scope: "keys:read", action: "catalogue.read", summary: "Show a resource"}, s.showResource, nil)
	register(s, route{id: "remove-resource", method: "DELETE", path: "/resources/{resource}", scope: "operator", action: "resource.remove", summary: "Remove a resource that no active key uses", status: 204}, s.removeResource, nil)
	register(s, route{id: "list-presets", method: "GET", path: "/presets", scope: "keys:read", action: "catalogue.read", summary: "List presets"}, s.listPresets, nil)
	register(s, route{id: "add-preset", method: "POST", path: "/presets", scope: "operator", action: "preset.set", summary: "Add a preset", status: 201}, s.addPreset, s.presetPut)
	register(s, route{id: "put-preset", method: "PUT", path: "/presets/{preset}", scope: "operator", action: "preset.set", summary: "Replace a preset"}, s.putPreset, nil)
	register(s, route{id: "remove-preset", method: "DELETE", path: "/presets/{preset}", scope: "operator", action: "preset.remove", summary: "Remove a preset", status: 204}, s.removePreset, nil)
	register(s, route{id: "list-plans", method: "GET", path: "/plans", scope: "org:read", action: "catalogue.read", summary: "List plans"}, s.listPlans, nil)
}

func (s *server) listResources(ctx context.Context, c call, _ *struct{ Caller }) (*answer[List[Resource]], error) {
	catalogue, err := s.config.Registry.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	list := &answer[List[Resource]]{Body: List[Resource]{Data: []Resource{}}}
	for _, res := range catalogue {
		list.Body.Data = append(list.Body.Data, showResource(res))
	}
	return list, nil
}

func (s *server) putResource(ctx context.Context, c call, in *struct {
	Terms
	Body PutResource
}) (*answer[Resource], error) {
	b := in.Body
	res := keys.Resource{Audience: b.Audience, Name: b.Name, Algorithm: b.Algorithm, TokenTTL: seconds(b.TokenTTLSeconds)}
	for _, scope := range b.Scopes {
		res.Scopes = append(res.Scopes, keys.Scope{Name: scope.Name, Description: scope.Description, Group: scope.Group, Level: scope.Level, GrantedBy: keys.Role(scope.GrantedBy), Restricted: scope.Restricted})
	}
	return s.resourceStored(s.config.Registry.PutResource(ctx, c.by, res))
}

// resourceStored is 201 for a new one, and 200 for one in place of another.
func (s *server) resourceStored(res keys.Resource, err error) (*answer[Resource], error) {
	stored, err := resourceAnswer(res, err)
	if err == nil && res.Replaced {
		stored.Status = http.StatusOK
	}
	return stored, err
}

func (s *server) resourcePut(ctx context.Context, _ call, e keys.Event) (*answer[Resource], error) {
	res, err := s.resource(ctx, e.Target)
	_, added := e.Changes["audience"]
	res.Replaced = !added
	return s.resourceStored(res, err)
}

func (s *server) resource(ctx context.Context, id string) (keys.Resource, error) {
	catalogue, err := s.config.Registry.Catalogue(ctx)
	for _, res := range catalogue {
		if res.ID == id {
			return res, nil
		}
	}
	if err == nil {
		err = keys.ErrNotFound
	}
	return keys.Resource{}, err
}

func (s *server) showResource(ctx context.Context, _ call, in *struct {
	ResourcePath
	Caller
}) (*answer[Resource], error) {
	return resourceAnswer(s.resource(ctx, in.Resource))
}

func (s *server) removeResource(ctx context.Context, c call, in *struct {
	ResourcePath
	Change
}) (*nothing, error) {
	return &nothing{}, s.config.Registry.RemoveResource(ctx, c.by, in.Resource)
}

func resourceAnswer(res keys.Resource, err error) (*answer[Resource], error) {
	if err != nil {
		return nil, err
	}
	return &answer[Resource]{ETag: etag(res.Version()), Body: showResource(res)}, nil
}

func showResource(res keys.Resource) Resource {
	shown := Resource{ID: res.ID, Audience: res.Audience, Name: res.Name, Algorithm: res.Algorithm, TokenTTLSeconds: int(res.TokenTTL.Seconds()), Scopes: []Scope{}}
	for _, scope := range res.Scopes {
		shown.Scopes = append(shown.Scopes, Scope{scope.Name, scope.Description, scope.Group, scope.Level, string(scope.GrantedBy), scope.Restricted})
	}
	return shown
}

func (s *server) listPresets(ctx context.Context, _ call, _ *struct{ Caller }) (*answer[List[Preset]], error) {
	presets, err := s.config.Registry.Presets(ctx)
	if err != nil {
		return nil, err
	}
	list := &answer[List[Preset]]{Body: List[Preset]{Data: []Preset{}}}
	for _, p := range presets {
		list.Body.Data = append(list.Body.Data, Preset(p))
	}
	return list, nil
}

func (s *server) addPreset(ctx context.Context, c call, in *struct {
	Terms
	Body PutPreset
}) (*answer[Preset], error) {
	return presetAnswer(s.config.Registry.PutPreset(ctx, c.by, keys.Preset{Name: in.Body.Name, Description: in.Body.Description, Scopes: in.Body.Scopes}))
}

func (s *server) putPreset(ctx context.Context, c call, in *struct {
	PresetPath
	Change
	Body PutPreset
}) (*answer[Preset], error) {
	return presetAnswer(s.config.Registry.PutPreset(ctx, c.by, keys.Preset{ID: in.Preset, Name: in.Body.Name, Description: in.Body.Description, Scopes: in.Body.Scopes}))
}

func (s *server) presetPut(ctx context.Context, _ call, e keys.Event) (*answer[Preset], error) {
	presets, err := s.config.Registry.Presets(ctx)
	for _, p := range presets {
		if p.ID == e.Target {
			return presetAnswer(p, nil)
		}
	}
	if err == nil {
		err = keys.ErrNotFound
	}
	return nil, err
}

func (s *server) removePreset(ctx context.Context, c call, in *struct {
	PresetPath
	Change
}) (*nothing, error) {
	return &nothing{}, s.config.Registry.RemovePreset(ctx, c.by, in.Preset)
}

func presetAnswer(p keys.Preset, err error) (*answer[Preset], error) {
	if err != nil {
		return nil, err
	}
	return &answer[Preset]{ETag: etag(p.Version()), Body: Preset(p)}, nil
}

func (s *server) listPlans(context.Context, call, *struct{ Caller }) (*answer[List[Plan]], error) {
	list := &answer[List[Plan]]{Body: List[Plan]{Data: []Plan{}}}
	for _, p := range s.config.Registry.Plans() {
		list.Body.Data = append(list.Body.Data, Plan(p))
	}
	return list, nil
}

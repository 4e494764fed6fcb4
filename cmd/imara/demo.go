package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// The demo: one customer, one operator, one API to call. Starting it again with
// the same data finds what is there.

const (
	demoOrganization = "org_demo"
	demoOwner        = "amal@acme.example"
)

// demoActor makes what the demo needs.
var demoActor = keys.Program("demo")

// checkDemo refuses to show a demo to the world.
func checkDemo(host string) error {
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usage("--demo listens on a loopback address only, not on %q", host)
	}
	if os.Getenv("IMARA_ENV") == "production" {
		return usage("--demo does not run where IMARA_ENV is production")
	}
	return nil
}

type demo struct {
	issuer   string
	path     string // of demo.env
	link     string // to the panel, as the customer's owner
	verifier *tokens.Verifier
}

// startDemo makes what is missing and writes demo.env.
func (p *program) startDemo(ctx context.Context, dir string) (*demo, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d := &demo{issuer: p.issuer, path: filepath.Join(dir, "demo.env")}
	var err error
	if d.verifier, err = p.server.Verifier().WithAudience(d.audience()); err != nil {
		return nil, err
	}
	for _, r := range []keys.Resource{
		{Audience: d.audience(), Name: "Demo API", Scopes: []keys.Scope{
			{Name: "alerts:read", Description: "See alerts"},
			{Name: "incidents:read", Description: "See incidents"},
			{Name: "incidents:write", Description: "Open and close incidents"}}},
		{Audience: p.issuer + "/demo/billing", Name: "Demo billing", Scopes: []keys.Scope{
			{Name: "invoices:read", Description: "See invoices"}}},
	} {
		if err := p.ensureResource(ctx, r); err != nil {
			return nil, err
		}
	}
	for _, o := range []keys.Organization{
		{ID: demoOrganization, Name: "Acme", Plan: "Enterprise"},
		{ID: keys.OperatorOrganization, Name: "Operator", Plan: "Enterprise", Operator: true},
	} {
		if _, err := p.registry.CreateOrganization(ctx, demoActor, o); err != nil && !errors.Is(err, keys.ErrExists) {
			return nil, err
		}
	}
	for _, m := range []keys.Member{
		{ID: "mem_demo_owner", OrganizationID: demoOrganization, Name: "Amal Ortiz", Email: demoOwner, Role: keys.Owner},
		{ID: "mem_demo_operator", OrganizationID: keys.OperatorOrganization, Name: "Amal Ortiz", Email: demoOwner, Role: keys.Staff},
		{ID: "mem_demo_developer", OrganizationID: demoOrganization, Name: "Mika Sato", Email: "mika@acme.example", Role: keys.Developer},
	} {
		m.AcceptedAt = time.Now()
		if _, err := p.registry.AddMember(ctx, demoActor, m); err != nil && !errors.Is(err, keys.ErrExists) {
			return nil, err
		}
	}
	presets, err := p.registry.Presets(ctx)
	if err != nil {
		return nil, err
	}
	if len(presets) == 0 {
		preset := keys.Preset{Name: "Read-only dashboard", Description: "Alerts and incidents, to look at", Scopes: []string{"alerts:read", "incidents:read"}}
		if _, err := p.registry.PutPreset(ctx, demoActor, preset); err != nil {
			return nil, err
		}
	}
	var input *keys.InputError
	var account *keys.AccountError
	token, _, err := p.registry.NewLink(ctx, demoActor, demoOwner, "")
	if errors.As(err, &account) { // it is the demo's own
		token, _, err = p.registry.NewResetLink(ctx, demoActor, demoOwner, account.Opens)
	}
	switch {
	case err == nil:
		d.link = authz.PanelLink(p.issuer, token)
	case errors.Is(err, keys.ErrElsewhere): // --sso speaks for her
	case !errors.As(err, &input): // she may have been removed
		return nil, err
	}
	return d, p.writeDemo(ctx, d)
}

// writeDemo keeps the credentials of demo.env that still work, and makes others
// for those that do not.
func (p *program) writeDemo(ctx context.Context, d *demo) error {
	old := readEnv(d.path)
	integration, err := p.demoKey(ctx, demoOrganization, keys.NewKey{Name: "Demo integration", OwnerID: "mem_demo_developer",
		Access: keys.Access{Scopes: []string{"alerts:read", "incidents:read"}}}, old["CLIENT_ID"], old["CLIENT_SECRET"])
	if err != nil {
		return err
	}
	operator, err := p.demoKey(ctx, keys.OperatorOrganization, keys.NewKey{Name: "Operator", Access: keys.Access{
		Scopes:    authz.ManagementScopeNames(),
		Resources: []string{authz.ManagementAudience(p.issuer), d.audience()}}}, old["IMARA_CLIENT_ID"], old["IMARA_CLIENT_SECRET"])
	if err != nil {
		return err
	}
	verifier, err := p.demoKey(ctx, keys.OperatorOrganization, keys.NewKey{Name: "Verifiers",
		Access: keys.Access{Scopes: []string{keys.FeedScope}}},
		old["VERIFIER_CLIENT_ID"], old["VERIFIER_CLIENT_SECRET"])
	if err != nil {
		return err
	}
	return writeEnv(d.path, [][2]string{
		{"IMARA_ISSUER", p.issuer}, {"IMARA_URL", p.issuer}, {"IMARA_ORG", demoOrganization},
		{"IMARA_CLIENT_ID", operator.id}, {"IMARA_CLIENT_SECRET", operator.secret},
		{"VERIFIER_CLIENT_ID", verifier.id}, {"VERIFIER_CLIENT_SECRET", verifier.secret},
		{"TOKEN_URL", p.issuer + "/oauth2/token"},
		{"CLIENT_ID", integration.id}, {"CLIENT_SECRET", integration.secret},
		{"API_URL", d.url()}, {"API_AUDIENCE", d.audience()}, {"API_SCOPE", "alerts:read"},
		{"MANAGEMENT_URL", authz.ManagementAudience(p.issuer)}, {"PANEL_URL", authz.PanelURL(p.issuer)},
	})
}

type pair struct{ id, secret string }

// demoKey returns credentials of a key with this name: those given if they work,
// else a new secret of the key, else a new key.
func (p *program) demoKey(ctx context.Context, organization string, n keys.NewKey, id, secret string) (pair, error) {
	if record, err := p.registry.Record(ctx, id, ""); err == nil {
		parsed, err := keys.ParseSecret(secret)
		if err == nil {
			_, err = p.registry.Authenticate(record, parsed, time.Now())
		}
		if err == nil {
			return pair{id, secret}, nil
		}
	} else if !errors.Is(err, keys.ErrNotFound) {
		return pair{}, err
	}
	existing, err := p.registry.Keys(ctx, organization, keys.Page{})
	if err != nil {
		return pair{}, err
	}
	for _, k := range existing {
		if k.Name == n.Name && k.Status(time.Now()) == keys.Active {
			created, err := p.registry.Rotate(ctx, demoActor, organization, k.ID, keys.Overlap{})
			return pair{k.ClientID, created.Secret.Reveal()}, err
		}
	}
	created, err := p.registry.Create(ctx, demoActor, organization, n)
	if err != nil {
		return pair{}, err
	}
	return pair{created.Key.ClientID, created.Secret.Reveal()}, nil
}

func (d *demo) audience() string { return d.issuer + "/demo" }
func (d *demo) url() string      { return d.audience() + "/alerts" }

// mount adds the protected API.
func (d *demo) mount(rest http.Handler) http.Handler {
	base := authz.IssuerPath(d.issuer)
	api := web.NewMux(nil)
	api.Handle("GET "+base+"/demo/alerts", d.verifier.Require("alerts:read")(http.HandlerFunc(alerts)))
	mux := web.NewMux(nil)
	mux.Handle("/", rest)
	mux.Handle(base+"/demo/", api)
	mux.Handle("/.well-known/oauth-protected-resource"+base+"/demo",
		d.verifier.Metadata("Demo API", "alerts:read"))
	return mux
}

// alerts is the handler of the demo API.
func alerts(w http.ResponseWriter, r *http.Request) {
	claims, _ := tokens.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"client_id": claims.ClientID,
		"alerts":    []map[string]string{{"id": "a-1", "title": "Disk 91 % full on db-2"}, {"id": "a-2", "title": "Certificate ends in 6 days"}},
	})
}

func (d *demo) announce(to io.Writer) {
	fmt.Fprintf(to, "✓ demo API %s\n→ credentials in %s; try:\n    set -a; . %s; set +a\n    %s keys list\n", d.url(), d.path, d.path, os.Args[0])
	if d.link != "" {
		fmt.Fprintf(to, "→ the panel, as Amal Ortiz of Acme (the link works once):\n    %s\n", d.link)
	}
}

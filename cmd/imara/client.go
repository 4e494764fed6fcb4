package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/imara/apikeys/authz"
)

// clientFlags are how a command reaches a server, and as whom.
type clientFlags struct {
	context, issuer, url, org, clientID string
	insecure                            bool
	secret                              secretFlags
	timeout                             time.Duration
}

func (f *clientFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.context, "context", "", "what imara login kept under this name (IMARA_CONTEXT)")
	flags.StringVar(&f.issuer, "issuer", "", "issuer identifier of the server (IMARA_ISSUER)")
	flags.StringVar(&f.url, "url", "", "where the server is reached, if not at its issuer (IMARA_URL)")
	flags.StringVar(&f.clientID, "client-id", "", "client id of the key to use (IMARA_CLIENT_ID)")
	addInsecure(flags, &f.insecure)
	flags.DurationVar(&f.timeout, "timeout", 90*time.Second, "give up after this long")
	f.secret.add(flags)
}

// check fills in what follows from the rest.
func (f *clientFlags) check() error {
	if err := f.fill(); err != nil {
		return err
	}
	if f.issuer == "" {
		return usage("--issuer, IMARA_ISSUER or imara login is needed (with a demo server: set -a; . data/demo.env)")
	}
	if f.clientID == "" {
		return usage("--client-id or IMARA_CLIENT_ID is needed")
	}
	if err := checkIdentifier("issuer", f.issuer); err != nil {
		return err
	}
	if f.url == "" {
		f.url = f.issuer
	}
	if err := checkIdentifier("url", f.url); err != nil {
		return err
	}
	return checkTransport("--url", f.url, f.insecure)
}

// credentials configures the client credentials grant for a resource.
func (f *clientFlags) credentials(cmd *cobra.Command, resource string, scopes ...string) (*clientcredentials.Config, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	secret, err := f.secret.read(cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	config := &clientcredentials.Config{ClientID: f.clientID, ClientSecret: secret, TokenURL: f.url + "/oauth2/token",
		Scopes: scopes, AuthStyle: oauth2.AuthStyleInHeader}
	if resource != "" {
		config.EndpointParams = url.Values{"resource": {resource}}
	}
	return config, nil
}

// api is the management API of a server, or what it has of one organisation.
type api struct {
	base   string // …/v1 or …/v1/orgs/{org}
	client *http.Client
	// timeout of a call whose whole answer is read at once.
	timeout time.Duration
	header  http.Header
	dryRun  bool
	match   string // If-Match of changes; empty is whatever is there
}

// of is the part of the API for an organisation.
func (a *api) of(org string) *api {
	part := *a
	part.base += "/orgs/" + url.PathEscape(org)
	return &part
}

// api asks for a token with all scopes that the key has for it.
func (f *clientFlags) api(cmd *cobra.Command) (*api, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	credentials, err := f.credentials(cmd, authz.ManagementAudience(f.issuer))
	if err != nil {
		return nil, err
	}
	// A redirect would take the token to another place.
	plain := &http.Client{Timeout: f.timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx := context.WithValue(cmd.Context(), oauth2.HTTPClient, plain)
	buy := func() (*oauth2.Token, error) { return credentials.Token(ctx) }
	client := &http.Client{Transport: &renewing{buy: buy}, CheckRedirect: plain.CheckRedirect}
	return &api{base: f.url + "/v1", client: client, timeout: f.timeout, header: http.Header{}}, nil
}

// renewing sends requests with a token. One that is refused it sends again with another:
// since the token was bought its signing key may have been withdrawn, by a command such
// as this one.
type renewing struct {
	buy   func() (*oauth2.Token, error)
	mu    sync.Mutex
	token *oauth2.Token
}

// RoundTrip implements [http.RoundTripper].
func (r *renewing) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		defer request.Body.Close() // each attempt reads a copy
	}
	token, err := r.other(nil)
	if err != nil {
		return nil, err
	}
	response, err := r.send(request, token)
	once := request.Body != nil && request.GetBody == nil
	if err != nil || response.StatusCode != http.StatusUnauthorized || once {
		return response, err
	}
	if token, err = r.other(token); err != nil {
		return response, nil // the refusal says more
	}
	response.Body.Close()
	return r.send(request, token)
}

func (r *renewing) send(request *http.Request, token *oauth2.Token) (*http.Response, error) {
	again := request.Clone(request.Context())
	if request.GetBody != nil {
		body, err := request.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
	}
	token.SetAuthHeader(again)
	return http.DefaultTransport.RoundTrip(again)
}

// other returns the token in use, unless it has ended or is the one that was refused;
// then a new one.
func (r *renewing) other(refused *oauth2.Token) (*oauth2.Token, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.token.Valid() && r.token != refused {
		return r.token, nil
	}
	token, err := r.buy()
	if err == nil {
		r.token = token
	}
	return token, err
}

// api is the server as these flags reach it.
func (f *remote) api(cmd *cobra.Command) (*api, error) {
	server, err := f.clientFlags.api(cmd)
	if err != nil {
		return nil, err
	}
	server.dryRun = f.dryRun
	if cmd.Flags().Changed("actor") && f.actor == "" {
		return nil, usage("--actor names nobody")
	}
	if f.actor != "" {
		server.header.Set("Imara-Actor", f.actor)
	}
	if f.idempotencyKey != "" {
		server.header.Set("Idempotency-Key", f.idempotencyKey)
	}
	return server, nil
}

// organization is the part of the API for the organisation of --org.
func (f *clientFlags) organization(cmd *cobra.Command) (*api, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if f.org == "" {
		return nil, usage("--org or IMARA_ORG is needed")
	}
	a, err := f.api(cmd)
	if err != nil {
		return nil, err
	}
	return a.of(f.org), nil
}

// A refusal is a problem document of the server (RFC 9457).
type refusal struct {
	Status   int             `json:"status"`
	Code     string          `json:"code"`
	Title    string          `json:"title"`
	Detail   string          `json:"detail"`
	Fix      string          `json:"fix"`
	Opens    []string        `json:"opens"` // of account_exists
	document json.RawMessage // as it came
}

func (r *refusal) Error() string {
	text := r.Title
	if r.Detail != "" {
		text = r.Detail
	}
	if r.Fix != "" {
		text += "\n  " + r.Fix
	}
	return text
}

// do makes one call. It returns an error with the program's exit code.
func (a *api) do(ctx context.Context, method, path string, request, answer any) error {
	_, err := a.call(ctx, method, path, request, answer)
	return err
}

// asOf reads something, and returns the API for changes of it: they are refused when
// it was changed meanwhile.
func (a *api) asOf(ctx context.Context, path string, answer any) (*api, error) {
	header, err := a.call(ctx, http.MethodGet, path, nil, answer)
	if err != nil {
		return nil, err
	}
	bound := *a
	bound.match = header.Get("ETag")
	return &bound, nil
}

func (a *api) call(ctx context.Context, method, path string, request, answer any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	response, err := a.send(ctx, method, path, request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return nil, failure(err)
	}
	if answer == nil || len(data) == 0 {
		return response.Header, nil
	}
	return response.Header, json.Unmarshal(data, answer)
}

// send makes one call and returns the answer of a success.
func (a *api) send(ctx context.Context, method, path string, request any) (*http.Response, error) {
	if a.dryRun && method != http.MethodGet {
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		path += separator + "dry_run=true"
	}
	var body io.Reader
	if request != nil {
		data, err := json.Marshal(request)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, a.header)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	switch {
	case method == http.MethodGet:
	case a.match != "":
		r.Header.Set("If-Match", a.match)
	case a.header.Get("Imara-Actor") != "":
		r.Header.Set("If-Match", "*") // whatever is there: this is not a form that was open for an hour
	}
	response, err := a.client.Do(r)
	if err != nil {
		return nil, failure(err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, failure(err)
	}
	problem := &refusal{Status: response.StatusCode, Title: http.StatusText(response.StatusCode), document: data}
	if json.Unmarshal(data, problem) != nil {
		problem.document = nil
	}
	return nil, &exit{exitCode(problem), problem}
}

func exitCode(p *refusal) int {
	switch {
	case p.Code == "plan_limit_reached":
		return exitLimit
	case p.Status == http.StatusNotFound:
		return exitNotFound
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		return exitRefused
	case p.Status == http.StatusConflict || p.Status == http.StatusPreconditionFailed:
		return exitConflict
	case p.Status >= 500:
		return exitUnavailable
	case p.Status == http.StatusBadRequest || p.Status == http.StatusUnprocessableEntity:
		return exitUsage
	}
	return exitError
}

// failure is an error of the way to the server, or of the token endpoint.
func failure(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.ErrorCode != "" {
		code := exitRefused
		if refused.Response.StatusCode >= 500 {
			code = exitUnavailable
		}
		return &exit{code, fmt.Errorf("no token: %s (%s)", refused.ErrorDescription, refused.ErrorCode)}
	}
	return &exit{exitUnavailable, fmt.Errorf("the server is not reached: %w", err)}
}

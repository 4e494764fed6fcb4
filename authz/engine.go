package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	oautherrors "github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/server"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// The grant engine is go-oauth2, behind the front in token.go. What reaches it
// carries an exchange in its context: proof that the client is authenticated and
// that the grant is decided. Without one it issues nothing.

// exchange is one request for a token on its way through the engine.
type exchange struct {
	*principal
	grant  grant
	claims *tokens.Claims // set when the token is minted
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) (*exchange, error) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, oautherrors.ErrInvalidClient
	}
	return x, nil
}

// newEngine configures go-oauth2 for the one grant there is.
func (s *Server) newEngine() *server.Server {
	m := manage.NewManager()
	m.MapClientStorage(authenticated{})
	m.MapTokenStorage(nothing{})
	m.MapAccessGenerate(mint{s})
	m.SetClientTokenCfg(&manage.Config{AccessTokenExp: keys.DefaultTokenTTL})
	engine := server.NewServer(&server.Config{
		TokenType:         "Bearer",
		AllowedGrantTypes: []oauth2.GrantType{oauth2.ClientCredentials},
	}, m)
	engine.ClientInfoHandler = func(r *http.Request) (string, string, error) {
		x, err := exchangeOf(r.Context())
		if err != nil {
			return "", "", err
		}
		return x.record.Key.ClientID, "", nil
	}
	engine.ClientScopeHandler = func(request *oauth2.TokenGenerateRequest) (bool, error) {
		x, err := exchangeOf(request.Request.Context())
		if err != nil {
			return false, err
		}
		request.Scope, request.AccessTokenExp = x.grant.scope, x.ttl(time.Now())
		return true, nil
	}
	return engine
}

// ttl is the life of the token in whole seconds: no longer than its key or the
// secret that it was bought with. It is 0 in the last second of these.
func (x *exchange) ttl(now time.Time) time.Duration {
	ttl := x.grant.ttl
	for _, end := range []time.Time{x.record.Key.ExpiresAt, x.credential.EndsAt} {
		if !end.IsZero() {
			ttl = min(ttl, end.Sub(now))
		}
	}
	return max(ttl.Truncate(time.Second), 0)
}

// authenticated is the engine's client store: the client of the exchange.
type authenticated struct{}

func (authenticated) GetByID(ctx context.Context, id string) (oauth2.ClientInfo, error) {
	x, err := exchangeOf(ctx)
	if err != nil || x.record.Key.ClientID != id {
		return nil, oautherrors.ErrInvalidClient
	}
	return client{x.record.Key.ClientID}, nil
}

// client is a client whose secret the front has checked.
type client struct{ id string }

func (c client) GetID() string              { return c.id }
func (c client) GetSecret() string          { return "" }
func (c client) GetDomain() string          { return "" }
func (c client) GetUserID() string          { return "" }
func (c client) IsPublic() bool             { return false }
func (client) VerifyPassword(_ string) bool { return true }

// mint signs the token of the exchange.
type mint struct{ server *Server }

func (m mint) Token(ctx context.Context, data *oauth2.GenerateBasic, _ bool) (access, refresh string, err error) {
	x, err := exchangeOf(ctx)
	if err != nil {
		return "", "", err
	}
	now := data.TokenInfo.GetAccessCreateAt()
	x.claims = &tokens.Claims{
		Issuer:       m.server.config.Issuer,
		Subject:      x.record.Key.ClientID,
		Audience:     x.grant.audience,
		IssuedAt:     now.Unix(),
		ExpiresAt:    now.Add(data.TokenInfo.GetAccessExpiresIn()).Unix(),
		ID:           rand.Text(),
		ClientID:     x.record.Key.ClientID,
		ClientName:   x.record.Key.Name,
		Scope:        x.grant.scope,
		Organization: x.record.Organization.ID,
		Credential:   x.credential.ID,
		Position:     x.position,
	}
	access, err = m.server.config.Ring.Sign(x.grant.algorithm, x.claims)
	if errors.Is(err, signing.ErrNoKey) {
		// Another server has made it, for an API that this one has read of since.
		if err = m.server.config.Ring.Ensure(ctx, x.grant.algorithm); err == nil {
			access, err = m.server.config.Ring.Sign(x.grant.algorithm, x.claims)
		}
	}
	return access, "", err
}

// nothing is the engine's token store: no token is ever stored.
type nothing struct{}

var errNoTokens = errors.New("tokens are not stored")

func (nothing) Create(context.Context, oauth2.TokenInfo) error              { return nil }
func (nothing) RemoveByCode(context.Context, string) error                  { return errNoTokens }
func (nothing) RemoveByAccess(context.Context, string) error                { return errNoTokens }
func (nothing) RemoveByRefresh(context.Context, string) error               { return errNoTokens }
func (nothing) GetByCode(context.Context, string) (oauth2.TokenInfo, error) { return nil, errNoTokens }
func (nothing) GetByAccess(context.Context, string) (oauth2.TokenInfo, error) {
	return nil, errNoTokens
}
func (nothing) GetByRefresh(context.Context, string) (oauth2.TokenInfo, error) {
	return nil, errNoTokens
}

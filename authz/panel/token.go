package panel

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/tokens"
)

// tokenPage is what the page shows that checks a token.
type tokenPage struct {
	Verdict   string // id in the catalogue; empty: nothing was checked yet
	Accepted  bool
	Claims    *tokens.Claims // of a token of the organisation's, even if it is not accepted
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// An outcome is what becomes of a token, in the catalogue.
type outcome struct {
	err  error
	text string
}

var outcomes = []outcome{
	{nil, "token.accepted"},
	{tokens.ErrMalformed, "token.malformed"},
	{tokens.ErrUnknownKey, "token.unknown_key"},
	{tokens.ErrSignature, "token.signature"},
	{tokens.ErrExpired, "token.expired"},
	{tokens.ErrNotForUs, "token.not_ours"},
	{tokens.ErrRevoked, "token.revoked"},
	{tokens.ErrStale, "token.stale"},
}

func (p *panel) showToken(w http.ResponseWriter, _ *http.Request, v *visitor) error {
	if err := v.by.May("organization.read"); err != nil {
		return err
	}
	p.show(w, v, "token", http.StatusOK, tokenPage{})
	return nil
}

// checkToken says whether a verifier accepts a token now, and why not. Of a token of
// another organisation it says nothing more.
func (p *panel) checkToken(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("organization.read"); err != nil {
		return err
	}
	claims, err := p.config.Check(strings.TrimSpace(r.PostForm.Get("token")))
	at := slices.IndexFunc(outcomes, func(o outcome) bool { return err == o.err || o.err != nil && errors.Is(err, o.err) })
	if at < 0 {
		return err
	}
	page := tokenPage{Verdict: outcomes[at].text, Accepted: err == nil}
	if claims != nil && claims.Organization != v.org.ID {
		page = tokenPage{Verdict: "token.foreign"}
	} else if claims != nil {
		page.Claims, page.IssuedAt, page.ExpiresAt = claims, time.Unix(claims.IssuedAt, 0), time.Unix(claims.ExpiresAt, 0)
	}
	p.show(w, v, "token", http.StatusOK, page)
	return nil
}

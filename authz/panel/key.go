package panel

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// keyPage is what the pages of one key show.
type keyPage struct {
	keyRow
	Scopes    []keys.ScopeReport
	Secrets   []secretRow
	MayRevoke bool
	// Receipt, of a revoked key, unless nobody knows yet how far it has reached.
	Receipt   *keys.Receipt
	RevokedBy string
	// For the page that asks before it revokes.
	Active, Max int
	Recent      bool // it was used within a day: its name must be typed
	Reasons     []reason
	Reason      string // one of these, or empty
	Other       string // in words
	Problem     string // id in the catalogue
}

// A reason to revoke, as the audit log has it, and its id in the catalogue.
type reason struct{ Value, Text string }

var reasons = []reason{{"no longer used", "revoke.unused"}, {"member left", "revoke.left"}, {"may be exposed", "revoke.exposed"}}

// A secretRow is a secret of a key.
type secretRow struct {
	keys.Credential
	State string // active, ending or ended
}

// key reads what the pages of the key in the path show.
func (p *panel) key(r *http.Request, v *visitor) (keyPage, error) {
	if err := v.by.May("key.read"); err != nil {
		return keyPage{}, err
	}
	ctx, now := r.Context(), time.Now()
	k, err := p.Registry.Key(ctx, v.org.ID, r.PathValue("key"))
	if err != nil {
		return keyPage{}, err
	}
	members, err := p.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return keyPage{}, err
	}
	named := func(id string) keys.Member {
		i := slices.IndexFunc(members, func(m keys.Member) bool { return m.ID == id })
		if i < 0 {
			return keys.Member{}
		}
		return members[i]
	}
	page := keyPage{Reasons: reasons, keyRow: rowOf(k, named(k.OwnerID), now), MayRevoke: k.RevokedAt.IsZero() && v.by.MayKey("key.revoke", &k) == nil}
	page.Recent = !page.Last.IsZero() && now.Sub(page.Last) < 24*time.Hour
	for _, c := range k.Credentials {
		row := secretRow{c, "active"}
		switch {
		case !c.Live(now) || !k.RevokedAt.IsZero():
			row.State = "ended"
		case !c.EndsAt.IsZero():
			row.State = "ending"
		}
		page.Secrets = append(page.Secrets, row)
	}
	if page.Scopes, err = p.Registry.ScopesUsed(ctx, v.org.ID, k.ID); err != nil {
		return keyPage{}, err
	}
	receipt, err := p.Registry.Receipt(ctx, k)
	if err == nil {
		page.Receipt = &receipt
		page.RevokedBy = cmp.Or(named(receipt.By).Name, receipt.By)
	} else if !errors.Is(err, keys.ErrNotFound) {
		return keyPage{}, err
	}
	return page, nil
}

func (p *panel) showKey(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := p.key(r, v)
	if err != nil {
		return err
	}
	p.show(w, v, "key", http.StatusOK, page)
	return nil
}

// askRevoke shows what revoking the key will do.
func (p *panel) askRevoke(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := p.key(r, v)
	if err != nil {
		return err
	}
	return p.ask(w, r, v, page, http.StatusOK)
}

func (p *panel) ask(w http.ResponseWriter, r *http.Request, v *visitor, page keyPage, status int) (err error) {
	switch {
	case !page.RevokedAt.IsZero():
		http.Redirect(w, r, p.keyPath(v, page.Key), http.StatusSeeOther)
		return nil
	case !page.MayRevoke:
		return keys.ErrForbidden
	}
	if page.Active, page.Max, err = p.Registry.Limits(r.Context(), v.org.ID); err != nil {
		return err
	}
	if page.Counts(time.Now()) {
		page.Active--
	}
	p.show(w, v, "revoke", status, page)
	return nil
}

// revoke answers when no verifier accepts the key's tokens any more, or at the latest
// when those that are silent refuse by themselves.
func (p *panel) revoke(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := p.key(r, v)
	if err != nil {
		return err
	}
	if err := parseForm(w, r); err != nil {
		return err
	}
	page.Reason, page.Other = r.PostForm.Get("reason"), strings.TrimSpace(r.PostForm.Get("other"))
	if page.Recent && page.MayRevoke && keys.NameKey(r.PostForm.Get("name")) != keys.NameKey(page.Name) {
		page.Problem = "revoke.differs"
		return p.ask(w, r, v, page, http.StatusUnprocessableEntity)
	}
	revoked, _, err := p.Registry.Revoke(r.Context(), v.by, v.org.ID, page.ID, cmp.Or(page.Other, page.Reason))
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		page.Problem = "revoke.reason_bad"
		return p.ask(w, r, v, page, http.StatusUnprocessableEntity)
	case err != nil && revoked.ID == "":
		return err
	case err != nil: // it is revoked; its page says that nobody knows how far
		p.Logger.Error("revocation not confirmed", "client_id", revoked.ClientID, "request_id", v.by.RequestID, "error", err)
	}
	http.Redirect(w, r, p.keyPath(v, page.Key), http.StatusSeeOther)
	return nil
}

func (p *panel) keyPath(v *visitor, k keys.Key) string {
	return p.base + "/o/" + v.org.ID + "/keys/" + k.ID
}

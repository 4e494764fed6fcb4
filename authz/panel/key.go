package panel

import (
	"cmp"
	"errors"
	"net/http"
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
	State keys.SecretState
}

// key reads the key in the path.
func (p *panel) key(r *http.Request, v *visitor) (keys.Key, error) {
	if err := v.by.May("key.read"); err != nil {
		return keys.Key{}, err
	}
	return p.Registry.Key(r.Context(), v.org.ID, r.PathValue("key"))
}

// page reads what the pages of the key in the path show.
func (p *panel) page(r *http.Request, v *visitor) (keyPage, error) {
	ctx, now := r.Context(), time.Now()
	k, err := p.key(r, v)
	if err != nil {
		return keyPage{}, err
	}
	members, err := p.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return keyPage{}, err
	}
	page := keyPage{Reasons: reasons, keyRow: rowOf(k, members, now), MayRevoke: k.RevokedAt.IsZero() && v.by.MayKey("key.revoke", &k) == nil}
	page.Recent = recent(&k, now)
	for _, c := range k.Credentials {
		page.Secrets = append(page.Secrets, secretRow{c, k.SecretState(c, now)})
	}
	if page.Scopes, err = p.Registry.ScopesUsed(ctx, v.org.ID, k.ID); err != nil {
		return keyPage{}, err
	}
	receipt, err := p.Registry.Receipt(ctx, k)
	if err == nil {
		page.Receipt = &receipt
		page.RevokedBy = cmp.Or(named(members, receipt.By).Name, receipt.By)
	} else if !errors.Is(err, keys.ErrNotFound) {
		return keyPage{}, err
	}
	return page, nil
}

// recent tells whether a key was used within a day.
func recent(k *keys.Key, now time.Time) bool {
	last := k.LastUsedAt()
	return !last.IsZero() && now.Sub(last) < 24*time.Hour
}

func (p *panel) showKey(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := p.page(r, v)
	if err != nil {
		return err
	}
	p.show(w, v, "key", http.StatusOK, page)
	return nil
}

// askRevoke shows what revoking the key will do.
func (p *panel) askRevoke(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.ask(w, r, v, keyPage{}, http.StatusOK)
}

// ask shows the page that asks before it revokes, with what was given already.
func (p *panel) ask(w http.ResponseWriter, r *http.Request, v *visitor, given keyPage, status int) error {
	page, err := p.page(r, v)
	switch {
	case err != nil:
		return err
	case !page.RevokedAt.IsZero():
		http.Redirect(w, r, p.keyPath(v, page.Key), http.StatusSeeOther)
		return nil
	case !page.MayRevoke:
		return keys.ErrForbidden
	}
	page.Reason, page.Other, page.Problem = given.Reason, given.Other, given.Problem
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
// when those that are silent refuse by themselves. Before that it reads the key alone.
func (p *panel) revoke(w http.ResponseWriter, r *http.Request, v *visitor) error {
	k, err := p.key(r, v)
	if err != nil {
		return err
	}
	if err := parseForm(w, r); err != nil {
		return err
	}
	if err := v.by.MayKey("key.revoke", &k); err != nil {
		return err
	}
	given := keyPage{Reason: r.PostForm.Get("reason"), Other: strings.TrimSpace(r.PostForm.Get("other"))}
	if recent(&k, time.Now()) && k.RevokedAt.IsZero() && keys.NameKey(r.PostForm.Get("name")) != keys.NameKey(k.Name) {
		given.Problem = "revoke.differs"
		return p.ask(w, r, v, given, http.StatusUnprocessableEntity)
	}
	revoked, _, err := p.Registry.Revoke(r.Context(), v.by, v.org.ID, k.ID, cmp.Or(given.Other, given.Reason))
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		given.Problem = "revoke.reason_bad"
		return p.ask(w, r, v, given, http.StatusUnprocessableEntity)
	case err != nil && revoked.ID == "":
		return err
	case err != nil: // it is revoked; its page says that nobody knows how far
		p.Logger.Error("revocation not confirmed", "client_id", revoked.ClientID, "request_id", v.by.RequestID, "error", err)
	}
	http.Redirect(w, r, p.keyPath(v, k), http.StatusSeeOther)
	return nil
}

func (p *panel) keyPath(v *visitor, k keys.Key) string {
	return p.base + "/o/" + v.org.ID + "/keys/" + k.ID
}

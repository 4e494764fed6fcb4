package panel

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// revokeForm is what is asked before a key is revoked, and what was given already.
type revokeForm struct {
	Active, Max int  // as they will be
	Recent      bool // it was used within a day: its name must be typed
	Reasons     []reason
	Reason      string // one of these, or empty
	Other       string // in words
	Problem     string // id in the catalogue
}

// A reason to revoke, as the audit log has it, and its id in the catalogue.
type reason struct{ Value, Text string }

const exposed = "may be exposed"

var reasons = []reason{{"no longer used", "revoke.unused"}, {"member left", "revoke.left"}, {exposed, "revoke.exposed"}}

// recent tells whether a key was used within a day.
func recent(k *keys.Key, now time.Time) bool {
	last := k.LastUsedAt()
	return !last.IsZero() && now.Sub(last) < 24*time.Hour
}

// revokeForm says what revoking a key will do.
func (p *panel) revokeForm(ctx context.Context, v *visitor, k *keys.Key) (f revokeForm, err error) {
	now := time.Now()
	f.Reasons, f.Recent = reasons, recent(k, now)
	if f.Active, f.Max, err = p.config.Registry.Limits(ctx, v.org.ID); err != nil {
		return f, err
	}
	if k.Counts(now) {
		f.Active--
	}
	return f, nil
}

// A verifierReach is how far a revocation is at one verifier.
type verifierReach struct {
	Name      string `json:"name"`
	Confirmed bool   `json:"confirmed"`
	Text      string `json:"text"` // in words
	// Waives: its owner lets it accept for so long without contact.
	Waives time.Duration `json:"-"`
}

// reach is how far the revocation of a key is, verifier by verifier; before it is revoked,
// those that must confirm it. Who joined since has it from the beginning. Customers see how
// resource servers are called, and of the servers only that they are.
func (p *panel) reach(ctx context.Context, v *visitor, k *keys.Key) (list []verifierReach, err error) {
	verifiers, err := p.config.Relay.Verifiers(ctx)
	if err != nil {
		return nil, err
	}
	texts := p.catalogue(v)
	for _, verifier := range verifiers {
		row := verifierReach{Name: verifier.Name, Waives: verifier.AcceptStale}
		if verifier.Via == "server" {
			if row.Name, err = texts.text("reach.server"); err != nil {
				return nil, err
			}
		}
		switch {
		case k.RevokedAt.IsZero():
		case verifier.Applied >= k.RevokedPosition:
			row.Confirmed = true
			row.Text, err = texts.text("reach.confirmed")
		case row.Waives > 0:
			row.Text, err = texts.text("reach.waives", "time", clock(verifier.RefusesAfter(k.RevokedAt)))
		default:
			row.Text, err = texts.text("reach.silent", "time", clock(verifier.RefusesAfter(k.RevokedAt)))
		}
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, nil
}

// clock is the time of day, not too early.
func clock(t time.Time) string {
	return t.Add(time.Second - 1).Truncate(time.Second).UTC().Format("15:04:05 UTC")
}

// showReach answers how far the revocation of the key in the path is, for the page that
// waits for it.
func (p *panel) showReach(w http.ResponseWriter, r *http.Request, v *visitor) error {
	k, err := p.key(r, v)
	if err != nil {
		return err
	}
	list := []verifierReach{}
	if !k.RevokedAt.IsZero() {
		if list, err = p.reach(r.Context(), v, &k); err != nil {
			return err
		}
	}
	return writeJSON(w, list)
}

// askRevoke shows what revoking the key will do.
func (p *panel) askRevoke(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.ask(w, r, v, revokeForm{}, http.StatusOK)
}

// ask shows the page that asks before it revokes, with what was given already.
func (p *panel) ask(w http.ResponseWriter, r *http.Request, v *visitor, given revokeForm, status int) error {
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
	if err := v.by.MayKey("key.revoke", &k); err != nil {
		return err
	}
	given := revokeForm{Reason: r.PostForm.Get("reason"), Other: strings.TrimSpace(r.PostForm.Get("other"))}
	if recent(&k, time.Now()) && k.RevokedAt.IsZero() && keys.NameKey(r.PostForm.Get("name")) != keys.NameKey(k.Name) {
		given.Problem = "revoke.differs"
		return p.ask(w, r, v, given, http.StatusUnprocessableEntity)
	}
	revoked, _, err := p.config.Registry.Revoke(r.Context(), v.by, v.org.ID, k.ID, cmp.Or(given.Other, given.Reason))
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		given.Problem = "revoke.reason_bad"
		return p.ask(w, r, v, given, http.StatusUnprocessableEntity)
	case err != nil && revoked.ID == "":
		return err
	case err != nil: // it is revoked; its page says that nobody knows how far
		p.config.Logger.Error("revocation not confirmed", "client_id", revoked.ClientID, "request_id", v.by.RequestID, "error", err)
	}
	http.Redirect(w, r, p.keyPath(v, k), http.StatusSeeOther)
	return nil
}

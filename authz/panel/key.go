package panel

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// keyPage is what the pages of one key show.
type keyPage struct {
	keyRow
	Scopes   []keys.ScopeReport
	Unneeded string // query of the form that takes away the scopes that were not used; empty: none
	Secrets  []secretRow
	New, Old *secretRow // while both work
	Version  string     // of the key, for the forms that change a secret
	Ending   *ending    // for the page that asks before it ends one
	// Activity, of the page of the key alone.
	Chart    chart
	Attempts []attemptRow
	Events   []eventRow
	Starts   []format
	// Receipt, of a revoked key, unless nobody knows yet how far it has reached.
	Receipt   *keys.Receipt
	RevokedBy string
	Exposed   bool // that was the reason
	// Verifiers, verifier by verifier: of a key that may be revoked, those that must
	// confirm it; of one that was a while ago, how far each is.
	Verifiers []verifierReach
	revokeForm
}

// A secretRow is a secret of a key.
type secretRow struct {
	keys.Credential
	State keys.SecretState
}

// An attemptRow is a kind of refused attempts, and how often it happened.
type attemptRow struct {
	keys.AttemptRow
	Times int
	Fix   string // where it is mended, below the key; empty: not there
}

// fixes is where what was refused is mended, below the key.
var fixes = map[keys.Outcome]string{keys.RefusedScope: "/edit#field-scopes", keys.RefusedTarget: "/edit#field-resources", keys.RefusedNetwork: "/edit#field-networks",
	keys.RefusedExpired: "/edit#field-expires_at", keys.RefusedSecret: "/rotate", keys.RefusedEnded: "/rotate"}

// key reads the key in the path.
func (p *panel) key(r *http.Request, v *visitor) (keys.Key, error) {
	if err := v.by.May("key.read"); err != nil {
		return keys.Key{}, err
	}
	return p.config.Registry.Key(r.Context(), v.org.ID, r.PathValue("key"))
}

// page reads what the pages of the key in the path show.
func (p *panel) page(r *http.Request, v *visitor) (keyPage, error) {
	ctx, now := r.Context(), time.Now()
	k, err := p.key(r, v)
	if err != nil {
		return keyPage{}, err
	}
	members, err := p.config.Registry.Members(ctx, v.org.ID)
	if err != nil {
		return keyPage{}, err
	}
	page := keyPage{Version: k.Version(), keyRow: rowOf(k, members, v, now)}
	for _, c := range k.Credentials {
		row := secretRow{c, k.SecretState(c, now)}
		page.Secrets = append(page.Secrets, row)
		if !c.Live(now) || k.Live(now) < 2 {
			continue
		}
		if page.New == nil {
			page.New = &row
		} else {
			page.Old = &row
		}
	}
	if page.Scopes, err = p.config.Registry.ScopesUsed(ctx, v.org.ID, k.ID); err != nil {
		return keyPage{}, err
	}
	var unused []string
	for _, scope := range page.Scopes {
		if scope.LastUsedAt.IsZero() {
			unused = append(unused, scope.Scope)
		}
	}
	if len(unused) > 0 && len(unused) < len(page.Scopes) {
		page.Unneeded = url.Values{"without": unused}.Encode()
	}
	receipt, err := p.config.Registry.RevokedReceipt(ctx, k)
	if err == nil {
		page.Receipt = &receipt
		page.RevokedBy = cmp.Or(named(members, receipt.By).Name, receipt.By)
	} else if !errors.Is(err, keys.ErrNotFound) {
		return keyPage{}, err
	}
	page.Exposed = k.RevokedReason == exposed
	if page.MayRevoke || !k.RevokedAt.IsZero() && now.Sub(k.RevokedAt) < time.Hour {
		if page.Verifiers, err = p.reach(ctx, v, &k); err != nil {
			return keyPage{}, err
		}
	}
	if page.MayRevoke {
		if page.revokeForm, err = p.revokeForm(ctx, v, &k); err != nil {
			return keyPage{}, err
		}
	}
	return page, nil
}

func (p *panel) showKey(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := p.page(r, v)
	if err != nil {
		return err
	}
	ctx := r.Context()
	if v.by.May("usage.read") == nil {
		page.Chart.Window = windowOf(r, month)
		rows, err := p.config.Registry.Usage(ctx, v.org.ID, page.ID, page.Chart.since(time.Now()), page.Chart.unit())
		if err != nil {
			return err
		}
		page.Chart.draw(rows, time.Now())
		attempts, err := p.config.Registry.Attempts(ctx, v.org.ID, page.ID)
		if err != nil {
			return err
		}
		for _, a := range attempts[:min(len(attempts), 10)] {
			row := attemptRow{AttemptRow: a, Times: int(a.Count)}
			if fix := fixes[a.Outcome]; fix == "/rotate" && page.MayRotate && page.Old == nil || fix != "/rotate" && page.MayEdit {
				row.Fix = fix
			}
			page.Attempts = append(page.Attempts, row)
		}
	}
	if v.by.May("audit.read") == nil {
		events, err := p.config.Registry.Events(ctx, v.org.ID, keys.EventPage{Target: page.ID, Newest: true, Limit: 8})
		if err != nil {
			return err
		}
		if page.Events, err = p.eventRows(ctx, v, events); err != nil {
			return err
		}
	}
	page.Starts = quickStarts(page.ClientID, p.config.Issuer+"/oauth2/token")
	p.show(w, v, "key", http.StatusOK, page)
	return nil
}

// askSuspend shows what suspending the key will do.
func (p *panel) askSuspend(w http.ResponseWriter, r *http.Request, v *visitor) error {
	page, err := p.page(r, v)
	switch {
	case err != nil:
		return err
	case !page.MaySuspend:
		return keys.ErrForbidden
	}
	p.show(w, v, "suspend", http.StatusOK, page)
	return nil
}

// suspend stops a key until somebody resumes it.
func (p *panel) suspend(w http.ResponseWriter, r *http.Request, v *visitor) error {
	k, err := p.key(r, v)
	if err != nil {
		return err
	}
	suspended, receipt, err := p.config.Registry.Suspend(r.Context(), v.by, v.org.ID, k.ID, strings.TrimSpace(r.PostForm.Get("reason")))
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		return errForm
	case suspended.ID == "":
		return err
	}
	return p.cutAt(w, r, v, "/o/"+v.org.ID+"/keys/"+k.ID, receipt, err)
}

func (p *panel) resume(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.changeKey(w, r, v, func(k keys.Key) error {
		_, err := p.config.Registry.Resume(r.Context(), v.by, v.org.ID, k.ID)
		return err
	})
}

func (p *panel) approve(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.changeKey(w, r, v, func(k keys.Key) error {
		_, err := p.config.Registry.Approve(r.Context(), v.by, v.org.ID, k.ID)
		return err
	})
}

// changeKey changes the key in the path and shows it.
func (p *panel) changeKey(w http.ResponseWriter, r *http.Request, v *visitor, change func(keys.Key) error) error {
	k, err := p.key(r, v)
	if err != nil {
		return err
	}
	if err := change(k); err != nil {
		return err
	}
	http.Redirect(w, r, p.keyPath(v, k), http.StatusSeeOther)
	return nil
}

func (p *panel) keyPath(v *visitor, k keys.Key) string {
	return p.base + "/o/" + v.org.ID + "/keys/" + k.ID
}

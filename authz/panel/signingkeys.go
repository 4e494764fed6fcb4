package panel

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/signing"
)

// signingPage is what the page of the signing keys shows.
type signingPage struct{ Algorithms []algorithmKeys }

// algorithmKeys are the keys of one algorithm, the newest first.
type algorithmKeys struct {
	Algorithm string
	Keys      []signing.KeyInfo
	MayRotate bool // now: the next one is ready
}

func (p *panel) showSigningKeys(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("signing.read"); err != nil {
		return err
	}
	var page signingPage
	all, may := p.config.Ring.Keys(), v.by.May("signing.rotate") == nil
	for _, algorithm := range tokens.Algorithms() {
		a := algorithmKeys{Algorithm: algorithm}
		for _, k := range all {
			if k.Algorithm == algorithm {
				a.Keys = append(a.Keys, k)
				ready := k.State == signing.Next && !k.ReadyAt.After(time.Now())
				a.MayRotate = a.MayRotate || may && ready
			}
		}
		if len(a.Keys) > 0 { // an API has chosen it
			page.Algorithms = append(page.Algorithms, a)
		}
	}
	p.show(w, v, "signing_keys", http.StatusOK, page)
	return nil
}

// rotateSigningKey lets the next key of an algorithm sign.
func (p *panel) rotateSigningKey(w http.ResponseWriter, r *http.Request, v *visitor) error {
	err := p.config.Registry.RotateSigningKey(r.Context(), v.by, r.PostForm.Get("algorithm"))
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		return errForm
	case err != nil:
		return err
	}
	return p.savedAt(w, r, operatorRoot+"/signing-keys")
}

// signingKeyPage is what the page of one signing key shows.
type signingKeyPage struct {
	signing.KeyInfo
	MayWithdraw bool
	Problem     bool   // the reason cannot be stored
	Reason      string // as it was given
	// Withdrawal is the event of a key that was withdrawn, and Receipt how far it has
	// reached, once that is settled.
	Withdrawal *eventRow
	Receipt    *keys.Receipt
	Activities []activityRow
	All        int // activities that there are
}

// An activityRow is an activity as a page shows it.
type activityRow struct {
	keys.Activity
	Who string
}

func (p *panel) showSigningKey(w http.ResponseWriter, r *http.Request, v *visitor) error {
	return p.signingKey(w, r, v, signingKeyPage{}, http.StatusOK)
}

// signingKey shows the key of the path, with what was given already.
func (p *panel) signingKey(w http.ResponseWriter, r *http.Request, v *visitor,
	page signingKeyPage, status int) error {
	if err := v.by.May("signing.read"); err != nil {
		return err
	}
	all := p.config.Ring.Keys()
	i := slices.IndexFunc(all, func(k signing.KeyInfo) bool { return k.ID == r.PathValue("kid") })
	if i < 0 {
		return keys.ErrNotFound
	}
	page.KeyInfo = all[i]
	page.MayWithdraw = page.Withdrawn == 0 && v.by.May("signing.withdraw") == nil
	if err := p.withdrawal(r.Context(), v, &page); err != nil {
		return err
	}
	activities, n, _, err := p.config.Registry.SigningActivity(r.Context(), page.ID)
	if err != nil {
		return err
	}
	page.All = n
	for _, a := range activities {
		page.Activities = append(page.Activities, activityRow{a, cmp.Or(a.MemberID, a.ClientID)})
	}
	p.show(w, v, "signing_key", status, page)
	return nil
}

// withdrawal adds the event of a key that was withdrawn.
func (p *panel) withdrawal(ctx context.Context, v *visitor, page *signingKeyPage) error {
	if page.Withdrawn == 0 {
		return nil
	}
	at := keys.EventPage{After: page.Withdrawn - 1, Before: page.Withdrawn + 1}
	events, err := p.config.Registry.Events(ctx, "", at)
	if err != nil {
		return err
	}
	rows, err := p.eventRows(ctx, v, events)
	if err != nil || len(rows) == 0 {
		return err
	}
	if page.Withdrawal = &rows[0]; page.Withdrawal.Receipt.Settled() {
		page.Receipt = page.Withdrawal.Receipt
	}
	return nil
}

// withdrawSigningKey answers when no verifier accepts a token of the key any more, or at
// the latest when those that are silent refuse by themselves.
func (p *panel) withdrawSigningKey(w http.ResponseWriter, r *http.Request, v *visitor) error {
	kid, reason := r.PathValue("kid"), strings.TrimSpace(r.PostForm.Get("reason"))
	receipt, err := p.config.Registry.WithdrawSigningKey(r.Context(), v.by, kid, reason)
	var input *keys.InputError
	switch {
	case errors.As(err, &input):
		given := signingKeyPage{Problem: true, Reason: reason}
		return p.signingKey(w, r, v, given, http.StatusUnprocessableEntity)
	case err != nil:
		return err
	}
	return p.cutAt(w, r, v, operatorRoot+"/signing-keys/"+kid, receipt, nil)
}

package panel

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/imara/apikeys/authz/web"
	"github.com/imara/apikeys/keys"
)

// passwordForm is what the pages show that ask for a password.
type passwordForm struct {
	Email     string
	Problem   passwordProblem
	Providers []*provider // with which one can sign in instead
	Next      string      // where it leads
	Form      string      // packed, of one that waits
	Ended     bool        // the session, when a form was sent
	Lost      bool        // that form is too large to be kept
	LostAside bool        // too large to be kept on the way over a provider
}

// A passwordProblem is why a password does not do.
type passwordProblem struct {
	Text string // id in the catalogue; empty: there is none
	Wait int    // seconds until the next try; 0: none
}

// errDiffer: the password was not typed twice.
var errDiffer = errors.New("the two passwords are not the same")

// passwordTrouble is the problem of an error, and the status of the page that shows it; 0
// for an error that is none of a password.
func passwordTrouble(w http.ResponseWriter, err error) (passwordProblem, int) {
	var input *keys.InputError
	var early *keys.WaitError
	switch {
	case errors.As(err, &early):
		seconds := int(early.Wait / time.Second)
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		return passwordProblem{"signin.wait", seconds}, http.StatusTooManyRequests
	case errors.Is(err, keys.ErrCredentials):
		return passwordProblem{Text: "signin.wrong"}, http.StatusUnauthorized
	case errors.Is(err, keys.ErrBusy):
		w.Header().Set("Retry-After", "1")
		return passwordProblem{Text: "signin.busy"}, http.StatusServiceUnavailable
	case errors.Is(err, keys.ErrElsewhere):
		return passwordProblem{Text: "sso.elsewhere"}, http.StatusForbidden
	case errors.Is(err, errDiffer):
		return passwordProblem{Text: "link.differ"}, http.StatusUnprocessableEntity
	case errors.As(err, &input):
		return passwordProblem{Text: "link.password"}, http.StatusUnprocessableEntity
	}
	return passwordProblem{}, 0
}

// refusalPause is before who tries too often, or while too many do, is told so: a program that
// tries again as soon as it is answered would take more of the server than what it asks for.
const refusalPause = time.Second

func pause(ctx context.Context) {
	select {
	case <-time.After(refusalPause):
	case <-ctx.Done():
	}
}

// again shows a form again with what was wrong; other errors it returns.
func (p *panel) again(w http.ResponseWriter, r *http.Request, v *visitor, page string, form passwordForm, err error) error {
	var status int
	form.Problem, status = passwordTrouble(w, err)
	switch {
	case errors.Is(err, keys.ErrNotFound):
		page, status = "link_used", http.StatusNotFound
	case errors.Is(err, keys.ErrAccount):
		page, status = "link_account", http.StatusConflict
	}
	if status == 0 {
		return err
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		pause(r.Context())
	}
	if status == http.StatusNotFound {
		if limit := p.config.Throttle.Failed(web.Address(r), ""); limit != nil {
			return limit
		}
	}
	web.Observe(w, "outcome", cmp.Or(form.Problem.Text, page))
	p.show(w, v, page, status, form)
	return nil
}

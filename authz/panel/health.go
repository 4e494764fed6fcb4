package panel

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/imara/apikeys/authz"
)

// verifiersPage is what the page of the verifiers shows.
type verifiersPage struct {
	Verifiers []authz.Verifier
	MayEnd    bool
}

// Unproved tells whether any broke a rule when it joined, or was not examined.
func (p verifiersPage) Unproved() bool {
	return slices.ContainsFunc(p.Verifiers, func(v authz.Verifier) bool { return v.Unproved != "" })
}

func (p *panel) showVerifiers(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("verifier.read"); err != nil {
		return err
	}
	list, err := p.config.Relay.Verifiers(r.Context())
	if err != nil {
		return err
	}
	p.show(w, v, "verifiers", http.StatusOK, verifiersPage{list, v.by.May("verifier.end") == nil})
	return nil
}

// endVerifier ends a session: it cannot poll again, and revocations wait for its lease at
// most. A verifier that still runs joins again by itself.
func (p *panel) endVerifier(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("verifier.end"); err != nil {
		return err
	}
	if err := p.config.Relay.EndVerifier(r.Context(), v.by, r.PostForm.Get("verifier")); err != nil {
		return err
	}
	return p.savedAt(w, r, operatorRoot+"/verifiers")
}

// healthPage is what the page of the server's health shows.
type healthPage struct {
	Server    string // its name
	Checks    []authz.Check
	Verifiers int
	Behind    int // of these, how many lack entries of the log
	Reports   []report
}

// showHealth shows whether the server has what it needs. It answers when the store does
// not, as far as it can: who is signed in was read before.
func (p *panel) showHealth(w http.ResponseWriter, r *http.Request, v *visitor) error {
	if err := v.by.May("verifier.read"); err != nil {
		return err
	}
	page := healthPage{Server: p.config.Name, Checks: p.config.Health(r.Context()), Reports: p.reports.list()}
	if list, err := p.config.Relay.Verifiers(r.Context()); err == nil {
		page.Verifiers = len(list)
		for _, verifier := range list {
			if verifier.Behind > 0 {
				page.Behind++
			}
		}
	}
	p.show(w, v, "health", http.StatusOK, page)
	return nil
}

// A report is a kind of violation of the pages' policy that browsers told of, and how
// often: there should be none.
type report struct {
	Directive string // that was violated
	Blocked   string // what it kept out: inline, eval, or the origin of an address
	Page      string // route
	Times     int
	Last      time.Time
}

// reports are the newest kinds of them since the server started. Anybody can send any:
// they are few, short, and nothing follows from them.
type reports struct {
	mu   sync.Mutex
	kept []report
}

const (
	maxReports    = 20
	maxReportBody = 8 << 10
	maxReportText = 100
)

// takeReport keeps a report of a browser (CSP Level 3 section 5.3).
func (p *panel) takeReport(w http.ResponseWriter, r *http.Request, _ *visitor) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/csp-report" {
		return errForm
	}
	var body struct {
		Report struct {
			Directive string `json:"effective-directive"`
			Blocked   string `json:"blocked-uri"`
			Page      string `json:"document-uri"`
		} `json:"csp-report"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReportBody)).Decode(&body); err != nil {
		return fmt.Errorf("%w: %w", errForm, err)
	}
	blocked := body.Report.Blocked
	if u, err := url.Parse(blocked); err == nil && u.Host != "" {
		blocked = u.Scheme + "://" + u.Host // the rest may be private
	}
	page := "" // its route: a path can be a link that signs somebody in
	if u, err := url.Parse(body.Report.Page); err == nil {
		page = p.pages.Route(http.MethodGet, u.Path)
	}
	p.reports.add(report{Directive: short(body.Report.Directive), Blocked: short(blocked), Page: short(page), Times: 1, Last: time.Now()})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func short(text string) string {
	if runes := []rune(text); len(runes) > maxReportText {
		return string(runes[:maxReportText])
	}
	return text
}

func (r *reports) add(new report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.kept, func(old report) bool {
		return old.Directive == new.Directive && old.Blocked == new.Blocked && old.Page == new.Page
	})
	if i >= 0 {
		new.Times += r.kept[i].Times
		r.kept = slices.Delete(r.kept, i, i+1)
	}
	r.kept = slices.Insert(r.kept, 0, new)
	r.kept = r.kept[:min(len(r.kept), maxReports)]
}

func (r *reports) list() []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.kept)
}

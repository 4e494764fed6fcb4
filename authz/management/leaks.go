package management

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// ReportLeak is the request to end a secret that was found.
type ReportLeak struct {
	Secret string `json:"secret" doc:"The whole secret, or a text with it: each secret of ours that is found in it is ended. To have it is enough to report it."`
	Where  string `json:"where,omitempty" maxLength:"200" doc:"Where it was found."`
}

// A LeakReport is what became of it.
type LeakReport struct {
	Known bool `json:"known" doc:"Whether a secret of this server was found."`
	Ended bool `json:"ended" doc:"Whether it works no longer, nor any token of its key from before; false when its organisation only wants to be told."`
}

func (s *server) leakRoutes() {
	register(s, route{id: "report-leak", open: true, cuts: true, method: "POST", path: "/leaks", action: "secret.leaked", summary: "Report a leaked secret, which ends it"}, s.reportLeak, nil)
	if s.config.GitHubKeys != "" {
		register(s, route{id: "report-github-leaks", open: true, method: "POST", path: "/leaks/github", action: "secret.leaked", summary: "Report of GitHub's secret scanning"}, s.gitHubLeaks, nil)
	}
}

func (s *server) reportLeak(ctx context.Context, c call, in *struct {
	Body ReportLeak
}) (*answer[LeakReport], error) {
	leave, err := s.config.Throttle.Enter(ctx, c.by.Address)
	if err != nil {
		return nil, err
	}
	defer leave()
	report, waiting, err := s.leaked(ctx, c, in.Body.Secret, in.Body.Where)
	if err != nil {
		return nil, err
	}
	if !report.Known {
		if limit := s.config.Throttle.Failed(c.by.Address, ""); limit != nil {
			return nil, limit
		}
	}
	out := &answer[LeakReport]{Body: report}
	if waiting {
		out.Status = http.StatusAccepted // without its place: whoever asks is a stranger
	}
	return out, nil
}

// maxLeaked secrets of one text are ended; whoever has more of them reports it again.
const maxLeaked = 100

// leaked ends every secret of ours in a text, and tells whether any receipt still waits.
func (s *server) leaked(ctx context.Context, c call, text, where string) (report LeakReport, waiting bool, err error) {
	var found []keys.Secret
	keys.FindSecrets(strings.NewReader(text), func(secret keys.Secret, _ keys.Place) {
		if len(found) < maxLeaked {
			found = append(found, secret)
		}
	})
	// All are cut before any is waited for, and then the caller waits for all together.
	patience := c.by.Wait
	until := time.Now().Add(patience)
	for _, wait := range []bool{false, true} {
		for _, secret := range found {
			c.by.Wait = -1
			if left := time.Until(until); wait && patience > 0 && left > 0 {
				c.by.Wait = left
			}
			leak, err := s.config.Registry.ReportLeak(ctx, c.by, secret, where)
			switch {
			case errors.Is(err, keys.ErrNotFound):
				continue
			case err != nil:
				return LeakReport{}, false, err
			case !wait:
				s.config.Logger.Warn("secret leaked", "org", leak.Key.OrganizationID, "client_id", leak.Key.ClientID,
					"credential_id", secret.CredentialID(), "ended", !leak.Kept)
				report.Ended = report.Ended && !leak.Kept || !report.Known && !leak.Kept
				report.Known = true
			default:
				waiting = waiting || leak.Receipt.State == keys.Waiting
			}
		}
	}
	return report, waiting, nil
}

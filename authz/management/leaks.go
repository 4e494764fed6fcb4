package management

import (
	"context"
	"errors"

	"github.com/imara/apikeys/keys"
)

// ReportLeak is the request to end a secret that was found.
type ReportLeak struct {
	Secret string `json:"secret" doc:"The whole secret. To have it is enough to report it."`
	Where  string `json:"where,omitempty" maxLength:"200" doc:"Where it was found."`
}

// A LeakReport is what became of it.
type LeakReport struct {
	Known bool `json:"known" doc:"Whether it is a secret of this server."`
	Ended bool `json:"ended" doc:"Whether it works no longer, nor any token of its key from before; false when its organisation only wants to be told."`
}

func (s *server) leakRoutes() {
	register(s, route{id: "report-leak", method: "POST", path: "/leaks", action: "secret.leaked", summary: "Report a leaked secret, which ends it"}, s.reportLeak, nil)
	if s.GitHubKeys != "" {
		register(s, route{id: "report-github-leaks", method: "POST", path: "/leaks/github", action: "secret.leaked", summary: "Report of GitHub's secret scanning"}, s.gitHubLeaks, nil)
	}
}

func (s *server) reportLeak(ctx context.Context, c call, in *struct {
	Body ReportLeak
}) (*answer[LeakReport], error) {
	report, err := s.leaked(ctx, c, in.Body.Secret, in.Body.Where)
	if err != nil {
		return nil, err
	}
	return &answer[LeakReport]{Body: report}, nil
}

func (s *server) leaked(ctx context.Context, c call, text, where string) (LeakReport, error) {
	secret, err := keys.ParseSecret(text)
	if err != nil {
		return LeakReport{}, nil
	}
	leak, err := s.Registry.ReportLeak(ctx, c.by, secret, where)
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return LeakReport{}, nil
	case err != nil:
		return LeakReport{}, err
	}
	s.Logger.Warn("secret leaked", "org", leak.Key.OrganizationID, "client_id", leak.Key.ClientID, "credential_id", secret.CredentialID(), "ended", !leak.Kept)
	return LeakReport{Known: true, Ended: !leak.Kept}, nil
}

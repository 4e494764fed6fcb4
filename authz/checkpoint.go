package authz

import (
	"context"
	"time"
)

// checkpointInterval is how old an event may become before it is in a signed
// checkpoint.
const checkpointInterval = 10 * time.Minute

// checkpoint signs the heads of the audit log until ctx ends, and says each in the
// server's log: a copy outside of the database is what makes it worth something.
// What happens to keys by itself is told first.
func (s *Server) checkpoint(ctx context.Context) {
	for {
		select {
		case <-time.After(checkpointInterval):
		case <-ctx.Done():
			return
		}
		if err := s.config.Registry.Tell(ctx); err != nil && ctx.Err() == nil {
			s.config.Logger.Error("ending keys not told", "error", err)
		}
		made, err := s.config.Registry.Checkpoint(ctx)
		for _, c := range made {
			s.config.Logger.Info("checkpoint", "org", c.OrganizationID, "position", c.Position, "signed", c.Signed)
		}
		if err != nil && ctx.Err() == nil {
			s.config.Logger.Error("checkpoint failed", "error", err)
		}
	}
}

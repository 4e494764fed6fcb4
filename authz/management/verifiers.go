package management

import (
	"net/http"
	"time"
)

// A Verifier is one that must confirm every revocation.
type Verifier struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	ClientID string `json:"client_id,omitempty"`
	Via      string `json:"via"` // redis, http, or server for a server's own
	LeaseMS  int64  `json:"lease_ms"`
	// AcceptStaleMS is how old a view it may use past its lease, 0 when it refuses.
	AcceptStaleMS int64     `json:"accept_stale_ms"`
	JoinedAt      time.Time `json:"joined_at"`
	Applied       uint64    `json:"applied"` // position in the revocation log
	Behind        uint64    `json:"behind"`  // entries that it lacks
}

// VerifierList is all of them; there are no pages.
type VerifierList struct {
	Data []Verifier `json:"data"`
}

func (s *server) listVerifiers(w http.ResponseWriter, r *http.Request, _ call) error {
	verifiers, err := s.Relay.Verifiers(r.Context())
	if err != nil {
		return err
	}
	list := VerifierList{Data: []Verifier{}}
	for _, v := range verifiers {
		list.Data = append(list.Data, Verifier{ID: v.ID, Name: v.Name, ClientID: v.ClientID, Via: v.Via,
			LeaseMS: v.Lease.Milliseconds(), AcceptStaleMS: v.AcceptStale.Milliseconds(),
			JoinedAt: v.JoinedAt.UTC(), Applied: v.Applied, Behind: v.Behind})
	}
	return writeJSON(w, http.StatusOK, list)
}

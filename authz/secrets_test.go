package authz

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// TestSecretTakesItsTokensAlong: each way in which a secret ends before the tokens that it
// bought have ended cuts these before it returns, leaves those of the key's other secret,
// and no server goes on minting with it.
func TestSecretTakesItsTokensAlong(t *testing.T) {
	h := newHouse(t)
	h.url = "shared by two servers"
	s, other := h.start(0), h.start(0)
	api := s.follow("api", 0)
	ctx, by := context.Background(), keys.Program("test")
	for name, end := range map[string]func(c, second keys.Created) (keys.Receipt, error){
		"ended": func(c, _ keys.Created) (keys.Receipt, error) {
			_, r, err := s.registry.EndSecret(ctx, by, "org", c.Key.ID, c.Secret.CredentialID(), false)
			return r, err
		},
		"reported": func(c, _ keys.Created) (keys.Receipt, error) {
			leak, err := s.registry.ReportLeak(ctx, by, c.Secret, "")
			return leak.Receipt, err
		},
		"moved to an earlier end": func(c, _ keys.Created) (keys.Receipt, error) {
			_, r, err := s.registry.KeepSecret(ctx, by, "org", c.Key.ID, c.Secret.CredentialID(), time.Now().Add(time.Minute))
			return r, err
		},
		"the other of a rotation that is cancelled": func(c, second keys.Created) (keys.Receipt, error) {
			_, r, err := s.registry.CancelRotation(ctx, by, "org", c.Key.ID, second.Secret.CredentialID())
			return r, err
		},
	} {
		c := s.demoKey()
		second, err := s.registry.Rotate(ctx, by, "org", c.Key.ID, keys.Overlap{Max: 2 * time.Hour})
		if err != nil || second.Receipt.Position != 0 {
			t.Fatalf("%s: %+v, %v", name, second.Receipt, err)
		}
		second.Key.ClientID = c.Key.ClientID
		dies, lives := s.token(c), s.token(second)
		other.token(c) // from now on it has the key in memory
		if name == "the other of a rotation that is cancelled" {
			dies, lives = lives, dies
		}
		r, err := end(c, second)
		if err != nil || r.State != keys.Confirmed || r.Total != 3 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if _, err := api.Verify(dies); !errors.Is(err, tokens.ErrRevoked) {
			t.Errorf("%s: its token: %v", name, err)
		}
		if _, err := api.Verify(lives); err != nil {
			t.Errorf("%s: the other secret's token: %v", name, err)
		}
		if name == "ended" || name == "reported" {
			for _, at := range []*running{s, other} {
				if a := at.post("/oauth2/token", c.Key.ClientID, c.Secret.Reveal(), "grant_type", "client_credentials"); a.status != 401 {
					t.Errorf("%s: a server mints with it: %d %s", name, a.status, a.body)
				}
			}
		}
	}
}

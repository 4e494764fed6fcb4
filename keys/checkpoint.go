package keys

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Checkpoint says that the newest event of an organisation had this position and
// hash at a moment. It is signed with a key that is not in the database, and is
// worth as much as the place outside of it where copies are kept.
type Checkpoint struct {
	OrganizationID string
	Position       uint64
	Hash           []byte
	At             time.Time
	// Signed is the checkpoint as a JWS (RFC 7515), EdDSA.
	Signed string
}

// checkpointType keeps a checkpoint from being taken for a token, or the other way round.
const checkpointType = "imara-checkpoint+jwt"

type checkpointClaims struct {
	jwt.RegisteredClaims
	Organization string `json:"org"`
	Position     uint64 `json:"position"`
	Hash         string `json:"hash"`
}

func signCheckpoint(key ed25519.PrivateKey, e Event) (Checkpoint, error) {
	c := Checkpoint{OrganizationID: e.OrganizationID, Position: e.Position, Hash: e.Hash, At: time.Now().UTC().Truncate(time.Second)}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, checkpointClaims{
		RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(c.At)},
		Organization:     c.OrganizationID, Position: c.Position, Hash: base64.RawURLEncoding.EncodeToString(c.Hash)})
	token.Header["typ"] = checkpointType
	signed, err := token.SignedString(key)
	c.Signed = signed
	return c, err
}

// ParseCheckpoint checks the signature of a checkpoint.
func ParseCheckpoint(signed string, key ed25519.PublicKey) (Checkpoint, error) {
	var claims checkpointClaims
	token, err := jwt.ParseWithClaims(signed, &claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithStrictDecoding())
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	hash, err := base64.RawURLEncoding.Strict().DecodeString(claims.Hash)
	if err != nil || token.Header["typ"] != checkpointType || claims.IssuedAt == nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: it is a JWS of another kind")
	}
	return Checkpoint{OrganizationID: claims.Organization, Position: claims.Position, Hash: hash,
		At: claims.IssuedAt.UTC(), Signed: signed}, nil
}

// CheckpointKey is the public half of the key that signs checkpoints.
func (r *Registry) CheckpointKey() ed25519.PublicKey {
	return r.config.CheckpointKey.Public().(ed25519.PublicKey)
}

// Checkpoint signs and stores one for every organisation with events since its
// last, and returns them. Several servers may do so at once.
func (r *Registry) Checkpoint(ctx context.Context) ([]Checkpoint, error) {
	heads, err := r.config.Store.Heads(ctx)
	if err != nil {
		return nil, err
	}
	var made []Checkpoint
	for _, e := range heads {
		c, err := r.CheckpointOf(e)
		if err == nil {
			err = r.config.Store.AddCheckpoint(ctx, c)
		}
		if err != nil {
			return made, err
		}
		made = append(made, c)
	}
	return made, nil
}

// CheckpointOf signs one for an event, which the caller has from the store.
func (r *Registry) CheckpointOf(e Event) (Checkpoint, error) {
	return signCheckpoint(r.config.CheckpointKey, e)
}

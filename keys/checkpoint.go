package keys

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/imara/apikeys/tokens"
)

// A Checkpoint says that the newest event of an organisation had this position and
// hash at a moment, and what the receipts of its cuts were. It is signed with a key that is
// not in the database, and is worth as much as the place outside of it where copies are
// kept.
type Checkpoint struct {
	OrganizationID string
	Position       uint64
	Hash           []byte
	At             time.Time
	// ReceiptsHash is [Receipt.Link] over the receipts of all cuts up to the position
	// ReceiptsThrough, which were settled; nothing, at 0, when none was.
	ReceiptsThrough uint64
	ReceiptsHash    []byte
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
	// Through and Receipts are of checkpoints that cover receipts.
	Through  uint64 `json:"receipts_through,omitempty"`
	Receipts string `json:"receipts_hash,omitempty"`
}

func signCheckpoint(key ed25519.PrivateKey, e Event, receipts receiptChain) (Checkpoint, error) {
	c := Checkpoint{OrganizationID: e.OrganizationID, Position: e.Position, Hash: e.Hash, At: time.Now().UTC().Truncate(time.Second),
		ReceiptsThrough: receipts.through, ReceiptsHash: receipts.hash}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, checkpointClaims{
		RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(c.At)},
		Organization:     c.OrganizationID, Position: c.Position, Hash: base64.RawURLEncoding.EncodeToString(c.Hash),
		Through: c.ReceiptsThrough, Receipts: base64.RawURLEncoding.EncodeToString(c.ReceiptsHash)})
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
	receipts, errReceipts := base64.RawURLEncoding.Strict().DecodeString(claims.Receipts)
	if err != nil || errReceipts != nil || token.Header["typ"] != checkpointType || claims.IssuedAt == nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: it is a JWS of another kind")
	}
	return Checkpoint{OrganizationID: claims.Organization, Position: claims.Position, Hash: hash,
		At: claims.IssuedAt.UTC(), ReceiptsThrough: claims.Through, ReceiptsHash: receipts, Signed: signed}, nil
}

// CheckpointKey is the public half of the key that signs checkpoints.
func (r *Registry) CheckpointKey() ed25519.PublicKey {
	return r.checkpointKey.Public().(ed25519.PublicKey)
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
		receipts, err := r.receiptsUpTo(ctx, e)
		if err != nil {
			return made, err
		}
		c, err := signCheckpoint(r.checkpointKey, e, receipts)
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

// CheckpointOf signs one for an event, which the caller has from the store. It says nothing
// of receipts.
func (r *Registry) CheckpointOf(e Event) (Checkpoint, error) {
	return signCheckpoint(r.checkpointKey, e, receiptChain{})
}

// receiptsUpTo goes on from the organisation's last checkpoint with the receipts of its cuts
// up to an event.
func (r *Registry) receiptsUpTo(ctx context.Context, e Event) (chain receiptChain, err error) {
	last, err := r.config.Store.LastCheckpoint(ctx, e.OrganizationID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return receiptChain{}, err
	}
	if c, err := ParseCheckpoint(last.Signed, r.CheckpointKey()); err == nil {
		chain = receiptChain{hash: c.ReceiptsHash, through: c.ReceiptsThrough}
	}
	page := EventPage{After: chain.through, Before: e.Position + 1, Kind: tokens.Cut}
	err = r.EachEvent(ctx, e.OrganizationID, page, func(e Event) error { chain.add(e); return nil })
	return chain, err
}

// A receiptChain is the hash over the receipts of an organisation's cuts in the order of
// their positions, up to the first that waits.
type receiptChain struct {
	hash    []byte
	through uint64
	waits   bool
}

func (c *receiptChain) add(e Event) {
	switch {
	case e.Receipt == nil || c.waits:
	case !e.Receipt.Settled():
		c.waits = true
	default:
		c.hash, c.through = e.Receipt.Link(c.hash), e.Position
	}
}

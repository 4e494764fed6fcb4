package keys

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/imara/apikeys/tokens"
)

// receiptType keeps a receipt from being taken for a token or a checkpoint.
const receiptType = "revocation-receipt+jwt"

// ErrWaiting: a receipt that is not settled is not signed.
var ErrWaiting = errors.New("the receipt is not settled yet")

// ErrReceipt: it is not a receipt that one of the keys signed.
var ErrReceipt = errors.New("not a signed receipt of this server")

// A SignedReceipt is what a signed receipt says: a JWS (RFC 7515) of type
// revocation-receipt+jwt, EdDSA, whose kid is the JWK thumbprint (RFC 7638) of the key
// that signs checkpoints.
type SignedReceipt struct {
	Issuer       string         `json:"iss"`
	Subject      tokens.Subject `json:"sub"` // of the cut
	IssuedAt     int64          `json:"iat"`
	Organization string         `json:"org,omitempty"`
	Position     uint64         `json:"position"`
	Head         uint64         `json:"head"`
	Action       Action         `json:"action"`
	By           string         `json:"by,omitempty"`
	Reason       string         `json:"reason,omitempty"`
	RevokedAt    time.Time      `json:"revoked_at"`
	State        ReceiptState   `json:"state"`
	// Counts are not there when the receipt was recovered, members only for operators.
	Confirmed *int           `json:"confirmed,omitempty"`
	Total     *int           `json:"total,omitempty"`
	Members   []SignedMember `json:"members,omitempty"`
	SettledAt time.Time      `json:"settled_at"`
}

// A SignedMember is a verifier in a signed receipt.
type SignedMember struct {
	ID       string       `json:"id"`
	Name     string       `json:"name"`
	State    ReceiptState `json:"state"`
	At       time.Time    `json:"at"`
	Unproved bool         `json:"unproved,omitempty"` // it has not passed its examination
}

// A receipt has no end; the next are what the JWT library asks of claims.
func (s SignedReceipt) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (s SignedReceipt) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (s SignedReceipt) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (s SignedReceipt) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }
func (s SignedReceipt) GetIssuer() (string, error)                   { return s.Issuer, nil }
func (s SignedReceipt) GetSubject() (string, error)                  { return string(s.Subject), nil }

// SignReceipt signs a settled receipt as the issuer; [ErrWaiting] for another. Members
// are named for those who may see them.
func (r *Registry) SignReceipt(receipt Receipt, issuer string, members bool) (string, error) {
	if !receipt.Settled() {
		return "", ErrWaiting
	}
	s := SignedReceipt{Issuer: issuer, Subject: receipt.Subject, IssuedAt: time.Now().Unix(), Organization: receipt.OrganizationID,
		Position: receipt.Position, Head: receipt.Head, Action: receipt.Action, By: receipt.By, Reason: receipt.Reason,
		RevokedAt: receipt.RevokedAt, State: receipt.State, SettledAt: receipt.SettledAt}
	if !receipt.Recovered {
		s.Confirmed, s.Total = &receipt.Confirmed, &receipt.Total
	}
	for _, m := range receipt.Members {
		if members {
			s.Members = append(s.Members, SignedMember{m.ID, m.Name, m.State, m.At, m.Session.Unproved != ""})
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, s)
	token.Header["typ"], token.Header["kid"] = receiptType, thumbprint(r.CheckpointKey())
	return token.SignedString(r.checkpointKey)
}

// ParseReceipt checks a signed receipt against the keys that an issuer's server has
// published, the one that it signs with now and former ones. [ErrReceipt] for what none
// of them signed.
func ParseReceipt(signed string, keys ...ed25519.PublicKey) (SignedReceipt, error) {
	var s SignedReceipt
	token, err := jwt.ParseWithClaims(signed, &s, func(t *jwt.Token) (any, error) {
		for _, key := range keys {
			if t.Header["kid"] == thumbprint(key) {
				return key, nil
			}
		}
		return nil, errors.New("an unknown key signed it")
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithStrictDecoding())
	if err != nil {
		return SignedReceipt{}, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	if token.Header["typ"] != receiptType {
		return SignedReceipt{}, fmt.Errorf("%w: it is a JWS of another kind", ErrReceipt)
	}
	return s, nil
}

// thumbprint of an Ed25519 key (RFC 7638, RFC 8037).
func thumbprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

package management

import (
	"context"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// RotateKey is the request for a new secret.
type RotateKey struct {
	OldEnds string `json:"old_ends,omitempty" example:"after_first_use+24h" doc:"When the secrets that the key has end: now, an RFC 3339 time, or after_first_use+SPAN, counted from the first use of the new one. Without it: after_first_use+24h."`
	Max     string `json:"max,omitempty" example:"7d" doc:"With after_first_use, how long they work at most; 7d without it."`
}

// EditSecret is the request to move the end of a secret.
type EditSecret struct {
	EndsAt time.Time `json:"ends_at"`
}

type SecretPath struct {
	KeyPath
	Secret string `path:"secret"`
}

func (s *server) secretRoutes() {
	register(s, route{id: "list-secrets", method: "GET", path: "/orgs/{org}/keys/{key}/secrets", scope: "keys:read", action: "key.read", summary: "List the secrets of a key"}, s.listSecrets, nil)
	register(s, route{id: "rotate-key", cuts: true, method: "POST", path: "/orgs/{org}/keys/{key}/secrets", scope: "keys:write", action: "key.rotate", summary: "Rotate: make a new secret", status: 201}, s.rotateKey, s.secretShown)
	register(s, route{id: "edit-secret", cuts: true, method: "PATCH", path: "/orgs/{org}/keys/{key}/secrets/{secret}", scope: "keys:write", action: "secret.extend", summary: "Move the end of a secret"}, s.editSecret, nil)
	register(s, route{id: "end-secret", cuts: true, method: "DELETE", path: "/orgs/{org}/keys/{key}/secrets/{secret}", scope: "keys:write", action: "secret.end", summary: "End a secret now, and every token that was bought with it"}, s.endSecret, nil)
	register(s, route{id: "cancel-rotation", cuts: true, method: "POST", path: "/orgs/{org}/keys/{key}/secrets/{secret}/cancel", scope: "keys:write", action: "key.cancel_rotation", summary: "Cancel a rotation: end its new secret, and let the old one go on"}, s.cancelRotation, nil)
}

func (s *server) listSecrets(ctx context.Context, c call, in *struct {
	KeyPath
	Caller
}) (*answer[List[Secret]], error) {
	key, err := s.config.Registry.Key(ctx, c.organization, in.Key)
	if err != nil {
		return nil, err
	}
	return &answer[List[Secret]]{Body: List[Secret]{Data: show(key).Secrets}}, nil
}

func (s *server) rotateKey(ctx context.Context, c call, in *struct {
	KeyPath
	Terms
	Body *RotateKey
}) (*answer[KeyWithSecret], error) {
	overlap, err := parseOverlap(given(in.Body))
	if err != nil {
		return nil, err
	}
	created, err := s.config.Registry.Rotate(ctx, c.by, c.organization, in.Key, overlap)
	if err != nil {
		return nil, err
	}
	return s.withSecret(created), nil
}

func parseOverlap(r RotateKey) (keys.Overlap, error) {
	overlap := keys.DefaultOverlap
	span, afterUse := strings.CutPrefix(r.OldEnds, "after_first_use+")
	var err error
	switch {
	case r.OldEnds == "":
	case r.OldEnds == "now":
		overlap = keys.Overlap{}
	case afterUse:
		if overlap.AfterUse, err = keys.ParseSpan(span); overlap.AfterUse == 0 && err == nil {
			err = keys.ErrSpan
		}
	default:
		var at time.Time
		if at, err = time.Parse(time.RFC3339, r.OldEnds); err == nil {
			overlap = keys.Overlap{Max: time.Until(at)}
		}
	}
	if err != nil {
		return overlap, &keys.InputError{Field: "old_ends", Reason: "it must be now, an RFC 3339 time, or after_first_use+24h"}
	}
	if r.Max == "" {
		return overlap, nil
	}
	if overlap.AfterUse == 0 {
		return overlap, &keys.InputError{Field: "max", Reason: "it goes with after_first_use only"}
	}
	if overlap.Max, err = keys.ParseSpan(r.Max); err != nil {
		return overlap, &keys.InputError{Field: "max", Reason: err.Error()}
	}
	return overlap, nil
}

func (s *server) editSecret(ctx context.Context, c call, in *struct {
	SecretPath
	Change
	Body EditSecret
}) (*answer[ChangedKey], error) {
	key, receipt, err := s.config.Registry.KeepSecret(ctx, c.by, c.organization, in.Key, strings.TrimPrefix(in.Secret, "sec_"), in.Body.EndsAt)
	return s.changed(ctx, c, key, receipt, err)
}

func (s *server) endSecret(ctx context.Context, c call, in *struct {
	SecretPath
	Change
	Leaked bool `query:"leaked" doc:"It was found where it does not belong; for the record."`
}) (*answer[ChangedKey], error) {
	key, receipt, err := s.config.Registry.EndSecret(ctx, c.by, c.organization, in.Key, strings.TrimPrefix(in.Secret, "sec_"), in.Leaked)
	return s.changed(ctx, c, key, receipt, err)
}

func (s *server) cancelRotation(ctx context.Context, c call, in *struct {
	SecretPath
	Change
}) (*answer[ChangedKey], error) {
	key, receipt, err := s.config.Registry.CancelRotation(ctx, c.by, c.organization, in.Key, strings.TrimPrefix(in.Secret, "sec_"))
	return s.changed(ctx, c, key, receipt, err)
}

func showSecret(k *keys.Key, c keys.Credential, now time.Time) Secret {
	state := string(k.SecretState(c, now))
	if over := k.Ended(); !k.Counts(now) && (c.EndsAt.IsZero() || over.Before(c.EndsAt)) {
		c.EndsAt = over // with its key
	}
	return Secret{ID: "sec_" + c.ID, Hint: c.Hint, State: state, CreatedAt: optional(c.CreatedAt), EndsAt: optional(c.EndsAt),
		EndsAfterUse: int(c.EndsAfterUse / time.Second), LastUsedAt: optional(c.LastUsedAt), LastUsedFrom: c.LastUsedFrom}
}

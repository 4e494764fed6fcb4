package management

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/imara/apikeys/keys"
)

// errCursor: the cursor was not made by this list of this organisation.
var errCursor = errors.New("invalid cursor")

// cursor says where a page of keys ended. It is authenticated and bound to its
// list, so that it is never more than a bookmark.
func (s *server) cursor(organization string, last keys.Key) string {
	text := fmt.Sprintf("%d %s", last.CreatedAt.UnixMicro(), last.ID)
	return base64.RawURLEncoding.EncodeToString(append(s.sealCursor(organization, text), text...))
}

func (s *server) readCursor(organization, cursor string, page *keys.Page) error {
	if cursor == "" {
		return nil
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(data) < sha256.Size {
		return errCursor
	}
	text := string(data[sha256.Size:])
	if !hmac.Equal(data[:sha256.Size], s.sealCursor(organization, text)) {
		return errCursor
	}
	var micros int64
	if _, err := fmt.Sscan(text, &micros, &page.BeforeID); err != nil {
		return errCursor
	}
	page.BeforeTime = time.UnixMicro(micros).UTC()
	return nil
}

func (s *server) sealCursor(organization, text string) []byte {
	m := hmac.New(sha256.New, s.CursorKey)
	m.Write([]byte(strings.Join([]string{"keys", organization, text}, "\x00")))
	return m.Sum(nil)
}

package management

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// errCursor: the cursor was not made by this list of this organisation.
var errCursor = errors.New("invalid cursor")

// List is a page of anything.
type List[T any] struct {
	Data       []T    `json:"data"`
	NextCursor string `json:"next_cursor,omitempty"`
	HasMore    bool   `json:"has_more"`
}

// Paging are the parameters of a list.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" doc:"The next_cursor of the page before. Everything else must be as it was there."`
}

// listed is a page of found, which has one more when there are more. Place is what
// a cursor remembers of the last one; in is the list with its filters.
func listed[T, U any](s *server, c call, found []T, limit int, in []string, show func(T) U, place func(T) any) *answer[List[U]] {
	list := &answer[List[U]]{Body: List[U]{Data: []U{}}}
	if len(found) > limit {
		found = found[:limit]
		list.Body.HasMore, list.Body.NextCursor = true, s.cursor(in, place(found[limit-1]))
		next := *c.url
		query := next.Query()
		query.Set("cursor", list.Body.NextCursor)
		next.RawQuery = query.Encode()
		list.Link = "<" + strings.TrimSuffix(s.config.Issuer, s.base) + next.RequestURI() + `>; rel="next"`
	}
	for _, item := range found {
		list.Body.Data = append(list.Body.Data, show(item))
	}
	return list
}

// cursor says where a page ended. It is authenticated and bound to its list, so
// that it is never more than a bookmark.
func (s *server) cursor(in []string, place any) string {
	text, _ := json.Marshal(place)
	return base64.RawURLEncoding.EncodeToString(append(s.sealCursor(in, text), text...))
}

// readCursor fills in place, and leaves it alone when there is no cursor.
func (s *server) readCursor(in []string, cursor string, place any) error {
	if cursor == "" {
		return nil
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(data) < sha256.Size || strings.ContainsAny(cursor, "\r\n") { // which decoding skips
		return errCursor
	}
	text := data[sha256.Size:]
	if !hmac.Equal(data[:sha256.Size], s.sealCursor(in, text)) || json.Unmarshal(text, place) != nil {
		return errCursor
	}
	return nil
}

func (s *server) sealCursor(in []string, text []byte) []byte {
	m := hmac.New(sha256.New, []byte(s.config.CursorKey))
	m.Write([]byte(strings.Join(in, "\x00") + "\x00\x00"))
	m.Write(text)
	return m.Sum(nil)
}

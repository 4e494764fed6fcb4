package tokens

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// maxFormPeek is how much of a form is looked at for a token, in bytes.
const maxFormPeek = 64 << 10

// tokenInForm tells whether the form in the body of a request carries an access_token too
// (RFC 6750 §2: one method for each request). The body can be read again as it came; of a
// form longer than 64 KiB only its beginning is looked at.
func tokenInForm(r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return false
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return false
	}
	if r.PostForm != nil { // somebody read it
		return r.PostForm.Has("access_token")
	}
	begin, err := io.ReadAll(io.LimitReader(r.Body, maxFormPeek))
	rest := io.Reader(r.Body)
	if err != nil {
		rest = broken{err}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), rest), r.Body}
	form, _ := url.ParseQuery(string(begin)) // what can be read of it
	return form.Has("access_token")
}

// broken repeats the error that a body ended with.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

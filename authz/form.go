package authz

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/imara/apikeys/tokens"
)

// The bounds of a request to an OAuth endpoint: its body, in bytes, without a token and with
// one, and how many parameters.
const (
	maxBody       = 8 << 10
	maxTokenBody  = 16 << 10
	maxParameters = 100
)

// form is the parsed and checked body of an OAuth request: every parameter has
// a value, and only resource may have several.
type form url.Values

func (f form) get(name string) string {
	if v := f[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// errSlowBody: the body did not come within the time that a request has for it.
var errSlowBody = &oauthError{http.StatusRequestTimeout, "invalid_request",
	"The body did not arrive in time."}

// readForm is the strict front of every OAuth endpoint (RFC 6749 §3.2): POST
// with a form in the body and nothing in the URL, no parameter twice. Empty
// parameters are as if they were not there, unknown ones are ignored. limit is that of the
// body.
func readForm(w http.ResponseWriter, r *http.Request, limit int64) (form, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &oauthError{http.StatusMethodNotAllowed, "invalid_request", "Use POST."}
	}
	if r.URL.RawQuery != "" {
		return nil, invalidRequest("Parameters must be in the body, not in the URL.")
	}
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, invalidRequest("Use application/x-www-form-urlencoded." + sent(media))
	}
	if charset := parameters["charset"]; !isUTF8(charset) {
		reason := "Leave the charset out of the Content-Type, or make it UTF-8."
		if printable(charset) == charset {
			reason += " You sent " + charset + "."
		}
		return nil, invalidRequest(reason)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, invalidRequest(fmt.Sprintf("The body is larger than %d bytes.", limit))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errSlowBody
	case err != nil:
		return nil, invalidRequest("The body could not be read.")
	}
	return parseForm(strings.TrimRight(string(body), "\r\n")) // a form has neither; files end so
}

func parseForm(body string) (form, error) {
	if strings.Count(body, "&") >= maxParameters {
		return nil, invalidRequest(fmt.Sprintf("More than %d parameters.", maxParameters))
	}
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, invalidRequest("The body is not a well-formed form.")
	}
	f := make(form, len(values))
	for name, all := range values {
		var given []string
		for _, v := range all {
			if !utf8.ValidString(v) {
				return nil, invalidRequest("The body is not UTF-8.")
			}
			if v != "" {
				given = append(given, v)
			}
		}
		if len(all) > 1 && name != "resource" {
			return nil, invalidRequest(printable(name) + " was sent twice.")
		}
		if len(given) > 0 {
			f[name] = given
		}
	}
	return f, nil
}

func isUTF8(charset string) bool { return charset == "" || strings.EqualFold(charset, "utf-8") }

// sent names a wrong media type, if it is one that people do send.
func sent(media string) string {
	switch media {
	case "application/json", "multipart/form-data", "text/plain":
		return " You sent " + media + "."
	}
	return ""
}

// printable keeps of a parameter's name what an error_description may hold.
func printable(name string) string {
	if len(name) > 40 || strings.ContainsFunc(name, func(c rune) bool { return c < '!' || c > '~' || c == '"' || c == '\\' }) {
		return "A parameter"
	}
	return name
}

// credentials are what the request says who the client is.
type credentials struct {
	id       string
	secret   tokens.Secret
	inHeader bool
}

// readCredentials accepts exactly one of client_secret_basic and
// client_secret_post (RFC 6749 §2.3.1).
func readCredentials(r *http.Request, f form) (credentials, error) {
	headers := r.Header.Values("Authorization")
	inBody := f["client_secret"] != nil
	switch {
	case f["client_assertion"] != nil || f["client_assertion_type"] != nil:
		return credentials{}, failedClient(len(headers) > 0, "invalid_client", "Client assertions are not supported. Use HTTP Basic.")
	case len(headers) > 1 || len(headers) == 1 && inBody:
		return credentials{}, invalidRequest("Credentials came twice. Use the header or the body.")
	case len(headers) == 1:
		c, err := basic(headers[0])
		if err == nil && f["client_id"] != nil && f.get("client_id") != c.id {
			err = invalidRequest("client_id is not the one of the Authorization header.")
		}
		return c, err
	case inBody && f["client_id"] != nil:
		return credentials{id: f.get("client_id"), secret: tokens.Secret(f.get("client_secret"))}, nil
	}
	return credentials{}, failedClient(true, "invalid_client",
		"Send the client ID and secret with HTTP Basic, or in the body, not both.")
}

// basic parses an Authorization header. Both halves are form-encoded by some
// clients and raw in others; our alphabet is the same either way.
func basic(header string) (credentials, error) {
	malformed := failedClient(true, "invalid_client", "Malformed Basic credentials.")
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return credentials{}, failedClient(true, "invalid_client", "Use HTTP Basic.")
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimLeft(encoded, " "))
	if err != nil {
		return credentials{}, malformed
	}
	id, secret, ok := strings.Cut(string(decoded), ":")
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	if !ok || errID != nil || errSecret != nil || !utf8.ValidString(id) || !utf8.ValidString(secret) {
		return credentials{}, malformed
	}
	return credentials{id, tokens.Secret(secret), true}, nil
}

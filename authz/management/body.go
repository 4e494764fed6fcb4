package management

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/imara/apikeys/keys"
)

const (
	maxBody  = 1 << 20
	maxDepth = 10
	// maxItems is how many one list or object may hold, whatever it is for.
	maxItems = 1000
)

// A bodyError says why the body is not the JSON object that the route takes.
type bodyError struct {
	status int
	reason string
	// pointer to the member that it is about, and what to do; may be empty.
	pointer, fix string
}

func (e *bodyError) Error() string { return e.reason }

func badBody(reason string) error {
	return &bodyError{status: http.StatusBadRequest, reason: reason}
}

// checkBody reads the body and puts it back. It must be one JSON object with the
// members of t, each once and in its own case; for a request without a body it is empty, or
// {}. The hash is of the whole request.
func checkBody(w http.ResponseWriter, r *http.Request, t reflect.Type) (hash string, err error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return "", err
	}
	if t == nil && string(bytes.TrimSpace(data)) == "{}" {
		data = nil // many clients send it for nothing
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	sum := sha256.Sum256([]byte(r.Method + "\n" + r.URL.RequestURI() + "\n" + r.Header.Get("Imara-Actor") + "\n" + string(data)))
	hash = hex.EncodeToString(sum[:])
	if len(data) == 0 {
		return hash, nil
	}
	if t == nil {
		return "", badBody("This request takes no body.")
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		return "", &bodyError{status: http.StatusUnsupportedMediaType, reason: "Use application/json."}
	}
	if t.Kind() == reflect.Slice {
		return hash, nil // raw: the handler reads it
	}
	odd, err := checkMembers(data)
	if err != nil {
		return "", err
	}
	err = tryBody(data, t)
	if err == nil && odd != "" { // which the decoder takes for another
		err = badBody("unknown field " + quoted(odd))
	}
	if err != nil { // of what is wrong, an unknown member is told first
		return "", cmp.Or(unknownMember(data, t), err)
	}
	return hash, nil
}

// tryBody reads a body as a type, with no member that it does not have.
func tryBody(data []byte, t reflect.Type) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var wrongType *json.UnmarshalTypeError
	switch err := decoder.Decode(reflect.New(t).Interface()); {
	case errors.As(err, &wrongType):
		return &keys.InputError{Field: strings.ReplaceAll(wrongType.Field, ".", "/"), Reason: "it must not be a JSON " + wrongType.Value}
	case errors.As(err, new(*time.ParseError)):
		return badBody("a time is " + timeForm)
	case err != nil && strings.HasPrefix(err.Error(), unknownField):
		return badBody(strings.TrimPrefix(err.Error(), "json: "))
	case err != nil: // in the words of a type that reads itself
		return badBody("a value has not the form of its field; a time is " + timeForm)
	}
	return nil
}

// unknownField begins what the decoder says of one, for which it has no type.
const unknownField = "json: unknown field "

// timeForm is how a time is written.
const timeForm = "text in RFC 3339, such as 2027-01-31T00:00:00Z"

// escapeOffsets escapes the plus of times with an offset, which reads as a space otherwise.
func escapeOffsets(query string) string {
	for {
		escaped := bareOffset.ReplaceAllString(query, "$1%2B$2$3")
		if escaped == query { // two that stand side by side take two turns
			return query
		}
		query = escaped
	}
}

// bareOffset is a time with an offset, whose plus was not escaped.
var bareOffset = regexp.MustCompile(`((?:^|&)(?:since|until)=[^&]*)(?:\+|%20)(\d\d(?::|%3[Aa])\d\d)(&|$)`)

// checkMembers refuses what encoding/json lets through: a member twice, lists and nesting
// without end, and more than one value. odd is the first member whose name is in another
// case than any of ours, if there is one.
func checkMembers(data []byte) (odd string, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	type level struct {
		object bool
		name   bool // a name comes next
		seen   map[string]bool
		items  int
	}
	var open []level
	for begun := false; ; begun = true {
		token, err := decoder.Token()
		if err == io.EOF && begun && len(open) == 0 {
			return odd, nil
		}
		if err != nil {
			return "", badBody("This is not JSON: " + err.Error())
		}
		if begun && len(open) == 0 {
			return "", badBody("There is something after the JSON object.")
		}
		if n := len(open); n > 0 && open[n-1].object && open[n-1].name {
			if name, ok := token.(string); ok {
				if open[n-1].seen[name] {
					return "", badBody("the field " + quoted(name) + " is there twice")
				}
				if odd == "" && strings.ContainsFunc(name, func(c rune) bool { return c > '~' || c >= 'A' && c <= 'Z' }) {
					odd = name
				}
				open[n-1].seen[name], open[n-1].name = true, false
				continue
			}
		}
		if n := len(open); n > 0 {
			open[n-1].name = true
			if open[n-1].items++; open[n-1].items > maxItems+1 { // the end is counted too
				return "", badBody(fmt.Sprintf("A list or an object holds more than %d.", maxItems))
			}
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if len(open) == maxDepth {
				return "", badBody("It is nested too deeply.")
			}
			open = append(open, level{object: token == json.Delim('{'), name: true, seen: map[string]bool{}})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}

// quoted is a name of the caller's, cut short.
func quoted(name string) string {
	text, _ := json.Marshal(short(name))
	return string(text)
}

func short(name string) string {
	if len(name) > 40 {
		name = name[:40] + "…"
	}
	return name
}

func marshal(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// format is how the library writes and reads JSON.
var format = huma.Format{Marshal: marshal, Unmarshal: json.Unmarshal}

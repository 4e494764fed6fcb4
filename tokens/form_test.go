package tokens

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

// TestATokenInAFormIsSeenAndTheBodyStays: whatever is looked at, the handler reads every byte
// that came, and the error that ended it.
func TestATokenInAFormIsSeenAndTheBodyStays(t *testing.T) {
	long := "x=" + strings.Repeat("y", 2*maxFormPeek)
	const form = "application/x-www-form-urlencoded"
	for name, row := range map[string]struct {
		media, body string
		want        bool
	}{
		"a token":                  {form, "a=b&access_token=x", true},
		"with a charset":           {form + "; charset=utf-8", "access_token=x", true},
		"an empty token":           {form, "access_token=", true},
		"escaped":                  {form, "access%5ftoken=x", true},
		"beside what cannot be":    {form, "%zz&access_token=x", true},
		"another name":             {form, "xaccess_token=x&a=access_token", false},
		"no form":                  {"application/json", "access_token=x", false},
		"no media type":            {"", "access_token=x", false},
		"nothing":                  {form, "", false},
		"long":                     {form, long, false},
		"long, and a token before": {form, "access_token=x&" + long, true},
	} {
		for announced, reader := range map[string]io.Reader{
			"announced":  strings.NewReader(row.body),
			"chunked":    io.MultiReader(strings.NewReader(row.body)),
			"one by one": iotest.OneByteReader(strings.NewReader(row.body)),
		} {
			r := httptest.NewRequest("POST", "/", reader)
			r.Header.Set("Content-Type", row.media)
			if got := tokenInForm(r); got != row.want {
				t.Errorf("%s, %s: %v", name, announced, got)
			}
			if body, err := io.ReadAll(r.Body); string(body) != row.body || err != nil {
				t.Errorf("%s, %s: %d bytes are left, %v", name, announced, len(body), err)
			}
		}
	}
	gone := errors.New("gone")
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("a=b"), iotest.ErrReader(gone)))
	r.Header.Set("Content-Type", form)
	tokenInForm(r)
	if body, err := io.ReadAll(r.Body); string(body) != "a=b" || err != gone {
		t.Errorf("%q, %v", body, err)
	}
	r = httptest.NewRequest("POST", "/", strings.NewReader("access_token=x"))
	r.Header.Set("Content-Type", form)
	if err := r.ParseForm(); err != nil || !tokenInForm(r) {
		t.Errorf("after somebody read it: %v", err)
	}
	if tokenInForm(httptest.NewRequest("GET", "/", http.NoBody)) {
		t.Error("no body")
	}
}

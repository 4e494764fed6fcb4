package management

import "testing"

func TestEntityTagsAreReadAsProxiesWriteThem(t *testing.T) {
	for header, want := range map[string]string{
		`"a1"`: "a1", `a1`: "a1", `W/"a1"`: "a1", `"a1-gzip"`: "a1", `W/"a1-gzip"`: "a1", `"a1--gzip"`: "a1",
		`"a1-br"`: "a1", `"a1;gzip"`: "a1", ` "a1" , W/"b2"`: "a1 b2", `"a1","b2-gzip","c3"`: "a1 b2 c3",
		`"a1",`: "a1", `,"a1"`: "a1", `*`: "", ` * `: "", `"*"`: "*", `""`: "none", `W/""`: "none",
		`"`: "none", ` `: "none", `,`: "none", `"a 1"`: "none", `"a1", *`: "a1 *",
	} {
		if got := versions(header); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
}

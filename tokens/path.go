package tokens

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// AmbiguousPath tells whether two programs could read two different paths in the one of
// u, so that one of them decides about a path and another one is served: a segment that
// is empty or ends with a dot; a slash, a backslash, a semicolon or a control character
// in any spelling; text that is encoded twice, or that is not UTF-8. Who guards paths
// refuses such a path instead of guessing, and never redirects to another one: a client
// would send its credentials again. A slash at the end is not ambiguous.
func AmbiguousPath(u *url.URL) bool {
	path := u.Path
	if !strings.HasPrefix(path, "/") || !utf8.ValidString(path) {
		return true
	}
	if u.RawPath != "" && strings.Count(u.EscapedPath(), "/") != strings.Count(path, "/") {
		return true // one of them is encoded
	}
	for i := range len(path) {
		switch c := path[i]; {
		case c < ' ', c == 0x7f, c == '\\', c == ';':
			return true
		case c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]):
			return true
		case c == '/' && i > 0 && (path[i-1] == '/' || path[i-1] == '.'):
			return true
		}
	}
	return strings.HasSuffix(path, ".")
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

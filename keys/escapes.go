package keys

import (
	"regexp"
	"strconv"
	"strings"
)

// An escape is one character of a secret as some language writes it.
var escape = regexp.MustCompile(`^(?:` +
	`%(?:25)*([0-9A-Fa-f]{2})|` + // URL, also encoded again
	`=([0-9A-F]{2})|` + // quoted-printable
	`&#[xX]0*([0-9A-Fa-f]{2});|&#0*([0-9]{2,3});|&lowbar(;)|` + // HTML
	`\\+x([0-9A-Fa-f]{2})|\\+u00([0-9A-Fa-f]{2})|\\+u\{0*([0-9A-Fa-f]{2})\}|` +
	`\\+([0-7]{3})|\\+(_)` + // languages; Markdown
	`)`)

// The bases in which the groups of escape are numbers; 0 is an underscore.
var escapeBases = [...]int{16, 16, 16, 10, 0, 16, 16, 16, 8, 0}

// invisible is what may be between two characters of a secret: a color, a line that goes
// on, a place where a line may break.
var invisible = regexp.MustCompile(`^(?:\x1b\[[0-9;:?]*[A-Za-z]|[=\\]\r?\n|<wbr ?/?>|&shy;)+`)

// unescapeWord returns the word at the beginning of text, as far as a secret goes, and
// the number of bytes that it takes there.
func unescapeWord(text []byte) (word string, read int) {
	var out strings.Builder
	for at := 0; at < len(text) && out.Len() < secretLength; {
		if c := text[at]; wordChar(c) {
			out.WriteByte(c)
			at++
			read = at
			continue
		}
		if m := invisible.Find(text[at:]); m != nil {
			at += len(m)
			continue
		}
		c, length := unescape(text[at:])
		if !wordChar(c) {
			break
		}
		out.WriteByte(c)
		at += length
		read = at
	}
	return out.String(), read
}

// unescape returns the character that is written as an escape at the beginning of text;
// 0 when there is none.
func unescape(text []byte) (c byte, length int) {
	m := escape.FindSubmatchIndex(text)
	if m == nil {
		return 0, 0
	}
	for i, base := range escapeBases {
		from, to := m[2*i+2], m[2*i+3]
		switch {
		case from < 0:
		case base == 0:
			return '_', m[1]
		default:
			n, err := strconv.ParseUint(string(text[from:to]), base, 8)
			if err != nil {
				return 0, 0
			}
			return byte(n), m[1]
		}
	}
	return 0, 0
}

func wordChar(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

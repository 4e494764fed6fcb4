package keys

import (
	"bytes"
	"io"
)

// A Place is where a secret begins in a text.
type Place struct {
	// Offset is the number of bytes before its first letter.
	Offset int64
	// Line and Column count from 1. A column is a byte, in UTF-16 a unit of it.
	Line, Column int64
}

// secretLength is that of every secret.
const secretLength = len(secretPrefix) + idLength + 1 + randomLength + crcLength

// FindSecrets reads r to its end and calls found with each secret in it, whether
// the text is UTF-8, or UTF-16 of either byte order, or binary. A secret is a whole
// word, \b on both sides, that [ParseSecret] accepts. Lookalikes counts the words that
// have the prefix, a credential id and more, and are no secret: a typing mistake, or
// cut off. The error is that of r. Memory is bounded, whatever the length of a line.
func FindSecrets(r io.Reader, found func(Secret, Place)) (lookalikes int, err error) {
	// What a decision looks at: a character before the first letter and, from it on, one
	// more than a secret has.
	const behind, ahead = 2, 2 * (secretLength + 1)
	views := []*view{newView(1), newView(2)}
	buffer := make([]byte, 64<<10)
	var base int64 // the offset of buffer[0]: even, as all these are, so an index has the parity of its offset
	for from, filled := 0, 0; err == nil; {
		var n int
		n, err = io.ReadFull(r, buffer[filled:])
		filled += n
		to := filled
		if err == nil {
			to -= ahead
		}
		for _, v := range views {
			lookalikes += v.search(buffer[:filled], from, to, base, found)
		}
		keep := max(0, to-behind)
		filled, from = copy(buffer, buffer[keep:filled]), to-keep
		base += int64(keep)
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return lookalikes, err
}

// A view reads bytes as characters of one or two bytes, and knows the lines so far.
type view struct {
	unit    int
	prefix  []byte // secretPrefix, from its first letter to its last
	lines   int64  // newlines so far
	newline int64  // offset of the last
}

func newView(unit int) *view {
	prefix := make([]byte, (len(secretPrefix)-1)*unit+1)
	for i := range len(secretPrefix) {
		prefix[i*unit] = secretPrefix[i]
	}
	return &view{unit: unit, prefix: prefix, newline: int64(-unit)}
}

// char returns the ASCII character whose letter is b[i], or 0. UTF-16 is aligned: the
// other byte of the unit, which is zero, comes after an even one and before an odd one.
func (v *view) char(b []byte, i int) byte {
	if i < 0 || i >= len(b) {
		return 0
	}
	if other := i ^ 1; v.unit == 2 && other < len(b) && b[other] != 0 {
		return 0
	}
	return b[i]
}

// search decides about the secrets that begin in b[from:to].
func (v *view) search(b []byte, from, to int, base int64, found func(Secret, Place)) (lookalikes int) {
	end := min(len(b), to+len(v.prefix)-1)
	for {
		i := bytes.Index(b[from:end], v.prefix)
		if i < 0 {
			v.pass(b, from, to, base)
			return lookalikes
		}
		v.pass(b, from, from+i, base)
		from += i
		word := v.word(b, from)
		secret, err := ParseSecret(word)
		if err == nil && !wordChar(v.char(b, from-v.unit)) {
			at := base + int64(from)
			found(secret, Place{Offset: at, Line: v.lines + 1, Column: (at - v.newline) / int64(v.unit)})
		} else if id := len(secretPrefix) + idLength; len(word) > id+1 && word[id] == '_' {
			lookalikes++
		}
		from++
	}
}

// pass counts the lines that end in b[from:to].
func (v *view) pass(b []byte, from, to int, base int64) {
	for {
		i := bytes.IndexByte(b[from:to], '\n')
		if i < 0 {
			return
		}
		from += i
		if v.char(b, from) == '\n' {
			v.lines, v.newline = v.lines+1, base+int64(from)
		}
		from++
	}
}

// word returns the word that begins with a prefix at b[i], at most one character
// longer than a secret.
func (v *view) word(b []byte, i int) string {
	// The first letter is not asked for its other byte: strings in a .NET assembly are
	// UTF-16 at any offset, and the byte before one is its length.
	word := []byte{b[i]}
	for len(word) <= secretLength {
		c := v.char(b, i+len(word)*v.unit)
		if !wordChar(c) {
			break
		}
		word = append(word, c)
	}
	return string(word)
}

func wordChar(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

package keys

import (
	"bytes"
	"io"
	"strings"
)

// A Place is where a secret begins in a text.
type Place struct {
	// Offset is the number of bytes before its first letter.
	Offset int64
	// Length is the number of bytes from its first letter to its last.
	Length int64
	// Line and Column count from 1. A column is a byte, in UTF-16 a unit of it.
	Line, Column int64
}

// secretLength is that of every secret.
const secretLength = len(secretPrefix) + idLength + 1 + randomLength + crcLength

// reach is within how many characters of its first one a secret ends: six for each of
// its own, if they are written as escapes.
const reach = 6*secretLength + 24

// FindSecrets reads r to its end and calls found with each secret in it, whether
// the text is UTF-8, or UTF-16 of either byte order, or binary. What stands beside a
// secret never hides it: its length is fixed, and its checksum tells it from chance, once
// in 2^32. Inside, characters may be escaped as URLs, HTML, mail and programming
// languages do it, and colored for a terminal. Lookalikes counts the texts that have the
// prefix, a credential id and more, and are no secret: a typing mistake, or cut off. The
// error is that of r. Memory is bounded, whatever the length of a line.
func FindSecrets(r io.Reader, found func(Secret, Place)) (lookalikes int, err error) {
	const ahead = 2 * reach // what a decision looks at, from the first letter on
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
		keep := max(0, to-2) // a newline's other byte may be before it
		filled, from = copy(buffer, buffer[keep:filled]), to-keep
		base += int64(keep)
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return lookalikes, err
}

// anchor is where the search for a secret begins: the letters before the first
// character that anything escapes.
const anchor = "imara"

// A view reads bytes as characters of one or two bytes, and knows the lines so far.
type view struct {
	unit    int
	anchor  []byte // from its first letter to its last
	lines   int64  // newlines so far
	newline int64  // offset of the last
}

func newView(unit int) *view {
	letters := make([]byte, (len(anchor)-1)*unit+1)
	for i := range len(anchor) {
		letters[i*unit] = anchor[i]
	}
	return &view{unit: unit, anchor: letters, newline: int64(-unit)}
}

// search decides about the secrets that begin in b[from:to].
func (v *view) search(b []byte, from, to int, base int64, found func(Secret, Place)) (lookalikes int) {
	end := min(len(b), to+len(v.anchor)-1)
	for {
		i := bytes.Index(b[from:end], v.anchor)
		if i < 0 {
			v.pass(b, from, to, base)
			return lookalikes
		}
		v.pass(b, from, from+i, base)
		from += i
		word, length := v.word(b, from)
		if secret, err := ParseSecret(word); err == nil {
			at := base + int64(from)
			found(secret, Place{Offset: at, Length: int64(length), Line: v.lines + 1,
				Column: (at - v.newline) / int64(v.unit)})
		} else if id := len(secretPrefix) + idLength; len(word) > id+1 && word[id] == '_' &&
			strings.HasPrefix(word, secretPrefix) {
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
		if v.newlineAt(b, from) {
			v.lines, v.newline = v.lines+1, base+int64(from)
		}
		from++
	}
}

// newlineAt tells whether the newline byte b[i] is a character. UTF-16 is aligned: the
// other byte of the unit, which is zero, comes after an even one and before an odd one.
func (v *view) newlineAt(b []byte, i int) bool {
	other := i ^ 1
	return v.unit == 1 || other >= len(b) || b[other] == 0
}

// word returns the word that begins at b[i], as far as a secret goes, without its
// escapes, and the number of bytes that it takes.
func (v *view) word(b []byte, i int) (word string, length int) {
	// Strings in a .NET assembly are UTF-16 at any offset, and stand between bytes that
	// are no character: only what is between two letters is looked at.
	text := make([]byte, 0, reach)
	for at := i; at < len(b) && len(text) < reach; at += v.unit {
		if at > i && v.unit == 2 && b[at-1] != 0 {
			break
		}
		text = append(text, b[at])
	}
	word, read := unescapeWord(text)
	return word, (read-1)*v.unit + 1
}

package tokens

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A field is a member of a JSON object that T is read from. Its read gets the value as
// the object has it.
type field[T any] struct {
	name string
	read func(into *T, value []byte) error
}

// maxMembers is how many members an object has at most.
const maxMembers = 32

// maxInteger is the largest integer that every JSON parser reads alike (RFC 8259 §6).
const maxInteger = 1<<53 - 1

// readObject reads one JSON object. What two parsers read differently is refused with
// [ErrMalformed]: text that is not UTF-8, half a surrogate pair, names that repeat or
// differ from another or from a field's in case only, and more than maxMembers of them.
// Members that no field names are passed over.
func readObject[T any](data []byte, into *T, fields []field[T]) error {
	if !json.Valid(data) || !wellFormed(data) {
		return fmt.Errorf("%w: not JSON in UTF-8", ErrMalformed)
	}
	text := bytes.Trim(data, jsonSpace)
	if text[0] != '{' {
		return fmt.Errorf("%w: not a JSON object", ErrMalformed)
	}
	var names [maxMembers]string
	n := 0
	for rest := skip(text[1:]); rest[0] != '}'; n++ {
		var name, value []byte
		name, rest = next(rest)
		value, rest = next(skip(rest[1:])) // after the colon
		if rest[0] == ',' {
			rest = skip(rest[1:])
		}
		if n == maxMembers {
			return fmt.Errorf("%w: more than %d members", ErrMalformed, maxMembers)
		}
		if err := readText(name, &names[n]); err != nil {
			return err
		}
		if twin(names[n], names[:n]) {
			return fmt.Errorf("%w: a member repeats", ErrMalformed)
		}
		if err := readMember(names[n], value, into, fields); err != nil {
			return err
		}
	}
	return nil
}

func readMember[T any](name string, value []byte, into *T, fields []field[T]) error {
	for _, f := range fields {
		if f.name == name {
			if err := f.read(into, value); err != nil {
				return fmt.Errorf("%w: %s", err, name)
			}
			return nil
		}
		if strings.EqualFold(f.name, name) {
			return fmt.Errorf("%w: %s in another case", ErrMalformed, f.name)
		}
	}
	return nil
}

func twin(name string, earlier []string) bool {
	for _, e := range earlier {
		if strings.EqualFold(e, name) {
			return true
		}
	}
	return false
}

const jsonSpace = " \t\r\n"

func skip(text []byte) []byte { return bytes.TrimLeft(text, jsonSpace) }

// next parts valid JSON after its first value, and skips the space there.
func next(text []byte) (value, rest []byte) {
	depth, i := 0, 0
	for ; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth == 0 {
				return text[:i], text[i:]
			}
			depth--
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return text[:i], skip(text[i:])
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return text[:i+1], skip(text[i+1:])
		}
	}
	return text, nil
}

// wellFormed tells whether valid JSON is UTF-8 and every \u escape a character or half
// of a pair that is whole.
func wellFormed(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	for i := bytes.IndexByte(data, '\\'); i >= 0 && i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		i++
		if data[i] != 'u' {
			continue
		}
		switch half(data[i+1:]) {
		case 'h':
			if data[i+5] != '\\' || data[i+6] != 'u' || half(data[i+7:]) != 'l' {
				return false
			}
			i += 6
		case 'l':
			return false
		}
	}
	return true
}

// half tells which half of a surrogate pair four hexadecimal digits are: 'h' for the
// high, which comes first, 'l' for the low one, 0 for neither.
func half(digits []byte) byte {
	if digits[0]|0x20 != 'd' {
		return 0
	}
	switch digits[1] | 0x20 {
	case '8' | 0x20, '9' | 0x20, 'a', 'b':
		return 'h'
	case 'c', 'd', 'e', 'f':
		return 'l'
	}
	return 0
}

// readText takes a JSON string and nothing else.
func readText(value []byte, into *string) error {
	switch {
	case value[0] != '"':
		return ErrMalformed
	case bytes.IndexByte(value, '\\') < 0:
		*into = string(value[1 : len(value)-1])
		return nil
	}
	return json.Unmarshal(value, into)
}

// readInteger takes an integer from 0 to maxInteger that is written in digits alone.
// NumericDate would allow a fraction and an exponent (RFC 7519 §2), which parsers round
// differently and no token of ours has.
func readInteger(value []byte, into *int64) error {
	if len(value) > len("9007199254740991") {
		return ErrMalformed
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return ErrMalformed
		}
		n = 10*n + int64(c-'0')
	}
	if n > maxInteger {
		return ErrMalformed
	}
	*into = n
	return nil
}

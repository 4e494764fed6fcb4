package keys

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// guessable tells whether a password that is long enough is one that lists of guesses
// begin with: one text again and again, a row of the keyboard or the alphabet, words that
// stand in every such list, or the person's own address, and hardly anything beside them
// (NIST SP 800-63B-4 section 3.1.1.2). It knows patterns instead of a list: of the lists of
// breached passwords, next to none has 15 characters.
func guessable(password, email string) bool {
	text := strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) || unicode.IsPunct(c) {
			return -1
		}
		return unicode.ToLower(c)
	}, password)
	local, domain, _ := strings.Cut(strings.ToLower(email), "@")
	words := append([]string{"password", "passw0rd", "passwort", "kennwort", "letmein", "welcome", "willkommen", "iloveyou", "changeme", "administrator",
		"admin", "secret", "master", "imara", "login", "qwertz", "qwerty", "azerty", "dragon", "monkey", "football"}, parts(local)...)
	for _, word := range append(words, parts(domain)...) {
		text = strings.ReplaceAll(text, word, "\n")
	}
	left := map[rune]bool{}
	var before, step rune
	for _, c := range text {
		// A run: the same again, or the next of an alphabet or of a row of keys.
		if d := next(before, c); before != 0 && d != 0 && (step == 0 || step == d) {
			step = d
		} else {
			step = 0
			if c != '\n' {
				left[c] = true
			}
		}
		before = c
	}
	return len(left) < 6
}

// parts of an address that a person would use.
func parts(of string) (list []string) {
	for _, part := range strings.FieldsFunc(of, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
		if utf8.RuneCountInString(part) >= 3 {
			list = append(list, part)
		}
	}
	return list
}

// next is 1 where b comes after a, -1 where it comes before, 2 where it is the same, 0
// where it has nothing to do with a.
func next(a, b rune) rune {
	switch {
	case a == b:
		return 2
	case b == a+1, a == '9' && b == '0', a == '0' && b == '1':
		return 1
	case b == a-1, a == '0' && b == '9', a == '1' && b == '0':
		return -1
	}
	for _, row := range []string{"qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm", "azertyuiop"} {
		i, j := strings.IndexRune(row, a), strings.IndexRune(row, b)
		switch {
		case i < 0 || j < 0:
		case j == i+1:
			return 1
		case j == i-1:
			return -1
		}
	}
	return 0
}

package keys

import (
	"strings"
	"testing"
)

func TestGuessablePasswords(t *testing.T) {
	for _, password := range []string{"123456789012345", "111111111111111", "aaaaaaaaaaaaaaaaaaaa", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjkl", "Passwordpassword1!", "password1234567", "abcabcabcabcabcabc",
		"Ann.Example.2026", "ann@example.com!", "ann@example.com123", "welcome welcome 1", "qwertzuiopqwertzuiop", "zyxwvutsrqponmlk", "987654321098765", "1q1q1q1q1q1q1q1q", "Imara-Imara-Imara-1", "ChangeMe!ChangeMe!"} {
		if !guessable(password, "ann@example.com") {
			t.Errorf("%q is not found out", password)
		}
	}
	for _, password := range []string{"correct horse battery staple", "another correct horse battery staple", "mein Hamster tanzt gern", "Tr0ub4dor&3-and-more", "كلمة مرور طويلة جدا", "パスワードは長いほうがいい", "kV9#mQ2$xL7!pR4z", "my password is a bicycle", "Ann rides a green bicycle"} {
		if guessable(password, "ann@example.com") {
			t.Errorf("%q is refused", password)
		}
	}
}

// FuzzGuessable: of passwords and addresses as long as they may be, nothing panics, and one
// letter is found out whosever it is.
func FuzzGuessable(f *testing.F) {
	f.Add("correct horse battery staple", "ann@example.com")
	f.Fuzz(func(t *testing.T, password, email string) {
		if len(password) > MaxPassword || len(email) > 254 {
			return // is refused before
		}
		guessable(password, email)
		if !guessable(strings.Repeat("a", 40), email) {
			t.Errorf("one letter for %q", email)
		}
	})
}

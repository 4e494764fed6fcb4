package keys

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// place is what FindSecrets says of one secret.
type place struct {
	text string
	Place
}

func find(t testing.TB, text string) (places []place, lookalikes int) {
	t.Helper()
	lookalikes, err := FindSecrets(strings.NewReader(text), func(s Secret, at Place) {
		places = append(places, place{s.Reveal(), at})
	})
	if err != nil {
		t.Fatal(err)
	}
	return places, lookalikes
}

// words are what the documentation calls secrets.
var words = regexp.MustCompile(`\bimara_cs_(live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\b`)

// expected is the definition, for a text that is in memory.
func expected(text string) (places []place) {
	for _, at := range words.FindAllStringIndex(text, -1) {
		if _, err := ParseSecret(text[at[0]:at[1]]); err != nil {
			continue
		}
		before := text[:at[0]]
		places = append(places, place{text[at[0]:at[1]], Place{Offset: int64(at[0]),
			Line: int64(strings.Count(before, "\n") + 1), Column: int64(at[0] - strings.LastIndex(before, "\n"))}})
	}
	return places
}

// wide is text in UTF-16, a unit for each byte, which begins with bytes of another alignment.
func wide(text, start string, bigEndian int) string {
	out := append([]byte(start), make([]byte, 2*len(text))...)
	for i := range len(text) {
		out[len(start)+2*i+bigEndian] = text[i]
	}
	return string(out)
}

func TestSecretsAreFoundWhereTheyAre(t *testing.T) {
	a, b := newSecret().text, newSecret().text
	wrong := a[:len(a)-1] + string(base62[(strings.IndexByte(base62, a[len(a)-1])+1)%62])
	for _, test := range []struct {
		name, text        string
		found, lookalikes int
	}{
		{"nothing", "", 0, 0},
		{"alone", a, 1, 0},
		{"in a file", "x: 1\nsecret: " + a + "\n", 1, 0},
		{"in quotes and a URL", `"` + a + `" https://id:` + b + "@host", 2, 0},
		{"neighbours", a + " " + b + "\n\n" + a, 3, 0},
		{"letters that are not ASCII", "é" + a + "é", 1, 0},
		{"in binary", "\x00\xff\x00" + a + "\x00\xff", 1, 0},
		{"no border", a + b, 0, 2},
		{"a letter after", a + "x", 0, 1},
		{"a letter before", "_" + a, 0, 1},
		{"wrong checksum", wrong + "\n" + a, 1, 1},
		{"cut off", a[:40], 0, 1},
		{"only the id", a[:27] + "…", 0, 0},
		{"test, which nobody issues", strings.Replace(a, "live", "test", 1), 0, 0},
		{"prefix after prefix", secretPrefix + "\n" + secretPrefix + a, 0, 1},
	} {
		places, lookalikes := find(t, test.text)
		if len(places) != test.found || lookalikes != test.lookalikes || !slices.Equal(places, expected(test.text)) {
			t.Errorf("%s: got %v and %d lookalikes, want %v and %d", test.name, places, lookalikes, expected(test.text), test.lookalikes)
		}
		for bigEndian := range 2 {
			text := wide(test.text, "", bigEndian)
			got, lookalikes := find(t, text)
			for i := range got {
				got[i].Offset = (got[i].Offset - int64(bigEndian)) / 2
			}
			if !slices.Equal(got, places) || lookalikes != test.lookalikes {
				t.Errorf("%s in UTF-16: got %v and %d lookalikes, want %v", test.name, got, lookalikes, places)
			}
		}
	}
}

// TestSecretsInUTF16AmongOtherScripts: neighbours that hold the bytes of ASCII letters
// and newlines are neither.
func TestSecretsInUTF16AmongOtherScripts(t *testing.T) {
	s := newSecret().text
	for _, text := range []string{
		"\x61\x4e" + wide(s, "", 0) + "\x61\x4e",         // 乡, which has the byte of an a
		"\x4e\x61" + wide(s, "", 1) + "\x4e\x61",         // in big endian
		"\x0a\x4e" + wide(s, "", 0) + "\x0a\x4e",         // 上, which has the byte of a newline
		"\x4e\x0a" + wide(s, "", 1) + "\x4e\x0a",         // in big endian
		"\x80\x9b\x01\x80\x99" + wide(s, "", 0) + "\x01", // a string in a .NET assembly
		wide(s, "", 0)[:2*len(s)-1],                      // without its last byte
	} {
		places, lookalikes := find(t, text)
		if len(places) != 1 || places[0].text != s || places[0].Line != 1 || lookalikes != 0 {
			t.Errorf("%.8q: %v, %d lookalikes", text, places, lookalikes)
		}
	}
}

// TestSecretIsFoundAcrossEveryBorder moves a secret over the end of a buffer.
func TestSecretIsFoundAcrossEveryBorder(t *testing.T) {
	const border, around = 64 << 10, 2 * (secretLength + 4)
	s := newSecret().text
	filler := strings.Repeat("0123456789abcdefgh\n", border/16)
	for before := border - around; before < border+around; before++ {
		text := filler[:before] + "\n" + s + "\n" + filler[:around]
		if places, lookalikes := find(t, text); !slices.Equal(places, expected(text)) || len(places) != 1 || lookalikes != 0 {
			t.Fatalf("after %d bytes: %v, %d lookalikes", before, places, lookalikes)
		}
		for bigEndian := range 2 {
			text := wide(filler[:before/2]+"\n"+s, "", bigEndian) + "\x4e\x61\x4e"[1-bigEndian:][:2] // 乡
			want := place{s, Place{Offset: int64(before/2*2 + 2 + bigEndian), Line: int64(strings.Count(filler[:before/2], "\n") + 2), Column: 1}}
			if places, _ := find(t, text); !slices.Equal(places, []place{want}) {
				t.Fatalf("UTF-16 after %d characters: %v, want %v", before/2, places, want)
			}
		}
		for _, word := range []string{"\n" + s + "x", "x" + s} {
			for _, text := range []string{filler[:before] + word, wide(filler[:before/2]+word, "", 0), wide(filler[:before/2]+word, "", 1)} {
				if places, lookalikes := find(t, text+filler[:around]); len(places) != 0 || lookalikes != 1 {
					t.Fatalf("in a longer word, after %d bytes: %v, %d lookalikes", before, places, lookalikes)
				}
			}
		}
	}
}

func TestMistypedSecretIsNotFound(t *testing.T) {
	s := newSecret().text
	for i := range s {
		for _, c := range []byte(base62 + "_-. \x00é") {
			text := s[:i] + string([]byte{c}) + s[i+1:]
			if places, _ := find(t, text); (len(places) > 0) != (text == s) {
				t.Errorf("%q at %d: %v", c, i, places)
			}
		}
	}
}

// TestFindKeepsWhatItFoundBeforeAnError: and reads on through short reads.
func TestFindKeepsWhatItFoundBeforeAnError(t *testing.T) {
	broken, found := errors.New("broken"), 0
	text := strings.Repeat(newSecret().text+"\n", 2000)
	r := io.MultiReader(iotest.HalfReader(strings.NewReader(text)), iotest.ErrReader(broken))
	_, err := FindSecrets(r, func(Secret, Place) { found++ })
	if found != 2000 || !errors.Is(err, broken) {
		t.Errorf("found %d, %v", found, err)
	}
}

func TestMaskedSecretTellsNothing(t *testing.T) {
	s := newSecret()
	if want := secretPrefix + s.CredentialID() + "_…"; s.Masked() != want {
		t.Errorf("got %s, want %s", s.Masked(), want)
	}
}

// FuzzFindSecrets compares with the definition, near the end of a buffer and in
// UTF-16, where a text has the same lines and columns.
func FuzzFindSecrets(f *testing.F) {
	s := newSecret().text
	f.Add([]byte("a "+s+"\n"+s+"x"), uint16(65500))
	f.Add([]byte(wide(s, "\x01", 0)+wide(s, "", 1)), uint16(0))
	f.Add([]byte(secretPrefix+s), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, before uint16) {
		want := expected(string(data))
		places, _ := find(t, strings.Repeat("\n", int(before))+string(data))
		for _, p := range want {
			p.Offset, p.Line = p.Offset+int64(before), p.Line+int64(before)
			if !slices.Contains(places, p) {
				t.Fatalf("%q: not found: %v", data, p)
			}
		}
		narrow := bytes.ReplaceAll(data, []byte{0}, []byte{1})
		want = expected(string(narrow))
		for bigEndian := range 2 {
			got, _ := find(t, wide(string(narrow), "", bigEndian))
			for i := range got {
				got[i].Offset = (got[i].Offset - int64(bigEndian)) / 2
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q in UTF-16: got %v, want %v", narrow, got, want)
			}
		}
	})
}

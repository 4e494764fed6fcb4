package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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

// expected is the definition, for a text that is in memory and has no escapes: at each
// prefix, as much as a secret has.
func expected(text string) (places []place) {
	for at := range len(text) - secretLength + 1 {
		word := text[at:][:secretLength]
		if _, err := ParseSecret(word); err != nil {
			continue
		}
		before := text[:at]
		places = append(places, place{word, Place{Offset: int64(at), Length: int64(secretLength),
			Line:   int64(strings.Count(before, "\n") + 1),
			Column: int64(at - strings.LastIndex(before, "\n"))}})
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

// narrow is where a place in UTF-16 is in the same text with a byte for each character.
func narrow(p Place, bigEndian int) Place {
	p.Offset, p.Length = (p.Offset-int64(bigEndian))/2, (p.Length+1)/2
	return p
}

// TestNoNeighborHidesASecret tries every byte on both sides, in each encoding.
func TestNoNeighborHidesASecret(t *testing.T) {
	s := newSecret().text
	for c := range 256 {
		beside := string([]byte{byte(c)})
		for _, text := range []string{beside + s + beside, beside + wide(s, "", 0) + beside,
			beside + wide(s, "", 1) + beside, wide(beside+s+beside, "", 0), wide(beside+s+beside, "", 1)} {
			if places, lookalikes := find(t, text); len(places) != 1 || places[0].text != s || lookalikes != 0 {
				t.Errorf("beside %q: %v, %d lookalikes", beside, places, lookalikes)
			}
		}
	}
}

// TestEscapedSecretIsFound: as programs write it that cannot write every character.
func TestEscapedSecretIsFound(t *testing.T) {
	s := newSecret().text
	for _, underscore := range []string{"%5F", "%5f", "%255F", "%25255f", "=5F", "&#95;", "&#x5f;",
		"&#x5F;", "&#095;", "&lowbar;", `\x5f`, `\u005f`, `\\u005F`, `\u{5f}`, `\u{005F}`, `\137`, `\_`, `\\_`} {
		text := "a " + strings.ReplaceAll(s, "_", underscore)
		for _, text := range []string{text + `\n`, text + "&amp;b", wide(text, "", 0), wide(text, "", 1)} {
			places, lookalikes := find(t, text)
			if len(places) != 1 || places[0].text != s || lookalikes != 0 {
				t.Errorf("%s: %v, %d lookalikes", underscore, places, lookalikes)
			}
		}
	}
	for _, between := range []string{"\x1b[01;31m\x1b[K", "\x1b[m", "=\n", "=\r\n", "\\\n", "<wbr>", "<wbr/>"} {
		for i := len(anchor); i < len(s); i++ {
			text := s[:i] + between + s[i:]
			if places, _ := find(t, text); len(places) != 1 || places[0].text != s ||
				places[0].Length != int64(len(text)) {
				t.Errorf("%q after %d: %v", between, i, places)
			}
		}
	}
	var all strings.Builder
	for _, c := range []byte(s[len(anchor):]) {
		fmt.Fprintf(&all, `\u%04x`, c)
	}
	if places, _ := find(t, anchor+all.String()); len(places) != 1 || places[0].text != s {
		t.Errorf("every character: %v", places)
	}
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
		{"no border", a + b, 2, 0},
		{"a letter after", a + "x", 1, 0},
		{"a letter before", "_" + a, 1, 0},
		{"another's beginning", a[:40] + a, 1, 1},
		{"wrong checksum", wrong + "\n" + a, 1, 1},
		{"cut off", a[:40], 0, 1},
		{"only the id", a[:27] + "…", 0, 0},
		{"test, which nobody issues", strings.Replace(a, "live", "test", 1), 0, 0},
		{"prefix after prefix", secretPrefix + "\n" + secretPrefix + a, 1, 0},
	} {
		places, lookalikes := find(t, test.text)
		if len(places) != test.found || lookalikes != test.lookalikes || !slices.Equal(places, expected(test.text)) {
			t.Errorf("%s: got %v and %d lookalikes, want %v and %d", test.name, places, lookalikes, expected(test.text), test.lookalikes)
		}
		for bigEndian := range 2 {
			text := wide(test.text, "", bigEndian)
			got, lookalikes := find(t, text)
			for i := range got {
				got[i].Place = narrow(got[i].Place, bigEndian)
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
	var borders []int // of what is read at once, and of where a decision waits for more
	for i := -around; i < around; i++ {
		borders = append(borders, border+i, border-2*reach+i)
	}
	for _, before := range borders {
		text := filler[:before] + "\n" + s + "\n" + filler[:around]
		if places, lookalikes := find(t, text); !slices.Equal(places, expected(text)) || len(places) != 1 || lookalikes != 0 {
			t.Fatalf("after %d bytes: %v, %d lookalikes", before, places, lookalikes)
		}
		escaped := anchor + strings.ReplaceAll(s[len(anchor):], "_", `\u005f`)
		if places, _ := find(t, filler[:before]+escaped); len(places) != 1 || places[0].text != s {
			t.Fatalf("escaped, after %d bytes: %v", before, places)
		}
		for bigEndian := range 2 {
			text := wide(filler[:before/2]+"\n"+s, "", bigEndian) + "\x4e\x61\x4e"[1-bigEndian:][:2] // 乡
			want := place{s, Place{Offset: int64(before/2*2 + 2 + bigEndian), Length: int64(2*secretLength - 1), Line: int64(strings.Count(filler[:before/2], "\n") + 2), Column: 1}}
			if places, _ := find(t, text); !slices.Equal(places, []place{want}) {
				t.Fatalf("UTF-16 after %d characters: %v, want %v", before/2, places, want)
			}
		}
		for _, word := range []string{"\n" + s + "x", "x" + s} {
			for _, text := range []string{filler[:before] + word, wide(filler[:before/2]+word, "", 0), wide(filler[:before/2]+word, "", 1)} {
				if places, lookalikes := find(t, text+filler[:around]); len(places) != 1 || lookalikes != 0 {
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
		text := string(bytes.ReplaceAll(data, []byte{0}, []byte{1}))
		want = expected(text)
		for bigEndian := range 2 {
			got, _ := find(t, wide(text, "", bigEndian))
			for i := range got {
				got[i].Place = narrow(got[i].Place, bigEndian)
			}
			for _, p := range want {
				if !slices.Contains(got, p) {
					t.Fatalf("%q in UTF-16: got %v, want %v", text, got, want)
				}
			}
		}
	})
}

package keys

import (
	"strings"
	"testing"
)

// TestSharpSIsFoundEitherWay: written as one letter or as two, small or capital.
func TestSharpSIsFoundEitherWay(t *testing.T) {
	for _, name := range []string{"Straße", "STRASSE", "strasse", "STRAẞE"} {
		for _, text := range []string{"straße", "STRASSE", "rass", "raß"} {
			if !strings.Contains(SearchKey(name), SearchKey(text)) {
				t.Errorf("%s does not find %s", text, name)
			}
		}
	}
}

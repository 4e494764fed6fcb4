package tokens_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/imara/apikeys/tokens"
)

// TestASecretIsShownByNothing: not when the configuration that has it is printed, logged or
// made JSON of, in whatever form, nor in an error.
func TestASecretIsShownByNothing(t *testing.T) {
	const text = "s3cret-text"
	config := struct {
		Name   string
		Secret tokens.Secret
		None   tokens.Secret
		Of     map[string]tokens.Secret
	}{"x", text, "", map[string]tokens.Secret{"a": text}}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&shown, verb+" "+verb+" "+verb+"\n", config, &config, config.Secret)
	}
	fmt.Fprintln(&shown, config, config.Secret, fmt.Errorf("refused: %v", config.Secret))
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("start", "config", config, "secret", config.Secret)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("start", "config", config, "secret", config.Secret)
	if err := json.NewEncoder(&shown).Encode(config); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), strings.Trim(fmt.Sprint([]byte(text)), "[]")} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("%s stands in\n%s", form, shown.String())
		}
	}
	if !strings.Contains(shown.String(), "[redacted]") || config.Secret.Reveal() != text {
		t.Errorf("%s", shown.String())
	}
	// A file of settings has the text itself, and none is none.
	var read struct{ Secret, None tokens.Secret }
	if err := json.Unmarshal([]byte(`{"Secret":"s3cret-text","None":""}`), &read); err != nil || read.Secret != text || read.None.String() != "" {
		t.Error(err, read)
	}
}

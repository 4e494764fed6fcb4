package tokens

import (
	"fmt"
	"io"
	"log/slog"
)

// A Secret is a text that is shown by no log, no error and no JSON: package fmt, log/slog
// and encoding/json all write [redacted], so that a configuration can be logged whole. Only
// [Secret.Reveal] returns the text. The zero value is none, and is written as such.
//
//	httpfeed.Config{ClientSecret: tokens.Secret(os.Getenv("CLIENT_SECRET"))}
type Secret string

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) shown() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

func (s Secret) String() string               { return s.shown() }
func (s Secret) GoString() string             { return s.shown() }
func (s Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, s.shown()) }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(s.shown()) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.shown()), nil }

package panel

import (
	"strings"
	"testing"
)

// TestZeroConfigurationIsRefused: with a sentence that says what is missing.
func TestZeroConfigurationIsRefused(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "are required") {
		t.Error(err)
	}
}

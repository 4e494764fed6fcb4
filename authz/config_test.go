package authz

import (
	"strings"
	"testing"

	"github.com/imara/apikeys/keys/keystest"
)

// TestZeroConfigurationIsRefused: with a sentence that says what is missing, where a crash
// at the first request would.
func TestZeroConfigurationIsRefused(t *testing.T) {
	if _, err := New(t.Context(), Config{}); err == nil || !strings.Contains(err.Error(), "are required") {
		t.Errorf("a server: %v", err)
	}
	if _, err := NewRelay(RelayConfig{}); err == nil || !strings.Contains(err.Error(), "is required") {
		t.Errorf("a relay: %v", err)
	}
	if _, err := NewRelay(RelayConfig{Log: keystest.NewMemory()}); err != nil {
		t.Errorf("a relay with all that it needs: %v", err)
	}
}

package keystest_test

import (
	"testing"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
)

func TestMemory(t *testing.T) {
	keystest.Run(t, func(*testing.T) keys.Store { return keystest.NewMemory() })
}

package keys_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestKeysImportsOnlyTokens: cmd → authz → keys → tokens, and never back.
func TestKeysImportsOnlyTokens(t *testing.T) {
	const module = "github.com/imara/apikeys/"
	out, err := exec.Command("go", "list", "-deps", module+"keys/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		if ours, ok := strings.CutPrefix(dep, module); ok && ours != "tokens" && !strings.HasPrefix(ours, "keys") {
			t.Errorf("keys imports %s", ours)
		}
	}
}

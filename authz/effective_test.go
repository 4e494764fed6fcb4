package authz

import (
	"strings"
	"testing"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// TestRefusalNamesWhatIsEffective: a scope that left the catalogue is not granted, and no
// answer says that it is.
func TestRefusalNamesWhatIsEffective(t *testing.T) {
	catalogue := keys.Catalogue{{Audience: "https://a.example", Algorithm: tokens.ES256, TokenTTL: keys.DefaultTokenTTL,
		Scopes: []keys.Scope{{Name: "reports:write"}}}}
	key := &keys.Key{Access: keys.Access{Resources: []string{"https://a.example"}, Scopes: []string{"reports:read", "reports:write"}}}
	if g, err := decide(catalogue, key, "", nil); err != nil || g.scope != "reports:write" {
		t.Errorf("all that it has: %q, %v", g.scope, err)
	}
	for _, row := range []struct {
		scopes []string
		want   string
	}{
		{[]string{"reports:read", "reports:write"}, "Not granted to this key: reports:read. Granted: reports:write."},
		{[]string{"reports:read"}, "Not granted to this key: reports:read. Granted: none."},
	} {
		key.Scopes = row.scopes
		_, err := decide(catalogue, key, "reports:read", nil)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%v: %v", row.scopes, err)
		}
	}
}

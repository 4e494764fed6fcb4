package tokens_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestResourceServersImportLittle: what a resource server links is the standard
// library and golang-jwt.
func TestResourceServersImportLittle(t *testing.T) {
	const module = "github.com/imara/apikeys"
	allowed := []string{module + "/tokens", "github.com/golang-jwt/jwt/v5"}
	for _, pkg := range []string{"", "/httpfeed", "/gateway"} { // redisfeed is for those who have Redis
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", module+"/tokens"+pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			ok := dep == module+"/tokens"+pkg
			for _, a := range allowed {
				ok = ok || dep == a
			}
			if !ok {
				t.Errorf("tokens%s imports %s", pkg, dep)
			}
		}
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}}", module+"/tokens/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(dep, module) && !strings.HasPrefix(dep, module+"/tokens") {
			t.Errorf("tokens imports %s", dep)
		}
	}
}

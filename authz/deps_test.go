package authz

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/imara/apikeys/"

// imports returns what a package of ours imports directly, of ours and others.
func imports(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, module+pkg).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// floor is what every face stands on.
var floor = []string{"authz/web"}

// TestSiblingsDoNotKnowEachOther: what is below authz imports authz, its floor, keys and
// tokens; the floor imports nothing above it; nothing imports cmd; the grant engine is used
// in one package.
func TestSiblingsDoNotKnowEachOther(t *testing.T) {
	out, err := exec.Command("go", "list", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		pkg = strings.TrimPrefix(pkg, module)
		for _, dep := range imports(t, pkg) {
			ours, own := strings.CutPrefix(dep, module)
			switch {
			case strings.HasPrefix(dep, "github.com/go-oauth2/") && pkg != "authz":
				t.Errorf("%s imports the grant engine", pkg)
			case strings.HasPrefix(ours, "cmd") && own:
				t.Errorf("%s imports %s", pkg, ours)
			case own && slices.Contains(floor, pkg) && strings.HasPrefix(ours, "authz"):
				t.Errorf("%s, on which all faces stand, imports %s", pkg, ours)
			case own && slices.Contains(floor, ours):
			case own && strings.HasPrefix(pkg, "authz/") && strings.HasPrefix(ours, "authz/"):
				t.Errorf("%s imports its sibling %s", pkg, ours)
			case own && pkg == "authz" && strings.HasPrefix(ours, "authz/"):
				t.Errorf("authz imports %s", ours)
			}
		}
	}
}

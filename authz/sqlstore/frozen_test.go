package sqlstore

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCommittedMigrationsStayAsTheyAre: a migration runs once in each database. One
// that is changed afterwards makes two kinds of databases of one version.
func TestCommittedMigrationsStayAsTheyAre(t *testing.T) {
	frozen := map[string]string{
		"migrations/00001_init.sql":         "018816d57a0bdb2155e3f5627f9b53fe0b4d1f18af3ddee4c79bb63d35041bce",
		"migrations/00002_accept_stale.sql": "ddd283f38e1b619d602002173029d20700221050da3cb3c3d871840895d29cc1",
		"migrations/00003_audit.sql":        "7723089f5e210d8645e76d2c96cfed7920f965d17dc69bb8dd84f808de42a3f1",
		"migrations/00004_rules.sql":        "993ce01d56260d83acac291c270144c1f77132ad9e7409ee181bb98612e63bab",
		"migrations/00005_usage.sql":        "eb6ab9cb0c9ba81c159d9e82b7dae7e9d873abf93a36256900958c9f257c3eb2",
		"migrations/00006_webhooks.sql":     "645013d0f4c9d639265ed223618ee58d0abc4637881d071864c0c0442d6dca74",
		"migrations/00007_accounts.sql":     "c29f0dde91f75647473ae97e4cad0589a476467d2a15eaca526b687cb9fa3d3d",
		"migrations/00008_sessions.sql":     "1d0490e9cae0eebc0a9e0b2098dbd6724792d58bc954198de62f8f8b7d2020ed",
		"migrations/00010_receipts.sql":     "15e6cc85215e3aecfbfe1f52d05afb8b1e405f42033d2646e88efdd31c9b435a",
		"migrations/00011_verifiers.sql":    "1354cb7f251602a74975ed48ca5a60e1ddf1d515226a029ee0c32bd12c3a50a4",
		"migrations/00012_examination.sql":  "0c50f0d2dac11a96151795a32048cf5247c37f0d1f84e45fdf2c823165df1a82",
		"migrations/00013_sessions.sql":     "683c2df26f071b2b38679be09d8c2556103c65249ba7a8bdddbdbbea6a1c0173",
		"migrations/00014_quota.sql":        "f6c778fb9fb333e25da65385ecf17ed31eda57a9c8d6aab293d0bdeb7de9c9c2",
		"migrations/00015_invitations.sql":  "78ad3e23dac6330d004b2f196509b06253454f99e08a4c828214e97cbaf36195",
		"migrations/00016_subjects.sql":     "153b0682dbb10ab4116953f0d7f26431748c50347dac4b6e83bed88f1c4c0758",
		"migration_00009.go":                "bd13e50e4802044c08a69a7d7176fb4c96e4db66eb7259e6d1215079984484ca",
	}
	files, err := filepath.Glob("migrations/*")
	if err != nil {
		t.Fatal(err)
	}
	inGo, err := filepath.Glob("migration_*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, inGo...)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		switch sum := fmt.Sprintf("%x", sha256.Sum256(text)); frozen[file] {
		case sum:
		case "":
			t.Errorf("%s is new. Once it is committed it stays as it is: add the line\n\t\t%q: %q,",
				file, file, sum)
		default:
			t.Errorf("%s was changed, and there are databases in which it has run: put it back,"+
				" and add a file with the next number instead", file)
		}
	}
	for file := range frozen {
		if !slices.Contains(files, file) {
			t.Errorf("%s is gone, and there are databases in which it has run: put it back", file)
		}
	}
}

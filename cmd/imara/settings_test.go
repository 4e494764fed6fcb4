package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/authz/sqlstore"
)

// cleanEnvironment takes every setting of ours out of a test's environment.
func cleanEnvironment(t *testing.T) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "IMARA_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
}

// goodSecret has the form and the checksum of a client secret.
const goodSecret = "imara_cs_live_wrongwrong00_00000000000000000000000000000000000000000001ZKpXN"

// refused runs the program, which must end with code 2, name the setting and show nothing
// of a password.
func refused(t *testing.T, line, want string) {
	t.Helper()
	var out, talk bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	code := run(ctx, strings.Fields(line), strings.NewReader(""), &out, &talk)
	if code == exitOK || !strings.Contains(talk.String(), want) || strings.Contains(talk.String(), "hunter2") || out.Len() > 0 {
		t.Errorf("imara %s: code %d, %q, want %q", line, code, talk.String(), want)
	}
}

// TestSettingsAreUsedOrRefused: a variable or a flag that is empty or mangled is an error
// with its name, whatever it is for.
func TestSettingsAreUsedOrRefused(t *testing.T) {
	cleanEnvironment(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wide := func(order ...int) (text string) {
		for _, u := range utf16.Encode([]rune("\ufeff" + goodSecret)) {
			pair := []byte{byte(u), byte(u >> 8)}
			text += string([]byte{pair[order[0]], pair[order[1]]})
		}
		return text
	}
	serve := "serve --listen 127.0.0.1:0 --data " + dir + "/data"
	get := "token get --issuer http://127.0.0.1:1 --client-id imara_ci_x"
	for _, test := range []struct{ name, value, line, want string }{
		{"IMARA_DATABASE_URL", "", serve, "IMARA_DATABASE_URL is empty"},
		{"IMARA_DATABASE_URL_FILE", "", serve, "IMARA_DATABASE_URL_FILE is empty"},
		{"IMARA_DATABASE_URL_FILE", file("empty", " \r\n"), serve, "IMARA_DATABASE_URL_FILE: " + dir + "/empty is empty"},
		{"IMARA_DATABASE_URL_FILE", dir + "/nowhere", serve, "IMARA_DATABASE_URL_FILE"},
		{"IMARA_DATABASE_URL", `"postgres://u:hunter2@h/db"`, serve, "IMARA_DATABASE_URL has a quote"},
		{"IMARA_DATABASE_URL", "\ufeffpostgres://u:hunter2@h/db", serve, "IMARA_DATABASE_URL begins with U+FEFF"},
		{"IMARA_DATABASE_URL", "postgres://u:hunter2@h/db\r", serve, "IMARA_DATABASE_URL ends in U+000D"},
		{"IMARA_REDIS_URL", "", serve, "IMARA_REDIS_URL is empty"},
		{"IMARA_REDIS_URL", "http://u:hunter2@h", serve, "IMARA_REDIS_URL: "},
		{"IMARA_REDIS_URL", "redis://u:hunt/er2@h:1", serve, `'/' in the password`},
		{"IMARA_REDIS_URL_FILE", file("redis", "\xff\xfer"), serve, "UTF-16"},
		{"IMARA_ISSUER", "", serve, "IMARA_ISSUER is empty"},
		{"IMARA_ISSUER", "https://x.example/", serve, "IMARA_ISSUER: "},
		{"IMARA_ISSUER", "https://x.example\r", serve, "IMARA_ISSUER ends in U+000D"},
		{"IMARA_ISSUER", "https://u:hunter2@x.example", serve, "IMARA_ISSUER has a user"},
		{"IMARA_ISSUER", "https://x.example/", "keys list --client-id x", "IMARA_ISSUER: "},
		{"IMARA_URL", "http://127.0.0.1:1/", get, "IMARA_URL: "},
		{"IMARA_MASTER_KEY_FILE", "", serve, "IMARA_MASTER_KEY_FILE is empty"},
		{"IMARA_MASTER_KEY_FILE", file("master", "'"+base64.StdEncoding.EncodeToString(make([]byte, 32))+"'"), serve, "master key: "},
		{"IMARA_SSO", "", serve, "IMARA_SSO is empty"},
		{"IMARA_CLIENT_SECRET", "", get, "IMARA_CLIENT_SECRET is empty"},
		{"IMARA_CLIENT_SECRET", goodSecret + "\r", get, "IMARA_CLIENT_SECRET ends in U+000D"},
		{"IMARA_CLIENT_SECRET", "'" + goodSecret + "'", get, "IMARA_CLIENT_SECRET has a quote"},
		{"IMARA_CLIENT_SECRET", goodSecret[:70], get, "IMARA_CLIENT_SECRET is no client secret"},
		{"IMARA_CLIENT_SECRET", "hunter2", get, "IMARA_CLIENT_SECRET is no client secret"},
		{"IMARA_CLIENT_SECRET_FILE", "", get, "IMARA_CLIENT_SECRET_FILE is empty"},
		{"IMARA_CLIENT_SECRET_FILE", file("le", wide(0, 1)), get, "UTF-16"},
		{"IMARA_CLIENT_SECRET_FILE", file("be", wide(1, 0)), get, "UTF-16"},
		{"IMARA_CLIENT_SECRET_FILE", file("quoted", `"`+goodSecret+`"`), get, "has a quote"},
		{"IMARA_CLIENT_SECRET_FILE", file("bom", "\ufeff"+goodSecret+"\r\n"), get, "the server is not reached"},
		{"IMARA_CLIENT_SECRET_FILE", file("spaces", "\n "+goodSecret+" \n\n"), get, "the server is not reached"},
		{"IMARA_LOGLEVEL", "debug", serve, "IMARA_LOGLEVEL is no setting: do you mean IMARA_LOG_LEVEL?"},
		{"IMARA_DATABASEURL", "x", serve, "IMARA_DATABASE_URL?"},
		{"IMARA_PORT", "8080", serve, "IMARA_PORT is no setting"},
		{"IMARA_CLIENTID", "x", get, "IMARA_CLIENT_ID?"},
	} {
		t.Run(test.name+" "+test.want, func(t *testing.T) {
			t.Setenv(test.name, test.value)
			refused(t, test.line, test.want)
		})
	}
	for _, flag := range neverEmpty {
		if cmd := serveCommand(); cmd.Flags().Lookup(flag) != nil {
			var talk bytes.Buffer
			if code := run(t.Context(), []string{"serve", "--" + flag, ""}, nil, &talk, &talk); code != exitUsage ||
				!strings.Contains(talk.String(), "--"+flag+" is empty") {
				t.Errorf("--%s '': %d %s", flag, code, talk.String())
			}
		}
	}
}

// TestDatabaseURLIsOneOrRefused: what is none goes nowhere, and no error quotes it.
func TestDatabaseURLIsOneOrRefused(t *testing.T) {
	for text, want := range map[string]string{
		"": "neither", "x": "neither", "postgres": "neither", "mysql://u:hunter2@h/db": "neither",
		"xpostgres://u:hunter2@h/db": "neither", "DATABASE_URL=postgres://u:hunter2@h/db": "neither",
		"url=postgres://u:hunter2@h/db": "neither", "postgres:/u:hunter2@h/db": "neither", "postgres=hunter2": "neither",
		"postgres://u:hunter2/x@127.0.0.1:1/db": "'/' in the password", "postgres://u:hunter2?x@127.0.0.1:1/db": "'?' in the password",
		"postgres://u:hunter2#x@127.0.0.1:1/db": "'#' in the password", "postgres://u:hunter2%zz@127.0.0.1:1/db": "'%' in the password",
		"postgres://u:hunter2 x@127.0.0.1:1/db": "' ' in the password", "postgres://u:12?hunter2@127.0.0.1:1/db": "'?' in the password",
		"postgres://u:hunter2[@127.0.0.1:1/db": "'[' in the password",
		"postgres://u:hunter2@127.0.0.1:1/db":  "127.0.0.1", "postgresql://u:hunt%2Fer2@127.0.0.1:1/db": "127.0.0.1",
		"host=127.0.0.1 port=1 password='hunter2 x'": "127.0.0.1", "postgres://u:hunter2@h.example/db?sslmode=disable": "another machine",
		"host=127.0.0.1 port=1 password=hunter2 sslmode=loud": "parsed",
	} {
		_, err := sqlstore.OpenPostgres(t.Context(), text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunt") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestNamesOfOtherProgramsStopNoStart: what Kubernetes puts into a container beside a
// service that is called imara, or imara-gateway.
func TestNamesOfOtherProgramsStopNoStart(t *testing.T) {
	root := &cobra.Command{}
	root.AddCommand(serveCommand(), gatewayCommand())
	good := []string{"PATH=/bin", "IMARA_SERVICE_HOST=10.0.0.1", "IMARA_SERVICE_PORT=8080", "IMARA_SERVICE_PORT_HTTP=8080",
		"IMARA_PORT=tcp://10.0.0.1:8080", "IMARA_PORT_8080_TCP=tcp://10.0.0.1:8080", "IMARA_PORT_8080_TCP_PROTO=tcp",
		"IMARA_PORT_8080_TCP_PORT=8080", "IMARA_PORT_8080_TCP_ADDR=10.0.0.1", "IMARA_GATEWAY_SERVICE_HOST=10.0.0.2",
		"IMARA_GATEWAY_PORT=tcp://10.0.0.2:8090", "IMARA_GATEWAY_PORT_8090_TCP_ADDR=10.0.0.2",
		"IMARA_LISTEN=:1", "IMARA_RESOURCE=a=b", "IMARA_REDIS_URL_FILE=f", "IMARA_CLIENT_SECRET=x", "IMARA_ENV=production"}
	if err := checkNames(root, good); err != nil {
		t.Error(err)
	}
	for _, line := range []string{"IMARA_LISTEN_FILE=x", "IMARA_RESOURCES=a=b", "IMARA_=x", "IMARA_gateway=x", "IMARA_REDISURL=x"} {
		if err := checkNames(root, append(good, line)); err == nil {
			t.Errorf("%s is taken", line)
		}
	}
}

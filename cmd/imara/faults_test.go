//go:build linux

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/tokens"
)

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in 60 s: %s", what)
		}
	}
}

// reply is what an HTTP call came to. A status of 0 is no answer at all.
type reply struct {
	status int
	header http.Header
	body   string
}

func do(method, url, contentType, authorization, body string) reply {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return reply{body: err.Error()}
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{body: err.Error()}
	}
	return reply{response.StatusCode, response.Header, string(data)}
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// tokenFor exchanges a pair; empty when there is no token.
func (c *child) tokenFor(id, secret string) (token string, r reply) {
	r = do("POST", c.url+"/oauth2/token", "application/x-www-form-urlencoded", basic(id, secret), "grant_type=client_credentials")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	json.Unmarshal([]byte(r.body), &answer)
	return answer.AccessToken, r
}

// tokenOf exchanges the pair that demo.env has under a prefix: "" is the
// integration, "IMARA_" the operator.
func (c *child) tokenOf(prefix string) string {
	c.t.Helper()
	env := c.env()
	token, r := c.tokenFor(env[prefix+"CLIENT_ID"], env[prefix+"CLIENT_SECRET"])
	if token == "" {
		c.t.Fatalf("no token: %d %s", r.status, r.body)
	}
	return token
}

func (c *child) demoToken() string     { c.t.Helper(); return c.tokenOf("") }
func (c *child) operatorToken() string { c.t.Helper(); return c.tokenOf("IMARA_") }

// create makes a key over the API.
func (c *child) create(token, name string) (management.KeyWithSecret, reply) {
	body, err := json.Marshal(management.CreateKey{Name: name, Scopes: []string{"alerts:read"}})
	if err != nil {
		c.t.Fatal(err)
	}
	r := do("POST", c.url+"/v1/orgs/org_demo/keys", "application/json", "Bearer "+token, string(body))
	var created management.KeyWithSecret
	if r.status == 201 {
		if err := json.Unmarshal([]byte(r.body), &created); err != nil {
			c.t.Fatal(err)
		}
	}
	return created, r
}

func (c *child) revoke(token, id string) reply {
	return do("POST", c.url+"/v1/orgs/org_demo/keys/"+id+"/revoke", "application/json", "Bearer "+token, "")
}

// revokeLeftovers frees the slots of the keys that earlier rounds left active:
// three workers may each leave one a round, and the plan has twenty.
func (c *child) revokeLeftovers(operator string) {
	c.t.Helper()
	r := do("GET", c.url+"/v1/orgs/org_demo/keys?limit=200&status=active", "", "Bearer "+operator, "")
	var list management.List[management.Key]
	if err := json.Unmarshal([]byte(r.body), &list); err != nil {
		c.t.Fatal(err)
	}
	for _, k := range list.Data {
		if !strings.HasPrefix(k.Name, "round ") {
			continue
		}
		if r := c.revoke(operator, k.ID); r.status != 200 {
			c.t.Fatalf("%s: %d %s", k.Name, r.status, r.body)
		}
	}
}

// TestKillNineLosesNothingAcknowledged kills the server at random moments while
// keys are created, used and revoked. After each restart: what was created
// works, what was revoked does not, tokens of revoked keys are refused, and no
// key is half there (F-01, R-065).
func TestKillNineLosesNothingAcknowledged(t *testing.T) {
	dir, listen := t.TempDir(), address(t)
	type known struct {
		key             management.KeyWithSecret
		token           string
		revokeSent      bool
		revokeConfirmed bool
	}
	var all []*known
	names := 0
	for round := range 8 {
		server := serveDemo(t, dir, listen)
		operator := server.operatorToken()
		for _, k := range all {
			token, r := server.tokenFor(k.key.Key.ClientID, k.key.Secret.Value)
			switch {
			case k.revokeConfirmed && token != "":
				t.Errorf("round %d: a revoked key gets a token", round)
			case !k.revokeSent && token == "":
				t.Errorf("round %d: a created key gets no token: %d %s", round, r.status, r.body)
			}
			if k.revokeConfirmed && k.token != "" {
				if status, body, err := request(server.url+"/demo/alerts", k.token); status != 401 {
					t.Errorf("round %d: the token of a revoked key: %d %s %v", round, status, body, err)
				}
			}
		}
		server.revokeLeftovers(operator)
		var mu sync.Mutex
		var work sync.WaitGroup
		for worker := range 3 {
			work.Go(func() {
				for {
					mu.Lock()
					names++
					name := fmt.Sprintf("round %d worker %d number %d", round, worker, names)
					mu.Unlock()
					created, r := server.create(operator, name)
					if r.status == 0 {
						return // killed
					}
					if r.status == 409 {
						t.Errorf("%s", r.body)
						return
					}
					k := &known{key: created}
					mu.Lock()
					all = append(all, k)
					mu.Unlock()
					k.token, _ = server.tokenFor(created.Key.ClientID, created.Secret.Value)
					if r := server.revoke(operator, created.Key.ID); r.status == 200 {
						k.revokeSent, k.revokeConfirmed = true, true
					} else {
						k.revokeSent = true
						return
					}
				}
			})
		}
		// Let it get as far as chance has it, counted in keys, not in time.
		mu.Lock()
		target := len(all) + 5 + 7*round
		mu.Unlock()
		eventually(t, "enough keys", func() bool { mu.Lock(); defer mu.Unlock(); return len(all) >= target })
		server.kill()
		work.Wait()
	}
	server := serveDemo(t, dir, listen)
	operator := server.operatorToken()
	r := do("GET", server.url+"/v1/orgs/org_demo/keys?limit=200", "", "Bearer "+operator, "")
	var list management.List[management.Key]
	if err := json.Unmarshal([]byte(r.body), &list); err != nil {
		t.Fatal(err)
	}
	for _, k := range list.Data {
		if len(k.Secrets) != 1 || len(k.Scopes) == 0 || k.ClientID == "" {
			t.Errorf("half a key: %+v", k)
		}
	}
}

// TestFullDiskChangesNothing fills the file system under a server: changes answer
// 503, what was there works, nothing is half-made, and room mends it (F-18).
func TestFullDiskChangesNothing(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Logf("no file system of its own (%v: %s): a limit on file sizes stands in", err, bytes.TrimSpace(out))
		fillByLimit(t, dir)
		return
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	server := serveDemo(t, filepath.Join(dir, "data"), address(t))
	t.Cleanup(server.kill)
	ballast := filepath.Join(dir, "ballast")
	full(t, server, func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{4096, 1} {
			for err = nil; err == nil; {
				_, err = f.Write(make([]byte, size))
			}
		}
		f.Close()
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	operator := server.operatorToken()
	if _, r := server.create(operator, "there is room"); r.status != 201 {
		t.Errorf("with room: %d %s", r.status, r.body)
	}
}

// fillByLimit runs the server under ulimit -f: no file of it may grow beyond.
func fillByLimit(t *testing.T, dir string) {
	server := serveDemo(t, filepath.Join(dir, "data"), address(t), "bash", "-c", `ulimit -f 1200; exec "$@"`, "--")
	full(t, server, func() {})
}

// full makes keys until the disk, filled by fill, has no room.
func full(t *testing.T, server *child, fill func()) {
	t.Helper()
	operator := server.operatorToken()
	first, r := server.create(operator, "before")
	if r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	fill()
	var name string
	for i := range 5000 {
		name = fmt.Sprint("number ", i)
		var created management.KeyWithSecret
		if created, r = server.create(operator, name); r.status != 201 {
			break
		}
		if r = server.revoke(operator, created.Key.ID); r.status != 200 {
			break
		}
	}
	if r.status != 503 || !strings.Contains(r.body, "store_unavailable") || r.header.Get("Retry-After") == "" {
		t.Errorf("full: %d %s", r.status, r.body)
	}
	if token, r := server.tokenFor(first.Key.ClientID, first.Secret.Value); token == "" {
		t.Errorf("a key from before gets no token: %d %s", r.status, r.body)
	}
	r = do("GET", server.url+"/v1/orgs/org_demo/keys?status=active&limit=200", "", "Bearer "+operator, "")
	var list management.List[management.Key]
	if err := json.Unmarshal([]byte(r.body), &list); err != nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, k := range list.Data {
		if len(k.Secrets) == 0 {
			t.Errorf("half a key: %+v", k)
		}
	}
}

// TestNoSecretInAnyOutput is R-130 and I8: marked values go through every
// endpoint, rightly and wrongly, at the most talkative level; nothing of them, in
// any spelling, comes out but in the answer that shows a new secret.
func TestNoSecretInAnyOutput(t *testing.T) {
	server := serveDemo(t, t.TempDir(), address(t))
	env := server.env()
	operator := server.operatorToken()
	created, r := server.create(operator, "canary")
	if r.status != 201 {
		t.Fatal(r.body)
	}
	id, secret := created.Key.ClientID, created.Secret.Value
	token, r := server.tokenFor(id, secret)
	if token == "" {
		t.Fatal(r.body)
	}
	const garbage = "CANARYgarbageCANARYgarbageCANARY"
	var answers []string
	const form = "application/x-www-form-urlencoded"
	grant := "grant_type=client_credentials"
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/introspect", "/feed/sessions", "/v1/orgs/org_demo/keys", "/demo/alerts",
		"/nothing", "/.well-known/jwks.json", "/readyz", "/v1/orgs/org_demo/keys/" + created.Key.ID} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"} {
			if method == "DELETE" && strings.Contains(path, created.Key.ID) {
				continue
			}
			for _, c := range []struct{ contentType, authorization, query, body string }{
				{form, basic(id, secret), "", grant + "&scope=" + garbage},
				{form, basic(id, garbage), "", grant},
				{form, basic(garbage, secret), "", grant},
				{form, "Basic " + garbage, "", grant},
				{form, "Basic " + secret, "", grant},
				{form, basic(id, secret), "?client_secret=" + secret + "&access_token=" + token, grant},
				{form, "", "", grant + "&client_id=" + id + "&client_secret=" + url.QueryEscape(secret+"x")},
				{form, basic(id, secret), "", "token=" + token + "x"},
				{form, basic(id, secret), "", "token=" + garbage + "&" + garbage + "=" + garbage + "&" + garbage + "="},
				{"application/json", "Bearer " + token, "", `{"client_secret":"` + secret + `"}`},
				{"application/json", "Bearer " + operator, "", `{"` + garbage + `":"` + secret + `"}`},
				{"application/json", "Bearer " + operator, "", `{"name":"` + secret + "\n" + `"}`},
				{garbage, "Bearer " + token[:len(token)-3], "?" + secret, secret},
				{"application/json", "Bearer " + token + "." + token, "", "{"},
				{form, "Bearer\t" + token, "", "%zz" + secret},
			} {
				answers = append(answers, do(method, server.url+path+c.query, c.contentType, c.authorization, c.body).body)
			}
		}
	}
	for _, args := range [][]string{{"keys", "list"}, {"keys", "show", id}, {"keys", "list", "--json"}, {"token", "inspect"}, {"token", "verify"}} {
		_, out, talk := server.imara(token, args...)
		answers = append(answers, out, talk)
	}
	if _, out, talk := server.imara("", "keys", "revoke", created.Key.ID, "--yes"); !strings.Contains(out, "Revoked") {
		t.Errorf("%s %s", out, talk)
	}
	if err := server.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	raw, err := tokens.Inspect(token)
	if err != nil || raw.Claims.ID == "" {
		t.Fatal(err)
	}
	signature := token[strings.LastIndexByte(token, '.')+1:]
	master, err := os.ReadFile(filepath.Join(server.dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	marked := map[string]string{"secret": secret[len("imara_cs_live_")+13:], "demo secret": env["CLIENT_SECRET"][27:], "operator secret": env["IMARA_CLIENT_SECRET"][27:],
		"token": signature, "operator token": operator[strings.LastIndexByte(operator, '.')+1:], "master key": strings.TrimSpace(string(master)), "garbage": garbage}
	outputs := map[string]string{"log": server.stderr.String(), "stdout": server.stdout.String(), "answers": strings.Join(answers, "\n")}
	for what, text := range marked {
		for form, spelled := range map[string]string{"plain": text, "upper": strings.ToUpper(text), "hex": hex.EncodeToString([]byte(text)),
			"base64": base64.StdEncoding.EncodeToString([]byte(text))[4:20], "start": text[:12]} {
			for where, output := range outputs {
				if what == "garbage" && where == "answers" {
					continue // an answer to its sender may name an unknown field
				}
				if strings.Contains(output, spelled) {
					t.Errorf("%s, %s, is in the %s", what, form, where)
				}
			}
		}
	}
	if len(server.stderr.String()) < 10_000 {
		t.Errorf("the log has %d bytes: it was not asked for much", server.stderr.Len())
	}
	db, err := os.ReadFile(filepath.Join(server.dir, "imara.db"))
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range marked {
		if bytes.Contains(db, []byte(text)) {
			t.Errorf("%s is in the database", what)
		}
	}
}

// TestFilesAreForTheirOwnerOnly: what holds secrets is 0600, and a master key
// that others may read is refused.
func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir, listen := t.TempDir(), address(t)
	server := serveDemo(t, dir, listen)
	for _, name := range []string{"master.key", "demo.env"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "master.key")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("imara", "serve", "--listen", listen, "--data", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "chmod 600") {
		t.Errorf("%v %s", err, out)
	}
	for name, text := range map[string]string{"short": "c2hvcnQ=", "not base64": "!!!!", "empty": ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("imara", "serve", "--listen", listen, "--data", dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "32 bytes") && !strings.Contains(string(out), "is empty") {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

// TestFirstStartsShareOneMasterKey: whoever loses the race uses the winner's.
func TestFirstStartsShareOneMasterKey(t *testing.T) {
	for range 100 {
		path := filepath.Join(t.TempDir(), "data", "master.key")
		var got [4]masterKey
		var all sync.WaitGroup
		for i := range got {
			all.Go(func() {
				key, err := loadMasterKey(path, true)
				if err != nil {
					t.Error(err)
				}
				got[i] = key
			})
		}
		all.Wait()
		stored, err := loadMasterKey(path, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range got {
			if !bytes.Equal(key, stored) {
				t.Fatal("a server runs with a key that is on no disk")
			}
		}
	}
}

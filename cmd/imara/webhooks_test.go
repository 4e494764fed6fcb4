//go:build linux

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/authz/webhooks"
)

// TestWebhookSurvivesTheServer: an event that was acknowledged arrives although its
// receiver was away and the server was killed, signed with the secret of the webhook.
func TestWebhookSurvivesTheServer(t *testing.T) {
	t.Setenv("IMARA_WEBHOOK_NETWORK", "127.0.0.0/8")
	type request struct {
		header http.Header
		body   []byte
	}
	away, arrived := make(chan bool, 100), make(chan request, 100)
	open := make(chan struct{})
	hooks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-open:
			body, _ := io.ReadAll(r.Body)
			arrived <- request{r.Header, body}
		default:
			away <- true
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(hooks.Close)
	dir, listen := t.TempDir(), address(t)
	server := serveDemo(t, dir, listen)
	code, out, talk := server.imara("", "webhooks", "add", hooks.URL, "--event", "key.revoked", "--json")
	var hook management.Webhook
	if err := json.Unmarshal([]byte(out), &hook); err != nil || code != 0 || hook.Secret == "" {
		t.Fatalf("%d %s %s", code, out, talk)
	}
	created, r := server.create(server.operatorToken(), "Short")
	if r.status != 201 {
		t.Fatal(r.body)
	}
	if r := server.revoke(server.operatorToken(), created.Key.ID); r.status != 200 {
		t.Fatal(r.body)
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		deadline := time.After(60 * time.Second)
		for !done() {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-deadline:
				t.Fatal(what)
			}
		}
	}
	wait("nothing was tried", func() bool { return len(away) > 0 })
	server.kill()
	close(open)
	server = serveDemo(t, dir, listen)
	_, out, _ = server.imara("", "webhooks", "deliveries", hook.ID, "--json")
	var list management.List[management.Delivery]
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Data) != 1 {
		t.Fatalf("%s, %v", out, err)
	}
	if code, _, talk := server.imara("", "webhooks", "redeliver", hook.ID, list.Data[0].ID); code != 0 {
		t.Fatal(talk)
	}
	wait("nothing arrived", func() bool { return len(arrived) > 0 })
	got := <-arrived
	id, stamp := got.header.Get("Webhook-Id"), got.header.Get("Webhook-Timestamp")
	var payload webhooks.Payload
	if err := json.Unmarshal(got.body, &payload); err != nil || got.header.Get("Webhook-Signature") != webhooks.Sign(hook.Secret, id, stamp, got.body) ||
		id != list.Data[0].ID || payload.Type != "key.revoked" || payload.Data.ClientID != created.Key.ClientID {
		t.Errorf("%v %s, %v", got.header, got.body, err)
	}
	wait("it is not known that it arrived", func() bool {
		_, out, _ = server.imara("", "webhooks", "deliveries", hook.ID, "--json")
		return strings.Contains(out, `"delivered"`)
	})
}

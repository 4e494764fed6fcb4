//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/keys/keystest"
	"github.com/imara/apikeys/tokens"
)

// from is a client with an address of its own on this machine.
func from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{
		Transport:     &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 8},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// postAs posts a form and returns the status; 0 for none.
func postAs(client *http.Client, target, authorization string, form url.Values) int {
	r, err := http.NewRequest("POST", target, strings.NewReader(form.Encode()))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	response, err := client.Do(r)
	if err != nil {
		return 0
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	return response.StatusCode
}

// otherSecret has the form of a secret, and is of another server.
func otherSecret(b *testing.B) string {
	store := keystest.NewMemory()
	r, err := keys.New(keys.Config{Store: store, Relay: store, Peppers: keys.Peppers{1: tokens.Secret(make([]byte, 32))}, CheckpointKey: keystest.CheckpointKey})
	if err != nil {
		b.Fatal(err)
	}
	ctx, by := context.Background(), keys.Program("bench")
	if _, err := r.CreateOrganization(ctx, by, keys.Organization{ID: "org", Name: "Acme", Plan: "Professional"}); err != nil {
		b.Fatal(err)
	}
	if _, err := r.PutResource(ctx, by, keys.Resource{Audience: "https://api.example.com", Name: "API", Scopes: []keys.Scope{{Name: "a:read"}}}); err != nil {
		b.Fatal(err)
	}
	c, err := r.Create(ctx, by, "org", keys.NewKey{Name: "x", Access: keys.Access{Scopes: []string{"a:read"}}})
	if err != nil {
		b.Fatal(err)
	}
	return c.Secret.Reveal()
}

// BenchmarkRefusals is the CPU of a whole server process for each kind of refusal, against
// that for a token, in turns: one op is 1,600 requests of each.
func BenchmarkRefusals(b *testing.B) {
	server, target, right, env, _ := demoServer(b)
	wrong, form := otherSecret(b), url.Values{"grant_type": {"client_credentials"}}
	const each = 1600
	var turn int // a network that has not failed yet, for each hundred single ones
	ask := func(clients []*http.Client, authorization func(i int) string) time.Duration {
		before := cpu(b, server)
		var all sync.WaitGroup
		for c, client := range clients {
			all.Go(func() {
				for i := range each / len(clients) {
					postAs(client, target, authorization(c*each+i), form)
				}
			})
		}
		all.Wait()
		return cpu(b, server) - before
	}
	clients := func(address func(i int) string) (list []*http.Client) {
		for i := range 16 {
			list = append(list, from(address(i)))
		}
		return list
	}
	same := clients(func(int) string { return "127.0.0.1" })
	var sum [4]time.Duration
	for b.Loop() {
		turn++
		sum[0] += ask(same, func(int) string { return right })
		flood := clients(func(int) string { return "127.0.0.9" })
		sum[1] += ask(flood, func(int) string { return basic(env["CLIENT_ID"], wrong) })
		others := clients(func(i int) string { return fmt.Sprintf("127.1.%d.%d", turn, i+1) })
		sum[2] += ask(others, func(i int) string { return basic(fmt.Sprintf("imara_ci_%020d", turn*1_000_000+i), wrong) })
		sum[3] += ask(same, func(int) string { return basic(env["CLIENT_ID"], "x") })
	}
	for i, name := range []string{"x-flood", "x-single", "x-malformed"} {
		b.ReportMetric(float64(sum[i+1])/float64(sum[0]), name)
	}
}

// BenchmarkSignInFlood is what is left for tokens, and for an owner who signs in from
// elsewhere, while four addresses post passwords of random accounts as fast as they are
// answered, eight at once each.
func BenchmarkSignInFlood(b *testing.B) {
	dir, listen := b.TempDir(), address(b)
	server := serveDemo(b, dir, listen)
	env := readEnv(dir + "/demo.env")
	right, form := basic(env["CLIENT_ID"], env["CLIENT_SECRET"]), url.Values{"grant_type": {"client_credentials"}}
	const password = "correct horse battery staple"
	code, out, talk := server.imara("", "accounts", "link", demoOwner, "--reset", "--yes", "--json")
	var link management.AccountLink
	if err := json.Unmarshal([]byte(out), &link); err != nil || code != 0 {
		b.Fatal(code, talk)
	}
	if status := postAs(from("127.0.0.1"), link.URL, "", url.Values{"password": {password}, "again": {password}}); status != 303 {
		b.Fatal(status)
	}
	integration := from("127.0.0.1")
	median := func() time.Duration {
		var list []time.Duration
		for range 500 {
			begun := time.Now()
			if status := postAs(integration, env["TOKEN_URL"], right, form); status != 200 {
				b.Fatal(status)
			}
			list = append(list, time.Since(begun))
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	var ratio float64
	var slowest time.Duration
	n := 0
	for b.Loop() {
		quiet := median()
		stop, flood := context.WithCancel(context.Background())
		var attackers sync.WaitGroup
		for a := range 32 {
			attackers.Go(func() {
				client := from(fmt.Sprintf("127.2.%d.%d", n, a%4+1))
				for i := 0; stop.Err() == nil; i++ {
					postAs(client, server.url+"/panel/sign-in", "",
						url.Values{"email": {strconv.Itoa(a) + "-" + strconv.Itoa(i) + "@example.com"}, "password": {password}})
				}
			})
		}
		ratio += float64(median()) / float64(quiet)
		for i := range 10 {
			begun := time.Now()
			owner := from(fmt.Sprintf("127.3.%d.%d", n, i+1))
			if status := postAs(owner, server.url+"/panel/sign-in", "",
				url.Values{"email": {demoOwner}, "password": {password}}); status != 303 {
				b.Errorf("sign-in %d: %d", i, status)
			}
			slowest = max(slowest, time.Since(begun))
		}
		flood()
		attackers.Wait()
		n++
	}
	b.ReportMetric(ratio/float64(n), "x-token-p50")
	b.ReportMetric(slowest.Seconds(), "s-owner")
}

package redisfeed

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
	"github.com/imara/apikeys/tokens/redisfeed/redistest"
)

func TestPlainRedisIsForThisMachine(t *testing.T) {
	for url, plain := range map[string]bool{
		"redis://127.0.0.1:6379":                          false,
		"redis://localhost":                               false,
		"redis://[::1]:6379/2":                            false,
		"unix://user:pass@/run/redis.sock?db=2":           false,
		"rediss://redis.example.com":                      false,
		"rediss://redis.example.com?master_name=m":        false,
		"rediss://127.0.0.1?skip_verify=true":             false,
		"redis://redis.example.com":                       true,
		"redis://u:hunter2@192.0.2.1:6379":                true,
		"redis://127.0.0.1:1?addr=redis.example.com:2":    true,
		"redis://redis.example.com:26379?master_name=m":   true,
		"redis://localhost?master_name=m&addr=10.0.0.1:1": true,
		"rediss://redis.example.com?skip_verify=true":     true,
	} {
		options, err := ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		if err = RequireTLS(options); errors.Is(err, tokens.ErrPlain) != plain || (err != nil) != plain {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s is quoted: %v", url, err)
		}
		feed := Config{Redis: options, Issuer: "https://issuer.example", HTTP: httpfeed.Config{
			URL: "https://issuer.example", Name: "api", ClientID: "i", ClientSecret: "s"}}
		if options, _ = ParseURL(url); options != nil {
			feed.Redis = options
		}
		if _, err := New(feed); errors.Is(err, tokens.ErrPlain) != plain {
			t.Errorf("a feed over %s: %v", url, err)
		}
		feed.HTTP.InsecureHTTP = true
		if _, err := New(feed); err != nil {
			t.Errorf("a feed over %s, as told: %v", url, err)
		}
	}
}

// TestSentinelLeadsToNoPlainRedisElsewhere: nodes are named by others, later.
func TestSentinelLeadsToNoPlainRedisElsewhere(t *testing.T) {
	sentinel := redistest.NewSentinel(t, "192.0.2.1:6379")
	options, err := ParseURL("redis://" + sentinel + "?master_name=imara")
	if err != nil {
		t.Fatal(err)
	}
	if err := RequireTLS(options); err != nil {
		t.Fatal(err)
	}
	client := newClient(*options, 1)
	defer client.Close()
	for tick := time.Tick(20 * time.Millisecond); ; <-tick {
		err := client.Ping(t.Context()).Err()
		if errors.Is(err, tokens.ErrPlain) {
			return
		}
		if t.Context().Err() != nil || err == nil {
			t.Fatalf("ping: %v", err)
		}
	}
}

// TestTLSToThisMachineStaysTLS: the dialer that looks where it goes does not forget it.
func TestTLSToThisMachineStaysTLS(t *testing.T) {
	r := redistest.New(t)
	options := r.Options()
	options.TLSConfig = &tls.Config{InsecureSkipVerify: true}
	if err := RequireTLS(options); err != nil {
		t.Fatal(err)
	}
	client := newClient(*options, 1)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("a Redis without TLS answered a client with it")
	}
}

//go:build unix

package authz

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// A meter counts the bytes that a server hands to the kernel.
type meter struct {
	net.Listener
	written atomic.Int64
}

func (m *meter) Accept() (net.Conn, error) {
	conn, err := m.Listener.Accept()
	return &metered{conn, m}, err
}

type metered struct {
	net.Conn
	meter *meter
}

func (c *metered) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.meter.written.Add(int64(n))
	return n, err
}

// streamer is a resource server whose handler writes without pause, and never looks
// at its context.
type streamer struct {
	*httptest.Server
	*meter
	ended chan error // what its last write returned
}

func newStreamer(t *testing.T, api *apiVerifier) *streamer {
	t.Helper()
	s := &streamer{meter: &meter{}, ended: make(chan error, 1)}
	guard := api.RequireStream("alerts:read")
	s.Server = httptest.NewUnstartedServer(guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				s.ended <- err
				return
			}
			w.(http.Flusher).Flush()
		}
	})))
	s.meter.Listener = s.Server.Listener
	s.Server.Listener = s.meter
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// open begins a stream and reads from it; the rest is the caller's to read.
func (s *streamer) open(t *testing.T, raw string) io.Reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+raw)
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if _, err := io.ReadFull(response.Body, make([]byte, 10_000)); err != nil || response.StatusCode != 200 {
		t.Fatalf("status %d: %v", response.StatusCode, err)
	}
	return response.Body
}

// TestNothingIsStreamedAfterTheReceipt, over either feed, whether the client reads or
// not: not one byte leaves the process, and the receipt says that all confirmed.
func TestNothingIsStreamedAfterTheReceipt(t *testing.T) {
	s := newRedisHouse(t).start(0)
	for name, api := range map[string]*apiVerifier{
		"over HTTP":  s.follow("over HTTP", 0),
		"over Redis": s.followRedis("over Redis", 0, s.redis.Address()),
	} {
		server := newStreamer(t, api)
		for _, slow := range []bool{false, true, false, true} {
			c := s.demoKey()
			body := server.open(t, s.token(c))
			if !slow {
				go io.Copy(io.Discard, body)
			}
			_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
			sent := server.written.Load()
			if err != nil || receipt.State != keys.Confirmed || receipt.Confirmed != 3 {
				t.Errorf("%s, slow %v: %+v, %v", name, slow, receipt, err)
			}
			if err := <-server.ended; err == nil {
				t.Errorf("%s, slow %v: the handler's write succeeded", name, slow)
			}
			if more := server.written.Load() - sent; more != 0 {
				t.Errorf("%s, slow %v: %d bytes after the receipt", name, slow, more)
			}
		}
	}
}

// TestNothingIsStreamedWhenTheLeaseHasEnded: the verifier is cut off, and the receipt
// says that its lease has ended.
func TestNothingIsStreamedWhenTheLeaseHasEnded(t *testing.T) {
	s := newHouse(t).start(0)
	api, network := s.gated("cut off", time.Second)
	server := newStreamer(t, api)
	c := s.demoKey()
	body := server.open(t, s.token(c))
	go io.Copy(io.Discard, body)
	network.set(true)
	_, receipt, err := s.registry.Revoke(context.Background(), keys.Program("test"), "org", c.Key.ID, "")
	sent := server.written.Load()
	if err != nil || receipt.State != keys.LeaseEnded {
		t.Errorf("%+v, %v", receipt, err)
	}
	if err := <-server.ended; !errors.Is(err, tokens.ErrStale) {
		t.Errorf("the handler's write returned %v", err)
	}
	if more := server.written.Load() - sent; more != 0 {
		t.Errorf("%d bytes after the receipt", more)
	}
}

package tokens_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/tokenstest"
)

// A wire counts what is written: calls to the response that RequireStream was given,
// and bytes to the connection below it.
type wire struct {
	net.Listener
	begun, running, bytes atomic.Int64
}

func (w *wire) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	return &wireConn{conn, w}, err
}

type wireConn struct {
	net.Conn
	wire *wire
}

func (c *wireConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wire.bytes.Add(int64(n))
	return n, err
}

type wireResponse struct {
	http.ResponseWriter
	wire *wire
}

func (r *wireResponse) Write(p []byte) (int, error) {
	r.wire.begun.Add(1)
	r.wire.running.Add(1)
	defer r.wire.running.Add(-1)
	return r.ResponseWriter.Write(p)
}

func (r *wireResponse) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// streaming is a server on loopback whose handler RequireStream guards.
type streaming struct {
	*httptest.Server
	*wire
	issuer *tokenstest.Issuer
	ended  chan error // what the handler returned with
}

// streams runs handler behind RequireStream over HTTP/1.1 or, if http2, HTTP/2.
func streams(t *testing.T, http2 bool, handler func(http.ResponseWriter, *http.Request) error) *streaming {
	t.Helper()
	s := &streaming{issuer: tokenstest.New(t), wire: &wire{}, ended: make(chan error, 1)}
	guard := s.issuer.Verifier(audience).RequireStream("alerts:read")
	guarded := guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ended <- handler(w, r) }))
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Outside", "kept")
		guarded.ServeHTTP(&wireResponse{w, s.wire}, r)
	}))
	s.wire.Listener = s.Server.Listener
	s.Server.Listener = s.wire
	if s.EnableHTTP2 = http2; http2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// get makes a request with a good token.
func (s *streaming) get(t *testing.T, body io.Reader) *http.Response {
	t.Helper()
	method := "GET"
	if body != nil {
		method = "POST"
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.issuer.Token(audience, "alerts:read"))
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func eachHTTP(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Run("HTTP/1.1", func(t *testing.T) { test(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { test(t, true) })
}

// TestNothingIsWrittenAfterTheCut, by a handler that never looks at its context, from
// the moment on at which the cut may be acknowledged.
func TestNothingIsWrittenAfterTheCut(t *testing.T) {
	eachHTTP(t, func(t *testing.T, http2 bool) {
		s := streams(t, http2, func(w http.ResponseWriter, r *http.Request) error {
			for {
				if _, err := w.Write([]byte("data: x\n\n")); err != nil {
					return err
				}
				w.(http.Flusher).Flush()
			}
		})
		for range 30 {
			response := s.get(t, nil)
			if _, err := io.ReadFull(response.Body, make([]byte, 1000)); err != nil || response.ProtoMajor == 2 != http2 {
				t.Fatalf("%s: %v", response.Proto, err)
			}
			s.issuer.Revoke(tokenstest.ClientID)
			calls, running, sent := s.begun.Load(), s.running.Load(), s.bytes.Load()
			if err := <-s.ended; !errors.Is(err, tokens.ErrRevoked) {
				t.Errorf("the handler's write returned %v", err)
			}
			if _, err := io.Copy(io.Discard, response.Body); err == nil {
				t.Error("the client takes the response for a whole one")
			}
			if running != 0 || s.begun.Load() != calls {
				t.Errorf("%d writes were in progress after the cut, %d began", running, s.begun.Load()-calls)
			}
			if !http2 && s.bytes.Load() != sent { // over HTTP/2 the stream's end is told
				t.Errorf("%d bytes after the cut", s.bytes.Load()-sent)
			}
		}
	})
}

// TestSlowClientDoesNotHoldUpTheCut: a write that waits for the client is broken off,
// and has returned when the cut may be acknowledged.
func TestSlowClientDoesNotHoldUpTheCut(t *testing.T) {
	eachHTTP(t, func(t *testing.T, http2 bool) {
		writing := make(chan struct{})
		s := streams(t, http2, func(w http.ResponseWriter, r *http.Request) error {
			w.Write([]byte("first"))
			w.(http.Flusher).Flush()
			close(writing)
			_, err := w.Write(make([]byte, 64<<20)) // more than any buffer
			if cause := context.Cause(r.Context()); !errors.Is(cause, tokens.ErrRevoked) {
				t.Errorf("the context's cause is %v", cause)
			}
			return err
		})
		s.get(t, nil) // and reads nothing
		<-writing
		for s.begun.Load() < 2 {
			runtime.Gosched()
		}
		s.issuer.Revoke(tokenstest.ClientID)
		if n := s.running.Load(); n != 0 {
			t.Errorf("%d writes are in progress after the cut", n)
		}
		if err := <-s.ended; err == nil {
			t.Error("64 MiB were written to nobody")
		}
	})
}

// TestLongPollIsAnsweredWithTheChallenge when its token is refused before it has sent
// anything: without the headers of an answer that does not come, and on a connection
// that serves on.
func TestLongPollIsAnsweredWithTheChallenge(t *testing.T) {
	eachHTTP(t, func(t *testing.T, http2 bool) {
		waiting := make(chan struct{}, 1)
		s := streams(t, http2, func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("ETag", `"1"`)
			waiting <- struct{}{}
			<-r.Context().Done()
			w.WriteHeader(http.StatusOK)
			_, err := w.Write([]byte("secret"))
			return err
		})
		for i := range 3 {
			go func() {
				<-waiting
				s.issuer.Revoke(tokenstest.ClientID)
			}()
			r, _ := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				GotConn: func(conn httptrace.GotConnInfo) {
					if conn.Reused != (i > 0) {
						t.Errorf("request %d: reused %v", i, conn.Reused)
					}
				}}), "GET", s.URL, nil)
			r.Header.Set("Authorization", "Bearer "+s.issuer.Token(audience, "alerts:read"))
			response, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			header := response.Header
			if err != nil || response.StatusCode != 401 || !bytes.Contains(body, []byte("invalid_token")) ||
				!strings.Contains(header.Get("WWW-Authenticate"), "revoked") ||
				header.Get("ETag") != "" || header.Get("X-Outside") != "kept" {
				t.Errorf("%d %v %s, %v", response.StatusCode, header, body, err)
			}
			if err := <-s.ended; !errors.Is(err, tokens.ErrRevoked) {
				t.Errorf("the handler's write returned %v", err)
			}
		}
	})
}

// TestEveryWayToWriteIsRefused, and none leads around.
func TestEveryWayToWriteIsRefused(t *testing.T) {
	eachHTTP(t, func(t *testing.T, http2 bool) {
		var s *streaming
		s = streams(t, http2, func(w http.ResponseWriter, r *http.Request) error {
			if _, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
				t.Error("Unwrap leads around it")
			}
			control := http.NewResponseController(w)
			ways := map[string]func() error{
				"Write":            func() error { _, err := w.Write([]byte("x")); return err },
				"WriteString":      func() error { _, err := io.WriteString(w, "x"); return err },
				"Copy":             func() error { _, err := io.Copy(w, strings.NewReader("x")); return err },
				"Copy of much":     func() error { _, err := io.CopyN(w, endless{}, 1<<20); return err },
				"Flush":            control.Flush,
				"SetReadDeadline":  func() error { return control.SetReadDeadline(time.Time{}) },
				"SetWriteDeadline": func() error { return control.SetWriteDeadline(time.Time{}) },
			}
			for name, way := range ways {
				if err := way(); err != nil {
					t.Errorf("%s before the cut: %v", name, err)
				}
			}
			if err := control.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
			s.issuer.Revoke(tokenstest.ClientID)
			ways["Hijack"] = func() error { _, _, err := control.Hijack(); return err }
			calls := s.begun.Load()
			for name, way := range ways {
				if err := way(); !errors.Is(err, tokens.ErrRevoked) {
					t.Errorf("%s after the cut: %v", name, err)
				}
			}
			w.WriteHeader(500)
			w.(http.Flusher).Flush()
			if s.begun.Load() != calls {
				t.Error("something was written")
			}
			return nil
		})
		response := s.get(t, nil)
		io.Copy(io.Discard, response.Body)
		<-s.ended
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestHijackedConnectionEndsToo, as of a WebSocket: what reads it is told, and what
// writes is refused.
func TestHijackedConnectionEndsToo(t *testing.T) {
	var cut func()
	s := streams(t, false, func(w http.ResponseWriter, r *http.Request) error {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		defer conn.Close()
		buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello")
		if err := buffered.Flush(); err != nil {
			return err
		}
		if err := conn.SetDeadline(time.Time{}); err != nil {
			return err
		}
		go cut()
		if _, err := buffered.ReadByte(); err == nil {
			return errors.New("something was read")
		}
		<-r.Context().Done()
		_, written := conn.Write([]byte("secret"))
		buffered.WriteString("secret")
		never := time.Time{}
		for _, err := range []error{written, buffered.Flush(),
			conn.SetDeadline(never), conn.SetReadDeadline(never), conn.SetWriteDeadline(never)} {
			if !errors.Is(err, tokens.ErrRevoked) {
				t.Errorf("after the cut: %v", err)
			}
		}
		return context.Cause(r.Context())
	})
	cut = func() { s.issuer.Revoke(tokenstest.ClientID) }
	conn, err := net.Dial("tcp", s.Server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n"+
		"Authorization: Bearer "+s.issuer.Token(audience, "alerts:read")+"\r\n\r\n")
	all, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil || !strings.HasSuffix(string(all), "\r\n\r\nhello") {
		t.Errorf("the client read %q, %v", all, err)
	}
	if err := <-s.ended; !errors.Is(err, tokens.ErrRevoked) {
		t.Error(err)
	}
}

// TestUploadEndsToo: a handler that waits for the body is told.
func TestUploadEndsToo(t *testing.T) {
	eachHTTP(t, func(t *testing.T, http2 bool) {
		reading := make(chan struct{})
		s := streams(t, http2, func(w http.ResponseWriter, r *http.Request) error {
			if _, err := io.ReadFull(r.Body, make([]byte, 5)); err != nil {
				return err
			}
			close(reading)
			if _, err := r.Body.Read(make([]byte, 5)); err == nil {
				return errors.New("something was read")
			}
			return context.Cause(r.Context())
		})
		body, client := io.Pipe()
		defer client.Close()
		go func() {
			io.WriteString(client, "hello")
			<-reading
			s.issuer.Revoke(tokenstest.ClientID)
		}()
		if response := s.get(t, body); response.StatusCode != 401 {
			t.Errorf("status %d", response.StatusCode)
		}
		if err := <-s.ended; !errors.Is(err, tokens.ErrRevoked) {
			t.Error(err)
		}
	})
}

// TestResponseIsNotTouchedAfterItsHandler: the next request on the connection does not
// inherit the end of the one before, and who kept the writer cannot use it.
func TestResponseIsNotTouchedAfterItsHandler(t *testing.T) {
	eachHTTP(t, func(t *testing.T, http2 bool) {
		var kept http.ResponseWriter
		s := streams(t, http2, func(w http.ResponseWriter, r *http.Request) error {
			kept = w
			_, err := io.WriteString(w, "hello")
			return err
		})
		for i := range 20 {
			response := s.get(t, nil)
			<-s.ended
			s.issuer.Revoke(tokenstest.ClientID)
			if body, err := io.ReadAll(response.Body); err != nil || string(body) != "hello" {
				t.Fatalf("request %d: %q %v", i, body, err)
			}
			if _, err := kept.Write([]byte("x")); err == nil {
				t.Error("written after the handler returned")
			}
		}
	})
}

// TestStreamDoesNotBeginOnAnIntrospectedAnswer: the issuer said that the token is good
// at one moment, and nobody would hear that it no longer is.
func TestStreamDoesNotBeginOnAnIntrospectedAnswer(t *testing.T) {
	issuer := tokenstest.New(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"active":true}`)
	}))
	t.Cleanup(endpoint.Close)
	asks := &tokens.Introspection{URL: endpoint.URL, ClientID: "id", ClientSecret: "secret"}
	v, err := issuer.Verifier(audience).WithStale(tokens.Stale{Introspect: asks})
	if err != nil {
		t.Fatal(err)
	}
	reached := 0
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached++
		w.WriteHeader(204)
	})
	headers := []string{"Bearer " + issuer.Token(audience)}
	issuer.Stall()
	if w := ask(v.Require()(handler), "/", headers); w.Code != 204 || reached != 1 {
		t.Errorf("a request: %d", w.Code)
	}
	w := ask(v.RequireStream()(handler), "/", headers)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || reached != 1 {
		t.Errorf("a stream: %d %v, reached %d times", w.Code, w.Header(), reached)
	}
	issuer.Recover()
	headers = []string{"Bearer " + issuer.Token(audience)}
	if w := ask(v.RequireStream()(handler), "/", headers); w.Code != 204 || reached != 2 {
		t.Errorf("contact is back: %d", w.Code)
	}
}

package web

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// requestID is the one that a proxy gave the request, so that its log and ours can be
// joined, or a new one: a caller can say anything.
func requestID(r *http.Request) string {
	given := r.Header.Values("X-Request-Id")
	strange := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') &&
			!strings.ContainsRune("-_.:/+=@", c)
	}
	if len(given) != 1 || given[0] == "" || len(given[0]) > maxRequestID ||
		strings.ContainsFunc(given[0], strange) {
		return rand.Text()
	}
	return given[0]
}

// maxRequestID is in bytes.
const maxRequestID = 128

// Log returns middleware for everything that a server serves: a request id, one
// line of log for each request, with the address and the family of the program that it
// came from, and an answer when a handler panics. The line
// has the route, never the URL, and only what [Observe] was given besides.
func Log(logger *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		o := &observed{ResponseWriter: w, id: requestID(r)}
		w.Header().Set("X-Request-Id", o.id)
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				logger.Error("handler panicked", "route", r.Pattern, "request_id", o.id, "panic", p, "stack", string(debug.Stack()))
				if o.status == 0 {
					WriteJSON(o, http.StatusInternalServerError, map[string]string{"error": "server_error",
						"error_description": "The server failed; the request id finds the reason in its log."})
				}
			}
			attrs := append([]slog.Attr{
				slog.String("method", r.Method), slog.String("route", r.Pattern), slog.Int("status", o.status),
				slog.Int64("latency_us", time.Since(begun).Microseconds()), slog.String("request_id", o.id),
				slog.String("address", Address(r)), slog.String("agent", Agent(r))}, o.attrs...)
			logger.LogAttrs(r.Context(), o.level, "request", attrs...)
		}()
		next.ServeHTTP(o, r)
	})
}

// Observe adds a fact to the request's line of log: client_id, jti, outcome.
// Never a secret, a token, or text that a caller chose.
func Observe(w http.ResponseWriter, key, value string) {
	if o, ok := w.(*observed); ok {
		o.attrs = append(o.attrs, slog.String(key, value))
	}
}

// Background marks a request that repeats for ever: its line is for debugging.
func Background(w http.ResponseWriter) {
	if o, ok := w.(*observed); ok {
		o.level = slog.LevelDebug
	}
}

type observed struct {
	http.ResponseWriter
	id     string
	status int
	level  slog.Level
	attrs  []slog.Attr
}

func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observed) Write(data []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController find the connection.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

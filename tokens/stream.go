package tokens

import (
	"context"
	"maps"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// RequireStream is [Verifier.Require] for handlers that go on for a while:
// server-sent events, WebSockets, long polls, large downloads. The request's context
// is one of [Verifier.Watch], and the response takes nothing more once the token is
// refused: Write and Hijack return the context's cause, WriteHeader and Flush do
// nothing.
//
// What a revocation's receipt covers is this: after a verifier has acknowledged it,
// nothing is written through the ResponseWriter, or the hijacked connection, that the
// handler was given. Each write is decided upon like a request, and the
// acknowledgement waits for those that are in progress, which a deadline in the past
// breaks off, however slow the client. A writer without deadlines, of a middleware
// that lacks Unwrap, holds it up for 200 ms at most, and may finish what it has begun.
// What the kernel holds, or a middleware outside of this one, is on its way.
//
// A handler is told, not stopped: it has to look at its context or at the errors of
// its writes. It must not return before its stream ends. If it has sent nothing by
// then, the answer is the challenge; else the response is cut off, which a client of
// HTTP/1.1 or HTTP/2 cannot take for a whole one. Reading the request's body fails
// then, too.
//
// The ResponseWriter has every method that [http.ResponseController] knows, and no
// Unwrap: what that leads to would write on.
func (v *Verifier) RequireStream(scopes ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return v.guard(scopes, func(w http.ResponseWriter, r *http.Request, claims *Claims) {
			before := maps.Clone(w.Header())
			if err := v.stream(next, w, r, claims); err != nil {
				clear(w.Header())
				maps.Copy(w.Header(), before)
				v.Challenge(w, err, scopes...)
			}
		})
	}
}

// stream serves one request. It returns why the token is refused if nothing was sent.
func (v *Verifier) stream(
	next http.Handler, w http.ResponseWriter, r *http.Request, claims *Claims,
) error {
	s := &stream{
		response: w,
		reads:    r.Body != nil && r.Body != http.NoBody,
		turn:     make(chan struct{}, 1),
	}
	ctx, leave := v.watch(r.Context(), claims, s)
	defer leave()
	if !s.watcher.refused() {
		next.ServeHTTP(s, r.WithContext(ctx))
	}
	leave()
	if s.sent {
		return nil
	}
	return s.watcher.cause
}

// stream is a response that takes nothing more once its token is refused.
type stream struct {
	response http.ResponseWriter
	watcher  *watcher
	reads    bool          // the request has a body
	turn     chan struct{} // holds one while something is written
	stuck    atomic.Bool   // a write in progress was given up
	// These are the watcher's lock's.
	sent bool
	deaf bool     // response has no deadlines
	conn net.Conn // once it is hijacked
}

// begin admits one write, and holds the turn until done. The decision comes after the
// turn was taken: a write that is admitted before a cut is one that the cut waits for.
func (s *stream) begin() error {
	s.turn <- struct{}{}
	s.watcher.busy.Store(true)
	s.watcher.look()
	err := s.while(func() error { s.sent = true; return nil })
	if err != nil {
		s.done()
	}
	return err
}

func (s *stream) done() {
	s.watcher.busy.Store(false)
	<-s.turn
}

// while does what must not come after the end. It must not block.
func (s *stream) while(do func() error) error {
	w := s.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.cause != nil:
		return w.cause
	case w.gone:
		return context.Canceled
	}
	return do()
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// interrupt breaks off what is being read and written. It is called with the
// watcher's lock, so that no deadline is set when net/http has the response back.
func (s *stream) interrupt() {
	control := http.NewResponseController(s.response)
	if s.reads {
		control.SetReadDeadline(past)
	}
	switch {
	case s.conn != nil:
		s.deaf = s.conn.SetDeadline(past) != nil
	case s.sent:
		s.deaf = control.SetWriteDeadline(past) != nil
	}
}

// quiet waits until nothing is being written, or was for too long since a moment.
func (s *stream) quiet(since time.Time) {
	if s.stuck.Load() {
		return
	}
	s.watcher.mu.Lock()
	patience := overrun
	if s.deaf {
		patience = grace
	}
	s.watcher.mu.Unlock()
	timer := time.NewTimer(time.Until(since.Add(patience)))
	defer timer.Stop()
	select {
	case s.turn <- struct{}{}:
		<-s.turn
	case <-timer.C:
		s.stuck.Store(true)
	}
}

func (s *stream) Header() http.Header { return s.response.Header() }

func (s *stream) Write(p []byte) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	defer s.done()
	return s.response.Write(p)
}

func (s *stream) WriteHeader(status int) {
	if s.begin() == nil {
		defer s.done()
		s.response.WriteHeader(status)
	}
}

func (s *stream) Flush() { s.FlushError() }

func (s *stream) FlushError() error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.done()
	return http.NewResponseController(s.response).Flush()
}

func (s *stream) SetReadDeadline(t time.Time) error {
	control := http.NewResponseController(s.response)
	return s.while(func() error { return control.SetReadDeadline(t) })
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	control := http.NewResponseController(s.response)
	return s.while(func() error { return control.SetWriteDeadline(t) })
}

func (s *stream) EnableFullDuplex() error {
	return http.NewResponseController(s.response).EnableFullDuplex()
}

package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// bodyTimeout is how long a request may take to send its body.
	bodyTimeout = 10 * time.Second
	// answerTimeout is how long an answer may take to begin, and to go on: longer than the
	// longest wait for a receipt, which is the longest lease that a verifier can have.
	answerTimeout = 2 * time.Minute
	// drainTimeout is how long answers that were begun may still take at the end.
	drainTimeout = 25 * time.Second
)

// listening is how a program is reached.
type listening struct {
	listener  net.Listener
	tls       *tls.Config // nil for none
	maxHeader int         // bytes of a request's line and header fields
	logger    *slog.Logger
}

// until serves until ctx ends. A revocation may have to wait out a lease, so
// answers may take long; requests may not.
//
// The server has no ReadTimeout: net/http leaves that deadline on the connection while
// the handler runs. See [boundBody].
func (l listening) until(ctx context.Context, handler http.Handler) error {
	server := &http.Server{
		TLSConfig:         l.tls,
		Handler:           boundBody(extendAnswer(handler)),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    l.maxHeader,
		ErrorLog:          slog.NewLogLogger(l.logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() {
		if l.tls != nil {
			failed <- server.ServeTLS(l.listener, "", "")
		} else {
			failed <- server.Serve(l.listener)
		}
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	return server.Shutdown(drain)
}

// boundBody gives each request bodyTimeout to send its body, and takes that deadline
// back once the body is read. A deadline that stays meets the read with which net/http
// watches an idle connection: it would end this request and all later ones on it.
func boundBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			connection := http.NewResponseController(w)
			if connection.SetReadDeadline(time.Now().Add(bodyTimeout)) == nil {
				r.Body = &boundedBody{ReadCloser: r.Body, connection: connection}
			}
		}
		next.ServeHTTP(w, r)
	})
}

type boundedBody struct {
	io.ReadCloser
	connection *http.ResponseController
}

// Read ends the deadline with the body. After another error the connection ends too.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.connection.SetReadDeadline(time.Time{})
	}
	return n, err
}

// extendAnswer lets an answer that is written while it is made, such as an export, take
// as long as it goes on.
func extendAnswer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&longAnswer{ResponseWriter: w, extended: time.Now()}, r)
	})
}

type longAnswer struct {
	http.ResponseWriter
	extended time.Time
}

func (a *longAnswer) Write(p []byte) (int, error) {
	if now := time.Now(); now.Sub(a.extended) > answerTimeout/4 {
		a.extended = now
		http.NewResponseController(a.ResponseWriter).SetWriteDeadline(now.Add(answerTimeout))
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find the connection.
func (a *longAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

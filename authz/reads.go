package authz

import (
	"context"
	"sync"
	"time"

	"github.com/imara/apikeys/keys"
)

// reads reads records of clients for who could not be decided on from memory. Each read
// begins after the requests came that it decides on, so that it is never behind; two of one
// client are readPause apart at least, and whoever asks meanwhile waits for the next one. A
// flood of wrong secrets costs look-ups in memory.
type reads struct {
	read func(ctx context.Context, id string) (*keys.Record, error)
	mu   sync.Mutex
	of   map[string]*turn // those that were begun less than readPause ago, by client
}

const (
	readPause   = 5 * time.Millisecond
	readTimeout = 5 * time.Second
)

// A turn is one read.
type turn struct {
	done   chan struct{}
	record *keys.Record
	err    error
	next   *turn // nil: nobody waits for it
}

// get returns a record, or the error of the read.
func (r *reads) get(ctx context.Context, id string) (*keys.Record, error) {
	t, mine := r.turn(id)
	if mine {
		r.run(context.WithoutCancel(ctx), id, t)
	}
	select {
	case <-t.done:
		return t.record, t.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// turn returns the first read that is still to begin; mine tells that the caller begins it.
func (r *reads) turn(id string) (t *turn, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = make(map[string]*turn)
	}
	last := r.of[id]
	if last == nil {
		t = &turn{done: make(chan struct{})}
		r.of[id] = t
		return t, true
	}
	if last.next == nil {
		last.next = &turn{done: make(chan struct{})}
	}
	return last.next, false
}

// run carries out a read, and sees to the next one.
func (r *reads) run(ctx context.Context, id string, t *turn) {
	time.AfterFunc(readPause, func() { r.follow(id, t) })
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	defer close(t.done)
	t.record, t.err = r.read(ctx, id)
}

// follow begins the read for those who came since another one began.
func (r *reads) follow(id string, last *turn) {
	r.mu.Lock()
	next := last.next
	if next == nil {
		delete(r.of, id)
	} else {
		r.of[id] = next
	}
	r.mu.Unlock()
	if next != nil {
		r.run(context.Background(), id, next)
	}
}

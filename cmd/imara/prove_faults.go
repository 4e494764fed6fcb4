package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/tokens/redisfeed"
)

// faults are what imara prove --faults does to the Redis that it may harm, and to
// the verifiers that it started.
type faults struct {
	kinds     []fault
	redis     redis.UniversalClient
	restart   string
	lease     time.Duration
	verifiers []*proofVerifier // ours
	done      map[string]int
	rounds    atomic.Int64 // of all faults
}

// fault is one way to do harm. It returns when all is whole again, or an error when
// it did none.
type fault struct {
	name string
	do   func(context.Context) error
}

func newFaults(harmURL, restart string, lease time.Duration, verifiers []*proofVerifier) (*faults, error) {
	options, err := redisfeed.ParseURL(harmURL)
	if err != nil {
		return nil, usage("--harm-redis: %v", err)
	}
	f := &faults{redis: redis.NewUniversalClient(options), restart: restart, lease: lease, done: make(map[string]int)}
	for _, v := range verifiers {
		if v.cmd != nil {
			f.verifiers = append(f.verifiers, v)
		}
	}
	f.kinds = []fault{
		{"flush", func(ctx context.Context) error { return f.redis.FlushAll(ctx).Err() }},
		{"pause of Redis", func(ctx context.Context) error {
			return f.redis.Do(ctx, "CLIENT", "PAUSE", (lease * 3 / 4).Milliseconds(), "ALL").Err()
		}},
		{"cut of all connections", func(ctx context.Context) error {
			return f.redis.Do(ctx, "CLIENT", "KILL", "TYPE", "normal").Err()
		}},
		{"kill of Redis", f.kill},
		{"partition of verifiers", f.partition},
		{"pause of a verifier", f.pauseVerifier},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := f.redis.Ping(ctx).Err(); err != nil {
		f.redis.Close()
		return nil, &exit{exitUnavailable, fmt.Errorf("the Redis of --harm-redis is not reached: %w", err)}
	}
	return f, nil
}

func (f *faults) close() { f.redis.Close() }

// run does one fault after another, in a random order, until ctx ends, and then
// leaves everything whole.
func (f *faults) run(ctx context.Context) {
	defer f.rounds.Store(math.MaxInt64) // however it ends, nobody waits for more
	for ctx.Err() == nil {
		rand.Shuffle(len(f.kinds), func(i, j int) { f.kinds[i], f.kinds[j] = f.kinds[j], f.kinds[i] })
		for _, kind := range f.kinds {
			if kind.do(ctx) == nil && ctx.Err() == nil {
				f.done[kind.name]++
			}
			rest(ctx, f.lease/4+rand.N(f.lease/2))
		}
		f.rounds.Add(1)
	}
}

// rest returns after d, or when ctx ends.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// errSkipped: this fault is not one of this set-up.
var errSkipped = errors.New("skipped")

func (f *faults) kill(ctx context.Context) error {
	if f.restart == "" {
		return errSkipped
	}
	f.redis.ShutdownNoSave(ctx)
	rest(ctx, rand.N(f.lease))
	// It must be there again afterwards, whatever ctx says.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := exec.CommandContext(ctx, "sh", "-c", f.restart).Run(); err != nil {
		return err
	}
	for f.redis.Ping(ctx).Err() != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rest(ctx, 20*time.Millisecond)
	}
	return nil
}

// partition cuts each verifier off with even chances, for up to two leases.
func (f *faults) partition(ctx context.Context) error {
	var cut []*wire
	for _, v := range f.verifiers {
		if v.wire != nil && rand.IntN(2) == 0 {
			v.wire.hold(true)
			cut = append(cut, v.wire)
		}
	}
	if len(cut) == 0 {
		return errSkipped
	}
	rest(ctx, rand.N(2*f.lease))
	for _, w := range cut {
		w.hold(false)
	}
	return nil
}

func (f *faults) pauseVerifier(ctx context.Context) error {
	if len(f.verifiers) == 0 {
		return errSkipped
	}
	v := f.verifiers[rand.IntN(len(f.verifiers))]
	if err := pauseProcess(v.cmd.Process); err != nil {
		return err
	}
	rest(ctx, rand.N(f.lease*3/2))
	return resumeProcess(v.cmd.Process)
}

// A wire carries TCP connections to an address, and can be held: then nothing
// arrives, and nothing says so.
type wire struct {
	listener net.Listener
	to       string

	mu   sync.Mutex
	held chan struct{} // not nil while held; closed when it is let go
	ends map[net.Conn]bool
}

func newWire(to string) (*wire, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{listener: listener, to: to, ends: make(map[net.Conn]bool)}
	go w.accept()
	return w, nil
}

func (w *wire) address() string { return w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.join(near)
	}
}

func (w *wire) join(near net.Conn) {
	w.wait()
	far, err := net.DialTimeout("tcp", w.to, 2*time.Second)
	if err != nil {
		near.Close()
		return
	}
	w.mu.Lock()
	w.ends[near], w.ends[far] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			defer way[0].Close()
			defer way[1].Close()
			buffer := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(buffer)
				w.wait()
				if _, e := way[1].Write(buffer[:n]); e != nil || err != nil {
					return
				}
			}
		})
	}
	both.Wait()
	w.mu.Lock()
	delete(w.ends, near)
	delete(w.ends, far)
	w.mu.Unlock()
}

// wait returns when the wire is not held.
func (w *wire) wait() {
	w.mu.Lock()
	held := w.held
	w.mu.Unlock()
	if held != nil {
		<-held
	}
}

func (w *wire) hold(hold bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case hold && w.held == nil:
		w.held = make(chan struct{})
	case !hold && w.held != nil:
		close(w.held)
		w.held = nil
	}
}

func (w *wire) close() {
	w.listener.Close()
	w.hold(false)
	w.mu.Lock()
	defer w.mu.Unlock()
	for end := range w.ends {
		end.Close()
	}
}

package sqlstore

import (
	"bytes"

	"io"
	"net"
	"sync/atomic"
	"testing"
)

// commitProxy stands before Postgres and, when armed, ends the connection that
// sends the next COMMIT: after the server has answered it, or without passing it on.
type commitProxy struct {
	address string
	armed   atomic.Int32 // 1: forward the COMMIT, 2: swallow it
	fired   atomic.Bool
}

func newCommitProxy(t *testing.T, target string) *commitProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &commitProxy{address: listener.Addr().String()}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			go p.serve(client, server)
		}
	}()
	return p
}

func (p *commitProxy) arm(forward bool) {
	p.fired.Store(false)
	p.armed.Store(2)
	if forward {
		p.armed.Store(1)
	}
}

func (p *commitProxy) serve(client, server net.Conn) {
	defer client.Close()
	defer server.Close()
	answers := make(chan struct{}, 1)
	var cut atomic.Bool
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				client.Close()
				return
			}
			if cut.Load() {
				answers <- struct{}{}
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if bytes.Contains(bytes.ToLower(buffer[:n]), []byte("commit")) {
			if mode := p.armed.Swap(0); mode != 0 {
				p.fired.Store(true)
				if mode == 1 {
					cut.Store(true)
					if _, err := server.Write(buffer[:n]); err == nil {
						<-answers
					}
				}
				return
			}
		}
		if _, err := io.Copy(server, bytes.NewReader(buffer[:n])); err != nil {
			return
		}
	}
}

package tokens

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// Hijack returns a connection that takes nothing more once the token is refused.
func (s *stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := s.begin(); err != nil {
		return nil, nil, err
	}
	defer s.done()
	conn, buffered, err := http.NewResponseController(s.response).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w := s.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	s.conn = conn
	if w.cause != nil {
		s.interrupt()
	}
	ours := &streamConn{conn, s}
	buffered.Writer.Reset(ours)
	return ours, buffered, nil
}

// streamConn is a hijacked connection.
type streamConn struct {
	net.Conn
	stream *stream
}

func (c *streamConn) Write(p []byte) (int, error) {
	if err := c.stream.begin(); err != nil {
		return 0, err
	}
	defer c.stream.done()
	return c.Conn.Write(p)
}

func (c *streamConn) SetDeadline(t time.Time) error {
	return c.stream.while(func() error { return c.Conn.SetDeadline(t) })
}

func (c *streamConn) SetReadDeadline(t time.Time) error {
	return c.stream.while(func() error { return c.Conn.SetReadDeadline(t) })
}

func (c *streamConn) SetWriteDeadline(t time.Time) error {
	return c.stream.while(func() error { return c.Conn.SetWriteDeadline(t) })
}

package authz

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// simLie is what this world does not do as the protocol needs it.
type simLie string

const (
	honest            simLie = "honest"
	roundsAlwaysCount simLie = "rounds always count" // also in a data set in which they did not begin
	membersAreOld     simLie = "members are old"     // the database says who had joined a while ago
	endedIsGone       simLie = "ended is gone"       // sessions whose end has committed are not waited for
	handedOverIsSeen  simLie = "handed over is seen" // whoever takes a wait over counts all its members
)

// simRedis is as much of Redis as the feed and the publisher use, over pipes. It
// can do what no real one does on request: go back in time, and be two.
type simRedis struct {
	s   *simulation
	lie simLie

	mu     sync.Mutex
	past   []*simData // once a second
	links  []*simLink
	main   *simNode
	paused time.Time // nothing is executed before
	closed chan struct{}
}

// simNode is one of the servers; data is replaced as a whole by flush and rollback.
type simNode struct {
	data    *simData
	scripts map[string]string
	changed chan struct{}
}

func newSimNode(d *simData) *simNode {
	return &simNode{data: d, scripts: make(map[string]string), changed: make(chan struct{})}
}

type simData struct {
	stream []simEntry
	hb     map[string]string
	ack    map[string]string
	wm     map[string]string
}

type simEntry struct {
	seq    uint64
	head   string
	fields []string
}

// simLink is one party's connections: they lead to a node.
type simLink struct {
	node *simNode
	cut  *simCut
}

func newSimRedis(s *simulation, lie simLie) *simRedis {
	r := &simRedis{s: s, lie: lie, closed: make(chan struct{})}
	r.main = newSimNode(newSimData())
	go func() {
		for {
			select {
			case <-time.After(time.Second):
			case <-r.closed:
				return
			}
			r.mu.Lock()
			r.past = append(r.past, r.main.data.clone())
			if len(r.past) > 5 {
				r.past = r.past[1:]
			}
			r.mu.Unlock()
		}
	}()
	return r
}

func (r *simRedis) close() { close(r.closed) }

func newSimData() *simData {
	return &simData{hb: map[string]string{}, ack: map[string]string{}, wm: map[string]string{}}
}

func (d *simData) clone() *simData {
	return &simData{slices.Clone(d.stream), maps.Clone(d.hb), maps.Clone(d.ack), maps.Clone(d.wm)}
}

func (n *simNode) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

func (r *simRedis) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.main.data = newSimData()
}

// before is the data as it was some seconds ago.
func (r *simRedis) before(seconds int) *simData {
	if len(r.past) == 0 {
		return r.main.data.clone()
	}
	return r.past[max(0, len(r.past)-1-seconds)].clone()
}

func (r *simRedis) rollback(seconds int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.main.data = r.before(seconds)
}

func (r *simRedis) pause(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = time.Now().Add(d)
}

// split promotes a node that lacks the last seconds. Some links move to it.
func (r *simRedis) split(moves func() bool, seconds int) {
	which := make([]bool, len(r.links))
	for i := range which {
		which[i] = moves()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	promoted := newSimNode(r.before(seconds))
	for i, moved := range which {
		if moved {
			r.links[i].node = promoted
		}
	}
	r.main = promoted
}

// join ends all nodes but the promoted one; connections stay, and nobody is told.
func (r *simRedis) join() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		l.node = r.main
	}
}

// options of a client behind a partition.
func (r *simRedis) options(cut *simCut) *redis.UniversalOptions {
	r.mu.Lock()
	defer r.mu.Unlock()
	link := &simLink{node: r.main, cut: cut}
	r.links = append(r.links, link)
	return &redis.UniversalOptions{Addrs: []string{"sim:6379"}, Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if err := cut.wait(ctx); err != nil {
			return nil, err
		}
		near, far := net.Pipe()
		go r.serve(link, far)
		return near, nil
	}}
}

// serve executes the commands of one connection, some of them late.
func (r *simRedis) serve(link *simLink, conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	background := context.Background()
	for {
		words, err := readCommand(in)
		if err != nil {
			return
		}
		link.cut.wait(background)
		r.s.pause(time.Millisecond)
		r.mu.Lock()
		paused := time.Until(r.paused)
		r.mu.Unlock()
		time.Sleep(max(0, paused))
		reply := r.execute(link, words)
		link.cut.wait(background)
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	number := func(prefix byte) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil || len(line) < 3 || line[0] != prefix {
			return 0, fmt.Errorf("line %q: %w", line, err)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number('*')
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		size, err := number('$')
		if err != nil {
			return nil, err
		}
		buffer := make([]byte, size+2)
		if _, err := io.ReadFull(in, buffer); err != nil {
			return nil, err
		}
		words[i] = string(buffer[:size])
	}
	return words, nil
}

const simNil = "$-1\r\n"

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }
func integer(n int) string { return fmt.Sprintf(":%d\r\n", n) }
func array(items []string) string {
	return fmt.Sprintf("*%d\r\n%s", len(items), strings.Join(items, ""))
}

// execute runs one command on the node that the link leads to now.
func (r *simRedis) execute(link *simLink, w []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, scripts := link.node.data, link.node.scripts
	switch strings.ToUpper(w[0]) {
	case "SCRIPT":
		sha := redis.NewScript(w[2]).Hash()
		scripts[sha] = w[2]
		return bulk(sha)
	case "EVALSHA", "EVAL":
		text := scripts[w[1]]
		if strings.ToUpper(w[0]) == "EVAL" {
			text = w[1]
			scripts[redis.NewScript(text).Hash()] = text
		} else if text == "" {
			return "-NOSCRIPT No matching script.\r\n"
		}
		n, _ := strconv.Atoi(w[2])
		return r.script(link.node, text, w[3+n:])
	case "HMGET":
		m := d.hb
		if strings.HasSuffix(w[1], ":ack") {
			m = d.ack
		}
		return array(fields(m, w[2:]...))
	case "HSET":
		d.ack[w[2]] = w[3]
		return integer(0)
	case "HGET":
		return fields(d.hb, w[2])[0]
	case "ZMSCORE":
		return array(fields(d.wm, w[2:]...))
	case "ZCOUNT":
		limit, _ := strconv.ParseUint(strings.TrimPrefix(w[3], "("), 10, 64)
		n := 0
		for _, score := range d.wm {
			if at, _ := strconv.ParseUint(score, 10, 64); at < limit {
				n++
			}
		}
		return integer(n)
	case "HDEL", "ZREM":
		for _, name := range w[2:] {
			if w[0] == "hdel" {
				delete(d.ack, name)
			} else {
				delete(d.wm, name)
			}
		}
		return integer(1)
	case "DEL":
		link.node.data = newSimData()
		return integer(4)
	case "ZADD":
		d.wm[w[3]] = w[2]
		return integer(1)
	case "XREVRANGE":
		if n := len(d.stream); n > 0 {
			return array([]string{d.stream[n-1].render()})
		}
		return "*0\r\n"
	case "XREAD":
		return r.xread(link, w)
	case "PING":
		return "+PONG\r\n"
	}
	return "-ERR unknown command '" + w[0] + "'\r\n"
}

// fields are what stands in a hash, or nil.
func fields(m map[string]string, names ...string) (items []string) {
	for _, name := range names {
		item := simNil
		if v, ok := m[name]; ok {
			item = bulk(v)
		}
		items = append(items, item)
	}
	return items
}

func (e simEntry) render() string {
	var fields []string
	for _, f := range e.fields {
		fields = append(fields, bulk(f))
	}
	return array([]string{bulk(fmt.Sprintf("%d-0", e.seq)), array(fields)})
}

// xread waits on the node that the link led to when it began. It is called with mu
// held.
func (r *simRedis) xread(link *simLink, w []string) string {
	var block time.Duration
	for i, word := range w {
		if strings.EqualFold(word, "block") {
			ms, _ := strconv.Atoi(w[i+1])
			block = time.Duration(ms) * time.Millisecond
		}
	}
	after, _ := strconv.ParseUint(strings.TrimSuffix(w[len(w)-1], "-0"), 10, 64)
	node := link.node
	timeout := time.After(block)
	for {
		var found []string
		for _, e := range node.data.stream {
			if e.seq > after && len(found) < 1000 {
				found = append(found, e.render())
			}
		}
		if len(found) > 0 {
			return array([]string{array([]string{bulk(w[len(w)-2]), array(found)})})
		}
		changed := node.changed
		r.mu.Unlock()
		over := false
		select {
		case <-changed:
		case <-timeout:
			over = true
		}
		r.mu.Lock()
		if over {
			return "*-1\r\n"
		}
	}
}

// script does what the Lua of package redisfeed does, known by a word in it.
func (r *simRedis) script(n *simNode, text string, args []string) string {
	d := n.data
	number := func(s string) uint64 { v, _ := strconv.ParseUint(s, 10, 64); return v }
	switch {
	case strings.Contains(text, "XADD"):
		top := uint64(0)
		if len(d.stream) > 0 {
			top = d.stream[len(d.stream)-1].seq
		}
		for i := 1; i+5 < len(args); i += 6 {
			seq := number(args[i])
			if seq <= top {
				continue
			}
			if top > 0 && seq != top+1 {
				return fmt.Sprintf("-GAP after %d\r\n", top)
			}
			if n := len(d.stream); n > 0 && d.stream[n-1].head != args[i+5] {
				return fmt.Sprintf("-FORK after %d\r\n", top)
			}
			fields := []string{"v", "1", "s", args[i+1], "k", args[i+2], "t", args[i+3], "h", args[i+4], "p", args[i+5]}
			d.stream = append(d.stream, simEntry{seq, args[i+4], fields})
			top = seq
		}
		if len(d.stream) > 200 {
			d.stream = slices.Clone(d.stream[len(d.stream)-100:])
		}
		n.wake()
		return bulk(strconv.FormatUint(top, 10))
	case strings.Contains(text, "HINCRBY"):
		round := number(d.hb["round"]) + 1
		d.hb["round"] = strconv.FormatUint(round, 10)
		d.hb["n:"+args[0]] = fmt.Sprintf("%s:%d", args[1], round)
		return integer(int(round))
	case strings.Contains(text, "'dr', ARGV[3]"):
		if d.hb["n:"+args[0]] != args[1]+":"+args[2] && r.lie != roundsAlwaysCount {
			return integer(0)
		}
		if number(args[2]) > number(d.hb["dr"]) {
			d.hb["dr"], d.hb["tip"], d.hb["floor"], d.hb["head"] = args[2], args[3], args[4], args[5]
		}
		return integer(1)
	case strings.Contains(text, "ZADD"):
		args = args[1:]
		same := "0"
		if d.ack[args[0]] == args[1] {
			same = "1"
		}
		d.ack[args[0]] = args[2]
		if args[3] != "" {
			d.wm[args[0]], d.ack[args[0]+":a"] = args[3], args[4]
		}
		return array(append(fields(d.hb, "round", "dr", "tip", "floor", "head"), bulk(same)))
	}
	return "-ERR unknown script\r\n"
}

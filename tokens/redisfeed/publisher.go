package redisfeed

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/tokens"
)

// streamLength is about how many entries the stream keeps. Who is further behind
// joins again.
const streamLength = 100_000

// A Publisher writes the log to Redis and reads what verifiers have applied. Each
// authorization server has one; there is no leader.
type Publisher struct {
	client redis.UniversalClient
	keys   names
	name   string
	secret []byte
	loaded atomic.Bool // the scripts, once
}

// NewPublisher makes a client of its own. It connects when it is used. Secret is what
// acknowledgements are checked with, the same for every server of the issuer.
func NewPublisher(options *redis.UniversalOptions, issuer string, secret []byte) *Publisher {
	return &Publisher{client: newClient(*options, 4), keys: keys(issuer), name: rand.Text(), secret: secret}
}

// AckKey is the key with which a session seals its acknowledgements.
func (p *Publisher) AckKey(session string) ([]byte, error) { return AckKey(p.secret, session) }

// Close ends the connections.
func (p *Publisher) Close() error { return p.client.Close() }

// Check refuses a Redis that may drop keys when its memory is full, with
// [ErrEvicts] and the command that mends it. A memory limit is fine: writes fail
// then, and leases end.
func (p *Publisher) Check(ctx context.Context) error {
	info, err := p.client.Info(ctx, "memory").Result()
	if err != nil {
		return err
	}
	for line := range strings.Lines(info) {
		policy, ok := strings.CutPrefix(strings.TrimSpace(line), "maxmemory_policy:")
		if ok && policy != "noeviction" {
			return fmt.Errorf("%w (maxmemory-policy %s), so that verifiers begin again and again: CONFIG SET maxmemory-policy noeviction", ErrEvicts, policy)
		}
	}
	return nil
}

// A Round is the time between its start and its finish. What is read from the
// database in between is as new as any poll from before the start.
type Round struct {
	number int64
	nonce  string
}

// Start begins a round. Only then read the database.
func (p *Publisher) Start(ctx context.Context) (Round, error) {
	r := Round{nonce: rand.Text()}
	if !p.loaded.Load() {
		if err := p.load(ctx); err != nil {
			return r, err
		}
		p.loaded.Store(true)
	}
	begin := func() (err error) {
		r.number, err = start.EvalSha(ctx, p.client, []string{p.keys.hb}, p.name, r.nonce).Int64()
		return err
	}
	err := begin()
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // restarted, failed over, or flushed
		if err = p.load(ctx); err == nil {
			err = begin()
		}
	}
	return r, err
}

// load gives Redis the scripts, that of the verifiers among them: they may run what is
// there, and nothing of their own, which might never end.
func (p *Publisher) load(ctx context.Context) error {
	var to redis.Scripter = p.client
	if cluster, ok := p.client.(*redis.ClusterClient); ok {
		// The others of a cluster have none of our keys, and may be away.
		node, err := cluster.MasterForKey(ctx, p.keys.hb)
		if err != nil {
			return err
		}
		to = node
	}
	for _, script := range []*redis.Script{poll, start, finish, tidy, appendEntries} {
		if err := script.Load(ctx, to).Err(); err != nil {
			return err
		}
	}
	return nil
}

// Finish says that the stream has every entry up to tip, as the database had it
// during the round. A round that began in another data set is dropped.
func (p *Publisher) Finish(ctx context.Context, r Round, tip, floor, head uint64) error {
	ok, err := finish.Run(ctx, p.client, []string{p.keys.hb}, p.name, r.nonce, r.number, decimal(tip), decimal(floor), decimal(head)).Int()
	if err == nil && ok == 0 {
		err = fmt.Errorf("round %d began in another data set", r.number)
	}
	return err
}

// Top is the newest entry of the stream: its position and head, 0 for an empty one.
func (p *Publisher) Top(ctx context.Context) (position, head uint64, err error) {
	last, err := p.client.XRevRangeN(ctx, p.keys.log, "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return 0, 0, err
	}
	e, err := entry(last[0])
	return e.Position, e.Head, err
}

// Append adds what the stream lacks of these entries, which follow one whose head is
// before. Entries that would leave a gap are an error.
func (p *Publisher) Append(ctx context.Context, before uint64, entries []tokens.Entry) error {
	for len(entries) > 0 {
		n := min(len(entries), 500)
		args := make([]any, 1, 1+6*n)
		args[0] = streamLength
		for _, e := range entries[:n] {
			terminal := "0"
			if e.Terminal {
				terminal = "1"
			}
			args = append(args, decimal(e.Position), string(e.Subject), string(e.Kind), terminal, decimal(e.Head), decimal(before))
			before = e.Head
		}
		if err := appendEntries.Run(ctx, p.client, []string{p.keys.log}, args...).Err(); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// Reset forgets the stream and all rounds. Verifiers find that out and join again.
func (p *Publisher) Reset(ctx context.Context) error {
	return p.client.Del(ctx, p.keys.log, p.keys.hb, p.keys.ack, p.keys.wm).Err()
}

// A Progress is what a session has said over Redis.
type Progress struct {
	Applied, Head uint64
	Poll          string // its last poll; another one each time
}

// Progress of sessions, by id. Those that Redis does not know are not in it.
func (p *Publisher) Progress(ctx context.Context, sessions []string) (map[string]Progress, error) {
	if len(sessions) == 0 {
		return nil, nil
	}
	fields := make([]string, 0, 2*len(sessions))
	for _, id := range sessions {
		fields = append(fields, id, ackField(id))
	}
	words, err := p.client.HMGet(ctx, p.keys.ack, fields...).Result()
	if err != nil {
		return nil, err
	}
	progress := make(map[string]Progress, len(sessions))
	for i, id := range sessions {
		if poll, ok := words[2*i].(string); ok {
			applied, head := p.open(id, words[2*i+1])
			progress[id] = Progress{applied, head, poll}
		}
	}
	return progress, nil
}

// open reads what a session has acknowledged: nothing, if it is not its own word.
func (p *Publisher) open(session string, word any) (position, head uint64) {
	sealed, _ := word.(string)
	key, err := p.AckKey(session)
	if err != nil || sealed == "" {
		return 0, 0
	}
	position, head, _ = openAck(key, session, sealed)
	return position, head
}

// Acks is what a wait for acknowledgements of a position remembers between looks.
type Acks struct {
	Position uint64
	behind   int64 // how many were, when last seen
	seen     bool
}

// Forget makes the next look a full one: one session may have come as another
// acknowledged.
func (a *Acks) Forget() { a.seen = false }

// Applied returns up to where sessions have applied the log, by id; nothing when as
// many are behind as at the last look. The sorted set is a hint; what counts is what the
// sessions have sealed.
func (p *Publisher) Applied(ctx context.Context, sessions []string, acks *Acks) (map[string]Progress, error) {
	if len(sessions) == 0 {
		return nil, nil
	}
	if len(sessions) > fewSessions {
		behind, err := p.client.ZCount(ctx, p.keys.wm, "-inf", "("+decimal(acks.Position)).Result()
		if err != nil || acks.seen && behind == acks.behind {
			return nil, err
		}
		acks.behind, acks.seen = behind, true
	}
	fields := make([]string, len(sessions))
	for i, id := range sessions {
		fields[i] = ackField(id)
	}
	words, err := p.client.HMGet(ctx, p.keys.ack, fields...).Result()
	if err != nil {
		return nil, err
	}
	applied := make(map[string]Progress, len(sessions))
	for i, id := range sessions {
		position, head := p.open(id, words[i])
		applied[id] = Progress{Applied: position, Head: head}
	}
	return applied, nil
}

// Scores returns up to where sessions say that they have applied the log, by id: those from
// before acknowledgements were sealed, whose word is a position alone.
func (p *Publisher) Scores(ctx context.Context, sessions []string) (map[string]uint64, error) {
	if len(sessions) == 0 {
		return nil, nil
	}
	scores, err := p.client.ZMScore(ctx, p.keys.wm, sessions...).Result()
	if err != nil {
		return nil, err
	}
	applied := make(map[string]uint64, len(sessions))
	for i, id := range sessions {
		applied[id] = uint64(scores[i])
	}
	return applied, nil
}

// Tidy forgets publishers that have not finished a round for some minutes, and loads the
// scripts again: a server of another version has perhaps loaded only its own.
func (p *Publisher) Tidy(ctx context.Context) error {
	if err := p.load(ctx); err != nil {
		return err
	}
	return tidy.Run(ctx, p.client, []string{p.keys.hb}, 10_000).Err()
}

// fewSessions are asked for one by one: counting first would be another round trip.
const fewSessions = 4

// Remove forgets sessions that have ended.
func (p *Publisher) Remove(ctx context.Context, sessions ...string) error {
	_, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, s := range sessions {
			pipe.HDel(ctx, p.keys.ack, s, ackField(s))
		}
		members := make([]any, len(sessions))
		for i, s := range sessions {
			members[i] = s
		}
		pipe.ZRem(ctx, p.keys.wm, members...)
		return nil
	})
	return err
}

// Timeout bounds one command of a publisher.
const Timeout = time.Second

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

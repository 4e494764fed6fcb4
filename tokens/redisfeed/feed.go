package redisfeed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/httpfeed"
)

// Config of a [Feed]. Redis and HTTP are required.
type Config struct {
	// Redis is where the servers publish; see [ParseURL]. Another machine is reached over
	// TLS only, unless HTTP says InsecureHTTP; see [RequireTLS]. The feed makes a client
	// of its own: a blocked read would hold a connection that others wait for.
	Redis *redis.UniversalOptions
	// Issuer names the log in Redis.
	Issuer string
	// HTTP is the way to the authorization server, for joining and leaving.
	HTTP httpfeed.Config
}

// A Feed follows one issuer. It implements [tokens.Feed].
type Feed struct {
	config      Config
	http        *httpfeed.Feed
	keys        names
	block       time.Duration // how long a read waits: two of them make the view's age
	slack       time.Duration // how much later its answer may come
	logger      *slog.Logger
	revocations *tokens.Revocations
}

// New returns a feed that knows nothing until [Feed.Run].
func New(config Config) (*Feed, error) {
	if config.Redis == nil {
		return nil, errors.New("feed: where Redis is, is required")
	}
	if err := tokens.CheckIdentifier(config.Issuer); err != nil {
		return nil, fmt.Errorf("feed: issuer: %w", err)
	}
	http, err := httpfeed.New(config.HTTP)
	if err != nil {
		return nil, err
	}
	redis := *config.Redis
	if err := RequireTLS(&redis); err != nil && !config.HTTP.InsecureHTTP {
		return nil, fmt.Errorf("feed: %w", err)
	}
	config.Redis = &redis
	f := &Feed{config: config, http: http, keys: keys(config.Issuer), logger: config.HTTP.Logger, revocations: http.Revocations()}
	if f.logger == nil {
		f.logger = slog.Default()
	}
	f.pace()
	return f, nil
}

// pace polls as often as the lease wants it.
func (f *Feed) pace() {
	f.block = min(2*time.Second, f.http.Lease()/5)
	f.slack = min(1250*time.Millisecond, f.http.Lease()/4)
}

// Revocations implements [tokens.Feed].
func (f *Feed) Revocations() *tokens.Revocations { return f.revocations }

// Run implements [tokens.Feed]: it joins at the server and follows over Redis. It
// joins again whenever what Redis holds is not the log that it followed. While no
// round is finished in Redis for half a lease, it follows the server over HTTP.
func (f *Feed) Run(ctx context.Context) error {
	client := newClient(*f.config.Redis, 2)
	defer client.Close()
	// A read that waits does not hear of the context.
	defer context.AfterFunc(ctx, func() { client.Close() })()
	err := f.run(ctx, client)
	f.revocations.Forget()
	f.http.Leave()
	return err
}

func (f *Feed) run(ctx context.Context, client redis.UniversalClient) error {
	refused := 0                   // joins in a row
	var afterSilence time.Duration // how long Redis is left alone: it may answer, and not to us
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		joined, err := f.http.Join(ctx, httpfeed.OverRedis)
		refused++
		if err == nil {
			refused = 0
			f.logger.Info("following the revocation log over Redis", "session", joined.Session, "position", joined.Watermark)
			f.revocations.Explain(nil)
			begun := time.Now()
			var fresh bool
			fresh, err = f.follow(ctx, client, joined)
			if afterSilence = min(2*afterSilence+f.block, foreignPause); fresh {
				afterSilence = 0
			}
			if time.Since(begun) > f.revocations.Lease() {
				pause = firstPause
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.revocations.Explain(err)
		if errors.Is(err, httpfeed.ErrCredentials) {
			return err
		}
		f.logger.Warn("not following the revocation log over Redis", "error", err)
		if errors.Is(err, errSilent) {
			// The server still waits for this session, so that its lease goes on until
			// another takes over.
			f.detour(ctx, client, afterSilence)
			continue
		}
		if joined.Session != "" {
			f.http.Abandon()
		}
		if errors.Is(err, ErrForeign) || refused > maxRefused {
			// Not ours to read, or a server that does not publish: HTTP, for a while.
			f.detour(ctx, client, foreignPause)
			continue
		}
		select {
		case <-time.After(pause/2 + mathrand.N(pause)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const (
	// foreignPause is how long what we cannot read in Redis is left alone.
	foreignPause = time.Minute
	// maxRefused joins in a row are enough to try without Redis.
	maxRefused = 3
)

// detour follows over HTTP, for a time at least, until rounds are finished in
// Redis again.
func (f *Feed) detour(ctx context.Context, client redis.UniversalClient, atLeast time.Duration) {
	block := f.block // the next session's may be another
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-time.After(atLeast):
		case <-ctx.Done():
			return
		}
		for last := ""; ; {
			probe, stop := context.WithTimeout(ctx, block)
			done, err := client.HGet(probe, f.keys.hb, "dr").Result()
			stop()
			if err == nil && last != "" && done != last {
				return
			}
			if err == nil {
				last = done
			}
			select {
			case <-time.After(block):
			case <-ctx.Done():
				return
			}
		}
	}()
	f.http.Follow(ctx)
}

const (
	firstPause = 25 * time.Millisecond
	firstBlock = 50 * time.Millisecond
)

var (
	// errSession: this session cannot go on.
	errSession = errors.New("session ended")
	// errSilent: no round was finished in Redis for half a lease, or it cannot be
	// reached.
	errSilent = errors.New("nothing is heard from Redis")
	// errUnloaded: Redis lost the script of the polls, and a server will load it.
	errUnloaded = errors.New("the servers have not loaded the script of the polls yet")
)

// cycle is the state of a session between its polls.
type cycle struct {
	session string
	key     []byte // of its acknowledgements
	slot    string // what our slot in Redis holds
	number  uint64
	polled  time.Time // when the last poll was sent
	acked   uint64
	round   uint64 // of the last poll
	head    uint64 // of the last entry
	polls   []sent
	// evidence is when the last round came, or the session began; fresh after the
	// first.
	evidence time.Time
	fresh    bool
}

// sent is a poll that is still evidence of something.
type sent struct {
	at    time.Time
	round uint64
}

// follow polls until the session ends, and tells whether it ever served. Errors of
// Redis end nothing: the view grows older, and past the lease it says so by itself.
func (f *Feed) follow(ctx context.Context, client redis.UniversalClient, joined httpfeed.Joined) (fresh bool, err error) {
	f.pace()
	f.revocations.Start(joined.Cuts, joined.Watermark, joined.Floor)
	c := &cycle{session: joined.Session, key: joined.AckKey, head: joined.Head, evidence: time.Now()}
	for pause := firstPause; ; {
		err := f.cycle(ctx, client, c)
		if ctx.Err() != nil || errors.Is(err, errSession) || errors.Is(err, ErrForeign) {
			return c.fresh, err
		}
		if silence := time.Since(c.evidence); silence > f.http.Lease()/2 {
			return c.fresh, errors.Join(fmt.Errorf("%w for %v", errSilent, silence.Round(time.Millisecond)), err)
		}
		if err == nil {
			pause = firstPause
			continue
		}
		c.polls = nil
		f.logger.Warn("Redis not reached", "age", f.revocations.Age().Round(time.Millisecond), "error", err)
		select {
		case <-time.After(pause/2 + mathrand.N(pause)):
			pause = min(2*pause, f.block)
		case <-ctx.Done():
			return c.fresh, ctx.Err()
		}
	}
}

// cycle is one poll and one read: apply, then remember, then confirm.
func (f *Feed) cycle(ctx context.Context, client redis.UniversalClient, c *cycle) error {
	watermark := f.revocations.Watermark()
	if c.fresh && watermark > c.acked && time.Since(c.polled) < f.block/2 {
		return f.acknowledge(ctx, client, c, watermark)
	}
	c.number++
	next := rand.Text() + ":" + decimal(c.number)
	ctx, cancel := context.WithTimeout(ctx, f.block+f.slack)
	defer cancel()
	at := time.Now() // before it is sent: never dated by its reply
	words, read, err := f.exchange(ctx, client, c, next, watermark)
	if err != nil {
		return err
	}
	numbers, err := parsePoll(words)
	if err != nil {
		return err
	}
	round, done, tip, floor, head, same := numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
	if same == 0 || round < c.round {
		// Another data set: polls to the last one prove nothing here, and what we said
		// there is not known.
		c.polls, watermark = nil, 0
	}
	c.slot, c.round, c.polled, c.acked = next, round, at, watermark
	if err := f.apply(c, read); err != nil {
		return err
	}
	c.polls = append(c.polls, sent{at, round})
	watermark = f.revocations.Watermark()
	switch {
	case done == 0:
		return nil // no round has been finished here yet
	case watermark < tip && len(read) == 0:
		return fmt.Errorf("%w: entries up to %d are published and not there after %d", errSession, tip, watermark)
	case watermark == tip && head != c.head:
		return fmt.Errorf("%w: position %d has another history", errSession, tip)
	case watermark < tip:
		return nil
	}
	var fresh time.Time
	for len(c.polls) > 0 && c.polls[0].round < done {
		fresh = c.polls[0].at
		c.polls = c.polls[1:]
	}
	if !fresh.IsZero() {
		f.http.Confirm(fresh, floor)
		c.evidence, c.fresh = time.Now(), true
	}
	return nil
}

// acknowledge says at once what was applied, and reads on until the next poll is
// due. What is applied is applied, whichever data set Redis holds: no poll is needed
// for that.
func (f *Feed) acknowledge(ctx context.Context, client redis.UniversalClient, c *cycle, watermark uint64) error {
	ctx, cancel := context.WithTimeout(ctx, f.block+f.slack)
	defer cancel()
	var entries *redis.XStreamSliceCmd
	_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.HSet(ctx, f.keys.ack, ackField(c.session), sealAck(c.key, c.session, watermark, c.head))
		pipe.Do(ctx, "ZADD", f.keys.wm, decimal(watermark), c.session)
		entries = f.read(ctx, pipe, watermark, f.block/2)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	c.acked = watermark
	return f.apply(c, messages(entries))
}

// read waits for entries after a position.
func (f *Feed) read(ctx context.Context, pipe redis.Pipeliner, after uint64, block time.Duration) *redis.XStreamSliceCmd {
	return pipe.XRead(ctx, &redis.XReadArgs{Streams: []string{f.keys.log, decimal(after) + "-0"}, Count: 1000, Block: block})
}

func messages(cmd *redis.XStreamSliceCmd) (read []redis.XMessage) {
	for _, s := range cmd.Val() {
		read = append(read, s.Messages...)
	}
	return read
}

// exchange sends the poll and a read that waits for entries, in one go. What it reads may be
// of another data set than the poll: it counts only as far as it goes on from what is
// applied.
func (f *Feed) exchange(
	ctx context.Context, client redis.UniversalClient, c *cycle, next string, watermark uint64,
) (seen []any, read []redis.XMessage, err error) {
	block := f.block
	if !c.fresh {
		block = min(block, firstBlock) // the second poll is what the first waits for
	}
	said, sealed := "", "" // as before
	if watermark > c.acked {
		said, sealed = decimal(watermark), sealAck(c.key, c.session, watermark, c.head)
	}
	for {
		var polled *redis.Cmd
		var entries *redis.XStreamSliceCmd
		_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			polled = poll.EvalSha(ctx, pipe, []string{f.keys.ack, f.keys.wm},
				f.keys.hb, c.session, c.slot, next, said, sealed)
			entries = f.read(ctx, pipe, watermark, block)
			return nil
		})
		if redis.HasErrorPrefix(polled.Err(), "NOSCRIPT") {
			// A user of an older users.acl may load it; others wait for a server's next round.
			if err := poll.Load(ctx, client).Err(); redis.HasErrorPrefix(err, "NOPERM") {
				return nil, nil, errUnloaded
			} else if err != nil {
				return nil, nil, err
			}
			continue
		}
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, nil, err
		}
		seen, err := polled.Slice()
		return seen, messages(entries), err
	}
}

// parsePoll reads round, done round, tip, floor and head, and whether the slot was as we
// left it; what is not there is 0.
func parsePoll(words []any) (numbers [6]uint64, err error) {
	if len(words) != len(numbers) {
		return numbers, fmt.Errorf("%w: %d words about the rounds", ErrForeign, len(words))
	}
	for i, word := range words {
		text, ok := word.(string)
		if !ok {
			continue
		}
		if numbers[i], err = strconv.ParseUint(text, 10, 63); err != nil {
			return numbers, fmt.Errorf("%w: %.40q among the rounds", ErrForeign, text)
		}
	}
	return numbers, nil
}

// apply records entries. Our own end is not acknowledged: whoever ended the
// session waits until its lease has passed. A stream that was replaced during the read has
// entries of another history at the next positions: each must follow the one before it.
func (f *Feed) apply(c *cycle, read []redis.XMessage) error {
	entries := make([]tokens.Entry, 0, len(read))
	head := c.head
	for _, m := range read {
		e, err := entry(m)
		if err != nil {
			return err
		}
		if !follows(m, head) {
			return fmt.Errorf("%w: position %d follows another history", errSession, e.Position)
		}
		head = e.Head
		if e.Subject == tokens.Session(c.session) {
			return fmt.Errorf("%w: it was retired", errSession)
		}
		entries = append(entries, e)
	}
	if err := f.revocations.Apply(entries); err != nil {
		return fmt.Errorf("%w: %w", errSession, err)
	}
	if n := len(entries); n > 0 {
		c.head = entries[n-1].Head
	}
	return nil
}

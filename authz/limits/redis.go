package limits

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
)

// Config of a [Limiter]. The zero value counts for this process alone.
type Config struct {
	// Redis that the servers of an issuer share.
	Redis *redis.UniversalOptions
	// Issuer and Secret name the budgets in Redis: the same for all its servers. The secret
	// has 32 bytes.
	Issuer string
	Secret tokens.Secret
	Logger *slog.Logger
}

// New checks config. Nothing is told before [Limiter.Run].
func New(config Config) (*Limiter, error) {
	if config.Redis != nil && (config.Issuer == "" || len(config.Secret) != 32) {
		return nil, errors.New("limits: over Redis, an issuer and a secret of 32 bytes are required")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Limiter{config: config, begun: time.Now(), seed: maphash.MakeSeed()}, nil
}

const (
	// toldEach is between two talks with Redis.
	toldEach = 200 * time.Millisecond
	// patience is how long one of them may take.
	patience = time.Second
	// batch budgets go in a pipeline.
	batch = 500
)

// add adds what was taken (ARGV[1], in microseconds) to a budget, which is at most full in
// ARGV[2], and returns in how many it is full.
const add = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1]
full = math.max(math.min(full, now + ARGV[2]), now)
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return full - now`

// Run shares the budgets over Redis until ctx ends. While Redis does not answer, what was
// counted is kept for later.
func (l *Limiter) Run(ctx context.Context) {
	if l.config.Redis == nil {
		return
	}
	options := *l.config.Redis
	options.ContextTimeoutEnabled, options.DisableIdentity = true, true
	options.MaxRetries, options.PoolSize, options.DialTimeout = -1, 2, patience
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := redis.NewUniversalClient(&options)
	defer client.Close()
	ticker := time.NewTicker(toldEach)
	defer ticker.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := l.tell(ctx, client)
		if (err != nil) != away && ctx.Err() == nil {
			if away = err != nil; away {
				l.config.Logger.Warn("limits are not shared: Redis does not take them", "error", err)
			} else {
				l.config.Logger.Info("limits are shared again")
			}
		}
	}
}

// told is what goes to Redis of a budget.
type told struct {
	of     keys.Limited
	amount time.Duration
	rate   keys.Rate
	reply  *redis.Cmd
}

// tell adds what was taken since the last time, and learns what others took.
func (l *Limiter) tell(ctx context.Context, client redis.UniversalClient) error {
	news := l.news()
	for len(news) > 0 {
		n := min(batch, len(news))
		if err := l.send(ctx, client, news[:n]); err != nil {
			l.keep(news) // none of these came back; one that arrived is counted twice
			return err
		}
		news = news[n:]
	}
	return nil
}

func (l *Limiter) send(ctx context.Context, client redis.UniversalClient, list []told) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pipe := client.Pipeline()
	for i := range list {
		t := &list[i]
		longest := time.Duration(t.rate.Burst) * t.rate.Every
		t.reply = pipe.Eval(ctx, add, []string{l.name(t.of)}, t.amount.Microseconds(), longest.Microseconds())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	now := time.Since(l.begun)
	for _, t := range list {
		left, err := t.reply.Int64()
		if err != nil {
			return err
		}
		l.learn(t.of, now+time.Duration(left)*time.Microsecond)
	}
	return nil
}

// news takes what the others do not know out of the budgets that are worth telling. One of
// which they know all is told too: the answer is what they took.
func (l *Limiter) news() (list []told) {
	now := time.Since(l.begun)
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for of, b := range s.of {
			switch {
			case b.full <= now:
				delete(s.of, of) // it is full, for the others too soon
			case (b.full-now)*10 >= time.Duration(b.rate.Burst)*b.rate.Every:
				list = append(list, told{of: of, amount: b.untold, rate: b.rate})
				b.untold = 0
			}
		}
		s.mu.Unlock()
	}
	return list
}

// keep puts back what could not be told.
func (l *Limiter) keep(list []told) {
	for _, t := range list {
		s := l.shard(t.of)
		s.mu.Lock()
		if b := s.of[t.of]; b != nil {
			b.untold += t.amount
		}
		s.mu.Unlock()
	}
}

// learn takes over when a budget is full for all servers together.
func (l *Limiter) learn(of keys.Limited, full time.Duration) {
	s := l.shard(of)
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.of[of]; b != nil {
		b.full = max(b.full, full+b.untold)
	}
}

// name of a budget in Redis.
func (l *Limiter) name(of keys.Limited) string {
	mac := hmac.New(sha256.New, []byte(l.config.Secret))
	fmt.Fprintf(mac, "%q %q %q %q", l.config.Issuer, of.What, of.Who, of.From)
	return "limit:" + hex.EncodeToString(mac.Sum(nil)[:16])
}

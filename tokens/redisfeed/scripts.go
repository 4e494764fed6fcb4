package redisfeed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/imara/apikeys/tokens"
)

// names are the keys in Redis.
type names struct{ log, hb, ack, wm string }

func keys(issuer string) names {
	tag := "{rev:" + issuer + "}"
	return names{tag + ":log", tag + ":hb", tag + ":ack", tag + ":wm"}
}

// Scripts name only the keys that they write: Redis asks for the right to write
// every key that is named, and a verifier needs none to the stream and the rounds.
var (
	// poll(ack, wm) HB SESSION PREVIOUS NEXT WATERMARK ACK: compares and sets the slot,
	// acknowledges, unless the watermark is empty, and reads the rounds: in one script, so
	// that the slot and the rounds are of one data set.
	poll = redis.NewScript(`
local slot = redis.call('HGET', KEYS[1], ARGV[2]) or ''
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[5], ARGV[2])
  redis.call('HSET', KEYS[1], ARGV[2] .. ':a', ARGV[6])
end
local seen = redis.call('HMGET', ARGV[1], 'round', 'dr', 'tip', 'floor', 'head')
seen[6] = slot == ARGV[3] and '1' or '0'
return seen`)

	// start(hb) PUBLISHER NONCE: begins a round.
	start = redis.NewScript(`
local round = redis.call('HINCRBY', KEYS[1], 'round', 1)
redis.call('HSET', KEYS[1], 'n:' .. ARGV[1], ARGV[2] .. ':' .. round)
return round`)

	// finish(hb) PUBLISHER NONCE ROUND TIP FLOOR HEAD: ends it, unless it was begun in
	// another data set. A late one says less than is known, and changes nothing.
	finish = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'n:' .. ARGV[1]) ~= ARGV[2] .. ':' .. ARGV[3] then return 0 end
if tonumber(ARGV[3]) > tonumber(redis.call('HGET', KEYS[1], 'dr') or '0') then
  redis.call('HSET', KEYS[1], 'dr', ARGV[3], 'tip', ARGV[4], 'floor', ARGV[5], 'head', ARGV[6])
end
return 1`)

	// tidy(hb) ROUNDS: forgets publishers whose last round is so many rounds ago. One that
	// was only paused finds that its round was begun in another data set, and begins anew.
	tidy = redis.NewScript(`
local oldest = tonumber(redis.call('HGET', KEYS[1], 'round') or '0') - tonumber(ARGV[1])
local all, gone = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 2) == 'n:' and (tonumber(string.match(all[i+1], '%d+$')) or 0) < oldest then
    gone = gone + redis.call('HDEL', KEYS[1], all[i])
  end
end
return gone`)

	// append(log) KEEP (SEQ SUBJECT KIND TERMINAL HEAD BEFORE)...: adds the entries that the
	// stream lacks, in order and without a gap, each with the head of the one before it,
	// which must be the one that the stream ends with. An empty stream begins anywhere.
	appendEntries = redis.NewScript(`
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local top, head = 0, nil
if last[1] then
  top = tonumber(string.match(last[1][1], '^%d+'))
  for i = 1, #last[1][2], 2 do
    if last[1][2][i] == 'h' then head = last[1][2][i+1] end
  end
end
for i = 2, #ARGV, 6 do
  local seq = tonumber(ARGV[i])
  if seq > top then
    if top > 0 and seq ~= top + 1 then return redis.error_reply('GAP after ' .. string.format('%.0f', top)) end
    if head and ARGV[i+5] ~= head then return redis.error_reply('FORK after ' .. string.format('%.0f', top)) end
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], ARGV[i] .. '-0', 'v', '1', 's', ARGV[i+1], 'k', ARGV[i+2], 't', ARGV[i+3], 'h', ARGV[i+4], 'p', ARGV[i+5])
    top, head = seq, ARGV[i+4]
  end
end
return string.format('%.0f', top)`)
)

// Version of what stands in the stream.
const version = "1"

// ErrForeign: something else uses our name, or a newer version of us.
var ErrForeign = errors.New("not an entry of the revocation log")

// follows tells whether an entry of the stream is the next of who has an entry with this
// head. Servers of version 0.2 do not say what it follows.
func follows(m redis.XMessage, head uint64) bool {
	before, said := m.Values["p"].(string)
	return !said || before == decimal(head)
}

// entry reads a message of the stream.
func entry(m redis.XMessage) (tokens.Entry, error) {
	position, _, _ := strings.Cut(m.ID, "-")
	field := func(name string) string { text, _ := m.Values[name].(string); return text }
	seq, errSeq := strconv.ParseUint(position, 10, 63)
	head, errHead := strconv.ParseUint(field("h"), 10, 63)
	kind := tokens.Kind(field("k"))
	switch {
	case field("v") != version:
		return tokens.Entry{}, fmt.Errorf("%w: %s has version %q, and this is version %s", ErrForeign, m.ID, field("v"), version)
	case errSeq != nil || errHead != nil || field("s") == "" || kind != tokens.Cut && kind != tokens.Touch:
		return tokens.Entry{}, fmt.Errorf("%w: %s", ErrForeign, m.ID)
	}
	return tokens.Entry{Position: seq, Subject: tokens.Subject(field("s")), Kind: kind, Terminal: field("t") == "1", Head: head}, nil
}

// ParseURL reads redis:// and rediss:// URLs of a single server; of a cluster,
// with one ?addr= for each further node; and of Sentinels, with ?master_name=. A server on
// this machine may also be unix:///path. The error does not quote the password; see
// [RequireTLS] for where a URL may lead.
func ParseURL(text string) (*redis.UniversalOptions, error) {
	bad := errors.New("redis URL: use redis://[user:password@]host:port[/db], rediss:// for TLS, ?addr=host:port for a cluster, ?master_name=name for Sentinel")
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || u.User == nil && strings.Contains(text, "@") {
		return nil, cmp.Or(rawSign(text), bad)
	}
	var o redis.UniversalOptions
	switch {
	case u.Query().Has("master_name"):
		f, err := redis.ParseFailoverURL(text)
		if err != nil {
			return nil, bad
		}
		o = redis.UniversalOptions{Addrs: f.SentinelAddrs, MasterName: f.MasterName, Username: f.Username, Password: f.Password,
			SentinelUsername: f.SentinelUsername, SentinelPassword: f.SentinelPassword, DB: f.DB, TLSConfig: f.TLSConfig}
	case u.Query().Has("addr"):
		c, err := redis.ParseClusterURL(text)
		if err != nil {
			return nil, bad
		}
		o = redis.UniversalOptions{Addrs: c.Addrs, Username: c.Username, Password: c.Password, TLSConfig: c.TLSConfig}
	default:
		s, err := redis.ParseURL(text)
		if err != nil {
			return nil, bad
		}
		o = redis.UniversalOptions{Addrs: []string{s.Addr}, Username: s.Username, Password: s.Password, DB: s.DB, TLSConfig: s.TLSConfig}
	}
	return &o, nil
}

// dialTimeout is how long a connection to Redis may take.
const dialTimeout = 2 * time.Second

// rawSign names the sign of a password with which a URL says something else; nil when
// there is none.
func rawSign(text string) error {
	_, rest, _ := strings.Cut(text, "://")
	_, password, _ := strings.Cut(rest[:max(0, strings.LastIndex(rest, "@"))], ":")
	i := strings.IndexAny(password, "/?#[] \\")
	if i < 0 {
		i = strings.IndexByte(password, '%')
	}
	if i >= 0 {
		return fmt.Errorf("redis URL: a %q in the password means something else in a URL: write it as %%%X",
			password[i], password[i])
	}
	return nil
}

// newClient sets what makes a client honest about time: deadlines that end
// commands, no retries behind our back, no second pool.
func newClient(o redis.UniversalOptions, connections int) redis.UniversalClient {
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DialTimeout = dialTimeout
	o.PoolSize = connections
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if o.MasterName == "" && (len(o.Addrs) > 1 || o.IsClusterMode) {
		// A master that dies sends nobody elsewhere: who follows it is asked, by default
		// once a minute.
		cluster := o.Cluster()
		cluster.ClusterStateReloadInterval = 2 * time.Second
		return redis.NewClusterClient(cluster)
	}
	return redis.NewUniversalClient(&o)
}

// Quiet sends go-redis' own messages nowhere, for programs whose log has a form.
// What they say is in the errors that this package logs.
func Quiet() { redis.SetLogger(quiet{}) }

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// ErrEvicts: Redis drops keys when its memory is full.
var ErrEvicts = errors.New("this Redis evicts keys")

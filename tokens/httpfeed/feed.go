package httpfeed

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/imara/apikeys/tokens"
)

// Config of a [Feed]. URL, Name, ClientID and ClientSecret are required.
type Config struct {
	// URL of the authorization server: its issuer identifier, unless the server
	// is reached by another way than its clients use.
	URL string
	// Name of this verifier, as operators see it.
	Name string
	// Lease is how old the view may become before the verifier refuses to decide,
	// 1 s to 1 min. 0 is [tokens.DefaultLease].
	Lease time.Duration
	// ClientID and ClientSecret are a key with the scope revocations:read.
	ClientID     string
	ClientSecret tokens.Secret
	Client       *http.Client // nil is a plain one
	// InsecureHTTP lets the feed follow a URL of plain http to another machine, and package
	// redisfeed a Redis there without TLS: whoever is on the way learns the secret, and can
	// keep revocations from the verifier.
	InsecureHTTP bool
	Logger       *slog.Logger // nil is slog.Default
}

// A Feed follows one issuer. It implements [tokens.Feed].
type Feed struct {
	config      Config
	client      *http.Client
	token       accessToken
	revocations *tokens.Revocations
	// lease of the session that was joined last.
	lease time.Duration
	// vouching is the session that the view comes from, newest the one joined last.
	vouching, newest string
	refused          time.Time // no join before it
	leaving          sync.WaitGroup
}

// New returns a feed that knows nothing until [Feed.Run].
func New(config Config) (*Feed, error) {
	if config.Lease == 0 {
		config.Lease = tokens.DefaultLease
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	switch {
	case config.ClientID == "" || config.ClientSecret == "":
		return nil, errors.New("feed: the client id and secret of a key with the scope revocations:read are required")
	case config.Name == "":
		return nil, errors.New("feed: a name is required, so that operators can tell verifiers apart")
	case config.Lease < MinLease || config.Lease > MaxLease:
		return nil, fmt.Errorf("feed: the lease must be between %v and %v", MinLease, MaxLease)
	}
	if err := tokens.CheckIdentifier(config.URL); err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	if err := tokens.CheckTransport(config.URL); err != nil && !config.InsecureHTTP {
		return nil, fmt.Errorf("feed: %w", err)
	}
	client := http.Client{}
	if config.Client != nil {
		client = *config.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Feed{config: config, client: &client, lease: config.Lease, revocations: tokens.NewRevocations(config.Lease)}, nil
}

// Revocations implements [tokens.Feed].
func (f *Feed) Revocations() *tokens.Revocations { return f.revocations }

// Run implements [tokens.Feed]: it follows until ctx ends, or the token endpoint refuses
// the credentials, which is [ErrCredentials]. Then it stops vouching for its view, and only
// then leaves, so that no revocation waits for it.
func (f *Feed) Run(ctx context.Context) error {
	err := f.Follow(ctx)
	f.revocations.Forget()
	f.Leave()
	return err
}

// Lease is how old the view of the session that was joined last may become.
func (f *Feed) Lease() time.Duration { return f.lease }

// Follow joins, follows, and joins again whenever the server no longer knows the
// session. When ctx ends, the lease of its last session goes on. It is for package
// redisfeed, as are Join, Lease, Confirm, Abandon and Leave; others call [Feed.Run].
func (f *Feed) Follow(ctx context.Context) error {
	for pause := firstPause; ; {
		joined, err := f.Join(ctx, "")
		if err == nil {
			pause = firstPause
			f.config.Logger.Info("following the revocation log", "session", joined.Session, "position", joined.Watermark)
			f.revocations.Explain(nil)
			err = f.follow(ctx, joined)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.revocations.Explain(err)
		if errors.Is(err, ErrCredentials) {
			return err
		}
		if joined.Session != "" {
			f.Abandon()
		}
		f.config.Logger.Warn("not following the revocation log", "error", err)
		if pause, err = rest(ctx, pause); err != nil {
			return err
		}
	}
}

// The pauses after a failed request.
const (
	firstPause = 25 * time.Millisecond
	maxPause   = time.Second
)

// rest waits about pause and returns the next one.
func rest(ctx context.Context, pause time.Duration) (time.Duration, error) {
	select {
	case <-time.After(pause/2 + mathrand.N(pause)):
		return min(2*pause, maxPause), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Confirm renews the lease. The first one of a session ends the session before,
// whose lease the view no longer needs.
func (f *Feed) Confirm(fresh time.Time, floor uint64) {
	if f.revocations.Confirm(fresh, floor) && f.vouching != f.newest {
		if vouching := f.vouching; vouching != "" {
			f.leaving.Go(func() { f.leave(vouching) })
		}
		f.vouching = f.newest
	}
}

// Abandon ends the session that was joined last. If it served, the lease ends at
// once, and the session too, unless the view goes on to be accepted past its lease:
// then the server has to know of it. If it did not, the session before goes on.
func (f *Feed) Abandon() {
	if f.newest != f.vouching {
		newest := f.newest
		f.leaving.Go(func() { f.leave(newest) })
		f.newest = f.vouching
		return
	}
	f.revocations.Lapse()
	if f.revocations.Waiver() == 0 {
		f.Leave()
	}
}

// Leave ends all sessions, those that were given up before too. The view must not be vouched
// for any more.
func (f *Feed) Leave() {
	defer f.leaving.Wait()
	if f.vouching != "" {
		f.leave(f.vouching)
	}
	if f.newest != "" && f.newest != f.vouching {
		f.leave(f.newest)
	}
	f.vouching, f.newest = "", ""
}

// errSession: the server does not know the session, or its log is not the one
// that the session followed.
var errSession = errors.New("session ended")

// follow polls until the session ends. A request that fails ends nothing: the
// view grows older, and past the lease it says so by itself.
func (f *Feed) follow(ctx context.Context, joined Joined) error {
	f.revocations.Start(joined.Cuts, joined.Watermark, joined.Floor)
	head, wait := joined.Head, time.Duration(0) // the first answer is wanted at once
	for pause := firstPause; ; {
		sent := time.Now()
		page, err := f.poll(ctx, joined.Session, head, wait)
		switch {
		case errors.Is(err, errSession) || errors.Is(err, ErrCredentials) || ctx.Err() != nil:
			return err
		case err != nil:
			f.config.Logger.Warn("revocation log not reached", "age", f.revocations.Age().Round(time.Millisecond), "error", err)
			if pause, err = rest(ctx, pause); err != nil {
				return err
			}
			continue
		}
		fresh, err := take(f.revocations, joined.Session, page, sent)
		if err != nil {
			return err
		}
		pause, wait = firstPause, min(MaxWait, f.lease/4)
		if n := len(page.Entries); n > 0 {
			// The next poll acknowledges these. It waits for more only when it is sent.
			head = page.Entries[n-1].Head
		}
		if !fresh.IsZero() {
			f.Confirm(fresh, page.Floor)
		}
	}
}

// take makes the answer to a poll known to a view. It returns the moment as of which
// the view is complete, zero while entries are missing, or why the session has ended.
func take(
	view *tokens.Revocations, session string, page Page, sent time.Time,
) (fresh time.Time, err error) {
	if page.AgeUS < 0 || page.AgeUS > maxAge.Microseconds() {
		return time.Time{}, fmt.Errorf("%w: an age of %d µs", errSession, page.AgeUS)
	}
	if err := view.Apply(page.Entries); err != nil {
		return time.Time{}, err
	}
	for _, e := range page.Entries {
		if e.Subject == tokens.Session(session) {
			return time.Time{}, errSession
		}
	}
	if view.Watermark() < page.Tip {
		return time.Time{}, nil
	}
	return sent.Add(-time.Duration(page.AgeUS) * time.Microsecond), nil
}

// maxAge is more than any answer can have and still matter.
const maxAge = time.Hour

func (f *Feed) poll(ctx context.Context, session string, head uint64, wait time.Duration) (page Page, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait+f.lease/2)
	defer cancel()
	nonce := rand.Text()
	query := url.Values{
		"nonce":   {nonce},
		"after":   {strconv.FormatUint(f.revocations.Watermark(), 10)},
		"head":    {strconv.FormatUint(head, 10)},
		"wait_ms": {strconv.FormatInt(wait.Milliseconds(), 10)},
	}
	err = f.do(ctx, http.MethodGet, "/feed/sessions/"+session+"?"+query.Encode(), nil, &page)
	if err == nil && (page.Session != session || page.Nonce != nonce || page.Tip == 0) {
		err = errors.New("the answer is not to this poll")
	}
	return page, err
}

// leave ends a session. It runs after the context has ended, within a bound of
// its own.
func (f *Feed) leave(session string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for pause := firstPause; ; {
		err := f.do(ctx, http.MethodDelete, "/feed/sessions/"+session, nil, nil)
		if err == nil || errors.Is(err, errSession) || errors.Is(err, ErrCredentials) {
			return
		}
		var ended error
		if pause, ended = rest(ctx, pause); ended != nil {
			f.config.Logger.Warn("left without notice: revocations wait for its lease until it is retired", "error", err)
			return
		}
	}
}

const maxAnswer = 1 << 30 // bytes: a snapshot of ten million cuts

// do makes one call. A token that is refused is replaced, once.
func (f *Feed) do(ctx context.Context, method, path string, body []byte, answer any) error {
	err := f.call(ctx, method, path, body, answer)
	if errors.Is(err, errToken) {
		f.token.drop()
		err = f.call(ctx, method, path, body, answer)
	}
	return err
}

func (f *Feed) call(ctx context.Context, method, path string, body []byte, answer any) error {
	token, err := f.authorize(ctx)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, f.config.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := f.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK, http.StatusCreated:
		if answer == nil {
			return nil
		}
		return json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer)
	case http.StatusNoContent:
		return nil
	case http.StatusNotFound, http.StatusGone:
		return errSession
	case http.StatusUnauthorized:
		return fmt.Errorf("%w: %s", errToken, response.Header.Get("WWW-Authenticate"))
	}
	reason, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
	err = fmt.Errorf("%s: status %d: %q", path, response.StatusCode, reason)
	switch response.StatusCode {
	case http.StatusConflict, http.StatusUnprocessableEntity, http.StatusUpgradeRequired,
		http.StatusTooManyRequests:
		return &refusal{err, retryAfter(response.Header)}
	}
	return err
}

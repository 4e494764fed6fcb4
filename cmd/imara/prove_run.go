package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/keys"
	"github.com/imara/apikeys/tokens"
	"github.com/imara/apikeys/tokens/history"
	"github.com/imara/apikeys/tokens/redisfeed"
)

// A proof revokes scratch keys while verifiers verify their tokens.
type proof struct {
	server    *api // for the organisation of the scratch keys
	tokenURL  string
	scope     string
	verifiers []*proofVerifier
}

// proofVerifier is a verifier that runs: a gateway of ours when it has a process.
type proofVerifier struct {
	name   string
	verify string // URL
	client *http.Client
	cmd    *exec.Cmd
	wire   *wire // to Redis
}

// prepare signs in and starts the verifiers.
func (f *proveFlags) prepare(cmd *cobra.Command) (_ *proof, err error) {
	server, err := f.organization(cmd)
	if err != nil {
		return nil, err
	}
	p := &proof{server: server, tokenURL: f.url + "/oauth2/token", scope: f.scope}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for _, text := range f.verify {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, usage("--verify %q is not an http or https URL", text)
		}
		if err := checkTransport("--verify", text, f.insecure); err != nil {
			return nil, err
		}
		p.verifiers = append(p.verifiers, &proofVerifier{name: text, verify: text, client: probe()})
	}
	key, raw, err := p.scratch(cmd.Context())
	if err != nil {
		return nil, err
	}
	if _, err := p.revoke(cmd.Context(), key); err != nil {
		return nil, err
	}
	token, err := tokens.Inspect(raw)
	if err != nil {
		return nil, err
	}
	credentials, err := f.credentials(cmd, authz.ManagementAudience(f.issuer))
	if err != nil {
		return nil, err
	}
	for i := range f.verifiers {
		v, err := f.start(cmd.Context(), fmt.Sprint("prove ", i+1), token.Claims.Audience[0], credentials)
		if err != nil {
			return nil, err
		}
		p.verifiers = append(p.verifiers, v)
	}
	return p, nil
}

// probe is a client whose requests end, also when a verifier is paused. What a redirect
// leads to decided nothing.
func probe() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// start runs a gateway as a process of its own. Its way to Redis is through a wire,
// so that faults can cut it.
func (f *proveFlags) start(ctx context.Context, name, audience string, credentials *clientcredentials.Config) (*proofVerifier, error) {
	v := &proofVerifier{name: name, client: probe()}
	program, err := exec.LookPath(f.program)
	if err != nil {
		return nil, err
	}
	args := []string{"gateway", "--listen", "127.0.0.1:0", "--name", name, "--resource", "proof=" + audience,
		"--lease", f.lease.String(), "--log-level", "error"}
	redisURL := f.redisURL
	if f.faults && redisURL != "" {
		if v.wire, redisURL, err = wireTo(redisURL); err != nil {
			return nil, err
		}
	}
	v.cmd = exec.CommandContext(ctx, program, args...)
	ours := func(setting string) bool { return strings.HasPrefix(setting, "IMARA_") }
	v.cmd.Env = append(slices.DeleteFunc(os.Environ(), ours), "IMARA_ISSUER="+f.issuer, "IMARA_URL="+f.url,
		"IMARA_CLIENT_ID="+credentials.ClientID, "IMARA_CLIENT_SECRET="+credentials.ClientSecret,
		"IMARA_INSECURE_HTTP="+strconv.FormatBool(f.insecure))
	if redisURL != "" {
		v.cmd.Env = append(v.cmd.Env, "IMARA_REDIS_URL="+redisURL)
	}
	var talk bytes.Buffer
	v.cmd.Stderr = &talk
	v.cmd.SysProcAttr = ownGroup() // an interrupt is for us; we end it
	v.cmd.Cancel = func() error { return stopProcess(v.cmd.Process) }
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	ready, err := bufio.NewReader(out).ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(ready), "· ready · ")
	if err != nil || !ok {
		v.close()
		return nil, fmt.Errorf("a verifier did not start: %s%s", ready, talk.String())
	}
	v.verify = strings.TrimSuffix(address, "NAME") + "proof"
	return v, nil
}

func (v *proofVerifier) close() {
	if v.cmd != nil {
		resumeProcess(v.cmd.Process)
		stopProcess(v.cmd.Process)
		v.cmd.Wait()
	}
	if v.wire != nil {
		v.wire.close()
	}
}

func (p *proof) close() {
	for _, v := range p.verifiers {
		v.close()
	}
}

// scratch creates a key and returns it with a token.
func (p *proof) scratch(ctx context.Context) (keyID, raw string, err error) {
	var created management.KeyWithSecret
	err = p.server.do(ctx, http.MethodPost, "/keys", management.CreateKey{Name: fmt.Sprintf("prove %x", rand.Uint64()), Scopes: []string{p.scope}}, &created)
	if err != nil {
		return "", "", err
	}
	credentials := clientcredentials.Config{ClientID: created.Key.ClientID, ClientSecret: created.Secret.Value, TokenURL: p.tokenURL}
	token, err := credentials.Token(ctx)
	if err != nil {
		_, e := p.revoke(context.WithoutCancel(ctx), created.Key.ID)
		return "", "", errors.Join(failure(err), e)
	}
	return created.Key.ID, token.AccessToken, nil
}

func (p *proof) revoke(ctx context.Context, keyID string) (authz.Receipt, error) {
	var revoked management.ChangedKey
	header, err := p.server.call(ctx, http.MethodPost, "/keys/"+keyID+"/revoke", management.Reason{Reason: "imara prove"}, &revoked)
	if err == nil && header.Get("Location") != "" {
		err = p.server.await(ctx, header.Get("Location"), &revoked.Receipt)
	}
	if err != nil {
		return authz.Receipt{}, err
	}
	return *revoked.Receipt, nil
}

// proofRun is one pass.
type proofRun struct {
	*proof
	history                    history.History
	accepted, revoked, unknown atomic.Int64

	mu       sync.Mutex
	receipts map[string]int
	took     []time.Duration
	leads    []time.Duration
	ghosts   []ghost // tokens of keys that were revoked
}

// ghost is a token that nobody may accept any more.
type ghost struct{ key, raw string }

// pass revokes count keys, some at once; under faults, if there are any, until each
// was done twice.
func (p *proof) pass(ctx context.Context, count, workers int, harm *faults, bar *progress) (proofPass, error) {
	run := &proofRun{proof: p, receipts: make(map[string]int)}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var harming sync.WaitGroup
	harmed, endHarm := context.WithCancel(ctx)
	if harm != nil {
		harming.Go(func() { harm.run(harmed) })
	}
	enough := func() bool { return next.Add(1) > int64(count) && (harm == nil || harm.rounds.Load() >= 2) }
	begun := time.Now()
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for ctx.Err() == nil && !enough() {
				if err := run.trial(ctx, harm != nil); err != nil {
					stop(err)
					return
				}
				bar.step()
			}
		})
	}
	work.Wait()
	endHarm()
	harming.Wait()
	bar.end()
	if err := context.Cause(ctx); err != nil {
		if found := run.history.Violations(); len(found) > 0 {
			err = fmt.Errorf("%w\n  and until then %d violations, first: %v", err, len(found), found[0])
		}
		return proofPass{}, err
	}
	pass := proofPass{Revocations: len(run.took), Receipts: run.receipts, Seconds: time.Since(begun).Seconds(),
		Decisions:  map[string]int64{"accepted": run.accepted.Load(), "revoked": run.revoked.Load(), "unknown": run.unknown.Load()},
		Violations: run.history.Violations(), Histogram: histogram(run.leads)}
	pass.Revoke, pass.LastAcceptance = spreadOf(run.took), spreadOf(run.leads)
	for _, v := range pass.Violations {
		if v.Rule == history.AfterReturn {
			pass.AcceptedAfter++
		}
	}
	pass.Overclaimed = history.Overclaimed(pass.Violations)
	if harm != nil {
		pass.Faults = harm.done
	}
	return pass, nil
}

// trial is one key: created, verified everywhere without pause, revoked, and
// verified everywhere once more at least.
func (r *proofRun) trial(ctx context.Context, faulty bool) error {
	id, raw, err := r.scratch(ctx)
	if err != nil {
		return err
	}
	var returned atomic.Pointer[time.Time]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var verifying sync.WaitGroup
	known := make(chan *proofVerifier, len(r.verifiers))
	for _, v := range r.verifiers {
		first := sync.OnceFunc(func() { known <- v })
		verifying.Go(func() {
			for after := 0; after < 2 && ctx.Err() == nil; {
				end := returned.Load()
				accepted, _ := r.ask(ctx, v, id, raw)
				if end != nil {
					after++ // this one began after the return
				}
				if accepted || faulty {
					first() // under faults a verifier need not know the key
				}
			}
		})
	}
	if err := allOf(ctx, r.verifiers, known); err != nil {
		_, e := r.revoke(context.WithoutCancel(ctx), id)
		cancel()
		verifying.Wait()
		return errors.Join(err, e)
	}
	begun := time.Now()
	r.history.Revoking(id, begun)
	receipt, err := r.revoke(ctx, id)
	now := time.Now()
	if err != nil {
		cancel()
		verifying.Wait()
		return err
	}
	if receipt.State != string(keys.Waived) {
		r.history.Returned(id, now)
	}
	r.history.Claimed(id, claimOf(receipt, now))
	returned.Store(&now)
	verifying.Wait()

	lead, ok := r.history.Lead(id)
	r.mu.Lock()
	r.receipts[receipt.State]++
	r.took = append(r.took, now.Sub(begun))
	if ok {
		r.leads = append(r.leads, -lead)
	}
	r.ghosts = append(r.ghosts, ghost{id, raw})
	old := r.ghosts[rand.IntN(len(r.ghosts))]
	r.mu.Unlock()
	// One from before, for whoever has begun anew since.
	for _, v := range r.verifiers {
		r.ask(ctx, v, old.key, old.raw)
	}
	return nil
}

// claimOf is what a receipt claims from the moment on at which it was heard: its own times
// are of another machine's clock.
func claimOf(receipt authz.Receipt, heard time.Time) history.Claim {
	claim := history.Claim{Since: heard, Refuse: make(map[string]time.Time)}
	for _, m := range receipt.Members {
		claim.Refuse[m.Name] = heard
	}
	if receipt.State != string(keys.Waived) {
		return claim
	}
	if receipt.Total == nil {
		return history.Claim{} // it does not say how many are waived
	}
	claim.May = *receipt.Total - *receipt.Confirmed
	for _, m := range receipt.Members {
		if m.State == string(keys.Waived) {
			delete(claim.Refuse, m.Name)
		}
	}
	return claim
}

// allOf waits until each verifier is known to have accepted.
func allOf(ctx context.Context, verifiers []*proofVerifier, known <-chan *proofVerifier) error {
	timeout := time.After(15 * time.Second)
	missing := make(map[*proofVerifier]bool)
	for _, v := range verifiers {
		missing[v] = true
	}
	for len(missing) > 0 {
		select {
		case v := <-known:
			delete(missing, v)
		case <-timeout:
			for v := range missing {
				return &exit{exitUnavailable, fmt.Errorf("%s accepts no good token with --scope: does it verify for that API?", v.name)}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ask lets one verifier decide. It tells whether the token was accepted, and
// whether it was decided at all.
func (r *proofRun) ask(ctx context.Context, v *proofVerifier, key, raw string) (accepted, decided bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.verify, nil)
	if err != nil {
		return false, false
	}
	request.Header.Set("Authorization", "Bearer "+raw)
	began := time.Now()
	response, err := v.client.Do(request)
	if err != nil {
		if ctx.Err() == nil {
			r.unknown.Add(1)
		}
		return false, false
	}
	response.Body.Close()
	switch code := response.StatusCode; {
	case code >= 200 && code < 300:
		r.accepted.Add(1)
		r.history.Accepted(v.name, key, began)
		return true, true
	case code == http.StatusUnauthorized:
		r.revoked.Add(1)
		r.history.Refused(v.name, key, time.Now())
		return false, true
	}
	r.unknown.Add(1)
	return false, false
}

// wireTo returns a wire to the Redis of a URL, and the URL through it; no wire and
// the URL as it is when there is no way in between: clients of a cluster and of
// Sentinels find their own, and a certificate may name the host.
func wireTo(redisURL string) (*wire, string, error) {
	options, err := redisfeed.ParseURL(redisURL)
	if err != nil {
		return nil, "", usage("--redis-url: %v", err)
	}
	u, err := url.Parse(redisURL)
	if err != nil {
		return nil, "", usage("--redis-url: %v", err)
	}
	if len(options.Addrs) != 1 || options.MasterName != "" || u.Host == "" ||
		options.TLSConfig != nil && net.ParseIP(u.Hostname()) == nil {
		return nil, redisURL, nil
	}
	w, err := newWire(options.Addrs[0])
	if err != nil {
		return nil, "", err
	}
	u.Host = w.address()
	return w, u.String(), nil
}

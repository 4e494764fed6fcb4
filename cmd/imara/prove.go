package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/tokens/history"
)

type proveFlags struct {
	clientFlags
	scope                     string
	count, verifiers, workers int
	lease                     time.Duration
	verify                    []string // URLs
	redisURL, harm, restart   string
	faults, json              bool
	program                   string // this one
}

func proveCommand() *cobra.Command {
	f := proveFlags{program: os.Args[0]}
	cmd := &cobra.Command{
		Use:   "prove",
		Short: "Revoke scratch keys under real verifiers, and count what is accepted afterwards: it must be 0",
		Long: `Create a scratch key, let verifiers verify its token without pause, revoke it, and
note the last request that was accepted; again and again. Verifiers are started on
this machine, or run already: --verify takes a gateway, and any API or verifier of any
make that answers GET with 2xx for a good bearer token and 401 for one it refuses.

With --faults it does so a second time, and meanwhile flushes, pauses, kills and
cuts off the Redis of --harm-redis, cuts the verifiers that it started off from it,
and pauses them. Receipts take longer then; the count must still be 0.

Exit code 1 if anything was accepted after its revocation had returned, or while its
receipt said otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	f.clientFlags.add(flags)
	flags.StringVar(&f.org, "org", "", "organisation in which to create the scratch keys (IMARA_ORG); it needs as many free slots as --workers")
	flags.StringVar(&f.scope, "scope", "", "a scope for the scratch keys, of the API whose verifiers are asked (required)")
	flags.IntVar(&f.count, "count", 1000, "how many revocations")
	flags.IntVar(&f.verifiers, "verifiers", 2, "how many verifiers to start")
	flags.StringArrayVar(&f.verify, "verify", nil,
		`URL where a running verifier of any make answers for a bearer token, repeatable:
2xx, 401, or 503 when it cannot know`)
	flags.IntVar(&f.workers, "workers", 4, "how many revocations at once")
	flags.DurationVar(&f.lease, "lease", 2*time.Second, "lease of the verifiers that are started")
	flags.StringVar(&f.redisURL, "redis-url", "", "the verifiers that are started follow over this Redis (IMARA_REDIS_URL); over HTTP without")
	flags.BoolVar(&f.faults, "faults", false, "repeat it under faults")
	flags.StringVar(&f.harm, "harm-redis", "", "URL of the Redis that may be harmed, as a user that may do anything (IMARA_HARM_REDIS)")
	flags.StringVar(&f.restart, "restart-redis", "", "shell command that starts that Redis again when it was killed; without, it is not killed")
	flags.BoolVar(&f.json, "json", false, "print the record as JSON")
	return cmd
}

func (f *proveFlags) check() error {
	switch {
	case f.scope == "":
		return usage("--scope is needed: a scope of the API whose verifiers are asked")
	case f.count < 1 || f.workers < 1 || f.verifiers < 0:
		return usage("--count and --workers must be at least 1, --verifiers at least 0")
	case f.verifiers == 0 && len(f.verify) == 0:
		return usage("no verifiers: --verifiers or --verify is needed")
	case f.faults && f.harm == "":
		return usage("--faults needs --harm-redis URL: it flushes, pauses, cuts off and kills that Redis")
	case f.faults && f.redisURL == "" && f.verifiers > 0:
		return usage("--faults needs --redis-url, or the verifiers that are started do not feel them")
	}
	// The wires of --faults would hide from a verifier where its Redis is.
	for flag, url := range map[string]string{"--redis-url": f.redisURL, "--harm-redis": f.harm} {
		if url == "" {
			continue
		}
		if _, err := parseRedis(flag, url, f.insecure); err != nil {
			return err
		}
	}
	return nil
}

func (f *proveFlags) run(cmd *cobra.Command) error {
	if err := f.check(); err != nil {
		return err
	}
	p, err := f.prepare(cmd)
	if err != nil {
		return err
	}
	defer p.close()
	record := proofRecord{Began: time.Now().UTC(), Version: version, Issuer: f.issuer}
	for _, v := range p.verifiers {
		record.Verifiers = append(record.Verifiers, v.name)
	}
	passes := []*faults{nil}
	if f.faults {
		harm, err := newFaults(f.harm, f.restart, f.lease, p.verifiers)
		if err != nil {
			return err
		}
		defer harm.close()
		passes = append(passes, harm)
	}
	accepted := 0
	for _, harm := range passes {
		pass, err := p.pass(cmd.Context(), f.count, f.workers, harm, newProgress(cmd.ErrOrStderr(), f.count, 1, "revocations"))
		if err != nil {
			return err
		}
		record.Passes = append(record.Passes, pass)
		accepted += len(pass.Violations)
		if !f.json {
			pass.print(cmd.OutOrStdout(), len(p.verifiers))
		}
	}
	if f.json {
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(record); err != nil {
			return err
		}
	}
	if accepted > 0 {
		return errors.New("the promise was broken")
	}
	return nil
}

// proofRecord is what --json prints.
type proofRecord struct {
	Began     time.Time   `json:"began"`
	Version   string      `json:"version"`
	Issuer    string      `json:"issuer"`
	Verifiers []string    `json:"verifiers"`
	Passes    []proofPass `json:"passes"`
}

// proofPass is one run over all revocations.
type proofPass struct {
	Faults      map[string]int `json:"faults"` // how often each was done; none in the first pass
	Revocations int            `json:"revocations"`
	Receipts    map[string]int `json:"receipts"` // by state
	// Decisions of all verifiers: accepted, revoked, and unknown (503, or no answer).
	Decisions map[string]int64 `json:"decisions"`
	// Revoke is from the call to its return; LastAcceptance from the return to the
	// beginning of the last request that was accepted: negative is before.
	Revoke         spread `json:"revoke_ms"`
	LastAcceptance spread `json:"returned_to_last_acceptance_ms"`
	Histogram      []bin  `json:"histogram"`
	AcceptedAfter  int    `json:"accepted_after_return"`
	// Overclaimed are receipts that claim more than the history shows.
	Overclaimed int                 `json:"receipts_that_claim_more"`
	Violations  []history.Violation `json:"violations"`
	Seconds     float64             `json:"seconds"`
}

// spread is in milliseconds.
type spread struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func spreadOf(times []time.Duration) spread {
	if len(times) == 0 {
		return spread{}
	}
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return spread{ms(times[len(times)/2]), ms(times[len(times)*99/100]), ms(times[len(times)-1])}
}

// bin counts revocations whose last acceptance began less than Below ms after the
// return, and not less than the bin before.
type bin struct {
	Below float64 `json:"below_ms"`
	Count int     `json:"count"`
}

func histogram(times []time.Duration) []bin {
	bins := []bin{{Below: -1000}, {Below: -100}, {Below: -10}, {Below: -5}, {Below: -2}, {Below: -1}, {Below: -0.5}, {Below: 0}, {Below: 1e9}}
	for _, d := range times {
		i := slices.IndexFunc(bins, func(b bin) bool { return float64(d)/1e6 < b.Below })
		bins[i].Count++
	}
	return bins
}

func (p *proofPass) print(w io.Writer, verifiers int) {
	if p.Faults != nil {
		fmt.Fprintf(w, "\nUnder faults: %s\n", counts(p.Faults))
	}
	fmt.Fprintf(w, "%d revocations in %.1f s, %d verifiers; receipts: %s\n", p.Revocations, p.Seconds, verifiers, counts(p.Receipts))
	fmt.Fprintf(w, "%d decisions: %d accepted, %d refused as revoked, %d could not know\n",
		p.Decisions["accepted"]+p.Decisions["revoked"]+p.Decisions["unknown"], p.Decisions["accepted"], p.Decisions["revoked"], p.Decisions["unknown"])
	fmt.Fprintf(w, "  revoke, from call to receipt    p50 %8.2f ms   p99 %8.2f ms   max %8.2f ms\n", p.Revoke.P50, p.Revoke.P99, p.Revoke.Max)
	fmt.Fprintf(w, "  receipt to last acceptance      p50 %8.2f ms   p99 %8.2f ms   max %8.2f ms   (negative: before it)\n",
		p.LastAcceptance.P50, p.LastAcceptance.P99, p.LastAcceptance.Max)
	most := 1
	for _, b := range p.Histogram {
		most = max(most, b.Count)
	}
	for _, b := range p.Histogram {
		label := fmt.Sprintf("< %g ms", b.Below)
		if b.Below > 0 {
			label = "after"
		}
		fmt.Fprintf(w, "  %10s %7d %s\n", label, b.Count, strings.Repeat("▪", (b.Count*40+most-1)/most))
	}
	mark := func(wrong int) string {
		if wrong > 0 {
			return "✗"
		}
		return "✓"
	}
	fmt.Fprintf(w, "%s accepted after the revocation had returned: %d\n", mark(len(p.Violations)), p.AcceptedAfter)
	fmt.Fprintf(w, "%s receipts that claim more than was seen: %d\n", mark(p.Overclaimed), p.Overclaimed)
	for _, v := range p.Violations {
		fmt.Fprintln(w, "  ", v)
	}
}

// counts renders numbers by name.
func counts[N int | int64](m map[string]N) string {
	var words []string
	for name, n := range m {
		words = append(words, fmt.Sprintf("%d %s", n, name))
	}
	slices.Sort(words)
	return strings.Join(words, " · ")
}

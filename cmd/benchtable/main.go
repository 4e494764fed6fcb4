// Command benchtable reads the output of go test -bench, passes it on, and writes
// one of the README's tables of figures between its two markers:
// benchtable README.md figures
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// row is one promise: which benchmark and unit hold it, and the words for it.
type row struct{ benchmark, unit, what, bound string }

var tables = map[string][]row{"figures": figures, "revocation": revocation}

var figures = []row{
	{"Token", "x-bare", "CPU of the whole server per token, against a bare net/http handler that parses the same form and signs with golang-jwt", "1.6 ×"},
	{"Token", "x-bare-same-signer", "the same, against a bare handler that signs with our own signer", ""},
	{"Token", "cpu-us/token", "that CPU in µs", ""},
	{"VerifyNew", "x-golang-jwt", "verify a new token, against golang-jwt's own parse and verify", "1.25 ×"},
	{"VerifySeen", "ns/op", "verify a token seen before, in ns", "2,000"},
	{"VerifySeen", "allocs/op", "allocations of that", "2"},
	{"Positions/miss-of-1000000", "ns/op", "look up a subject among 1,000,000 revoked ones, in ns", ""},
	{"Positions/miss-of-1000000", "B/entry", "bytes of memory per revoked subject", ""},
	{"VerifyWatched", "x-unwatched", "verify a token seen before while 100,000 streams are watched, against while none is", ""},
	{"WatchersCut", "ms-delay", "end 100,000 streams with one cut: delay of its acknowledgement, in ms", "100"},
	{"WatchersOthersCut", "ns-watched", "cut a key while 100,000 streams of others are watched, in ns", ""},
	{"Strangers", "%-slower-known", "refuse a wrong secret, slower than an unknown client, in %", "5"},
	{"Refusals", "x-flood", "CPU of the server for each wrong secret of a flood, of one client, against a token", "1.2 ×"},
	{"Refusals", "x-single", "for a single one, of a client that is not in memory", "1.8 ×"},
	{"Refusals", "x-malformed", "for what has not the form of a secret", "0.6 ×"},
	{"SignInFlood", "x-token-p50", "a token while four addresses flood the sign-in, against while none does, p50", "3 ×"},
	{"SignInFlood", "s-owner", "the slowest of ten sign-ins of an owner meanwhile, in s", "5"},
	{"Revoke", "ms/revoke", "revoke a key, from request to receipt, two verifiers, in ms", ""},
	{"Revoke", "ms-waited/revoke", "of that, waiting for the verifiers, in ms", ""},
	{"Join", "cpu-ms/join", "CPU of the server for a verifier that joins, its examination included, in ms", "2"},
	{"ListKeys", "x-thousand", "list the 20 keys of an organisation among 1,000,000 keys, against among 1,000", "1.5 ×"},
	{"ListKeys", "us/list", "that list over the API in µs", ""},
	{"CreateKey", "x-store", "create a key, against the insert of its rows alone", "2 ×"},
	{"CreateKey", "x-store-over-http", "the same over the API", ""},
	{"Panel", "ms/slowest-page", "the slowest page of the panel, of an organisation with 20 keys, in ms", "10"},
	{"Ready", "ms/start", "from start to ready, in ms", "1,000"},
	{"Memory", "MiB", "resident memory after a minute of load, in MiB", "60"},
}

var revocation = []row{
	{"Revocation/1", "x-wire-p99", "revoke a key until the one verifier has confirmed, against a write to a Redis stream that a blocked reader receives, p99 against p99", "5 ×"},
	{"Revocation/10", "x-wire-p99", "the same with 10 verifiers and 10 blocked readers", "5 ×"},
	{"Revocation/100", "x-wire-p99", "with 100", "5 ×"},
	{"Revocation/1", "whole-p50-ms", "that revocation with one verifier in ms, p50", ""},
	{"Revocation/1", "whole-p99-ms", "p99; of it, the commit to the disk is about a third", ""},
	{"Revocation/100", "whole-p50-ms", "with 100 verifiers, all in one process, p50", ""},
	{"Revocation/100", "whole-p99-ms", "p99", ""},
	{"ThousandVerifiers", "whole-max-ms", "with 1,000 verifiers, the longest of ten, in ms", "10,000"},
	{"ThousandVerifiers", "%-confirmed", "of these, confirmed by all within the lease, in %", "100"},
	{"IdleVerifier", "commands/s", "commands that an idle verifier costs Redis in a second", "3"},
	{"Rebuild", "s-confirmed-again", "Redis is emptied while 1,000,000 revocations are live: until one more is confirmed by its verifiers, in s", "10"},
	{"Rebuild", "s-new-verifier", "until a new verifier has loaded all of them from the server, in s", "10"},
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path, table string) error {
	begin, end := "<!-- "+table+" -->\n", "<!-- /"+table+" -->"
	measured := make(map[string]string)
	cpu := "unknown CPU"
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(lines.Text())
		if name, ok := strings.CutPrefix(lines.Text(), "cpu: "); ok {
			cpu = strings.Join(strings.Fields(name), " ")
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // -GOMAXPROCS
		}
		for i := 2; i+1 < len(fields); i += 2 {
			measured[name+" "+fields[i+1]] = fields[i]
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %d cores, %s:\n\n| figure | measured | at most |\n|---|---|---|\n", cpu, runtime.NumCPU(), runtime.Version())
	for _, r := range tables[table] {
		value, ok := measured[r.benchmark+" "+r.unit]
		if !ok {
			return fmt.Errorf("no %s of Benchmark%s: %s is left as it was", r.unit, r.benchmark, path)
		}
		fmt.Fprintf(&text, "| %s | %s | %s |\n", r.what, value, r.bound)
	}
	document, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, okBegin := strings.Cut(string(document), begin)
	_, after, okEnd := strings.Cut(rest, end)
	if !okBegin || !okEnd {
		return fmt.Errorf("%s has no %s%s", path, begin, end)
	}
	return os.WriteFile(path, []byte(before+begin+text.String()+end+after), 0o644)
}

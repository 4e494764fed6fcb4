package main

import (
	"bufio"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imara/apikeys/authz"
	"github.com/imara/apikeys/authz/management"
	"github.com/imara/apikeys/keys"
)

func auditCommand() *cobra.Command {
	cmd, f := remoteCommand("audit", "Read, export and check the audit log of an organisation")
	cmd.AddCommand(auditTail(f), auditExport(f), auditVerify(f))
	return cmd
}

// auditFilter are the flags that select events.
type auditFilter struct{ action, target, by, since, until string }

func (a *auditFilter) add(flags *pflag.FlagSet) {
	flags.StringVar(&a.action, "action", "", "only this, such as key.revoke")
	flags.StringVar(&a.target, "target", "", "only about this id")
	flags.StringVar(&a.by, "by", "", "only what this key or member did")
	flags.StringVar(&a.since, "since", "", "only from this RFC 3339 time on, or so long ago, such as 24h")
	flags.StringVar(&a.until, "until", "", "only before this time")
}

func (a *auditFilter) query() (url.Values, error) {
	query := url.Values{}
	for name, value := range map[string]string{"action": a.action, "target": a.target, "actor": a.by} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range map[string]string{"since": a.since, "until": a.until} {
		var ago days
		if value == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, value)
		if err != nil && ago.Set(value) == nil {
			at, err = time.Now().Add(-time.Duration(ago)), nil
		}
		if err != nil {
			return nil, usage("--%s: use an RFC 3339 time, or a span such as 24h or 7d", name)
		}
		query.Set(name, at.UTC().Format(time.RFC3339))
	}
	return query, nil
}

func auditTail(f *remote) *cobra.Command {
	var filter auditFilter
	var count int
	cmd := f.within("tail", "List the newest events", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		query, err := filter.query()
		if err != nil {
			return err
		}
		query.Set("limit", strconv.Itoa(count))
		var list management.List[authz.Event]
		if err := org.do(cmd.Context(), http.MethodGet, "/audit-events?"+query.Encode(), nil, &list); err != nil {
			return err
		}
		var rows [][]string
		for _, e := range list.Data {
			who := e.ClientID
			if e.Member != "" {
				who = e.Member
			}
			rows = append(rows, []string{date(&e.At), who, e.Action, e.Target, dash(e.Address), e.Reason, e.ID})
		}
		return f.table(cmd, list, "TIME\tWHO\tWHAT\tON\tFROM\tWHY\tEVENT", rows)
	})
	filter.add(cmd.Flags())
	cmd.Flags().IntVarP(&count, "count", "n", 20, "how many, up to 200")
	return cmd
}

func auditExport(f *remote) *cobra.Command {
	var filter auditFilter
	var format, path string
	cmd := f.within("export", "Write all events, the oldest first, as NDJSON that imara audit verify checks, or as CSV", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) (err error) {
		query, err := filter.query()
		if err != nil {
			return err
		}
		query.Set("format", format)
		to := cmd.OutOrStdout()
		if path != "" {
			var file *os.File
			if file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
				return err
			}
			to = file
			defer func() {
				if err = errors.Join(err, file.Close()); err != nil {
					os.Remove(path) // a part of a log looks like a log
				}
			}()
		}
		n, err := f.export(cmd, org, "/audit-events/export?"+query.Encode(), to)
		if err == nil && !f.quiet {
			remark := "Keep the last one elsewhere: it shows later that nothing before it was written anew."
			if filter != (auditFilter{since: filter.since, until: filter.until}) || format != "ndjson" {
				remark = "It cannot be checked with imara audit verify: events were left out, or it is CSV."
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d lines. %s\n", n, remark)
		}
		return err
	})
	filter.add(cmd.Flags())
	cmd.Flags().StringVar(&format, "format", "ndjson", "ndjson or csv")
	cmd.Flags().StringVar(&path, "to", "", "write to this new file, 0600, instead of standard output")
	return cmd
}

// export copies whole lines, and says how many.
func (f *remote) export(cmd *cobra.Command, org *api, path string, to io.Writer) (n int, err error) {
	response, err := org.send(cmd.Context(), http.MethodGet, path, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	total, _ := strconv.Atoi(response.Header.Get("Imara-Events"))
	bar := f.bar(cmd, total, 1, "events")
	defer bar.end()
	from := bufio.NewReader(response.Body)
	for ; ; n++ {
		line, err := from.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return n, nil
		}
		if err != nil {
			return n, &exit{exitUnavailable, fmt.Errorf("the export broke off after %d lines: %w", n, err)}
		}
		if _, err := to.Write(line); err != nil {
			return n, err
		}
		bar.step()
	}
}

func auditVerify(f *remote) *cobra.Command {
	var key, kept string
	var partial bool
	cmd := &cobra.Command{
		Use: "verify [FILE|-]", Short: "Check the chain of events: the server's own, or that of an export", Args: cobra.MaximumNArgs(1),
		Long: `Check the chain of events. With a file, or - for standard input, an NDJSON export is
checked here; what signs it is asked of the server unless --key says it. Without a file the
server checks its own. The first bad event is named; exit code 4 says that there is one.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return f.verifyFile(cmd, args[0], key, kept, partial)
			}
			return f.verifyServer().RunE(cmd, nil)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "public key that signs checkpoints, Base64URL, instead of asking the server")
	cmd.Flags().BoolVar(&partial, "partial", false, "the export begins in the middle; its first event is taken as given")
	cmd.Flags().StringVar(&kept, "checkpoint", "", "file with a checkpoint that was kept: it must be in the chain")
	return cmd
}

// verifyServer asks the server to check its own log.
func (f *remote) verifyServer() *cobra.Command {
	return f.within("verify", "", cobra.NoArgs, func(cmd *cobra.Command, org *api, _ []string) error {
		var verdict management.AuditVerdict
		if err := org.do(cmd.Context(), http.MethodGet, "/audit-events/verify", nil, &verdict); err != nil {
			return err
		}
		if f.json {
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(verdict); err != nil {
				return err
			}
		}
		if !verdict.Valid {
			return &exit{exitRefused, fmt.Errorf("event %d: %s", verdict.BrokenAt, verdict.Reason)}
		}
		if !f.json {
			fmt.Fprintf(cmd.OutOrStdout(), "✓ %d events, up to evt_%d\n  checkpoint %s\n", verdict.Events, verdict.Position, verdict.Checkpoint)
		}
		return nil
	})
}

// verifyFile checks an export without believing the server that made it.
func (f *remote) verifyFile(cmd *cobra.Command, path, keyText, kept string, partial bool) error {
	public, err := f.checkpointKey(cmd, keyText)
	if err != nil {
		return err
	}
	from, size := cmd.InOrStdin(), 0
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return usage("%v", err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		from, size = file, int(info.Size())
	}
	chain := keys.Chain{Middle: partial}
	if kept != "" {
		text, err := os.ReadFile(kept)
		if err != nil {
			return usage("--checkpoint: %v", err)
		}
		checkpoint, err := readCheckpoint(text, public)
		if err != nil {
			return &exit{exitRefused, err}
		}
		chain.Expect(checkpoint)
		chain.Strict = true
	}
	bar := f.bar(cmd, size, 1e6, "MB")
	defer bar.end()
	first, err := verifyLines(io.TeeReader(from, bar), &chain, public)
	if err != nil {
		return &exit{exitRefused, err}
	}
	bar.end()
	begins := ""
	if partial {
		begins = fmt.Sprintf(" from evt_%d, which is taken as given", first)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "✓ %d events%s, up to evt_%d\n", chain.Events, begins, chain.Position)
	return nil
}

// readCheckpoint takes a checkpoint alone, or the last line of an export.
func readCheckpoint(text []byte, public ed25519.PublicKey) (keys.Checkpoint, error) {
	signed := strings.TrimSpace(string(text))
	if end := signed[strings.LastIndexByte(signed, '\n')+1:]; strings.HasPrefix(end, "{") {
		_, line, err := authz.ReadEvent([]byte(end))
		if err != nil {
			return keys.Checkpoint{}, err
		}
		signed = line.Checkpoint
	}
	return keys.ParseCheckpoint(signed, public)
}

var errUnsigned = errors.New("the export is cut off: its last line is no checkpoint")

// verifyLines checks every line, and that the last one signs the one before it. It
// returns the position of the first.
func verifyLines(from io.Reader, chain *keys.Chain, public ed25519.PublicKey) (first uint64, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 16<<20)
	organization, signed := "", false
	var bad error // told at the end: that it was filtered comes last
	for lines.Scan() {
		if signed {
			return 0, errors.New("there is something after the checkpoint")
		}
		e, end, err := authz.ReadEvent(lines.Bytes())
		if err != nil {
			return 0, fmt.Errorf("line %d: %w", chain.Events+1, err)
		}
		switch {
		case end.Filtered:
			return 0, errors.New("the export was filtered: export without --action, --target and --by to check it")
		case bad != nil:
			continue
		case end.Checkpoint == "" && chain.Events > 0 && e.OrganizationID != organization:
			bad = &keys.BrokenError{Position: e.Position, Reason: "it is of another organisation"}
			continue
		case end.Checkpoint == "":
			if chain.Events == 0 {
				organization, first = e.OrganizationID, e.Position
			}
			bad = chain.Add(e)
			continue
		}
		checkpoint, err := keys.ParseCheckpoint(end.Checkpoint, public)
		if err != nil {
			return 0, err
		}
		if head := chain.Head(organization); checkpoint.Position != head.Position || string(checkpoint.Hash) != string(head.Hash) || checkpoint.OrganizationID != organization {
			return 0, errors.New("the checkpoint is not of the last event")
		}
		signed = true
	}
	if err := cmp.Or(lines.Err(), bad); err != nil {
		return 0, err
	}
	if !signed {
		return 0, errUnsigned
	}
	return first, chain.End()
}

// checkpointKey is the key that is given, or else the server's.
func (f *remote) checkpointKey(cmd *cobra.Command, text string) (ed25519.PublicKey, error) {
	if text == "" {
		server, err := f.api(cmd)
		if err != nil {
			return nil, err
		}
		var key management.CheckpointKey
		if err := server.do(cmd.Context(), http.MethodGet, "/checkpoint-key", nil, &key); err != nil {
			return nil, err
		}
		text = key.X
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, usage("--key: it is not an Ed25519 public key in Base64URL")
	}
	return raw, nil
}

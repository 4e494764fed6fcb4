package main

import (
	"bytes"
	"encoding/json"

	"github.com/spf13/cobra"
)

// tried marks commands that --dry-run is for.
const tried = "imara.dry-run"

// changing marks commands that change something on the server, and can be tried.
func changing(commands ...*cobra.Command) []*cobra.Command {
	for _, cmd := range commands {
		if cmd.Annotations == nil {
			cmd.Annotations = map[string]string{}
		}
		cmd.Annotations[tried] = "true"
	}
	return commands
}

// checkDryRun refuses the flag on a command that cannot be tried: it would do all that it
// does, or nothing would differ.
func checkDryRun(cmd *cobra.Command) error {
	flag := cmd.Flags().Lookup("dry-run")
	if flag == nil || flag.Value.String() != "true" || cmd.Annotations[tried] != "" {
		return nil
	}
	return usage("%s does not know --dry-run: it is for commands that change something on the server", cmd.CommandPath())
}

// did is what a command has done, or what it would do.
func (f *remote) did(done, would string) string {
	if f.dryRun {
		return would
	}
	return done
}

// marked is an answer as JSON; of a dry run it says so, as the server's own does.
func (f *remote) marked(answer any) (json.RawMessage, error) {
	data, err := json.Marshal(answer)
	if err != nil || !f.dryRun || !bytes.HasPrefix(data, []byte("{")) {
		return data, err
	}
	rest := data[1:]
	if !bytes.Equal(rest, []byte("}")) {
		rest = append([]byte(","), rest...)
	}
	return append([]byte(`{"dry_run":true`), rest...), nil
}

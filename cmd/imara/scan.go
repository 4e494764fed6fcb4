package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imara/apikeys/keys"
)

func scanCommand() *cobra.Command {
	s := &scan{bar: &progress{}, secrets: make(map[keys.Secret]bool)}
	var repository bool
	cmd := &cobra.Command{
		Use: "scan [FILE|DIR|-]... | scan --git [DIR]", Short: "Find client secrets in files, or in a Git repository and its history",
		Long: `Find client secrets, by their form and checksum, without asking any server. Of a
secret it prints the credential id and the last four characters, never more.
Directories are searched with all that is in them but .git and symbolic links.
What stands beside a secret never hides it, nor do escapes such as %5F in it.
What is compressed, encrypted or in Base64 is not opened. Exit code 4 means found.
For a blob of Git, git log --all --find-object=BLOB names the commits.`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.out, s.talk = cmd.OutOrStdout(), cmd.ErrOrStderr()
			var err error
			switch {
			case repository && len(args) > 1:
				return usage("--git takes one repository")
			case repository:
				err = s.repository(cmd.Context(), append(args, ".")[0])
			case len(args) == 0:
				return usage("name files or directories, - for standard input, or --git for a repository with its history")
			default:
				err = s.paths(cmd.Context(), cmd.InOrStdin(), args...)
			}
			if err != nil {
				return err
			}
			return s.verdict()
		},
	}
	cmd.Flags().BoolVar(&repository, "git", false, "search a repository: its files, index, stash, and every commit of every ref and reflog")
	cmd.Flags().BoolVar(&s.json, "json", false, "print a line of JSON for each place")
	return cmd
}

// scan is one run: what it has read, and what it found.
type scan struct {
	out, talk io.Writer
	json      bool
	bar       *progress

	files, objects, bytes int
	places, lookalikes    int
	unread                int
	secrets               map[keys.Secret]bool
}

// place is a row of the answer.
type place struct {
	Path         string `json:"path"`
	Line         int64  `json:"line"`
	Column       int64  `json:"column"`
	Offset       int64  `json:"offset"`
	CredentialID string `json:"credential_id"`
	Hint         string `json:"hint"`
	Object       string `json:"object,omitempty"`
}

// paths searches files and directories, and stdin for -. The error is that of ctx:
// what cannot be read is told and counted.
func (s *scan) paths(ctx context.Context, stdin io.Reader, args ...string) error {
	var files []string
	total := 0
	add := func(path string, info fs.FileInfo) {
		files = append(files, path)
		total += int(info.Size())
	}
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case arg == "-":
			files = append(files, arg)
		case err != nil:
			s.fail(err)
		case !info.IsDir():
			add(arg, info)
		default:
			if err := s.walk(ctx, arg, add); err != nil {
				return err
			}
		}
	}
	s.bar = newProgress(s.talk, total, 1e6, "MB")
	defer s.bar.end()
	for _, path := range files {
		if err := s.file(ctx, path, stdin); err != nil && ctx.Err() == nil {
			s.fail(err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// walk adds the regular files of a directory. The separator makes a link to a directory one.
func (s *scan) walk(ctx context.Context, dir string, add func(string, fs.FileInfo)) error {
	root := dir + string(filepath.Separator)
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			s.fail(err)
		case entry.IsDir() && entry.Name() == ".git" && path != root:
			return fs.SkipDir
		case entry.Type().IsRegular():
			if info, err := entry.Info(); err != nil {
				s.fail(err)
			} else {
				add(path, info)
			}
		}
		return ctx.Err()
	})
}

func (s *scan) file(ctx context.Context, path string, stdin io.Reader) error {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		stdin = f
	}
	s.files++
	return s.read(ctx, io.TeeReader(stdin, s.bar), path, "", "")
}

// readFunc is an io.Reader.
type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

// read searches one text; kind and object are those of Git.
func (s *scan) read(ctx context.Context, r io.Reader, path, kind, object string) error {
	counted := readFunc(func(b []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		n, err := r.Read(b)
		s.bytes += n
		return n, err
	})
	lookalikes, err := keys.FindSecrets(counted, func(secret keys.Secret, at keys.Place) {
		s.places++
		s.secrets[secret] = true
		s.bar.end()
		if s.json {
			json.NewEncoder(s.out).Encode(place{masked(path), at.Line, at.Column, at.Offset, secret.CredentialID(), secret.Hint(), object})
			return
		}
		fmt.Fprintf(s.out, "%s:%d: %s (hint …%s)", printable(path), at.Line, secret.Masked(), secret.Hint())
		if object != "" {
			fmt.Fprintf(s.out, " in %s %.12s", kind, object)
		}
		fmt.Fprintln(s.out)
	})
	s.lookalikes += lookalikes
	return err
}

// fail tells what could not be read.
func (s *scan) fail(err error) {
	s.unread++
	s.bar.end()
	fmt.Fprintf(s.talk, "not read: %s\n", printable(err.Error()))
}

// masked hides the secrets of a text, which may be the name of a file.
func masked(text string) string {
	var out strings.Builder
	rest := int64(0) // where what is not written yet begins
	keys.FindSecrets(strings.NewReader(text), func(secret keys.Secret, at keys.Place) {
		if at.Offset >= rest {
			out.WriteString(text[rest:at.Offset] + secret.Masked())
			rest = at.Offset + at.Length
		}
	})
	return out.String() + text[rest:]
}

// printable is masked, and quoted if a terminal would obey it.
func printable(text string) string {
	text = masked(text)
	if !keys.Printable(text) {
		return strconv.QuoteToASCII(text)
	}
	return text
}

// verdict says what was found, and is the error for that.
func (s *scan) verdict() error {
	read := "read " + count(s.files, "file")
	if s.objects > 0 {
		read += " and " + count(s.objects, "Git object")
	}
	read += ", " + count(s.bytes, "byte")
	if s.lookalikes > 0 {
		fmt.Fprintf(s.talk, "%s of a secret, with a wrong checksum: mistyped, made up, or cut off\n", count(s.lookalikes, "lookalike"))
	}
	if s.unread > 0 {
		read += " · not read: " + strconv.Itoa(s.unread)
	}
	if s.places > 0 {
		return &exit{exitRefused, fmt.Errorf(`%s in %s · %s
  Whoever can read a secret can use its key. imara keys show KEY has the hints of a key.
  Replace the secret: imara keys rotate KEY --overlap 0. Or end the key: imara keys revoke KEY`,
			count(len(s.secrets), "secret"), count(s.places, "place"), read)}
	}
	if s.unread > 0 {
		return fmt.Errorf("no secret in what could be read · %s", read)
	}
	fmt.Fprintf(s.talk, "No secret · %s\n", read)
	return nil
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

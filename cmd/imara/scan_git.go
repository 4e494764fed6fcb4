package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// repository searches the history of the repository that dir is in, then its files.
func (s *scan) repository(ctx context.Context, dir string) error {
	out, err := git(ctx, dir, "rev-parse", "--is-inside-work-tree", "--is-shallow-repository", "--show-cdup").Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		err = errors.New(printable(strings.TrimSpace(string(failed.Stderr))))
	}
	if err != nil {
		return fmt.Errorf("--git needs git and a repository: %w", err)
	}
	answers := append(strings.Split(string(out), "\n"), "", "")
	if answers[1] == "true" {
		fmt.Fprintln(s.talk, "This clone is shallow, what is older is not searched: git fetch --unshallow")
	}
	if err := s.history(ctx, dir); err != nil && ctx.Err() == nil {
		s.fail(fmt.Errorf("the whole history: %w", err))
	}
	if ctx.Err() != nil || answers[0] != "true" {
		return ctx.Err()
	}
	return s.paths(ctx, nil, filepath.Join(dir, answers[2])+string(filepath.Separator))
}

// git runs it in dir. It sees what refs/replace hides, fetches nothing, and runs no
// program that the repository's own configuration names.
func git(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "--no-replace-objects", "-c", "core.fsmonitor=false", "-c", "protocol.allow=never"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_NO_LAZY_FETCH=1")
	return cmd
}

// lines counts lines as done.
type lines struct{ *progress }

func (l lines) Write(b []byte) (int, error) {
	l.add(bytes.Count(b, []byte("\n")))
	return len(b), nil
}

// history searches every object that a ref, a reflog or the index reaches. The list
// of objects goes through a file: its length is needed first, for the time that is left.
func (s *scan) history(ctx context.Context, dir string) error {
	list, err := os.CreateTemp("", "imara-scan-")
	if err != nil {
		return err
	}
	defer os.Remove(list.Name())
	defer list.Close()
	s.bar = newProgress(s.talk, 0, 1, "objects listed")
	revisions := git(ctx, dir, "rev-list", "--objects", "--all", "--reflog", "--indexed-objects", "--missing=print")
	revisions.Stdout, revisions.Stderr = io.MultiWriter(list, lines{s.bar}), s.talk
	err = revisions.Run()
	s.bar.end()
	if err != nil {
		return fmt.Errorf("git rev-list: %w", err)
	}
	if _, err := list.Seek(0, io.SeekStart); err != nil {
		return err
	}
	contents := git(ctx, dir, "cat-file", "--batch=%(objectname) %(objecttype) %(objectsize) %(rest)", "--buffer")
	contents.Stdin, contents.Stderr = list, s.talk
	out, err := contents.StdoutPipe()
	if err != nil {
		return err
	}
	if err := contents.Start(); err != nil {
		return err
	}
	s.bar = newProgress(s.talk, s.bar.done, 1, "objects")
	err = s.contents(ctx, bufio.NewReaderSize(out, 64<<10))
	s.bar.end()
	out.Close() // or git waits for a reader
	if e := contents.Wait(); err == nil && e != nil {
		err = fmt.Errorf("git cat-file: %w", e)
	}
	return err
}

// contents searches what git cat-file --batch prints, but for trees. A message has no
// path: it is named by the kind of its object.
func (s *scan) contents(ctx context.Context, r *bufio.Reader) error {
	for {
		header, err := r.ReadString('\n')
		if err == io.EOF && header == "" {
			return nil
		}
		if err != nil {
			return err
		}
		s.bar.step()
		fields := strings.SplitN(strings.TrimSuffix(header, "\n"), " ", 4)
		if len(fields) < 4 {
			s.fail(fmt.Errorf("the object %s", strings.Join(fields, " "))) // is missing
			continue
		}
		object, kind, path := fields[0], fields[1], fields[3]
		if path == "" {
			path = kind
		}
		size, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return err
		}
		body := &io.LimitedReader{R: r, N: size}
		if kind != "tree" {
			s.objects++
			if err := s.read(ctx, body, path, kind, object); err != nil {
				return err
			}
		}
		if _, err := io.CopyN(io.Discard, r, body.N+1); err != nil { // the rest, and a newline
			return err
		}
	}
}

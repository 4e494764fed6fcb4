package main

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// masterKey is the one secret outside the database: 32 bytes, in a file as
// base64. Everything that seals or authenticates derives its own key from it.
type masterKey []byte

// loadMasterKey reads the file, or makes it when create is set. It refuses a file that
// others may read, and a key that nobody drew at random.
func loadMasterKey(path string, create bool) (masterKey, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		return createMasterKey(path)
	}
	if err == nil {
		err = checkPrivate(path, info)
	}
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	value, err := fileText("master key: "+path, text)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("master key: %s does not hold 32 bytes in base64: "+
			"openssl rand -base64 32 makes some", path)
	}
	if !random(key) {
		return nil, fmt.Errorf("master key: %s holds a key that can be guessed: "+
			"openssl rand -base64 32 makes one", path)
	}
	return key, nil
}

// checkPrivate refuses a file of secrets that others may read. A group of ours may, not
// write: so root gives secrets to a container that is not root's (0440 in Kubernetes).
func checkPrivate(path string, info fs.FileInfo) error {
	switch mode := permissions(info); {
	case mode&0o077 == 0:
		return nil
	case mode&0o007 != 0:
		return fmt.Errorf("everybody on this machine may read %s (%#o): chmod 600 it; in a container, "+
			"mount it with mode 0400 for its user, or 0440 for a group of the user", path, mode)
	case mode&0o030 != 0 || !groupIsOurs(info):
		return fmt.Errorf("others may read %s (%#o): chmod 600 it, or 440 if its group is this program's",
			path, mode)
	}
	return nil
}

// random tells whether a key may have been drawn at random: it is no pattern and no
// sequence. Of keys that were, one in a billion would be refused.
func random(key []byte) bool {
	values, steps := make(map[byte]bool), make(map[byte]bool)
	for i, b := range key {
		values[b], steps[b-key[(i+1)%len(key)]] = true, true
	}
	if len(values) < 8 || len(steps) < 8 {
		return false
	}
	for period := 1; period <= len(key)/2; period++ {
		if bytes.Equal(key[period:], key[:len(key)-period]) {
			return false
		}
	}
	return true
}

func createMasterKey(path string) (masterKey, error) {
	key := make([]byte, 32)
	rand.Read(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := privateFile(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(f)
	// Not over a key that another process made meanwhile: that one is in use.
	if err := os.Link(f, path); errors.Is(err, fs.ErrExist) {
		return loadMasterKey(path, false)
	} else if err != nil {
		return nil, err
	}
	return key, syncDirectory(path)
}

// writeFile writes a private file so that it is there wholly or not at all.
func writeFile(path string, data []byte) error {
	f, err := privateFile(path, data)
	if err != nil {
		return err
	}
	defer os.Remove(f)
	if err := os.Rename(f, path); err != nil {
		return err
	}
	return syncDirectory(path)
}

// privateFile writes a temporary file beside path, for its owner only.
func privateFile(path string, data []byte) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return "", err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDirectory makes the names in path's directory durable.
func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// derive returns the 32-byte key for a purpose (RFC 5869).
func (m masterKey) derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, m, nil, "imara "+purpose, 32)
	if err != nil {
		panic(err) // only for lengths that are not ours
	}
	return key
}

func (m masterKey) String() string { return "[redacted]" }

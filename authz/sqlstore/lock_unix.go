//go:build unix

package sqlstore

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks a file for this process alone, or returns [ErrLocked].
func lockFile(file *os.File) error {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

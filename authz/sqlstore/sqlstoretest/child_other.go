//go:build !linux

package sqlstoretest

import (
	"syscall"
	"testing"
)

// child is a process of this one's user, which a killed test leaves behind.
func child(testing.TB) *syscall.SysProcAttr { return nil }

func giveAway(testing.TB, string) {}

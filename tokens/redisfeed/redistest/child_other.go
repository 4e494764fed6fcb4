//go:build !linux

package redistest

import "syscall"

// child is a process that a killed test leaves behind: only Linux can end it.
func child() *syscall.SysProcAttr { return nil }

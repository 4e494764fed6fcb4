package main

import (
	"os"
	"syscall"
)

// ownGroup is a process that an interrupt of this one's console does not reach.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// Windows cannot pause a process of another program: that fault is left out.
func pauseProcess(*os.Process) error  { return errSkipped }
func resumeProcess(*os.Process) error { return nil }

// stopProcess ends a process, which Windows cannot ask to.
func stopProcess(p *os.Process) error { return p.Kill() }

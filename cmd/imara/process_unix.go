//go:build unix

package main

import (
	"os"
	"syscall"
)

// ownGroup is a process that an interrupt of this one's terminal does not reach.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func pauseProcess(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// stopProcess lets a process that runs end by itself.
func stopProcess(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

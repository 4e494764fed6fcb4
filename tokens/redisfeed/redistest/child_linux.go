package redistest

import "syscall"

// child is a process that ends with this one, however this one ends.
func child() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

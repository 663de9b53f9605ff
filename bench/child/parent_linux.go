package child

import "syscall"

// dieWithParent has the kernel kill the child when its parent is gone, should it
// not see the end of its input.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

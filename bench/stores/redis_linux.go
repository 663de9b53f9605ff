package stores

import (
	"os/exec"
	"syscall"
)

// dieTogether lets a process be killed when the thread that starts it ends, as
// all do where this process is killed.
func dieTogether(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

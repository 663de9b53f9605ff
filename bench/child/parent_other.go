//go:build !linux

package child

import "syscall"

// A child ends with its input.
func dieWithParent() *syscall.SysProcAttr { return nil }

//go:build !linux

package stores

import "os/exec"

// dieTogether does nothing: only Linux has a way to do it.
func dieTogether(*exec.Cmd) {}

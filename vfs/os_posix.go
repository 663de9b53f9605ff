//go:build !windows

package vfs

import (
	"os"
	"syscall"
)

// noSpace lists the system's errors that mean a full disk.
var noSpace = []error{syscall.ENOSPC, syscall.EDQUOT}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

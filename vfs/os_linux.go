package vfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// datasync is fdatasync: it leaves out the times, which nobody needs to read the
// file back, and so often saves a journal commit.
func datasync(f *os.File) error {
	return control(f, "fdatasync", unix.Fdatasync)
}

// allocate is fallocate with mode 0. File systems that lack it are written to.
func allocate(f *os.File, off, n int64) error {
	err := control(f, "fallocate", func(fd int) error { return unix.Fallocate(fd, 0, off, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return allocateByWriting(f, off, n)
	}
	return err
}

// control runs a system call on the file's descriptor, again as long as a signal
// interrupts it. An interrupted fdatasync has not failed: it has not run.
func control(f *os.File, op string, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if callErr = call(int(fd)); callErr != unix.EINTR {
				return
			}
		}
	})
	if err != nil { // the only reason there is, under a name that is not exported
		return &fs.PathError{Op: op, Path: f.Name(), Err: fs.ErrClosed}
	}
	if callErr != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: callErr}
	}
	return nil
}

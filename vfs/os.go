package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// OS is the operating system's file system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := checkFlag(name, flag); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Remove(name string) error                    { return os.Remove(name) }
func (osFS) Rename(oldname, newname string) error        { return os.Rename(oldname, newname) }
func (osFS) MkdirAll(dir string, perm fs.FileMode) error { return os.MkdirAll(dir, perm) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error)   { return os.ReadDir(dir) }
func (osFS) Stat(name string) (fs.FileInfo, error)       { return os.Stat(name) }

func (osFS) SyncDir(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() { // syncing a file instead would look like success
		return &fs.PathError{Op: "syncdir", Path: dir, Err: syscall.ENOTDIR}
	}
	return syncDir(dir)
}

// osFile is a File of the operating system. Reading, writing, truncating and
// closing are os.File's.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f osFile) Sync() error { return datasync(f.File) }

func (f osFile) Allocate(off, n int64) error {
	if err := checkRange(f.Name(), off, n); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	return allocate(f.File, off, n)
}

// checkFlag refuses what a File cannot do.
func checkFlag(name string, flag int) error {
	if flag&os.O_APPEND != 0 {
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EINVAL}
	}
	return nil
}

// checkRange refuses a range that no file has.
func checkRange(name string, off, n int64) error {
	if off < 0 || n < 0 || off+n < 0 {
		return &fs.PathError{Op: "allocate", Path: name, Err: syscall.EINVAL}
	}
	return nil
}

// allocateByWriting reserves a range where the operating system has no call for
// it: what is there is read and written back, and what is missing is written as
// zeros.
func allocateByWriting(f *os.File, off, n int64) error {
	buf := make([]byte, min(n, 1<<20))
	for n > 0 {
		part := buf[:min(n, int64(len(buf)))]
		clear(part) // whatever lies beyond the end reads as zeros
		if _, err := f.ReadAt(part, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := f.WriteAt(part, off); err != nil {
			return err
		}
		off += int64(len(part))
		n -= int64(len(part))
	}
	return nil
}

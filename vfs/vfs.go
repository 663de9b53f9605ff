// Package vfs is the disk as an interface: OS is the operating system's file
// system, Mem is one in memory that can lose power, fail on demand and fill up.
//
// It knows files, directories, syncs and locks. It does not know what is in the
// files, retries nothing, and hides no error.
//
// Invariant: what was synced, a power loss does not change. A file's contents
// are synced by File.Sync, its name by FS.SyncDir of the directory it is in;
// one without the other is not enough. Mem takes away whatever was not synced,
// so that code which forgets a sync fails its tests.
//
// vfs carries no compatibility promise; package inmem does.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// FS is a file system. Names are paths as the operating system writes them;
// errors are what package os returns: *fs.PathError and *os.LinkError, which
// wrap fs.ErrNotExist and the like. An FS may be used by many goroutines.
type FS interface {
	// OpenFile opens a file, with the flags of package os. Files are written by
	// offset only: os.O_APPEND is refused.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)

	// Remove removes a file or an empty directory.
	Remove(name string) error

	// Rename gives a file another name, atomically, replacing what had it.
	// A directory is never replaced.
	Rename(oldname, newname string) error

	// MkdirAll makes a directory and those above it, where they are missing.
	MkdirAll(dir string, perm fs.FileMode) error

	// ReadDir lists a directory, sorted by name.
	ReadDir(dir string) ([]fs.DirEntry, error)

	// Stat describes a file or a directory.
	Stat(name string) (fs.FileInfo, error)

	// SyncDir makes the creates, renames and removes in dir durable.
	SyncDir(dir string) error

	// Lock takes the exclusive lock on the file name, which it creates if need
	// be, and writes holder into it for people to read. It does not wait: while
	// another process, or this one, has the lock the error is a *LockedError.
	// Close gives the lock back, any number of times; the file stays.
	Lock(name, holder string) (io.Closer, error)

	// Locked reports whether somebody has the lock on the file name, and who.
	// It creates and changes nothing; a file that is not there is not locked.
	Locked(name string) (holder string, locked bool, err error)
}

// File is an open file. It may be used by many goroutines, whose writes to
// overlapping ranges come out in any order.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	// Name is the name the file was opened by.
	Name() string

	// Sync makes the file's data, and what is needed to read it back, durable.
	// It does not make the file's name durable: see FS.SyncDir. After an error
	// nothing is known about what is on the disk, and a second Sync that
	// succeeds proves nothing.
	Sync() error

	// Truncate sets the size. What is added reads as zeros.
	Truncate(size int64) error

	// Size is the size in bytes.
	Size() (int64, error)

	// Allocate reserves n bytes at off, so that later writes there cannot fail
	// for lack of space, and extends the size to off+n if it was less. What is
	// there stays; what is new reads as zeros. It must not run beside writes to
	// the same range. IsNoSpace tells when the disk is full.
	Allocate(off, n int64) error
}

// ErrLocked says that somebody else has the lock. The error is a *LockedError.
var ErrLocked = errors.New("locked")

// LockedError says which file is locked and by whom.
type LockedError struct {
	Name   string // the lock file, as passed to Lock
	Holder string // what the holder wrote about itself; never empty
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("lock %s: locked by %s", e.Name, e.Holder)
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// unknownHolder stands for a holder that left no word about itself.
const unknownHolder = "unknown process"

// IsNoSpace reports whether err says that the disk, or the user's share of it,
// is full.
func IsNoSpace(err error) bool {
	for _, code := range noSpace {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

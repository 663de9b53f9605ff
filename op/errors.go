package op

import (
	"errors"
	"fmt"
)

// The sentinels of the store, for errors.Is. Package inmem re-exports them.
var (
	// ErrNotFound: there is no such key, or it is past its deadline.
	ErrNotFound = errors.New("inmem: key not found")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("inmem: store is closed")
	// ErrPoisoned: a write, sync or rename failed, or there was a bug. It comes
	// with the cause. What became of a call that got it is unknown until the
	// store is opened again.
	ErrPoisoned = errors.New("inmem: store stopped after a failure; reopen it")
	// ErrDiskFull: there was no space, noticed before anything was changed.
	ErrDiskFull = errors.New("inmem: disk full; nothing was changed: free space and try again")
	// ErrMemoryLimit: the error is a *MemoryLimitError. Nothing was changed.
	ErrMemoryLimit = errors.New("inmem: the memory budget is used up")
	// ErrWrongVersion: the error is a *VersionError.
	ErrWrongVersion = errors.New("inmem: key is not at the expected version")
	// ErrConflict: the error is a *ConflictError. The transaction did nothing.
	ErrConflict = errors.New("inmem: what the transaction read was changed; try it again")
	// ErrTxDone: the transaction was committed or rolled back.
	ErrTxDone = errors.New("inmem: transaction has ended")
	// ErrTxExpired: the transaction was open for too long, and was rolled back.
	ErrTxExpired = errors.New("inmem: transaction was open for too long and was rolled back")
	// ErrKeyEmpty: a key has at least one byte.
	ErrKeyEmpty = errors.New("inmem: key is empty")
	// ErrKeyTooLarge, ErrValueTooLarge, ErrBatchTooLarge: the error is a *SizeError.
	ErrKeyTooLarge   = errors.New("inmem: key too large")
	ErrValueTooLarge = errors.New("inmem: value too large")
	ErrBatchTooLarge = errors.New("inmem: commit too large; split it")
	// ErrInvalidTTL: a time to live that is not positive, or where there can be none.
	ErrInvalidTTL = errors.New("inmem: time to live must be positive")
	// ErrInvalidOption: an option that does not exist, is out of its bounds, or
	// has no place here.
	ErrInvalidOption = errors.New("inmem: invalid option")
	// ErrCorrupt: stored data is damaged. The error is a *CorruptError.
	ErrCorrupt = errors.New("inmem: stored data is damaged")
	// ErrUnsupported: the error is an *UnsupportedError. It is no ErrCorrupt.
	ErrUnsupported = errors.New("inmem: stored format is newer than this program")
	// ErrNotDirectory: the path of a store leads to a file.
	ErrNotDirectory = errors.New("inmem: not a directory")
	// ErrShardCount: the error is a *ShardCountError.
	ErrShardCount = errors.New("inmem: the store has another number of shards")
	// ErrInvalidCursor: a cursor that cannot be read, or is of another store.
	ErrInvalidCursor = errors.New("inmem: not a cursor of this store")
	// ErrFenced: the error is a *FencedError. Nothing was changed.
	ErrFenced = errors.New("inmem: somebody else has taken the run up")
	// ErrVersionGone: the error is a *VersionGoneError.
	ErrVersionGone = errors.New("inmem: no such version of the run")
	// ErrNoStore: there is no store to read in the directory.
	ErrNoStore = errors.New("inmem: no store in this directory")
	// ErrNotEmpty: a copy goes into a directory of its own.
	ErrNotEmpty = errors.New("inmem: the directory is not empty; give one that is, or a new one")
	// ErrReadOnly: a write to a store, a transaction or a version of a run that
	// is for reading only.
	ErrReadOnly = errors.New("inmem: open for reading only")
)

// ConflictError says which key of what a transaction read has changed since.
type ConflictError struct {
	Tag  Tag
	Key  string
	Seen uint64 // the version the transaction saw; 0 = there was no such key
	Now  uint64 // the version it has; 0 = it is gone
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%v: %v key %.100q was at version %d and is at %d", ErrConflict, e.Tag, e.Key, e.Seen, e.Now)
}

func (e *ConflictError) Unwrap() error { return ErrConflict }

// MemoryLimitError says that a write found no room, although everything left
// memory that could. Reads, deletes and the ending of runs go on.
type MemoryLimitError struct {
	Used   int64 // bytes of memory that the store takes
	Needed int64 // bytes that the write adds at most
	Budget int64 // bytes
}

func (e *MemoryLimitError) Error() string {
	return fmt.Sprintf("%v: %d of %d bytes are used by runs that cannot leave memory, %d more are needed", ErrMemoryLimit, e.Used, e.Budget, e.Needed)
}

func (e *MemoryLimitError) Unwrap() error { return ErrMemoryLimit }

// FencedError says that a handle is of an earlier time: the run was taken up
// again since, and whoever did so goes on with it.
type FencedError struct {
	Held, Now uint64 // the version in which the run was taken up; 0 = it never was
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("%v: this handle is of version %d, the run was taken up in %d", ErrFenced, e.Held, e.Now)
}

func (e *FencedError) Unwrap() error { return ErrFenced }

// VersionGoneError says which versions of a run there are.
type VersionGoneError struct {
	Version     uint64 // the one that was asked for
	First, Last uint64 // those that can be had
}

func (e *VersionGoneError) Error() string {
	return fmt.Sprintf("%v: %d was asked for, there are %d … %d", ErrVersionGone, e.Version, e.First, e.Last)
}

func (e *VersionGoneError) Unwrap() error { return ErrVersionGone }

// ShardCountError says how many shards a store was created with: the number is
// fixed then. Open it with that number, or with 0, which means whatever it has.
type ShardCountError struct {
	Stored, Wanted int // what the store has, and what the options asked for
}

func (e *ShardCountError) Error() string {
	return fmt.Sprintf("%v: it was created with %d, not %d; leave Options.Shards 0", ErrShardCount, e.Stored, e.Wanted)
}

func (e *ShardCountError) Unwrap() error { return ErrShardCount }

// SizeError says which limit a key, value or commit exceeds.
type SizeError struct {
	Err       error // ErrKeyTooLarge, ErrValueTooLarge or ErrBatchTooLarge
	Size, Max int   // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%v: %d bytes, the limit is %d", e.Err, e.Size, e.Max)
}

func (e *SizeError) Unwrap() error { return e.Err }

// VersionError says what version a key had instead of the expected one.
type VersionError struct {
	Key              string // without its tag
	Expected, Actual uint64 // 0 = absent
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%v: key %q: expected %d, is %d (0 = absent)", ErrWrongVersion, e.Key, e.Expected, e.Actual)
}

func (e *VersionError) Unwrap() error { return ErrWrongVersion }

// CorruptError says where stored data is damaged.
type CorruptError struct {
	File   string // a path, or a directory where a file is missing
	Offset int64  // bytes from the start of File; 0 where the file as a whole is wrong
	Reason string // for people
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s at offset %d: %s", ErrCorrupt, e.File, e.Offset, e.Reason)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// UnsupportedError says which file has a format this program does not know.
type UnsupportedError struct {
	File           string // a path
	Version, Known uint32 // what the file has, and the newest that this program reads
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%v: %s has format %d, this program reads up to %d: use a newer inmem", ErrUnsupported, e.File, e.Version, e.Known)
}

func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

package op

import (
	"errors"
	"fmt"
)

// The sentinels of the store, for errors.Is. Package inmem re-exports them.
var (
	ErrNotFound      = errors.New("inmem: key not found")
	ErrClosed        = errors.New("inmem: store is closed")
	ErrPoisoned      = errors.New("inmem: store stopped after a failure; reopen it")
	ErrDiskFull      = errors.New("inmem: disk full; nothing was changed: free space and try again")
	ErrWrongVersion  = errors.New("inmem: key is not at the expected version")
	ErrKeyEmpty      = errors.New("inmem: key is empty")
	ErrKeyTooLarge   = errors.New("inmem: key too large")
	ErrValueTooLarge = errors.New("inmem: value too large")
	ErrBatchTooLarge = errors.New("inmem: commit too large; split it")
	ErrInvalidTTL    = errors.New("inmem: time to live must be positive")
	ErrInvalidOption = errors.New("inmem: invalid option")
	ErrCorrupt       = errors.New("inmem: stored data is damaged")
	ErrUnsupported   = errors.New("inmem: stored format is newer than this program")
	ErrNotDirectory  = errors.New("inmem: not a directory")
	ErrShardCount    = errors.New("inmem: the store has another number of shards")
	ErrNoStore       = errors.New("inmem: no store in this directory")
)

// ShardCountError says how many shards a store was created with: the number is
// fixed then. Open it with that number, or with 0, which means whatever it has.
type ShardCountError struct{ Stored, Wanted int }

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
	Key              string
	Expected, Actual uint64 // 0 = absent
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%v: key %q: expected %d, is %d (0 = absent)", ErrWrongVersion, e.Key, e.Expected, e.Actual)
}

func (e *VersionError) Unwrap() error { return ErrWrongVersion }

// CorruptError says where stored data is damaged.
type CorruptError struct {
	File   string
	Offset int64 // bytes from the start of File
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s at offset %d: %s", ErrCorrupt, e.File, e.Offset, e.Reason)
}

func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// UnsupportedError says which file has a format this program does not know.
type UnsupportedError struct {
	File           string
	Version, Known uint32
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%v: %s has format %d, this program reads up to %d: use a newer inmem", ErrUnsupported, e.File, e.Version, e.Known)
}

func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

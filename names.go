package inmem

import (
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
	"inmem/wal"
)

// Durability says when a commit is acknowledged.
type Durability = op.Durability

// The durability modes.
const (
	// Strict: acknowledged = synced to the device. Commits at the same time
	// share one sync.
	Strict = op.Strict
	// Batched, the default: acknowledged = handed to the operating system. A
	// killed process loses nothing; a power cut at most the commits of the
	// last Options.BatchInterval, and of each shard at most
	// Options.BatchCommits of them.
	Batched = op.Batched
	// Async: acknowledged = applied in memory, written and synced in the
	// background within Options.BatchInterval. A killed process may lose that.
	Async = op.Async
)

// The sentinels, for errors.Is.
var (
	ErrNotFound      = op.ErrNotFound      // no such key, or it is past its deadline
	ErrClosed        = op.ErrClosed        // the store was closed
	ErrLocked        = vfs.ErrLocked       // another opener has the store; see LockedError
	ErrPoisoned      = op.ErrPoisoned      // a write, sync or rename failed; wraps the cause; reopen
	ErrDiskFull      = op.ErrDiskFull      // no space; nothing was changed, reads go on
	ErrWrongVersion  = op.ErrWrongVersion  // see VersionError
	ErrConflict      = op.ErrConflict      // see ConflictError
	ErrTxDone        = op.ErrTxDone        // the transaction was committed or rolled back
	ErrTxExpired     = op.ErrTxExpired     // it was open for longer than Options.TxTimeout
	ErrInvalidCursor = op.ErrInvalidCursor // not a cursor of this store
	ErrVersionGone   = op.ErrVersionGone   // see VersionGoneError
	ErrPruned        = wal.ErrPruned       // what was logged since is not kept any more
	ErrFenced        = op.ErrFenced        // somebody else has taken the run up; see FencedError
	ErrReadOnly      = op.ErrReadOnly      // a write to what is only read: a store of OpenReadOnly, View, a past version
	ErrKeyEmpty      = op.ErrKeyEmpty      // keys have at least one byte
	ErrKeyTooLarge   = op.ErrKeyTooLarge   // see SizeError
	ErrValueTooLarge = op.ErrValueTooLarge // see SizeError
	ErrBatchTooLarge = op.ErrBatchTooLarge // see SizeError
	ErrInvalidTTL    = op.ErrInvalidTTL    // a time to live that is not positive
	ErrInvalidOption = op.ErrInvalidOption // an option out of its bounds
	ErrCorrupt       = op.ErrCorrupt       // stored data is damaged; see CorruptError
	ErrUnsupported   = op.ErrUnsupported   // a newer format; see UnsupportedError
	ErrNotDirectory  = op.ErrNotDirectory  // the path is a file
	ErrShardCount    = op.ErrShardCount    // see ShardCountError
	ErrNoStore       = op.ErrNoStore       // there is no store to read, check or copy
	ErrNotEmpty      = op.ErrNotEmpty      // a copy goes into a directory of its own

	ErrRunNotFound  = run.ErrNotFound   // no such run, or it was deleted
	ErrRunDeleted   = run.ErrDeleted    // the ID belonged to a deleted run; also ErrRunNotFound
	ErrRunExists    = run.ErrExists     // BeginRun with an ID that is taken
	ErrMemoryLimit  = op.ErrMemoryLimit // a put beyond Options.MemoryBudget; reads, deletes and End go on
	ErrRunNotActive = run.ErrNotActive  // a write to a run that is paused or has ended
	ErrRunEnded     = run.ErrEnded      // it has ended for good; also ErrRunNotActive
	ErrTransition   = run.ErrTransition // a change of status that the lifecycle does not have
	ErrSpace        = run.ErrSpace      // a space neither ends nor changes its status
)

// The error types, for errors.As.
type (
	// SizeError says which limit a key, value or batch exceeds.
	SizeError = op.SizeError
	// VersionError says what version a key had instead of the expected one.
	VersionError = op.VersionError
	// ConflictError says which key of what a transaction read has changed.
	ConflictError = op.ConflictError
	// MemoryLimitError says how much memory there is and how much a write needs.
	MemoryLimitError = op.MemoryLimitError
	// FencedError says that the run was taken up again since.
	FencedError = op.FencedError
	// VersionGoneError says which versions of a run there are.
	VersionGoneError = op.VersionGoneError
	// CorruptError says where stored data is damaged.
	CorruptError = op.CorruptError
	// UnsupportedError says which file has a format this program does not know.
	UnsupportedError = op.UnsupportedError
	// ShardCountError says how many shards the store was created with.
	ShardCountError = op.ShardCountError
	// LockedError says who has the store open.
	LockedError = vfs.LockedError
)

// Commit is an atomic set of operations on one run, as History gives it.
type Commit = op.Commit

// Op is one operation of a Commit: an effect, as it was logged.
type Op = op.Op

// Digest is a 128-bit fingerprint of a run's state. Equal states give equal
// digests; it is no security feature.
type Digest = op.Digest

// RecoveryReport says what Open found and did.
type RecoveryReport = recovery.Report

// Verdict is what recovery found, for the store and for each shard.
type Verdict = recovery.Verdict

// The verdicts of a store that was opened.
const (
	VerdictCreated     = recovery.Created     // there was none
	VerdictRecreated   = recovery.Recreated   // its creation had been cut short, and was begun anew
	VerdictClean       = recovery.Clean       // it was closed, or idle when its process died
	VerdictInterrupted = recovery.Interrupted // its process died at work
	VerdictTorn        = recovery.Torn        // a write was cut short; what was left of it was cut off
)

// Tag says which face of a run a key belongs to.
type Tag = op.Tag

// The tags of the faces there are.
const (
	TagKV           = op.KV
	TagEvent        = op.Event
	TagStateMachine = op.StateMachine
	TagTrace        = op.Trace
	TagRunMetadata  = op.RunMetadata // the run's own record, under the empty key
	TagVector       = op.Vector
)

// OpKind says what an Op of a Commit did.
type OpKind = op.Kind

// The kinds of operation.
const (
	OpPut    = op.Put
	OpDelete = op.Delete
	OpExpire = op.Expire // removed because its deadline passed
	OpDrop   = op.Drop   // the run was deleted
)

// ShardMetrics are one shard's figures.
type ShardMetrics = shard.Metrics

// Checked is what Check found.
type Checked = recovery.Checked

// IndexChecked is what Check found of the file of an index of vectors.
type IndexChecked = recovery.IndexChecked

package inmem

import (
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"time"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/vfs"
	"inmem/wal"
)

// Options says how a store is opened. The zero value, or nil, means the
// defaults. Open copies it: later changes have no effect.
type Options struct {
	// Shards is the number of shards of a store that is created: 1 to 1,024;
	// 0 = one for each processor, up to 8. A store keeps its number for ever:
	// opening it with another one is a *ShardCountError; 0 takes what it has.
	Shards int
	// Durability is the mode of commits that do not ask for another; 0 = Batched.
	Durability Durability
	// BatchInterval is the longest that an acknowledged Batched or Async commit
	// stays unsynced, apart from the time the sync itself takes; 0 = 100 ms,
	// 1 ms to 24 h.
	BatchInterval time.Duration
	// BatchCommits is the most acknowledged Batched commits that are unsynced
	// at any time, in each shard; 0 = 1,000, at most 2^30.
	BatchCommits int

	// MaxKeySize bounds a key, in bytes; 0 = 64 KiB, at most 1 MiB.
	MaxKeySize int
	// MaxValueSize bounds a value, in bytes; 0 = 64 MiB, at most 512 MiB.
	MaxValueSize int
	// MaxCommitSize bounds one batch, in bytes; 0 = 128 MiB, at most 1,023 MiB,
	// and not less than a key and a value.
	MaxCommitSize int

	// TxTimeout is how long a transaction may be open before it is rolled back:
	// it holds a version of its run in memory; 0 = 1 min, 1 ms to 24 h.
	TxTimeout time.Duration

	// SegmentSize is the size, in bytes, at which a shard begins a new file of
	// its log; 0 = 64 MiB, at least 4 KiB, at most 1 GiB.
	SegmentSize int64
	// CheckpointBytes is how much a shard's log grows, at least, before images
	// of the changed runs are written while the shard is busy, so that the next
	// Open has less to replay; 0 = 64 MiB. They are also written, where more than
	// 1 MiB was logged since, when the shard falls silent, when the last are a
	// minute old, and by Close. Negative = only when Checkpoint is called, or
	// MemoryBudget needs it.
	CheckpointBytes int64

	// MemoryBudget bounds the memory that the store's runs take, in bytes; 0 =
	// unbounded, else at least 1 MiB. Beyond it runs leave memory that were not
	// used for longest, ended ones first, and come back at their next use; what is
	// written only and not in an image on disk yet gets one first. A run does not
	// leave while a transaction is open on it. Where the runs in use need more than
	// the budget, writes get ErrMemoryLimit; see there. It bounds what Metrics calls
	// Memory, not what the process takes: docs/guarantees.md has the difference.
	MemoryBudget int64
	// VectorMemory bounds the memory, in bytes, that copies of vectors take, which
	// searches make to be fast: about as much again as the vectors searched, and an
	// index where one is asked for. Those not
	// searched for longest go first, and come back with the next search; a collection
	// for which it is too little is searched where it is stored, which takes some
	// forty times as long. 0 = a quarter of MemoryBudget, which it is part of, or 1 GiB;
	// negative = none at all.
	VectorMemory int64
	// Retention says what is kept: see Retention. The zero value keeps everything.
	Retention Retention
	// PruneInterval is how often the background looks for what Retention does not
	// keep; 0 = 15 s, at most 24 h, negative = never: only when Prune is called. It
	// also looks after each checkpoint, and takes one where runs were removed from a
	// shard that has fallen silent for as long.
	PruneInterval time.Duration
	// Compression says how what is not written to any more is compressed: images of
	// runs, and segments of the log that a checkpoint covers. 0 = NoCompression. What was compressed
	// can be read whatever it says.
	Compression Compression

	// Now is the wall clock; nil = time.Now. The store's clock follows it but
	// never runs backwards. It must not call the store.
	Now func() time.Time
	// FS is the disk; nil = the operating system's.
	FS vfs.FS
	// Logger is told of recovery, checkpoints and failures; nil = nothing.
	Logger *slog.Logger
	// OnEvent is told of what happens in the background, in order, from a
	// goroutine of its own; nil = nothing. It may call the store, but not Close.
	OnEvent func(Event)
}

// Compression says how stored data is compressed.
type Compression uint8

// The compressions. Reading a run's history from what is compressed takes about a
// millisecond more for each half MiB of the log that it is spread over.
const (
	NoCompression Compression = iota
	Zstd
)

const (
	maxKeyBound    = 1 << 20
	maxValueBound  = 512 << 20
	maxCommitBound = wal.MaxPayload - 1<<20 // room for what a commit adds
	maxAutoShards  = 8
	leastBudget    = 1 << 20
)

// withDefaults checks the options and fills in the defaults.
func (o *Options) withDefaults() (Options, error) {
	var out Options
	if o != nil {
		out = *o
	}
	setDefault(&out.Durability, Batched)
	setDefault(&out.BatchInterval, 100*time.Millisecond)
	setDefault(&out.BatchCommits, 1000)
	setDefault(&out.MaxKeySize, 64<<10)
	setDefault(&out.MaxValueSize, 64<<20)
	setDefault(&out.MaxCommitSize, max(128<<20, out.MaxKeySize+out.MaxValueSize+op.OpSize(0, 0)))
	setDefault(&out.TxTimeout, time.Minute)
	setDefault(&out.SegmentSize, 64<<20)
	setDefault(&out.CheckpointBytes, 64<<20)
	setDefault(&out.PruneInterval, 15*time.Second)
	setDefault(&out.VectorMemory, out.MemoryBudget/4)
	setDefault(&out.VectorMemory, 1<<30)
	out.Retention = out.Retention.Clone()
	if out.Now == nil {
		out.Now = time.Now
	}
	if out.FS == nil {
		out.FS = vfs.OS
	}
	if out.Logger == nil {
		out.Logger = slog.New(slog.DiscardHandler)
	}
	return out, out.validate()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Options) validate() error {
	for _, bound := range []struct {
		name            string
		value, min, max int64
	}{
		{"Shards", int64(o.Shards), 0, checkpoint.MaxShards},
		{"Durability", int64(o.Durability), int64(Strict), int64(Async)},
		{"BatchInterval", int64(o.BatchInterval), int64(time.Millisecond), int64(24 * time.Hour)},
		{"BatchCommits", int64(o.BatchCommits), 1, 1 << 30},
		{"MaxKeySize", int64(o.MaxKeySize), 1, maxKeyBound},
		{"MaxValueSize", int64(o.MaxValueSize), 1, maxValueBound},
		{"MaxCommitSize", int64(o.MaxCommitSize), int64(o.MaxKeySize + o.MaxValueSize + op.OpSize(0, 0)), maxCommitBound},
		{"TxTimeout", int64(o.TxTimeout), int64(time.Millisecond), int64(24 * time.Hour)},
		{"PruneInterval", int64(o.PruneInterval), math.MinInt64, int64(24 * time.Hour)},
		{"Compression", int64(o.Compression), int64(NoCompression), int64(Zstd)},
		{"SegmentSize", o.SegmentSize, 4 << 10, 1 << 30},
	} {
		if bound.value < bound.min || bound.value > bound.max {
			return fmt.Errorf("%w: Options.%s is %d, not in %d … %d", ErrInvalidOption, bound.name, bound.value, bound.min, bound.max)
		}
	}
	if o.MemoryBudget != 0 && o.MemoryBudget < leastBudget {
		return fmt.Errorf("%w: Options.MemoryBudget is %d, not 0 or at least %d", ErrInvalidOption, o.MemoryBudget, leastBudget)
	}
	if err := o.Retention.Validate(); err != nil {
		return fmt.Errorf("%w: Options.Retention: %w", ErrInvalidOption, err)
	}
	return nil
}

// autoShards is the default number of shards. docs/decisions has the figures.
func autoShards() int { return min(runtime.GOMAXPROCS(0), maxAutoShards) }

package inmem

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/shard"
	"inmem/ttl"
	"inmem/vector/matrix"
	"inmem/vfs"
	"inmem/wal"
)

// DB is an open store.
type DB struct {
	dir    string
	opts   Options
	limits op.Limits

	store  *recovery.Store
	health *shard.Health
	shards []*shard.Shard
	memory *shard.Memory
	ttl    *ttl.Actor // nil where the store is open for reading only, like store.Lock
	events *announcer
	txs    txTable
	past   *pastCache
	// vectors is what searches of vectors keep prepared, and indexes where they keep
	// what took long to prepare.
	vectors *matrix.Cache
	indexes indexes
	// checkpointed has room for one: the keeper is told of checkpoints.
	checkpointed chan struct{}
	keeper       *keeper       // nil where the store is open for reading only
	ended        chan struct{} // closed when the store is closed or has failed
	endOnce      sync.Once

	agents     atomic.Pointer[Agents]
	agentsOnce sync.Once

	closed    atomic.Bool
	closeOnce sync.Once
	closeErr  error
}

// Open opens the store in dir, creating it where there is none, and recovers
// it: when Open returns, all runs are as their last durable commits left them,
// and Recovery says what was found. It takes O(runs) and what was logged since the
// last checkpoints; the contents of a run come into memory at its first use, or
// with Warm. Where they turn out to be damaged, that use returns a *CorruptError.
//
// Errors: ErrInvalidOption; ErrNotDirectory; ErrLocked, a *LockedError that
// names who has the store open; *ShardCountError; *CorruptError where stored
// data is damaged, which changes nothing on disk; *UnsupportedError;
// ErrDiskFull; and what the operating system says.
func Open(dir string, options *Options) (*DB, error) {
	return opened(dir, options, (*DB).open)
}

// opened makes a DB and lets open bring it up.
func opened(dir string, options *Options, open func(*DB) error) (*DB, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	db := &DB{
		dir: dir, opts: opts,
		limits: op.Limits{MaxKey: opts.MaxKeySize, MaxValue: opts.MaxValueSize, MaxCommit: opts.MaxCommitSize},
		events: newAnnouncer(opts.Logger, opts.OnEvent),
		ended:  make(chan struct{}), past: newPastCache(), checkpointed: make(chan struct{}, 1),
	}
	db.txs.timeout = opts.TxTimeout
	db.health = shard.NewHealth(func(cause error) {
		db.events.tell(Poisoned{cause})
		db.end()
	})
	if err := open(db); err != nil {
		db.events.close()
		return nil, fmt.Errorf("inmem: opening %s: %w", dir, err)
	}
	return db, nil
}

func (db *DB) open() (err error) {
	db.store, err = recovery.Open(recovery.Config{
		FS: db.opts.FS, Dir: db.dir, Shards: db.opts.Shards, DefaultShards: autoShards(),
		Holder: holder(), Wall: db.opts.Now, Health: db.health,
		Log: func(shard int) wal.Options {
			return wal.Options{
				SegmentSize: db.opts.SegmentSize,
				Interval:    db.opts.BatchInterval,
				Commits:     db.opts.BatchCommits,
				ZeroAhead:   db.opts.Durability == Strict,
				OnSegment: func(path string, first uint64, sealed bool) {
					db.events.tell(Segment{Shard: shard, Path: path, First: first, Sealed: sealed})
				},
			}
		},
	})
	if err != nil {
		return err
	}
	db.events.tell(Recovered{db.store.Report})
	db.ttl = ttl.New(ttl.Config{
		Now: db.store.Clock.Now,
		Send: func(ctx context.Context, id run.ID, due []ttl.Due) error {
			return db.place(id).Expire(ctx, id, due)
		},
		OnPanic: db.health.Poison,
	})
	db.memory = shard.NewMemory(db.opts.MemoryBudget)
	for _, cfg := range db.store.Shards {
		cfg.Memory = db.memory
		cfg.Durability = db.opts.Durability
		cfg.CheckpointBytes, cfg.Zstd = db.opts.CheckpointBytes, db.opts.Compression == Zstd
		cfg.Track, cfg.Forget, cfg.Left = db.ttl.Track, db.forget, db.left
		cfg.OnCheckpoint = func(done shard.CheckpointDone) {
			db.events.tell(CheckpointDone(done))
			select {
			case db.checkpointed <- struct{}{}:
			default: // it will look anyway
			}
		}
		db.shards = append(db.shards, shard.New(cfg))
	}
	db.openVectors()
	db.memory.Start(db.shards, db.vectors.Clear, db.health.Poison)
	db.ttl.Start()
	db.keeper = newKeeper(db)
	return nil
}

// forget is told by the owners of runs that were deleted.
func (db *DB) forget(id run.ID) {
	db.ttl.Forget(id)
	db.vectors.Forget(id)
	db.indexes.files.Forget(id) // nil while the shards are made, who tell of what was logged
}

// left is told by the owners of runs that left memory.
func (db *DB) left(id run.ID) { db.vectors.Forget(id) }

// holder is what others are told who find the store locked.
func holder() string {
	return fmt.Sprintf("process %d (%s)", os.Getpid(), filepath.Base(os.Args[0]))
}

// place returns the shard that owns a run.
func (db *DB) place(id run.ID) *shard.Shard { return db.shards[shard.Place(id, len(db.shards))] }

// Close ends the context of agents and waits for them, refuses new calls,
// finishes those that were accepted, syncs and seals the logs, and unlocks the
// directory, whatever fails on the way. It may be called again, from anywhere but
// OnEvent and agents, and then returns what the first call
// returned: nil, or what kept the store from ending well. That is an
// ErrPoisoned where the store had stopped before.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		if a := db.agents.Load(); a != nil {
			a.close()
		}
		db.closed.Store(true)
		db.vectors.Close()
		db.txs.close()
		db.end()
		if db.readOnly() {
			db.closeErr = db.store.Images.Close()
		} else {
			db.closeErr = db.close()
		}
		db.events.close()
	})
	return db.closeErr
}

func (db *DB) close() error {
	db.keeper.stop()
	db.ttl.Stop()
	db.memory.Stop()
	last := make([]uint64, len(db.shards))
	errs := make([]error, len(db.shards))
	var all sync.WaitGroup
	for i, s := range db.shards {
		all.Go(func() { last[i], errs[i] = s.Close() })
	}
	all.Wait()
	db.indexes.files.Close()
	err := errors.Join(errs...)
	if err == nil && db.health.Err() == nil {
		db.health.Guard("Close", func() { err = db.settle(last) })
	}
	if failed := db.health.Err(); failed != nil {
		err = failed
	}
	return errors.Join(err, db.store.Lock.Close())
}

// settle says where the logs end: from now on one that ends earlier is known to
// be damaged.
func (db *DB) settle(last []uint64) error {
	err := db.store.Manifest.Update(func(m *checkpoint.Manifest) {
		m.Time = max(m.Time, db.store.Clock.Now())
		for i := range m.Shards {
			m.Shards[i].Synced = last[i]
		}
	})
	if vfs.IsNoSpace(err) {
		err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// end lets those go who wait for commits.
func (db *DB) end() { db.endOnce.Do(func() { close(db.ended) }) }

// check returns why the store takes no calls, if it does not.
func (db *DB) check() error {
	if db.closed.Load() {
		return ErrClosed
	}
	return nil
}

// DataDir returns the directory the store was opened with.
func (db *DB) DataDir() string { return db.dir }

// Durability returns the mode of commits that do not ask for another.
func (db *DB) Durability() Durability { return db.opts.Durability }

// Recovery returns what Open found and did. It does not change.
func (db *DB) Recovery() *RecoveryReport { return db.store.Report }

// Flush returns once everything acknowledged before is synced to the device.
// Errors: ErrClosed, ErrPoisoned.
func (db *DB) Flush(ctx context.Context) error {
	return db.each(func(s *shard.Shard) error { return s.Flush(ctx) })
}

// Checkpoint writes images of the runs that changed since the last checkpoint,
// so that the next Open has less to replay, and they can leave memory where there
// is a budget. It happens by itself too: see
// Options.CheckpointBytes. Errors: ErrDiskFull, after which the last checkpoint
// stands; ErrClosed, ErrPoisoned.
func (db *DB) Checkpoint(ctx context.Context) error {
	return db.each(func(s *shard.Shard) error { return s.Checkpoint(ctx) })
}

// each calls fn for all shards at once and returns the first shard's error:
// what stops one of them stops the store, and need not be said for each.
func (db *DB) each(fn func(*shard.Shard) error) error {
	if err := db.check(); err != nil {
		return err
	}
	errs := make([]error, len(db.shards))
	var all sync.WaitGroup
	for i, s := range db.shards {
		all.Go(func() { errs[i] = fn(s) })
	}
	all.Wait()
	return cmp.Or(errs...)
}

// Metrics are a store's figures.
type Metrics struct {
	Shards    []ShardMetrics // in order of their numbers
	Memory    MemoryMetrics
	Deadlines int      // keys that are waiting to expire
	OpenTxs   []OpenTx // transactions that have not ended, the oldest first
	Indexes   IndexMetrics
	Recovery  *RecoveryReport
}

// MemoryMetrics say what a store's runs take of memory.
type MemoryMetrics struct {
	Used      int64  // bytes, of all runs, in memory or not, with Vectors
	Vectors   int64  // bytes of what searches of vectors keep prepared, within Options.VectorMemory
	Budget    int64  // Options.MemoryBudget
	Evictions uint64 // runs that left memory
	Refusals  uint64 // writes that got ErrMemoryLimit
}

// Metrics returns the store's figures as of now. What it takes depends on
// how many runs were written to in the last moments, not on how many there are.
func (db *DB) Metrics() Metrics {
	m := Metrics{Memory: db.memoryMetrics(), OpenTxs: db.txs.open(), Indexes: db.indexes.metrics(), Recovery: db.store.Report}
	if !db.readOnly() {
		m.Deadlines = db.ttl.Pending()
	}
	for _, s := range db.shards {
		m.Shards = append(m.Shards, s.Metrics())
		m.Memory.Used += m.Shards[len(m.Shards)-1].Bytes
		if !db.readOnly() {
			m.Deadlines += s.Untold()
		}
	}
	return m
}

func (db *DB) memoryMetrics() MemoryMetrics {
	evictions, refusals := db.memory.Counts()
	vectors := db.vectors.Used()
	return MemoryMetrics{Used: vectors, Vectors: vectors, Budget: db.opts.MemoryBudget, Evictions: evictions, Refusals: refusals}
}

// BeginRun begins a run and returns its handle. A meta without an ID gets a
// new one; one with an ID is refused with ErrRunExists where the ID is taken,
// and with ErrRunDeleted where it belonged to a run that was deleted. What is
// wrong with meta is a *run.MetaError.
func (db *DB) BeginRun(ctx context.Context, meta run.Meta) (*Run, error) {
	if meta.ID.IsZero() {
		id, err := run.NewID()
		if err != nil {
			return nil, err
		}
		meta.ID = id
	}
	r, err := db.begin(ctx, &run.Info{Meta: meta})
	if err == nil {
		r.takenUp(0) // until somebody else takes it up
	}
	return r, err
}

// Space returns the space of a namespace: a run that belongs to no single
// execution and never ends, such as an agent's long-term memory. It is made at
// first use. Errors: *run.MetaError for the namespace, ErrRunDeleted where the
// space was deleted, ErrRunExists where a run was given its ID.
func (db *DB) Space(ctx context.Context, ns run.Namespace) (*Run, error) {
	info := &run.Info{Meta: run.Meta{ID: ns.SpaceID(), Namespace: ns}, Space: true}
	// A run that was begun with the ID of the space is not taken for it.
	if r, err := db.Run(info.ID); err == nil {
		if head := r.handle.Head(); head != nil && head.Info.Space {
			return r, nil
		}
	}
	return db.begin(ctx, info)
}

func (db *DB) begin(ctx context.Context, info *run.Info) (*Run, error) {
	if err := db.check(); err != nil {
		return nil, err
	}
	if err := info.Validate(); err != nil {
		return nil, err
	}
	if err := validateRetention(&info.Meta); err != nil {
		return nil, err
	}
	s := db.place(info.ID)
	h, err := s.Begin(ctx, info.Clone(), op.Default)
	if err != nil {
		return nil, err
	}
	return &Run{db: db, shard: s, handle: h}, nil
}

// Run returns the handle of a run that exists, whatever its status, or
// ErrRunNotFound.
func (db *DB) Run(id run.ID) (*Run, error) {
	if err := db.check(); err != nil {
		return nil, err
	}
	s := db.place(id)
	h, err := s.Find(id)
	if err != nil {
		return nil, err
	}
	return &Run{db: db, shard: s, handle: h}, nil
}

// DeleteRun deletes a run with everything in it. Commits that come later,
// through whatever handle, get ErrRunDeleted, and its ID is never used again.
// A space may be deleted as well; its namespace has none from then on. Where
// there is no such run: ErrRunNotFound, or ErrRunDeleted.
func (db *DB) DeleteRun(ctx context.Context, id run.ID) error {
	if err := db.check(); err != nil {
		return err
	}
	return db.place(id).Drop(ctx, id, op.Default)
}

// Runs returns the runs that the filter chooses, ordered by creation, as of
// the moment the loop begins, but for those that were deleted since and for
// LastVersion, which is newer. It loads nothing of what is in them. The infos
// belong to the caller. The loop ends after an error.
func (db *DB) Runs(ctx context.Context, filter run.Filter) iter.Seq2[*run.Info, error] {
	return func(yield func(*run.Info, error) bool) {
		if err := db.check(); err != nil {
			yield(nil, err)
			return
		}
		left := filter.Limit
		for info := range db.merged(&filter) {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			// The newest info is not taken: the filter may not choose it.
			info = info.Clone()
			newest, err := db.info(info.ID)
			if errors.Is(err, ErrRunNotFound) {
				continue
			}
			if err != nil {
				yield(nil, err)
				return
			}
			info.LastVersion = newest.LastVersion
			if !yield(info, nil) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

// info returns the newest metadata of a run.
func (db *DB) info(id run.ID) (*run.Info, error) {
	r, err := db.Run(id)
	if err != nil {
		return nil, err
	}
	return r.Info()
}

// merged merges what the shards' indexes choose into one order.
func (db *DB) merged(filter *run.Filter) iter.Seq[*run.Info] {
	return func(yield func(*run.Info) bool) {
		type source struct {
			next func() (*run.Info, bool)
			info *run.Info
		}
		var sources []source
		for _, s := range db.shards {
			index := s.Runs()
			next, stop := iter.Pull(func(yield func(*run.Info) bool) { index.Scan(filter, yield) })
			defer stop()
			if info, ok := next(); ok {
				sources = append(sources, source{next, info})
			}
		}
		for len(sources) > 0 {
			first := 0
			for i := range sources {
				if run.Before(sources[i].info, sources[first].info) != filter.Reverse {
					first = i
				}
			}
			if !yield(sources[first].info) {
				return
			}
			info, ok := sources[first].next()
			if ok {
				sources[first].info = info
				continue
			}
			sources = append(sources[:first], sources[first+1:]...)
		}
	}
}

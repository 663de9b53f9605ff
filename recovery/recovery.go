package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
	"inmem/wal"
)

const (
	lockName     = "LOCK"
	manifestName = "MANIFEST"
	shardPrefix  = "shard-"
)

// Config says what to open and how.
type Config struct {
	FS     vfs.FS
	Dir    string
	Shards int    // for a new store; for an old one 0, or the number it has
	Holder string // who we are, for others who find the store locked
	Wall   func() time.Time
	Health *shard.Health
	// Log returns the options of a shard's log; Now and OnError are filled in.
	Log func(shard int) wal.Options
	// DefaultShards is used when a store is created and Shards is 0.
	DefaultShards int
}

// Store is a directory that was opened and recovered: the parts of a store,
// not yet at work.
type Store struct {
	ID       [16]byte // drawn when it was created
	Lock     io.Closer
	Clock    *shard.Clock
	Manifest *checkpoint.ManifestFile
	Images   io.Closer      // of a store that is only read: the files that runs are loaded from
	Shards   []shard.Config // State, Log, Index and where they are; the rest is the caller's
	Report   *Report
}

// Dir returns the directory of a shard.
func Dir(dir string, shard int) string {
	return filepath.Join(dir, fmt.Sprintf(shardPrefix+"%04d", shard))
}

// Open opens the store in cfg.Dir, or creates it.
func Open(cfg Config) (st *Store, err error) {
	begun := cfg.Wall()
	if err := cfg.makeDir(); err != nil {
		return nil, diskFull(err)
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, lockName), cfg.Holder)
	if err != nil {
		return nil, diskFull(err)
	}
	st = &Store{Lock: lock, Report: &Report{}}
	defer func() {
		if err != nil {
			err = diskFull(errors.Join(err, st.abandon()))
			st = nil
		}
	}()
	m, err := checkpoint.ReadManifest(cfg.FS, cfg.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m, err = st.create(&cfg)
	case err == nil && cfg.Shards != 0 && cfg.Shards != len(m.Shards):
		err = &op.ShardCountError{Stored: len(m.Shards), Wanted: cfg.Shards}
	}
	if err != nil {
		return st, misplaced(err)
	}
	st.Clock = shard.NewClock(cfg.Wall, m.Time)
	st.ID, st.Manifest = m.Store, checkpoint.NewManifestFile(cfg.FS, cfg.Dir, m)
	if err := st.recover(&cfg, m); err != nil {
		return st, err
	}
	st.Report.summarize()
	st.Report.Duration = cfg.Wall().Sub(begun)
	return st, nil
}

// diskFull lets an opening that failed for lack of space say so.
func diskFull(err error) error {
	if vfs.IsNoSpace(err) && !errors.Is(err, op.ErrDiskFull) {
		return fmt.Errorf("%w: %w", op.ErrDiskFull, err)
	}
	return err
}

func identity(m *checkpoint.Manifest, i int) wal.Identity {
	return wal.Identity{Store: m.Store, Shard: uint32(i)}
}

// recover brings all shards up. It reads all of them before it changes
// anything, because one of them may be a reason to refuse the store.
func (st *Store) recover(cfg *Config, m *checkpoint.Manifest) error {
	shards, err := st.read(cfg, m)
	if err != nil {
		return err
	}
	// A process that was killed between a rename and its sync leaves a manifest
	// that a power cut may still take back; what it replaced must stay till then.
	if err := cfg.FS.SyncDir(cfg.Dir); err != nil {
		return err
	}
	if err := inParallel(shards, (*recovering).mend); err != nil {
		return err
	}
	st.orphans()
	return nil
}

// read finds out what is there, and brings the shards' states to it.
func (st *Store) read(cfg *Config, m *checkpoint.Manifest) ([]recovering, error) {
	shards := make([]recovering, len(m.Shards))
	st.Shards = make([]shard.Config, len(shards))
	st.Report.Shards = make([]ShardReport, len(shards))
	for i := range shards {
		shards[i] = recovering{
			cfg: cfg, m: m, i: i, dir: Dir(cfg.Dir, i), clock: st.Clock,
			out: &st.Shards[i], report: &st.Report.Shards[i],
		}
		st.Shards[i] = shard.Config{
			Number: i, FS: cfg.FS, Dir: shards[i].dir, Store: m.Store, Clock: st.Clock, Health: cfg.Health,
			Manifest: st.Manifest, State: shard.NewState(),
		}
	}
	return shards, inParallel(shards, (*recovering).read)
}

// orphans reports the runs that nobody works on any more.
func (st *Store) orphans() {
	var orphans []*run.Info
	for i := range st.Shards {
		orphans = append(orphans, st.Shards[i].State.Active()...)
	}
	for _, info := range inOrder(orphans) {
		st.Report.Orphans = append(st.Report.Orphans, info.ID)
	}
}

// inParallel calls fn for all shards at once and returns the error of the
// first that has one, by number: the same store gives the same error.
func inParallel(shards []recovering, fn func(*recovering) error) error {
	errs := make([]error, len(shards))
	var all errgroup.Group
	all.SetLimit(2 * runtime.GOMAXPROCS(0)) // one reads while another computes
	for i := range shards {
		all.Go(func() error {
			errs[i] = fn(&shards[i])
			return nil
		})
	}
	_ = all.Wait() // they are in errs
	return cmp.Or(errs...)
}

// recovering is a shard on its way up.
type recovering struct {
	cfg    *Config
	m      *checkpoint.Manifest
	i      int
	dir    string
	clock  *shard.Clock
	out    *shard.Config
	report *ShardReport

	keep    map[uint64]bool // the checkpoint files that are needed
	scanned *wal.Scanned
	replay  replayer
}

// read finds out what is there. It changes nothing.
func (r *recovering) read() error {
	if err := r.checkpoint(); err != nil {
		return missing(r.dir, err)
	}
	rec := &r.m.Shards[r.i]
	if rec.First > rec.Checkpoint+1 { // of a log that begins with a segment of its own nothing else would tell
		return &op.CorruptError{File: filepath.Join(r.cfg.Dir, manifestName), Reason: fmt.Sprintf(
			"the log of shard %d begins at sequence %d, and there is no checkpoint that goes so far", r.i, rec.First)}
	}
	bounds := wal.Bounds{First: rec.First, After: rec.Checkpoint, Synced: max(rec.Synced, rec.Checkpoint)}
	r.replay.state = r.out.State
	sc, err := r.loading(func() (*wal.Scanned, error) {
		return wal.Scan(r.cfg.FS, r.dir, identity(r.m, r.i), bounds, r.replay.frame)
	})
	if err != nil {
		return missing(r.dir, err)
	}
	r.scanned = sc
	r.out.History = sc.History(r.cfg.FS, r.dir, identity(r.m, r.i))
	r.clock.Raise(max(r.replay.time, sc.Time))
	r.report.fill(sc, r.out.State)
	return nil
}

// mend does what read has found to be necessary, and opens the log.
func (r *recovering) mend() (err error) {
	if err := checkpoint.Clean(r.cfg.FS, r.dir, r.keep); err != nil {
		return err
	}
	opts := r.cfg.Log(r.i)
	opts.Now, opts.OnError = r.clock.Now, r.cfg.Health.Poison
	r.out.Log, err = wal.Open(r.cfg.FS, r.dir, identity(r.m, r.i), r.scanned, opts)
	return err
}

// missing tells the absence of a shard's directory, which is damage, from
// other errors.
func missing(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return &op.CorruptError{File: dir, Reason: "a part of the shard is missing: " + err.Error()}
	}
	return misplaced(err)
}

// misplaced makes damage of a directory that is where a file should be.
func misplaced(err error) error {
	var path *fs.PathError
	if errors.Is(err, syscall.EISDIR) && errors.As(err, &path) {
		return &op.CorruptError{File: path.Path, Reason: "a directory is where a file should be"}
	}
	return err
}

func (rep *ShardReport) fill(sc *wal.Scanned, state *shard.State) {
	rep.Commits, rep.Bytes, rep.Sequence, rep.Resealed = sc.Frames, sc.Bytes, sc.Last, sc.Unsealed
	rep.TornFile, rep.TornOffset, rep.TornBytes = sc.TornFile, sc.TornAt, sc.Torn
	rep.Runs, rep.Keys = state.Len()
	switch {
	case sc.Torn > 0:
		rep.Verdict = Torn
	case sc.Sealed || sc.Last == 0:
		rep.Verdict = Clean
	default:
		rep.Verdict = Interrupted
	}
}

// checkpoint takes all runs from the checkpoint the manifest names.
func (r *recovering) checkpoint() (err error) {
	r.keep = map[uint64]bool{}
	sequence := r.m.Shards[r.i].Checkpoint
	if sequence == 0 {
		return nil
	}
	files := checkpoint.OpenFiles(r.cfg.FS, r.dir, r.m.Store, uint32(r.i))
	defer func() { err = errors.Join(err, files.Close()) }()
	x, err := files.Table(sequence)
	if err != nil {
		return err
	}
	r.keep[sequence] = true
	var completed []*checkpoint.Entry
	for e := range x.All {
		for file := range e.Held {
			r.keep[file] = true
		}
		bare := e.Bare()
		if err := r.enter(files, e); err != nil {
			return err
		}
		if bare {
			whole := *e
			completed = append(completed, &whole)
		}
	}
	if len(completed) > 0 {
		x = x.With(completed, nil)
	}
	r.out.State.Rest(x)
	r.out.State.Forget(x.Deleted)
	r.clock.Raise(x.Time)
	r.out.Index = x
	r.report.Checkpoint, r.report.Images = sequence, x.Len()
	return nil
}

// enter takes a run from the checkpoint. Its image stays on disk until somebody
// needs it, but where it should be is looked at: a file that is gone, or too
// short, is a reason to refuse the store.
func (r *recovering) enter(files *checkpoint.Files, e *checkpoint.Entry) error {
	if e.Bare() {
		return loadRun(files, e, r.out.State)
	}
	if err := files.Within(e); err != nil {
		return err
	}
	if err := r.out.State.Rests(e); err != nil {
		return &op.CorruptError{File: files.Name(e), Offset: e.Location.Offset, Reason: err.Error()}
	}
	return nil
}

// loading lets scan replay the log, and loads the runs that it goes on with.
func (r *recovering) loading(scan func() (*wal.Scanned, error)) (sc *wal.Scanned, err error) {
	files := checkpoint.OpenFiles(r.cfg.FS, r.dir, r.m.Store, uint32(r.i))
	defer func() { err = errors.Join(err, files.Close()) }()
	var failed error
	r.out.State.Fetch(func(id run.ID, item func([]byte, op.Item)) error {
		if e, ok := r.out.Index.Find(id); ok {
			failed = files.Image(&e, item)
		}
		return failed
	})
	defer r.out.State.Fetch(nil)
	sc, err = scan()
	if failed != nil {
		err = failed // which is not the log's
	}
	return sc, err
}

func loadRun(files *checkpoint.Files, e *checkpoint.Entry, state *shard.State) error {
	item, err := state.Load(e)
	if err != nil {
		return &op.CorruptError{File: files.Name(e), Offset: e.Location.Offset, Reason: err.Error()}
	}
	return files.Image(e, item)
}

// replayer feeds a state from the log.
type replayer struct {
	state  *shard.State
	commit op.Commit
	time   int64  // the newest seen
	last   uint64 // sequence of the newest seen
}

func (r *replayer) frame(f wal.Frame) error {
	if f.Sequence <= r.last {
		return nil // by a reading that failed later
	}
	if err := r.commit.Decode(f.Payload); err != nil {
		return err
	}
	r.time = max(r.time, r.commit.Time)
	if err := r.state.Replay(&r.commit, f.Sequence); err != nil {
		return err
	}
	r.last = f.Sequence
	return nil
}

// abandon lets go of everything after an opening that failed.
func (st *Store) abandon() error {
	var err error
	for i := range st.Shards {
		if log := st.Shards[i].Log; log != nil {
			_, e := log.Close()
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, st.Lock.Close())
}

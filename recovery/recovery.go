package recovery

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
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

const lockName = "LOCK"

// Config says what to open and how.
type Config struct {
	FS     vfs.FS
	Dir    string
	Shards int    // for a new store; for an old one 0, or the number it has
	Holder string // who we are, for others who find the store locked
	Wall   func() time.Time
	Health *shard.Health
	// Log returns the options of a shard's log; Now and OnError are filled in.
	Log func(shard, shards int) wal.Options
	// DefaultShards is used when a store is created and Shards is 0.
	DefaultShards int
}

// Store is a directory that was opened and recovered: the parts of a store,
// not yet at work.
type Store struct {
	Lock     io.Closer
	Clock    *shard.Clock
	Manifest *checkpoint.ManifestFile
	Shards   []shard.Config // State, Log, Index and where they are; the rest is the caller's
	Report   *Report
}

// Dir returns the directory of a shard.
func Dir(dir string, shard int) string {
	return filepath.Join(dir, fmt.Sprintf("shard-%04d", shard))
}

// Open opens the store in cfg.Dir, or creates it.
func Open(cfg Config) (st *Store, err error) {
	begun := cfg.Wall()
	if err := cfg.makeDir(); err != nil {
		return nil, err
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
		return st, err
	}
	st.Clock = shard.NewClock(cfg.Wall, m.Time)
	st.Manifest = checkpoint.NewManifestFile(cfg.FS, cfg.Dir, m)
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

func (cfg *Config) makeDir() error {
	info, err := cfg.FS.Stat(cfg.Dir)
	if err == nil && !info.IsDir() || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %s", op.ErrNotDirectory, cfg.Dir)
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o755); err != nil {
		return diskFull(err)
	}
	return cfg.FS.SyncDir(filepath.Dir(cfg.Dir))
}

// create makes a new store. The manifest comes last: before it there is none.
func (st *Store) create(cfg *Config) (*checkpoint.Manifest, error) {
	var err error
	if st.Report.Verdict, err = cfg.sweep(); err != nil {
		return nil, err
	}
	n := cfg.Shards
	if n == 0 {
		n = cfg.DefaultShards
	}
	now := cfg.Wall().UnixMilli()
	m := &checkpoint.Manifest{Created: now, Time: now, Shards: make([]checkpoint.Shard, n)}
	if _, err := rand.Read(m.Store[:]); err != nil {
		return nil, err
	}
	for i := range m.Shards {
		m.Shards[i].First = 1
		dir := Dir(cfg.Dir, i)
		if err := cfg.FS.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := wal.Create(cfg.FS, dir, identity(m, i), wal.Options{Now: func() int64 { return now }}); err != nil {
			return nil, err
		}
	}
	if err := cfg.FS.SyncDir(cfg.Dir); err != nil {
		return nil, err
	}
	return m, checkpoint.NewManifestFile(cfg.FS, cfg.Dir, m).Update(func(*checkpoint.Manifest) {})
}

// sweep removes what an unfinished creation left, and refuses where there was
// more: then a manifest is missing.
func (cfg *Config) sweep() (Verdict, error) {
	entries, err := cfg.FS.ReadDir(cfg.Dir)
	if err != nil {
		return "", err
	}
	verdict := Created
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "shard-") {
			continue
		}
		dir := filepath.Join(cfg.Dir, e.Name())
		unused, err := wal.Unused(cfg.FS, dir)
		if err != nil {
			return "", err
		}
		images, err := checkpoint.Any(cfg.FS, dir)
		if err != nil {
			return "", err
		}
		if !unused || images {
			return "", &op.CorruptError{File: filepath.Join(cfg.Dir, "MANIFEST"),
				Reason: "the manifest is missing, but " + e.Name() + " has data"}
		}
		verdict = Recreated
	}
	return verdict, nil
}

func identity(m *checkpoint.Manifest, i int) wal.Identity {
	return wal.Identity{Store: m.Store, Shard: uint32(i)}
}

// recover brings all shards up, in parallel.
func (st *Store) recover(cfg *Config, m *checkpoint.Manifest) error {
	n := len(m.Shards)
	st.Shards = make([]shard.Config, n)
	st.Report.Shards = make([]ShardReport, n)
	var all errgroup.Group
	for i := range n {
		all.Go(func() error { return st.recoverShard(cfg, m, i) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	var orphans []*run.Info
	for i := range st.Shards {
		orphans = append(orphans, st.Shards[i].State.Active()...)
	}
	for _, info := range inOrder(orphans) {
		st.Report.Orphans = append(st.Report.Orphans, info.ID)
	}
	return nil
}

func (st *Store) recoverShard(cfg *Config, m *checkpoint.Manifest, i int) error {
	dir := Dir(cfg.Dir, i)
	rep := &st.Report.Shards[i]
	out := &st.Shards[i]
	*out = shard.Config{
		Number: i, FS: cfg.FS, Dir: dir, Store: m.Store, Clock: st.Clock, Health: cfg.Health,
		Manifest: st.Manifest, State: shard.NewState(),
	}
	if err := loadCheckpoint(cfg.FS, dir, m, i, out, rep); err != nil {
		return err
	}
	after := m.Shards[i].Checkpoint
	bounds := wal.Bounds{First: m.Shards[i].First, After: after, Synced: max(m.Shards[i].Synced, after)}
	replay := replayer{state: out.State, time: m.Time}
	sc, err := wal.Scan(cfg.FS, dir, identity(m, i), bounds, replay.frame)
	if err != nil {
		return err
	}
	st.Clock.Raise(max(replay.time, sc.Time))
	rep.fill(sc, out.State)
	opts := cfg.Log(i, len(m.Shards))
	opts.Now, opts.OnError = st.Clock.Now, cfg.Health.Poison
	out.Log, err = wal.Open(cfg.FS, dir, identity(m, i), sc, opts)
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

// loadCheckpoint takes all runs from the checkpoint the manifest names, and
// removes the files that it does not need.
func loadCheckpoint(fsys vfs.FS, dir string, m *checkpoint.Manifest, i int, out *shard.Config, rep *ShardReport) (err error) {
	keep := map[uint64]bool{}
	if sequence := m.Shards[i].Checkpoint; sequence != 0 {
		files := checkpoint.OpenFiles(fsys, dir, m.Store, uint32(i))
		defer func() { err = errors.Join(err, files.Close()) }()
		x, err := files.Index(sequence)
		if err != nil {
			return err
		}
		keep[sequence] = true
		for k := range x.Entries {
			e := &x.Entries[k]
			keep[e.Location.File] = true
			if err := loadRun(files, e, out.State); err != nil {
				return err
			}
		}
		out.State.Forget(x.Deleted)
		out.Clock.Raise(x.Time)
		out.Index = x
		rep.Checkpoint, rep.Images = sequence, len(x.Entries)
	}
	return checkpoint.Clean(fsys, dir, keep)
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
	time   int64 // the newest seen
}

func (r *replayer) frame(f wal.Frame) error {
	if err := r.commit.Decode(f.Payload); err != nil {
		return err
	}
	r.time = max(r.time, r.commit.Time)
	return r.state.Replay(&r.commit, f.Sequence)
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

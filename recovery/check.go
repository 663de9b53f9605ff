package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/vector/indexfile"
	"inmem/vfs"
	"inmem/wal"
)

// Checked is what Check found.
type Checked struct {
	Holder   string // who has the store open; "" = nobody
	Shards   []ShardChecked
	Problems []error // everything that is not as it should be; empty = sound
	// Indexes are the files of vector indexes. One that is damaged is no problem: it
	// is made anew where it is wanted.
	Indexes []IndexChecked
}

// IndexChecked is a file of the index of a collection of vectors.
type IndexChecked = indexfile.Checked

// ShardChecked is a shard's part.
type ShardChecked struct {
	Runs, Keys int
	Commits    uint64 // in the log
	LogBytes   int64
	Images     int   // in the checkpoint
	TornBytes  int64 // of a write that a crash cut short: Open will cut it off
	Compared   int   // runs whose image was compared with a replay of the log
}

// Check reads everything a store has, verifies every checksum, replays the
// whole log and compares it with the checkpoint by digest. It changes nothing
// and takes no lock; of a store that is open it checks what was written before
// the call. An error means that there is no store to check; what is wrong with
// the store is in Problems.
func Check(fsys vfs.FS, dir string) (*Checked, error) {
	holder, err := whose(fsys, dir)
	if err != nil {
		return nil, err
	}
	out := &Checked{}
	err = settled(fsys, dir, func(fsys vfs.FS, m *checkpoint.Manifest) error { return out.all(fsys, dir, m) })
	if errors.Is(err, op.ErrNoStore) {
		return nil, err
	}
	out.Holder, out.Problems = holder, flatten(err)
	return out, nil
}

// all checks all shards of a store with the manifest m, and returns the
// problems.
func (out *Checked) all(fsys vfs.FS, dir string, m *checkpoint.Manifest) error {
	out.Shards = make([]ShardChecked, len(m.Shards))
	out.Indexes = indexfile.Check(fsys, dir, m.Store)
	var problems []error
	for i := range m.Shards {
		c := checker{fsys: fsys, dir: Dir(dir, i), m: m, i: i, out: &out.Shards[i]}
		for _, err := range flatten(c.shard()) {
			problems = append(problems, missing(c.dir, err))
		}
	}
	return errors.Join(problems...)
}

// noManifest tells a store that lost its manifest from a directory that has
// none, for which it returns nil.
func noManifest(fsys vfs.FS, dir string) error {
	shards, err := shardDirs(fsys, dir)
	if err != nil {
		return err
	}
	return orphaned(fsys, dir, shards)
}

// flatten takes a joined error apart.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, flatten(e)...)
	}
	return list
}

type checker struct {
	fsys vfs.FS
	dir  string
	m    *checkpoint.Manifest
	i    int
	out  *ShardChecked

	index    *checkpoint.Index
	replay   replayer
	compared bool
	partial  bool // some of the log is not kept
}

func (c *checker) shard() error {
	images := c.images()
	c.replay.state = shard.NewState()
	rec := c.m.Shards[c.i]
	bounds := wal.Bounds{First: rec.First, Synced: max(rec.Synced, rec.Checkpoint)}
	compacted, err := wal.Compacted(c.fsys, c.dir, identity(c.m, c.i))
	if err != nil {
		return errors.Join(images, err)
	}
	if rec.First > 1 || compacted {
		// Some of the log is not kept: replay from the checkpoint on.
		bounds.After = rec.Checkpoint
		c.compared, c.partial = true, true
		if err := c.load(); err != nil {
			return errors.Join(images, err)
		}
	}
	sc, err := wal.Verify(c.fsys, c.dir, identity(c.m, c.i), bounds, c.frame)
	if err != nil {
		return errors.Join(images, err)
	}
	c.out.Commits, c.out.LogBytes, c.out.TornBytes = sc.Frames, sc.Bytes, sc.Torn
	c.out.Runs, c.out.Keys = c.replay.state.Len()
	if c.partial && images == nil && c.index != nil {
		return c.comparePartial(sc.History(c.fsys, c.dir, identity(c.m, c.i)))
	}
	return errors.Join(images, c.compare())
}

// comparePartial holds those images against the log whose runs it still leads to.
func (c *checker) comparePartial(log *wal.History) error {
	runs := map[run.ID]*shard.Past{}
	var commit op.Commit
	err := log.Records(context.Background(), log.First(), c.index.Sequence, func(f wal.Frame) error {
		id := run.ID(f.Payload)
		past := runs[id]
		if past == nil {
			past = shard.NewPast()
			runs[id] = past
		}
		f.Cut = true // what other runs had lies in between, kept or not
		if err := past.Take(f, &commit); err != nil {
			return &op.CorruptError{File: c.dir, Offset: f.Offset, Reason: fmt.Sprintf("sequence %d: %v", f.Sequence, err)}
		}
		if len(commit.Ops) == 1 && commit.Ops[0].Kind == op.Drop {
			delete(runs, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for k := range c.index.Entries {
		e := &c.index.Entries[k]
		past := runs[e.Run]
		if past == nil || past.Lost() || past.Version() != e.Version {
			continue // its history is not kept, or not all of it
		}
		if digest, _ := past.Digest(e.Run); digest != e.Digest {
			return c.differs(e)
		}
		c.out.Compared++
	}
	return nil
}

// differs says that an image is not what the log leads to.
func (c *checker) differs(e *checkpoint.Entry) error {
	return &op.CorruptError{File: checkpoint.Name(c.dir, c.index.Sequence), Offset: e.Location.Offset,
		Reason: fmt.Sprintf("the image of run %v differs from a replay of the log", e.Run)}
}

// frame replays a frame, and compares when the replay has got to where the
// checkpoint stands.
func (c *checker) frame(f wal.Frame) error {
	if f.Sequence > c.m.Shards[c.i].Checkpoint {
		if err := c.compare(); err != nil {
			return err
		}
	}
	return c.replay.frame(f)
}

// images reads all images and verifies their digests.
func (c *checker) images() (err error) {
	sequence := c.m.Shards[c.i].Checkpoint
	if sequence == 0 {
		return nil
	}
	files := checkpoint.OpenFiles(c.fsys, c.dir, c.m.Store, uint32(c.i))
	defer func() { err = errors.Join(err, files.Close()) }()
	x, err := files.Index(sequence)
	if err != nil {
		return err
	}
	c.index = x
	c.out.Images = len(x.Entries)
	for k := range x.Entries {
		e := &x.Entries[k]
		if err := files.Check(e); err != nil {
			return err
		}
	}
	return verifyFiles(files, x)
}

// verifyFiles reads the files that an index needs once more, for what it does
// not need of them.
func verifyFiles(files *checkpoint.Files, x *checkpoint.Index) error {
	need := map[uint64]bool{x.Sequence: true}
	for k := range x.Entries {
		for file := range x.Entries[k].Held {
			need[file] = true
		}
	}
	for _, sequence := range slices.Sorted(maps.Keys(need)) {
		if err := files.Verify(sequence); err != nil {
			return err
		}
	}
	return nil
}

// load brings the state to where the checkpoint stands.
func (c *checker) load() (err error) {
	if c.index == nil {
		return &op.CorruptError{File: filepath.Join(filepath.Dir(c.dir), manifestName),
			Reason: "the log does not begin at its first commit, and there is no checkpoint"}
	}
	files := checkpoint.OpenFiles(c.fsys, c.dir, c.m.Store, uint32(c.i))
	defer func() { err = errors.Join(err, files.Close()) }()
	for k := range c.index.Entries {
		if err := loadRun(files, &c.index.Entries[k], c.replay.state); err != nil {
			return err
		}
	}
	c.replay.state.Forget(c.index.Deleted)
	return nil
}

// compare holds the replayed state against the checkpoint, once.
func (c *checker) compare() error {
	if c.compared || c.index == nil {
		return nil
	}
	c.compared = true
	name := checkpoint.Name(c.dir, c.index.Sequence)
	runs, _ := c.replay.state.Len()
	if runs != len(c.index.Entries) {
		return &op.CorruptError{File: name, Reason: fmt.Sprintf("the checkpoint has %d runs, the log %d", len(c.index.Entries), runs)}
	}
	for k := range c.index.Entries {
		e := &c.index.Entries[k]
		if digest, ok := c.replay.state.Digest(e.Run); !ok || digest != e.Digest {
			return c.differs(e)
		}
		c.out.Compared++
	}
	return nil
}

// inOrder sorts runs by creation.
func inOrder(list []*run.Info) []*run.Info {
	slices.SortFunc(list, func(a, b *run.Info) int {
		if run.Before(a, b) {
			return -1
		}
		return 1
	})
	return list
}

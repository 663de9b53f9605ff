package salvage

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cespare/xxhash/v2"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
	"inmem/wal"
)

// target is the new store, on its way.
type target struct {
	cfg    *Config
	clock  *shard.Clock
	store  [16]byte
	shards []*targetShard
}

// targetShard is a shard of the new store.
//
// Where no image is needed its log is like any other. Where one is, the log
// begins with sequence 2, so that nobody expects a replay of it to give the
// images: first come the commits that led to them, up to the checkpoint, which
// has the images as they are, and then all that is to be replayed on top.
// Sequence 1 stands for what nobody has any more.
type targetShard struct {
	number  int
	dir     string
	runs    []*runFound // that are in its checkpoint, in order
	log     *wal.Log
	covered uint64 // sequence that its checkpoint covers; 0 = it has none
}

func (t *targetShard) first() uint64 {
	if len(t.runs) > 0 {
		return 2
	}
	return 1
}

// item is a commit on its way into the new store.
type item struct {
	commit
	to *targetShard
}

// write writes the new store.
func (t *target) write(ctx context.Context, runs []*runFound) error {
	marker, err := t.begin()
	if err != nil {
		return err
	}
	var before, after []item
	for _, r := range runs {
		to := t.shards[shard.Place(r.id, len(t.shards))]
		if r.image != nil || r.dead {
			to.runs = append(to.runs, r)
		}
		for _, c := range r.keep {
			if r.dead || r.image != nil && c.version <= r.image.entry.Version {
				before = append(before, item{c, to})
			} else {
				after = append(after, item{c, to})
			}
		}
	}
	for _, to := range t.shards {
		if err := t.createLog(to); err != nil {
			return err
		}
	}
	if err := t.append(ctx, before); err != nil {
		return err
	}
	for _, to := range t.shards {
		if err := t.checkpoint(to); err != nil {
			return err
		}
	}
	if err := t.append(ctx, after); err != nil {
		return err
	}
	return t.finish(marker)
}

// begin makes the directories. In the first of them it leaves a file that
// keeps an unfinished store from being taken for one whose creation was cut
// short, which Open would begin anew.
func (t *target) begin() (marker string, err error) {
	fsys := t.cfg.FS
	if _, err := rand.Read(t.store[:]); err != nil {
		return "", err
	}
	for _, to := range t.shards {
		if err := fsys.MkdirAll(to.dir, 0o755); err != nil {
			return "", err
		}
		if to.number > 0 {
			continue
		}
		marker = checkpoint.Name(to.dir, 0) + ".tmp"
		f, err := fsys.OpenFile(marker, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			err = fsys.SyncDir(to.dir)
		}
		if err == nil {
			err = syncAbove(fsys, to.dir)
		}
		if err != nil {
			return "", err
		}
	}
	return marker, fsys.SyncDir(t.cfg.To)
}

// syncAbove makes the names of the directory and of those above it durable.
// Directories that cannot be synced were made by somebody else.
func syncAbove(fsys vfs.FS, dir string) error {
	for dir = filepath.Clean(dir); ; {
		above := filepath.Dir(dir)
		if above == dir {
			return nil
		}
		err := fsys.SyncDir(above)
		beyond := func(target error) bool { return errors.Is(err, target) }
		if err != nil && !slices.ContainsFunc([]error{fs.ErrPermission, errors.ErrUnsupported, syscall.EINVAL, syscall.EROFS}, beyond) {
			return err
		}
		dir = above
	}
}

func (t *target) createLog(to *targetShard) error {
	id := wal.Identity{Store: t.store, Shard: uint32(to.number)}
	opts := wal.Options{SegmentSize: t.cfg.SegmentSize, Now: t.clock.Now}
	err := wal.CreateAt(t.cfg.FS, to.dir, id, to.first(), opts)
	if err != nil {
		return err
	}
	sc, err := wal.Scan(t.cfg.FS, to.dir, id, wal.Bounds{First: to.first()}, func(wal.Frame) error { return nil })
	if err != nil {
		return err
	}
	to.log, err = wal.Open(t.cfg.FS, to.dir, id, sc, opts)
	return err
}

// append copies commits from the source's segments to the new logs, in the
// order of the source.
func (t *target) append(ctx context.Context, items []item) (err error) {
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.in.number, b.in.number), cmp.Compare(a.sequence, b.sequence))
	})
	var from *segment
	var reader *wal.Reader
	defer func() {
		if reader != nil {
			err = errors.Join(err, reader.Close())
		}
	}()
	for _, it := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		if it.in != from {
			if reader != nil {
				if err := reader.Close(); err != nil {
					return err
				}
			}
			from = it.in
			if reader, err = from.Open(); err != nil {
				return err
			}
		}
		f, err := reader.Record(it.offset, it.sequence)
		if err != nil {
			return err
		}
		if xxhash.Sum64(f.Payload)^uint64(f.Kind) != it.hash {
			return fmt.Errorf("salvage: %s changed while it was read", from.Path)
		}
		if err := it.to.append(it, f.Payload); err != nil {
			return err
		}
	}
	return nil
}

func (t *targetShard) append(it item, payload []byte) error {
	if err := t.log.Reserve(wal.FrameSize(len(payload))); err != nil {
		return err
	}
	sequence := t.log.End(append(t.log.Begin(), payload...))
	if it.run.first == 0 {
		it.run.first = sequence
	}
	it.run.last = sequence
	return t.log.Commit(op.Async)
}

// checkpoint writes the images, and the runs that were deleted, at the present
// end of the log.
func (t *target) checkpoint(to *targetShard) error {
	if len(to.runs) == 0 {
		return nil
	}
	to.covered = to.log.Next() - 1
	w, err := checkpoint.NewWriter(t.cfg.FS, to.dir, t.store, uint32(to.number), to.covered, t.clock.Now())
	if err != nil {
		return err
	}
	var entries []*checkpoint.Entry
	var deleted []run.ID
	for _, r := range to.runs {
		if r.dead {
			deleted = append(deleted, r.id)
			continue
		}
		e := *r.image.entry
		e.FirstSeq, e.LastSeq = max(r.first, 1), max(r.last, 1)
		if err := w.Copy(&e, r.image.from.files); err != nil {
			return errors.Join(err, w.Abort())
		}
		entries = append(entries, &e)
	}
	if err := w.Finish(slices.Values(entries), slices.Values(deleted)); err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

// finish makes everything durable and lets it count.
func (t *target) finish(marker string) error {
	now := t.clock.Now()
	m := &checkpoint.Manifest{Store: t.store, Created: now, Time: now, Shards: make([]checkpoint.Shard, len(t.shards))}
	for i, to := range t.shards {
		last, err := to.log.Close()
		to.log = nil
		if err != nil {
			return err
		}
		m.Shards[i] = checkpoint.Shard{First: to.first(), Synced: last, Checkpoint: to.covered}
	}
	if err := t.cfg.FS.Remove(marker); err != nil {
		return err
	}
	if err := t.cfg.FS.SyncDir(t.shards[0].dir); err != nil {
		return err
	}
	return checkpoint.NewManifestFile(t.cfg.FS, t.cfg.To, m).Update(func(*checkpoint.Manifest) {})
}

// undo removes what was written, as far as that can be done, the manifest
// first: the directory was empty before.
func (t *target) undo() {
	for _, name := range []string{manifestName, manifestName + ".tmp"} {
		_ = t.cfg.FS.Remove(filepath.Join(t.cfg.To, name))
	}
	for _, to := range t.shards {
		if to.log != nil {
			_, _ = to.log.Close()
		}
		entries, err := t.cfg.FS.ReadDir(to.dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			_ = t.cfg.FS.Remove(filepath.Join(to.dir, e.Name()))
		}
		_ = t.cfg.FS.Remove(to.dir)
	}
}

func newTarget(cfg *Config, shards int, floor int64) *target {
	t := &target{cfg: cfg, clock: shard.NewClock(cfg.Wall, floor)}
	for i := range shards {
		t.shards = append(t.shards, &targetShard{number: i, dir: recovery.Dir(cfg.To, i)})
	}
	return t
}

package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/vfs"
	"inmem/wal"
)

// Backup copies the store in from, as it is now, into the directory to, which
// must be empty or missing, and checks the copy. It takes no lock on from and
// changes nothing there, so that store may be open. The manifest comes last,
// when the copy is known to be whole; until then Open refuses what there is.
func Backup(ctx context.Context, fsys vfs.FS, from, to, holder string) (checked *Checked, err error) {
	if _, err := whose(fsys, from); err != nil {
		return nil, err
	}
	if err := settled(fsys, from, func(vfs.FS, *checkpoint.Manifest) error { return nil }); err != nil {
		return nil, err // nothing to copy: the target is left as it is
	}
	target := Config{FS: fsys, Dir: to}
	if err := target.makeDir(); err != nil {
		return nil, diskFull(err)
	}
	if err := Vacant(fsys, to); err != nil {
		return nil, err // before the lock leaves its file in what belongs to somebody
	}
	lock, err := fsys.Lock(filepath.Join(to, lockName), holder)
	if err != nil {
		return nil, diskFull(err)
	}
	defer func() { err = diskFull(errors.Join(err, lock.Close())) }()
	if err := Vacant(fsys, to); err != nil {
		return nil, err
	}
	if err := mark(fsys, &target); err != nil {
		return nil, err
	}
	copied, err := copyShards(ctx, fsys, from, to)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fsys.SyncDir(to), ctx.Err()); err != nil {
		return nil, err
	}
	checked = &Checked{}
	if err := checked.all(fsys, to, copied); err != nil {
		return nil, fmt.Errorf("inmem: the copy was not completed: %w", err)
	}
	err = ctx.Err()
	if err == nil {
		err = checkpoint.NewManifestFile(fsys, to, copied).Update(func(*checkpoint.Manifest) {})
	}
	if err == nil {
		err = fsys.Remove(marker(to))
	}
	if err != nil {
		return nil, err
	}
	return checked, nil
}

// marker is a file that lets Open refuse a copy that is not finished: an image
// in a store without a manifest. No checkpoint has this name, so that the next
// Open removes the file if a power cut brings it back.
func marker(to string) string { return checkpoint.Name(Dir(to, 0), 0) }

// mark makes the marker, durably.
func mark(fsys vfs.FS, target *Config) error {
	name := marker(target.Dir)
	if err := fsys.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return errors.Join(fsys.SyncDir(filepath.Dir(name)), fsys.SyncDir(target.Dir), target.syncPath())
}

// copyShards copies everything but the manifest, and returns that of the copy.
func copyShards(ctx context.Context, fsys vfs.FS, from, to string) (copied *checkpoint.Manifest, err error) {
	err = settled(fsys, from, func(source vfs.FS, m *checkpoint.Manifest) error {
		copied = m.Clone()
		for i := range m.Shards {
			c := copier{ctx: ctx, source: source, target: fsys, from: Dir(from, i), to: Dir(to, i), m: m, i: i}
			if err := c.shard(&copied.Shards[i], &copied.Time); err != nil {
				return err
			}
		}
		return nil
	})
	return copied, err
}

// Vacant makes sure that there is nothing in dir but a lock.
func Vacant(fsys vfs.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockName {
			return fmt.Errorf("%w: %s", op.ErrNotEmpty, dir)
		}
	}
	return nil
}

// copier copies a shard.
type copier struct {
	ctx            context.Context
	source, target vfs.FS
	from, to       string
	m              *checkpoint.Manifest
	i              int
}

// shard copies the files that the shard consists of now, and raises what the
// manifest of the copy says of it: all of the copy is going to be synced.
func (c *copier) shard(rec *checkpoint.Shard, time *int64) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := c.target.MkdirAll(c.to, 0o755); err != nil {
		return err
	}
	if err := c.checkpoint(); err != nil {
		return err
	}
	bounds := wal.Bounds{First: rec.First, After: rec.Checkpoint, Synced: max(rec.Synced, rec.Checkpoint)}
	sc, err := wal.Scan(c.source, c.from, identity(c.m, c.i), bounds, func(wal.Frame) error { return nil })
	if err != nil {
		return missing(c.from, err)
	}
	for _, part := range sc.Extents() {
		if err := c.file(part.Path, part.Length, part.Is); err != nil {
			return err
		}
	}
	rec.Synced, *time = sc.Last, max(*time, sc.Time)
	return c.target.SyncDir(c.to)
}

// checkpoint copies the files that the images are in, and removes those of an
// earlier attempt.
func (c *copier) checkpoint() error {
	sizes, err := images(c.source, c.from, c.m, c.i)
	if err != nil {
		return missing(c.from, err)
	}
	keep := map[uint64]bool{0: true} // the marker
	for file, size := range sizes {
		keep[file] = true
		if err := c.file(checkpoint.Name(c.from, file), size, nil); err != nil {
			return err
		}
	}
	return checkpoint.Clean(c.target, c.to, keep)
}

const copyChunk = 1 << 20

// file copies the first n bytes of a file, durably but for its name. Where it is
// not the file that was meant any more, the store has changed.
func (c *copier) file(path string, n int64, is func(vfs.File) (bool, error)) (err error) {
	src, err := c.source.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return missing(c.from, err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if is != nil {
		if same, err := is(src); err != nil {
			return err
		} else if !same {
			return fmt.Errorf("%w: %s was compacted", wal.ErrChanged, path)
		}
	}
	dst, err := c.target.OpenFile(filepath.Join(c.to, filepath.Base(path)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	buf := make([]byte, min(n, copyChunk))
	for off := int64(0); off < n; off += int64(len(buf)) {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(n-off, int64(len(buf)))]
		if got, err := src.ReadAt(buf, off); got < len(buf) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("reading %s at %d: %w", path, off, err)
		}
		if _, err := dst.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return dst.Sync()
}

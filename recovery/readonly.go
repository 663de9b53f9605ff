package recovery

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/shard"
	"inmem/vfs"
	"inmem/wal"
)

// OpenReadOnly reads the store in cfg.Dir as it is now. It takes no lock and
// changes nothing, so the store may be open: then the result has everything
// that was written before the call. Log, Lock and Manifest of it are nil.
func OpenReadOnly(cfg Config) (*Store, error) {
	begun := cfg.Wall()
	holder, err := whose(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, err
	}
	var st *Store
	err = settled(cfg.FS, cfg.Dir, func(fsys vfs.FS, m *checkpoint.Manifest) error {
		st = &Store{ID: m.Store, Report: &Report{Holder: holder}, Clock: shard.NewClock(cfg.Wall, m.Time)}
		cfg := cfg
		cfg.FS = fsys
		shards, err := st.read(&cfg, m)
		if err == nil {
			st.Images = fsys.(*pins).keep() // what is not in memory yet is read from there
		}
		for i := range shards {
			st.Shards[i].More = shards[i].more
		}
		return err
	})
	if err == nil && holder == "" { // somebody may have opened it meanwhile
		st.Report.Holder, err = whose(cfg.FS, cfg.Dir)
	}
	if err != nil {
		if st != nil && st.Images != nil {
			err = errors.Join(err, st.Images.Close())
		}
		return nil, err
	}
	if st.Report.Holder == "" {
		st.orphans()
	}
	st.Report.summarize()
	st.Report.Duration = cfg.Wall().Sub(begun)
	return st, nil
}

// more replays what was logged since the last reading.
func (r *recovering) more() (*wal.History, error) {
	for n := 1; ; n++ {
		sc, err := r.loading(func() (*wal.Scanned, error) {
			return r.scanned.More(r.cfg.FS, r.dir, identity(r.m, r.i), r.replay.frame)
		})
		switch {
		case err == nil:
			r.scanned = sc
			r.clock.Raise(max(r.replay.time, sc.Time))
			return sc.History(r.cfg.FS, r.dir, identity(r.m, r.i)), nil
		case !errors.Is(err, wal.ErrChanged) || n == maxReadings:
			return nil, missing(r.dir, err)
		}
	}
}

// whose makes sure that dir is a directory, and returns who has the store in
// it open; "" = nobody.
func whose(fsys vfs.FS, dir string) (holder string, err error) {
	holder, locked, err := fsys.Locked(filepath.Join(dir, lockName))
	if err == nil {
		_, err = fsys.ReadDir(dir)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%w: %s", op.ErrNoStore, dir)
	case errors.Is(err, syscall.ENOTDIR):
		return "", fmt.Errorf("%w: %s", op.ErrNotDirectory, dir)
	case err != nil:
		return "", err
	case !locked:
		return "", nil
	}
	return holder, nil
}

// maxReadings bounds how often a store that changes is read again: each time
// somebody has taken a checkpoint in the meantime.
const maxReadings = 20

// settled lets read look at a store that somebody may have open, through a disk
// on which the checkpoints that the manifest names stay. What is wrong may be
// because they were replaced before they were opened: then it begins again. What
// is wrong twice in the same way is not because of that: no file that was
// replaced is asked for again.
func settled(fsys vfs.FS, dir string, read func(vfs.FS, *checkpoint.Manifest) error) error {
	before := ""
	for n := 1; ; n++ {
		m, err := manifest(fsys, dir)
		if err != nil {
			return err
		}
		moved := func() bool {
			now, err := manifest(fsys, dir)
			return err != nil || !reflect.DeepEqual(now, m)
		}
		if m == nil {
			err = absent(fsys, dir)
		} else {
			err = pinned(fsys, dir, m, moved, read)
		}
		if err == nil || !explicable(err) || err.Error() == before || n == maxReadings {
			return err
		}
		if !moved() && !errors.Is(err, wal.ErrChanged) {
			return err
		}
		before = err.Error()
	}
}

// pinned opens all checkpoints that m names and lets read have a disk on which
// they stay. Where one is missing because the store has moved on it says so at
// once; damage is for read to find.
func pinned(fsys vfs.FS, dir string, m *checkpoint.Manifest, moved func() bool, read func(vfs.FS, *checkpoint.Manifest) error) (err error) {
	p := &pins{FS: fsys, files: map[string]vfs.File{}, pinning: true}
	defer func() {
		if p.kept {
			return
		}
		if e := p.Close(); e != nil {
			err = errors.Join(err, e)
		}
	}()
	for i := range m.Shards {
		_, err := images(p, Dir(dir, i), m, i)
		damaged := errors.Is(err, op.ErrCorrupt) || errors.Is(err, op.ErrUnsupported) || errors.Is(err, fs.ErrNotExist)
		if err != nil && (!damaged || moved()) {
			return missing(Dir(dir, i), err)
		}
	}
	p.pinning = false
	return read(p, m)
}

// images returns the files that the images of a shard are in, and their sizes.
func images(fsys vfs.FS, dir string, m *checkpoint.Manifest, i int) (sizes map[uint64]int64, err error) {
	sequence := m.Shards[i].Checkpoint
	if sequence == 0 {
		return nil, nil
	}
	files := checkpoint.OpenFiles(fsys, dir, m.Store, uint32(i))
	defer func() { err = errors.Join(err, files.Close()) }()
	x, err := files.Index(sequence)
	if err != nil {
		return nil, err
	}
	sizes = map[uint64]int64{sequence: 0}
	for k := range x.Entries {
		for file := range x.Entries[k].Held {
			sizes[file] = 0
		}
	}
	for file := range sizes {
		if sizes[file], err = files.Size(file); err != nil {
			return nil, err
		}
	}
	return sizes, nil
}

// pins is a disk on which the files that were opened while it was pinning can be
// read until Close, though they were removed: a store that is written to may
// replace its checkpoints faster than all of it can be read.
type pins struct {
	vfs.FS
	pinning bool
	kept    bool
	files   map[string]vfs.File // by name; does not change after the pinning
}

func (p *pins) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if f := p.files[name]; f != nil && flag == os.O_RDONLY {
		return pin{f}, nil
	}
	f, err := p.FS.OpenFile(name, flag, perm)
	if err == nil && p.pinning {
		p.files[name] = f
		return pin{f}, nil
	}
	return f, err
}

// keep lets the files be read until somebody closes what it returns.
func (p *pins) keep() io.Closer {
	p.kept = true
	return p
}

// Close closes the files. They are still the ones that are asked for.
func (p *pins) Close() (err error) {
	for _, f := range p.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// pin is a file that its disk will close.
type pin struct{ vfs.File }

func (pin) Close() error { return nil }

// explicable reports whether an error may be because of files that were
// replaced: not that of a disk, or of a caller who does not want any more.
func explicable(err error) bool {
	return errors.Is(err, op.ErrCorrupt) || errors.Is(err, op.ErrNoStore) || errors.Is(err, wal.ErrChanged)
}

// manifest returns the store's manifest as it is now; nil = there is none.
func manifest(fsys vfs.FS, dir string) (*checkpoint.Manifest, error) {
	m, err := checkpoint.ReadManifest(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return m, misplaced(err)
}

// absent says what a directory without a manifest is: no store, or a damaged
// one. A shard that is gone is a creation that is begun anew.
func absent(fsys vfs.FS, dir string) error {
	if err := noManifest(fsys, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w: %s", op.ErrNoStore, dir)
}

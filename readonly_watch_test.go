package inmem_test

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"inmem/vfs"
)

func dice(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// watched is a disk that fails a test when something below a directory is
// changed, or the directory locked.
type watched struct {
	vfs.FS
	t   testing.TB
	dir string
}

var errWatched = errors.New("a reader must not do that")

// refuses reports whether a change there is a mistake.
func (w watched) refuses(what, name string) error {
	rel, err := filepath.Rel(w.dir, name)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return nil
	}
	w.t.Errorf("%s %s: a reader must not do that", what, name)
	return errWatched
}

func (w watched) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag == os.O_RDONLY {
		f, err := w.FS.OpenFile(name, flag, perm)
		if err != nil {
			return nil, err
		}
		return watchedFile{f, w}, nil
	}
	if err := w.refuses("open", name); err != nil {
		return nil, err
	}
	return w.FS.OpenFile(name, flag, perm)
}

func (w watched) Remove(name string) error {
	if err := w.refuses("remove", name); err != nil {
		return err
	}
	return w.FS.Remove(name)
}

func (w watched) Rename(oldname, newname string) error {
	if err := errors.Join(w.refuses("rename", oldname), w.refuses("rename", newname)); err != nil {
		return err
	}
	return w.FS.Rename(oldname, newname)
}

func (w watched) MkdirAll(dir string, perm fs.FileMode) error {
	if err := w.refuses("make", dir); err != nil {
		return err
	}
	return w.FS.MkdirAll(dir, perm)
}

func (w watched) SyncDir(dir string) error {
	if err := w.refuses("sync", dir); err != nil {
		return err
	}
	return w.FS.SyncDir(dir)
}

func (w watched) Lock(name, holder string) (io.Closer, error) {
	if err := w.refuses("lock", name); err != nil {
		return nil, err
	}
	return w.FS.Lock(name, holder)
}

// watchedFile is a file that was opened for reading.
type watchedFile struct {
	vfs.File
	w watched
}

func (f watchedFile) change(what string) error {
	if err := f.w.refuses(what, f.Name()); err != nil {
		return err
	}
	return errWatched
}

func (f watchedFile) WriteAt([]byte, int64) (int, error) { return 0, f.change("write") }
func (f watchedFile) Sync() error                        { return f.change("sync") }
func (f watchedFile) Truncate(int64) error               { return f.change("truncate") }
func (f watchedFile) Allocate(int64, int64) error        { return f.change("allocate") }

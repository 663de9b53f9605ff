// Package indexfile keeps the indexes of vector collections in files of a store,
// one file for each collection, so that they need not be made anew at each opening.
//
// It does not know what an index is: it is handed bytes and hands them back. Nor
// does it know of searches, of collections, or of anything else in a store but
// which runs there are.
//
// Invariants: the files are derived, and nothing depends on them: whatever is lost,
// damaged or cannot be written, only the time is lost that it takes to make it anew.
// What is handed back was written by this store for that collection and has its
// checksum. A file is replaced whole.
//
// It carries no compatibility promise; package inmem does.
package indexfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

const (
	dirName   = "vectors"
	suffix    = ".index"
	tmpSuffix = ".tmp"
)

// Dir returns the directory of a store's files, which is made with the first.
func Dir(store string) string { return filepath.Join(store, dirName) }

// nameOf returns the name of a collection's file: its run, and a hash of its name.
func nameOf(id run.ID, collection string) string {
	return fmt.Sprintf("%v-%016x%s", id, xxhash.Sum64String(collection), suffix)
}

// parseName returns the run of a file, finished or not, by its name.
func parseName(name string) (id run.ID, unfinished, ok bool) {
	name, unfinished = strings.CutSuffix(name, tmpSuffix)
	name, ok = strings.CutSuffix(name, suffix)
	at := strings.LastIndexByte(name, '-')
	if !ok || at < 0 || len(name)-at-1 != 16 {
		return id, false, false
	}
	id, err := run.ParseID(name[:at])
	return id, unfinished, err == nil
}

// Config is what Files are opened with.
type Config struct {
	FS    vfs.FS
	Dir   string // the store's
	Store [16]byte
	// Exists reports whether there is a run. Forget is called after that has become
	// false.
	Exists   func(run.ID) bool
	ReadOnly bool // nothing is written or removed
	// Guard is what calls what works in the background: it deals with a panic.
	Guard func(fn func())
}

// Files are the files of a store. Their methods may be called by many goroutines.
type Files struct {
	cfg Config
	dir string

	saving sync.Mutex // one file is written, or removed by the background, at a time

	mu     sync.Mutex
	files  map[run.ID]map[string]int64 // their sizes, by name
	queue  []string                    // names to be removed
	busy   bool                        // somebody is removing them
	closed bool
	work   sync.WaitGroup
}

// Open looks which files there are. Those of runs that are gone, and those that were
// not finished, are removed in the background. Whatever the error, the Files can be
// used: it says that the disk did not tell which there are.
func Open(cfg Config) (*Files, error) {
	f := &Files{cfg: cfg, dir: Dir(cfg.Dir), files: map[run.ID]map[string]int64{}}
	entries, err := cfg.FS.ReadDir(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		id, unfinished, ok := parseName(e.Name())
		switch {
		case !ok: // it is not ours
		case unfinished || !cfg.Exists(id):
			f.queue = append(f.queue, e.Name())
		default:
			info, err := e.Info()
			if err == nil {
				f.note(id, e.Name(), info.Size())
			}
		}
	}
	f.remove()
	return f, nil
}

// note keeps the size of a file. mu is held.
func (f *Files) note(id run.ID, name string, size int64) {
	if f.files[id] == nil {
		f.files[id] = map[string]int64{}
	}
	f.files[id][name] = size
}

// Close waits for what is being removed. Nothing is written after it.
func (f *Files) Close() {
	f.saving.Lock()
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.saving.Unlock()
	f.work.Wait()
}

// Size returns how many files there are, and how many bytes they take.
func (f *Files) Size() (files int, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range f.files {
		for _, size := range of {
			files++
			bytes += size
		}
	}
	return files, bytes
}

// Forget removes, in the background, what is kept of a run that was deleted. Nil
// Files keep nothing.
func (f *Files) Forget(id run.ID) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.files[id] {
		f.queue = append(f.queue, name)
	}
	delete(f.files, id)
	f.remove()
}

// remove has somebody remove what is queued. mu is held.
func (f *Files) remove() {
	if f.cfg.ReadOnly || f.closed {
		f.queue = nil
	}
	if len(f.queue) == 0 || f.busy {
		return
	}
	f.busy = true
	f.work.Go(func() { f.cfg.Guard(f.removeAll) })
}

func (f *Files) removeAll() {
	for {
		f.mu.Lock()
		queue := f.queue
		f.queue = nil
		if f.busy = len(queue) > 0; !f.busy {
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		f.saving.Lock() // an unfinished file has the name of one that may be written now
		for _, name := range queue {
			// What stays is found by the next Open.
			_ = f.cfg.FS.Remove(filepath.Join(f.dir, name))
		}
		_ = f.cfg.FS.SyncDir(f.dir)
		f.saving.Unlock()
	}
}

// Remove removes the file of a collection, if there is one.
func (f *Files) Remove(id run.ID, collection string) {
	name := nameOf(id, collection)
	f.mu.Lock()
	_, known := f.files[id][name]
	if known = known && !f.cfg.ReadOnly && !f.closed; known {
		delete(f.files[id], name)
	}
	f.mu.Unlock()
	if known {
		_ = f.cfg.FS.Remove(filepath.Join(f.dir, name)) // what stays is found by the next Open, and replaced
	}
}

// Save writes the file of a collection, what write writes, in place of what there
// was, and returns its size. It does nothing and returns 0 where the store is open
// for reading only, was closed, or has no such run any more.
func (f *Files) Save(id run.ID, collection string, write func(io.Writer) error) (int64, error) {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	if f.cfg.ReadOnly || closed || !f.cfg.Exists(id) {
		return 0, nil
	}
	if err := f.makeDir(); err != nil {
		return 0, err
	}
	name := nameOf(id, collection)
	path := filepath.Join(f.dir, name)
	size, err := f.write(path+tmpSuffix, id, collection, write)
	if err == nil {
		err = f.cfg.FS.Rename(path+tmpSuffix, path)
	}
	if err != nil {
		_ = f.cfg.FS.Remove(path + tmpSuffix) // what stays is removed by the next Open
		return 0, err
	}
	f.mu.Lock()
	f.note(id, name, size)
	f.mu.Unlock()
	if !f.cfg.Exists(id) {
		f.Forget(id) // whoever deleted it may have come too early
	}
	return size, f.cfg.FS.SyncDir(f.dir)
}

// makeDir makes the directory where it is missing.
func (f *Files) makeDir() error {
	if _, err := f.cfg.FS.Stat(f.dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := f.cfg.FS.MkdirAll(f.dir, 0o755); err != nil {
		return err
	}
	return f.cfg.FS.SyncDir(f.cfg.Dir)
}

// Load has read called with the bytes that Save was given, in a file that was found
// to be whole before. Errors: an fs.ErrNotExist; a *op.CorruptError where it is
// damaged, or of another store or collection; a *op.UnsupportedError where a newer
// program has written it; those of read and of the disk.
func (f *Files) Load(id run.ID, collection string, read func(r io.Reader, bytes int64) error) (err error) {
	path := filepath.Join(f.dir, nameOf(id, collection))
	file, err := f.cfg.FS.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, file.Close()) }()
	h, err := verify(file)
	if err != nil {
		return err
	}
	if h.store != f.cfg.Store || h.run != id || h.collection != collection {
		return &op.CorruptError{File: path, Reason: "the index of another collection"}
	}
	return read(io.NewSectionReader(file, h.size(), h.body), h.body)
}

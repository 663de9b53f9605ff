package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"inmem"
	"inmem/run"
)

// store is the flag that says which store, of every command that needs one.
type store struct {
	Dir string `help:"The store's directory." placeholder:"DIR" env:"INMEM_DIR"`
}

// named makes sure that a store was named.
func (s *store) named() error {
	if s.Dir == "" {
		return usage("give --dir DIR, or set INMEM_DIR", "which store?")
	}
	return nil
}

// exists makes sure that there is a store, because opening it for writing would
// create one.
func (s *store) exists() error {
	if err := s.named(); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.Dir, manifestName)); err == nil {
		return nil
	}
	// Without a manifest there is little to read: it may be no store, or a
	// damaged one.
	db, err := inmem.OpenReadOnly(s.Dir, nil)
	if err != nil {
		return s.noStore(err)
	}
	return db.Close()
}

// noStore makes a path that leads to a file no store: who only reads is not
// asked for a directory to make one in.
func (s *store) noStore(err error) error {
	if errors.Is(err, inmem.ErrNotDirectory) {
		return fmt.Errorf("%w: %s is no directory", inmem.ErrNoStore, s.Dir)
	}
	return err
}

// read opens a store for reading, calls fn and closes it. Others may have the
// store open; nothing on disk changes.
func (s *store) read(a *app, fn func(*inmem.DB) error) error {
	if err := s.named(); err != nil {
		return err
	}
	return s.noStore(s.with(a, inmem.OpenReadOnly, nil, fn))
}

// write opens a store that exists, calls fn and closes it.
func (s *store) write(a *app, fn func(*inmem.DB) error) error {
	if err := s.exists(); err != nil {
		return err
	}
	return s.with(a, inmem.Open, nil, fn)
}

// with opens a store by the given function, calls fn and closes it.
func (s *store) with(a *app, open func(string, *inmem.Options) (*inmem.DB, error), opts *inmem.Options, fn func(*inmem.DB) error) error {
	opening := a.begin("opening "+s.Dir, -1, false)
	db, err := open(s.Dir, opts)
	opening.end()
	if err != nil {
		return err
	}
	err = fn(db)
	if closeErr := db.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("closing %s: %w", s.Dir, closeErr))
	}
	return err
}

const (
	manifestName = "MANIFEST"
	lockName     = "LOCK"
)

// file is a file of a store's directory.
type file struct {
	name string // in the store's directory
	kind string // "manifest", "lock", "segment", "checkpoint", "index", "unfinished" or "other"
	size int64
}

// filesOf lists what lies in a store's directory and its shards', as far as it
// can be read, in order.
func filesOf(dir string) []file {
	var list []file
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // what cannot be read is for check to report
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		list = append(list, file{name: name, kind: kindOf(name), size: info.Size()})
		return nil
	})
	return list
}

func kindOf(name string) string {
	switch {
	case name == manifestName:
		return "manifest"
	case name == lockName:
		return "lock"
	case strings.HasSuffix(name, ".wal"):
		return "segment"
	case strings.HasSuffix(name, ".ckpt"):
		return "checkpoint"
	case strings.HasSuffix(name, ".index"):
		return "index"
	case strings.HasSuffix(name, ".tmp"):
		return "unfinished"
	}
	return "other"
}

// findRun returns the run of an ID, or of the beginning of one where only one
// run's ID begins so.
func findRun(a *app, db *inmem.DB, text string) (*inmem.Run, error) {
	if id, err := run.ParseID(text); err == nil {
		return db.Run(id)
	}
	prefix := strings.ToLower(text)
	if len(prefix) < 4 || strings.Trim(prefix, "0123456789abcdef-") != "" {
		return nil, usage("'inmem run ls' lists the runs; the first 4 digits or more will do", "%q is not the ID of a run", text)
	}
	var found []run.ID
	for info, err := range db.Runs(a.ctx, run.Filter{Spaces: true}) {
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(info.ID.String(), prefix) {
			found = append(found, info.ID)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w: %s…", inmem.ErrRunNotFound, prefix)
	case 1:
		return db.Run(found[0])
	}
	return nil, usage("give more digits", "%d runs begin with %s, such as %v and %v", len(found), prefix, found[0], found[1])
}

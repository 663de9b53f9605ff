package vfs

import (
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory, for tests. It keeps apart what the process
// sees and what the disk has, so that Crash can tell what a power loss leaves;
// it fails where SetFault says; it counts its operations and knows no clock, so
// that the same calls give the same result.
//
// A directory's operations become durable by SyncDir of that directory; a rename
// from one directory to another by SyncDir of either. Permissions are not
// enforced, times are zero, and directories do not move to other directories.
// Paths start at the root, with a leading slash or without.
type Mem struct {
	mu        sync.Mutex
	root      *node
	unsynced  []nameOp          // done since the names they touch were synced, in order
	locks     map[string]string // clean path → holder
	ops       int
	fault     func(Op) error
	readFault func(Op) error
	capacity  int64 // 0 = unlimited
	used      int64 // allocated by all files that have a name or are open
}

var _ FS = (*Mem)(nil)

// NewMem returns an empty file system: a root directory.
func NewMem() *Mem {
	return &Mem{root: newDir(0o755), locks: map[string]string{}}
}

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := checkFlag(name, flag); err != nil {
		return nil, err
	}
	p := clean(name)
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		if err := m.begin(Op{Kind: Create, Name: p}); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(p, flag, perm)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n.file.users++
	access := flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	return &memFile{m: m, s: n.file, name: name, path: p, canRead: access != os.O_WRONLY, canWrite: access != os.O_RDONLY}, nil
}

// open finds, creates and truncates.
func (m *Mem) open(p string, flag int, perm fs.FileMode) (*node, error) {
	at, n, err := m.locate(p)
	switch {
	case p == "":
		return nil, syscall.EISDIR
	case err != nil:
		return nil, err
	case n == nil && flag&os.O_CREATE == 0:
		return nil, syscall.ENOENT
	case n == nil:
		n = newFile(perm)
		n.file.users++ // its name
		m.change(nameOp{{at, n}})
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, syscall.EEXIST
	case n.dir != nil:
		return nil, syscall.EISDIR
	case flag&os.O_TRUNC != 0:
		m.truncate(n.file, 0)
	}
	return n, nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	p := clean(name)
	if err := m.begin(Op{Kind: Remove, Name: p}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at, n, err := m.locate(p)
	switch {
	case err != nil:
	case n == nil:
		err = syscall.ENOENT
	case n.dir != nil && len(n.dir.live) > 0:
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	m.change(nameOp{{at, nil}})
	m.unuse(n)
	return nil
}

// Rename implements FS.
func (m *Mem) Rename(oldname, newname string) error {
	if err := m.begin(Op{Kind: Rename, Name: clean(newname)}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(clean(oldname), clean(newname)); err != nil {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return nil
}

func (m *Mem) rename(oldp, newp string) error {
	from, n, err := m.locate(oldp)
	if err != nil {
		return err
	}
	to, replaced, err := m.locate(newp)
	switch {
	case err != nil:
		return err
	case n == nil:
		return syscall.ENOENT
	case replaced == n && n.file != nil:
		return nil
	case replaced != nil && replaced.dir != nil:
		return syscall.EEXIST
	case replaced != nil && n.dir != nil:
		return syscall.ENOTDIR
	case n.dir != nil && from.dir != to.dir:
		return syscall.EXDEV
	}
	m.change(nameOp{{from, nil}, {to, n}})
	if replaced != nil {
		m.unuse(replaced)
	}
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string, perm fs.FileMode) error {
	p := clean(dir)
	if err := m.begin(Op{Kind: Mkdir, Name: p}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mkdirAll(p, perm); err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

func (m *Mem) mkdirAll(p string, perm fs.FileMode) error {
	n := m.root
	for name := range components(p) {
		below := n.dir.live[name]
		if below == nil {
			below = newDir(perm)
			m.change(nameOp{{place{n.dir, name}, below}})
		}
		if below.dir == nil {
			return syscall.ENOTDIR
		}
		n = below
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(dir string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookupDir(clean(dir))
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: err}
	}
	entries := make([]fs.DirEntry, 0, len(n.live))
	for name, child := range sorted(n.live) {
		entries = append(entries, fs.FileInfoToDirEntry(child.info(name)))
	}
	return entries, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup(clean(name))
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return n.info(filepath.Base(name)), nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	p := clean(dir)
	if err := m.begin(Op{Kind: SyncDir, Name: p}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.lookupDir(p)
	if err != nil {
		return &fs.PathError{Op: "syncdir", Path: dir, Err: err}
	}
	m.settle(func(at place) bool { return at.dir == d })
	return nil
}

// Lock implements FS. The lock file is written in spite of faults and capacity.
func (m *Mem) Lock(name, holder string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := clean(name)
	if by, held := m.locks[p]; held {
		return nil, &LockedError{Name: name, Holder: by}
	}
	n, err := m.open(p, os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	m.write(n.file, []byte(holder), 0)
	m.locks[p] = cleanHolder(holder)
	return closerFunc(sync.OnceValue(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, p)
		return nil
	})), nil
}

// Locked implements FS.
func (m *Mem) Locked(name string) (holder string, locked bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	holder, locked = m.locks[clean(name)]
	return holder, locked, nil
}

type closerFunc func() error

func (c closerFunc) Close() error { return c() }

func (m *Mem) lookupDir(p string) (*directory, error) {
	n, err := m.lookup(p)
	if err != nil {
		return nil, err
	}
	if n.dir == nil {
		return nil, syscall.ENOTDIR
	}
	return n.dir, nil
}

// memInfo describes a node at one moment.
type memInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (n *node) info(name string) memInfo {
	i := memInfo{name: name, mode: n.mode}
	if n.file != nil {
		i.size = n.file.live.size
	}
	return i
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }

// clean is the one form of a path: slashes, from the root, without the first
// slash.
func clean(name string) string { return path.Clean("/" + filepath.ToSlash(name))[1:] }

// split cuts the last component off a clean path.
func split(p string) (above, name string) {
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 0)], p[i+1:]
}

// components yields the components of a clean path.
func components(p string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for p != "" {
			name, rest, _ := strings.Cut(p, "/")
			if !yield(name) {
				return
			}
			p = rest
		}
	}
}

// sorted yields a directory's names in order, so that nothing depends on a map's.
func sorted(names map[string]*node) iter.Seq2[string, *node] {
	return func(yield func(string, *node) bool) {
		keys := make([]string, 0, len(names))
		for name := range names {
			keys = append(keys, name)
		}
		slices.Sort(keys)
		for _, name := range keys {
			if !yield(name, names[name]) {
				return
			}
		}
	}
}

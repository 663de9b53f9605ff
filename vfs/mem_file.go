package vfs

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"
)

// storage is a file's contents: as the process sees them, as the disk has them,
// and what lies between.
type storage struct {
	live    content
	synced  *content // at the last sync; nil = nothing changed since
	pending []change // made since the last sync, in order
	users   int      // its name and the open handles; at 0 its room is free
}

// change is one change of a file's contents, of which a crash may undo any part.
type change struct {
	kind OpKind // Write, Truncate or Allocate
	off  int64  // Truncate: the size
	n    int64
	data []byte // Write only
}

// note remembers a change that is about to be made to live.
func (s *storage) note(c change) {
	if s.synced == nil {
		was := s.live.snapshot()
		s.synced = &was
	}
	s.pending = append(s.pending, c)
}

func (s *storage) sync() { s.synced, s.pending = nil, nil }

// write, truncate and allocate change a file. The caller has looked for room.
func (m *Mem) write(s *storage, data []byte, off int64) {
	if len(data) == 0 {
		return
	}
	data = slices.Clone(data)
	s.note(change{kind: Write, off: off, n: int64(len(data)), data: data})
	m.used += s.live.allocated.missing(off, off+int64(len(data)))
	s.live.write(data, off)
}

func (m *Mem) truncate(s *storage, size int64) {
	if size == s.live.size {
		return
	}
	s.note(change{kind: Truncate, off: size})
	m.used -= s.live.allocated.total()
	s.live.resize(size)
	m.used += s.live.allocated.total()
}

func (m *Mem) allocate(s *storage, off, n int64) {
	s.note(change{kind: Allocate, off: off, n: n})
	m.used += s.live.allocated.missing(off, off+n)
	s.live.allocate(off, n)
}

// room fails if [off, off+n) does not fit on the disk.
func (m *Mem) room(s *storage, off, n int64) error {
	if off+n > maxMemFile {
		return syscall.EFBIG
	}
	if m.capacity > 0 {
		if need := s.live.allocated.missing(off, off+n); need > 0 && m.used+need > m.capacity {
			return syscall.ENOSPC
		}
	}
	return nil
}

// unuse takes a name or a handle off a node.
func (m *Mem) unuse(n *node) {
	if n.file != nil {
		m.release(n.file)
	}
}

func (m *Mem) release(s *storage) {
	if s.users--; s.users == 0 {
		m.used -= s.live.allocated.total()
	}
}

// SetCapacity bounds the bytes that all files together may have allocated, by
// writes and by Allocate; 0 = no bound. Beyond it writes and allocations fail
// whole, with syscall.ENOSPC. The size of a file is not its allocation: what
// Truncate adds is free until it is written.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// memFile is an open file of a Mem.
type memFile struct {
	m                 *Mem
	s                 *storage
	name, path        string
	canRead, canWrite bool
	closed            bool // under m.mu
}

func (f *memFile) Name() string { return f.name }

// check locks the Mem, to be unlocked by the caller, unless the file is closed or
// was opened for something else.
func (f *memFile) check(op string, allowed bool) error {
	f.m.mu.Lock()
	err := error(nil)
	switch {
	case f.closed:
		err = fs.ErrClosed
	case !allowed:
		err = syscall.EBADF
	default:
		return nil
	}
	f.m.mu.Unlock()
	return f.fail(op, err)
}

func (f *memFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.m.begin(Op{Kind: Read, Name: f.path, Offset: off, Size: len(p)}); err != nil {
		return 0, err
	}
	if err := f.check("read", f.canRead); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if off < 0 {
		return 0, f.fail("readat", errNegative)
	}
	n := int(min(int64(len(p)), max(0, f.s.live.size-off)))
	f.s.live.read(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	var fault error
	if err := f.m.begin(Op{Kind: Write, Name: f.path, Offset: off, Size: len(p)}); err != nil {
		var short ShortWrite
		if !errors.As(err, &short) {
			return 0, err
		}
		p, fault = p[:max(0, min(short.N, len(p)))], short.Unwrap()
	}
	if err := f.check("write", f.canWrite); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if off < 0 {
		return 0, f.fail("writeat", errNegative)
	}
	if err := f.m.room(f.s, off, int64(len(p))); err != nil {
		return 0, f.fail("write", err)
	}
	f.m.write(f.s, p, off)
	return len(p), fault
}

var errNegative = errors.New("negative offset") // as package os says it

func (f *memFile) Truncate(size int64) error {
	if err := f.m.begin(Op{Kind: Truncate, Name: f.path, Offset: size}); err != nil {
		return err
	}
	if err := f.check("truncate", f.canWrite); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	if size < 0 {
		return f.fail("truncate", syscall.EINVAL)
	}
	f.m.truncate(f.s, size)
	return nil
}

func (f *memFile) Allocate(off, n int64) error {
	if err := f.m.begin(Op{Kind: Allocate, Name: f.path, Offset: off, Size: int(n)}); err != nil {
		return err
	}
	if err := f.check("allocate", f.canWrite); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	if err := checkRange(f.name, off, n); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	if err := f.m.room(f.s, off, n); err != nil {
		return f.fail("allocate", err)
	}
	f.m.allocate(f.s, off, n)
	return nil
}

func (f *memFile) Sync() error {
	if err := f.m.begin(Op{Kind: Sync, Name: f.path}); err != nil {
		return err
	}
	if err := f.check("sync", true); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.s.sync()
	return nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.check("stat", true); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	return f.s.live.size, nil
}

func (f *memFile) Close() error {
	if err := f.check("close", true); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.closed = true
	f.m.release(f.s)
	return nil
}

package vfs

import (
	"fmt"
	"io"
)

// OpKind says what an operation on a Mem does.
type OpKind uint8

// The kinds of operation. 0 is invalid.
const (
	Create   OpKind = 1  // open with os.O_CREATE or os.O_TRUNC, whether or not the file exists
	Write    OpKind = 2  // File.WriteAt
	Truncate OpKind = 3  // File.Truncate; Offset is the new size
	Allocate OpKind = 4  // File.Allocate
	Sync     OpKind = 5  // File.Sync
	SyncDir  OpKind = 6  // FS.SyncDir
	Rename   OpKind = 7  // FS.Rename; Name is the new name
	Remove   OpKind = 8  // FS.Remove
	Mkdir    OpKind = 9  // FS.MkdirAll, once for all that it makes
	Read     OpKind = 10 // File.ReadAt; not counted
)

var opNames = [...]string{
	Create: "create", Write: "write", Truncate: "truncate", Allocate: "allocate", Sync: "sync",
	SyncDir: "syncdir", Rename: "rename", Remove: "remove", Mkdir: "mkdir", Read: "read",
}

func (k OpKind) String() string {
	if k >= Create && k <= Read {
		return opNames[k]
	}
	return fmt.Sprintf("opkind(%d)", uint8(k))
}

// Op is one operation on a Mem, about to happen.
type Op struct {
	Index  int // 1, 2, 3 …; 0 for a Read, which is not counted
	Kind   OpKind
	Name   string // as Mem.Files writes it
	Offset int64
	Size   int // bytes to be written, allocated or read
}

func (o Op) String() string {
	return fmt.Sprintf("#%d %s %s [%d,+%d)", o.Index, o.Kind, o.Name, o.Offset, o.Size)
}

// ShortWrite is an error for a fault function to return: a write then writes its
// first N bytes and fails with Err. Other operations fail with the ShortWrite.
type ShortWrite struct {
	N   int   // bytes; more than the write has is all of it
	Err error // nil = io.ErrShortWrite
}

func (s ShortWrite) Error() string {
	return fmt.Sprintf("short write of %d bytes: %v", s.N, s.Unwrap())
}

// Unwrap returns Err.
func (s ShortWrite) Unwrap() error {
	if s.Err == nil {
		return io.ErrShortWrite
	}
	return s.Err
}

// Ops is the number of operations so far that change or sync something. Locks
// and reads do not count; those that failed do.
func (m *Mem) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// SetFault sets the function that is asked before each operation that Ops counts;
// nil = none. If it returns an error the operation fails with just that and does
// nothing, except for ShortWrite. The function may use the Mem, so it can Crash
// it before the n-th operation. Those who use one Mem from several goroutines
// get calls from several.
func (m *Mem) SetFault(fault func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// SetReadFault is SetFault for File.ReadAt.
func (m *Mem) SetReadFault(fault func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.readFault = fault
}

// begin counts an operation and asks whether it may happen. It must be called
// without the mutex, which the fault function may need.
func (m *Mem) begin(op Op) error {
	m.mu.Lock()
	fault := m.fault
	if op.Kind == Read {
		fault = m.readFault
	} else {
		m.ops++
		op.Index = m.ops
	}
	m.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(op)
}

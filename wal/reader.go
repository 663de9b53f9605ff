package wal

import (
	"os"

	"inmem/op"
	"inmem/vfs"
)

// Reader reads single frames of a segment that was surveyed. One goroutine uses
// it at a time.
type Reader struct {
	f    vfs.File
	w    window
	salt uint32
	// What was unpacked last, and from where.
	packed int64
	inner  map[uint64]Frame
}

// Open returns a reader of the frames that verified.
func (s *Survey) Open() (*Reader, error) {
	f, err := s.fsys.OpenFile(s.Path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	return &Reader{f: f, w: window{f: f, size: s.Size}, salt: s.Salt}, nil
}

// Frame reads the frame at offset, which is fast for those that follow one
// another, and verifies it again. Its payload is valid until the next call.
func (r *Reader) Frame(offset int64) (Frame, error) {
	one := surveyor{Survey: &Survey{}, w: &r.w}
	reason, f, err := one.frame(offset, r.salt)
	if err == nil && reason != "" {
		err = &op.CorruptError{File: r.f.Name(), Offset: offset, Reason: reason}
	}
	return f, err
}

// Record is Frame for a record, which may be packed with others at offset.
func (r *Reader) Record(offset int64, sequence uint64) (Frame, error) {
	if f, ok := r.inner[sequence]; ok && r.packed == offset {
		return f, nil
	}
	f, err := r.Frame(offset)
	if err != nil || f.Kind != Packed {
		return f, err
	}
	r.packed, r.inner = offset, map[uint64]Frame{}
	err = unpack(f, func(inner Frame) error {
		r.inner[inner.Sequence] = inner
		return nil
	})
	f, ok := r.inner[sequence]
	if err == nil && !ok {
		err = &op.CorruptError{File: r.f.Name(), Offset: offset, Reason: "the record is not in the packed frame"}
	}
	return f, err
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

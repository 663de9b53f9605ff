package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"inmem/op"
)

const (
	// readStep is how much is read from a reader before the context is asked again.
	readStep = 1 << 20
	// emptyReads is how often in a row a reader may give nothing.
	emptyReads = 100
	// leastPart and mostPart bound the pieces in which a value of unknown size is
	// gathered, in bytes.
	leastPart = 64 << 10
	mostPart  = 8 << 20
)

// ErrLonger is what a *SourceError wraps where a reader gave more than was said.
var ErrLonger = errors.New("kv: there is more to read than was said")

// SourceError says that what was to be put could not be read to its end. Nothing
// was changed.
type SourceError struct {
	Size int64 // bytes, as was said; -1 = unknown
	Read int64 // bytes that were read; not those beyond Size
	// Err is the reader's error, io.ErrUnexpectedEOF where it ended too early, or
	// ErrLonger.
	Err error
}

func (e *SourceError) Error() string {
	if e.Size < 0 {
		return fmt.Sprintf("kv: the value could not be read: %v, after %d bytes", e.Err, e.Read)
	}
	return fmt.Sprintf("kv: the value could not be read: %v, after %d of %d bytes", e.Err, e.Read, e.Size)
}

// Unwrap returns Err.
func (e *SourceError) Unwrap() error { return e.Err }

// PutReader is Put of the bytes that r gives, which are size many, or as many as
// come, where size is -1. From 64 KiB on they are read straight into the memory
// that the store keeps: with a size there is no other copy of them, without one
// there is one more. A value of the size must fit the limit of the store:
// op.ErrValueTooLarge, before anything is read; of unknown size, once there is too
// much.
//
// Nothing is changed before r has given everything. Where it ends early, gives
// more, or fails, the error is a *SourceError, and nothing was changed at all. A
// ctx that ends is noticed between two reads of r, each of at most 1 MiB. r must
// not keep the slices that it is given. The other errors are those of Put;
// op.ErrInvalidOption is one for a size below -1.
func (s Store) PutReader(ctx context.Context, key string, r io.Reader, size int64, opts ...WriteOption) (version uint64, err error) {
	o, err := gather(opts)
	if err != nil {
		return 0, err
	}
	w := op.Write{Kind: op.Put, Tag: op.KV, Key: key, TTL: o.ttl}
	limits := s.run.Limits()
	if err := check(limits, &w); err != nil {
		return 0, err
	}
	switch {
	case size < -1:
		return 0, op.ErrInvalidOption
	case size > int64(limits.MaxValue):
		return 0, tooLarge(size, limits.MaxValue)
	}
	src := source{ctx: ctx, r: r, size: size}
	if size < 0 {
		err = src.gather(&w, limits.MaxValue)
	} else {
		err = src.fill(&w)
	}
	if err != nil {
		return 0, err
	}
	res, err := s.commit(ctx, w, o.durability)
	return res.Version, err
}

func tooLarge(size int64, limit int) error {
	return &op.SizeError{Err: op.ErrValueTooLarge, Size: int(size), Max: limit}
}

// source is a reader on its way to its end.
type source struct {
	ctx  context.Context
	r    io.Reader
	size int64
	read int64
}

func (s *source) failed(err error) error {
	return &SourceError{Size: s.size, Read: s.read, Err: err}
}

// place gives a write the memory for a value.
func place(w *op.Write, size int) {
	if size < op.Large {
		w.Value = make([]byte, size)
		return
	}
	w.Block = op.NewBlock(w.Key, size)
	w.Value = w.Block.Value()
}

// fill reads a value of known size.
func (s *source) fill(w *op.Write) error {
	if err := s.ctx.Err(); err != nil {
		return err // before there is memory for it
	}
	place(w, int(s.size))
	n, err := s.into(w.Value)
	switch {
	case err == io.EOF && n < len(w.Value):
		return s.failed(io.ErrUnexpectedEOF)
	case err == io.EOF:
		return nil
	case err != nil:
		return err
	}
	var more [1]byte
	before := s.read
	n, err = s.into(more[:])
	s.read = before
	switch {
	case n > 0:
		return s.failed(ErrLonger)
	case err != io.EOF:
		return err
	}
	return nil
}

// gather reads a value of unknown size.
func (s *source) gather(w *op.Write, limit int) error {
	var parts [][]byte
	for size := leastPart; ; size = min(2*size, mostPart) {
		// One more than may be: then there is too much.
		part := make([]byte, min(size, limit-int(s.read)+1))
		n, err := s.into(part)
		parts = append(parts, part[:n])
		switch {
		case s.read > int64(limit):
			return tooLarge(s.read, limit)
		case err == io.EOF && len(parts) == 1 && n < op.Large:
			w.Value = slices.Clip(part[:n])
			return nil
		case err == io.EOF:
			place(w, int(s.read))
			left := w.Value
			for _, part := range parts {
				left = left[copy(left, part):]
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// into fills b. Its error is io.EOF where the reader ended, before the end of b or
// right there, as it happens; or that of the context; or a *SourceError.
func (s *source) into(b []byte) (n int, err error) {
	empty := 0
	for n < len(b) {
		if err := s.ctx.Err(); err != nil {
			return n, err
		}
		m, err := s.r.Read(b[n:min(len(b), n+readStep)])
		if m < 0 || m > min(len(b)-n, readStep) {
			return n, s.failed(errCount)
		}
		n += m
		s.read += int64(m)
		switch {
		case err == io.EOF:
			return n, io.EOF
		case err != nil:
			return n, s.failed(err)
		case m > 0:
			empty = 0
		default:
			if empty++; empty == emptyReads {
				return n, s.failed(io.ErrNoProgress)
			}
		}
	}
	return n, nil
}

var errCount = errors.New("kv: the reader returned a count that it cannot have read")

// Value is a value that is read piece by piece, without being copied as a whole:
// an io.Reader, io.ReaderAt, io.Seeker, io.WriterTo and io.Closer. It stays as it
// was when it was got, whatever is written meanwhile, and keeps its memory from
// being freed until it is closed. It is for one goroutine.
type Value struct {
	at       bytes.Reader
	size     int64
	version  uint64
	deadline int64
	closed   bool
}

// GetReader is Get of a value to be read piece by piece. Nothing of it is copied
// but what is read, and WriteTo, which io.Copy uses, hands the store's own memory
// to a writer, which must not change it. Close lets go of the value; a Value that
// is not closed is no more than memory.
func (s Store) GetReader(ctx context.Context, key string) (*Value, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	it, err := s.run.Get(op.KV, key)
	if err != nil {
		return nil, err
	}
	v := &Value{size: int64(len(it.Value)), version: it.Version, deadline: it.Deadline}
	v.at.Reset(it.Value)
	return v, nil
}

// Size returns the value's length in bytes.
func (v *Value) Size() int64 { return v.size }

// Version returns the version of the commit that wrote the value, in its run.
func (v *Value) Version() uint64 { return v.version }

// Deadline returns when the value expires; the zero Time = never. Who has the
// Value can go on reading.
func (v *Value) Deadline() time.Time {
	if v.deadline == 0 {
		return time.Time{}
	}
	return time.UnixMilli(v.deadline)
}

// open returns fs.ErrClosed once the value is closed.
func (v *Value) open() error {
	if v.closed {
		return fs.ErrClosed
	}
	return nil
}

// Read implements io.Reader. Like all that follow it returns fs.ErrClosed after Close.
func (v *Value) Read(b []byte) (int, error) {
	if err := v.open(); err != nil {
		return 0, err
	}
	return v.at.Read(b)
}

// ReadAt implements io.ReaderAt.
func (v *Value) ReadAt(b []byte, off int64) (int, error) {
	if err := v.open(); err != nil {
		return 0, err
	}
	return v.at.ReadAt(b, off)
}

// Seek implements io.Seeker.
func (v *Value) Seek(offset int64, whence int) (int64, error) {
	if err := v.open(); err != nil {
		return 0, err
	}
	return v.at.Seek(offset, whence)
}

// WriteTo implements io.WriterTo: it writes what is left in one call.
func (v *Value) WriteTo(w io.Writer) (int64, error) {
	if err := v.open(); err != nil {
		return 0, err
	}
	return v.at.WriteTo(w)
}

// Close lets go of the value, any number of times.
func (v *Value) Close() error {
	v.at.Reset(nil)
	v.closed = true
	return nil
}

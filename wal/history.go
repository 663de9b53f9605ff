package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"sync/atomic"

	"inmem/op"
	"inmem/vfs"
)

// History is what the log held at one moment, for reading by any goroutine
// while the log grows. It does not change.
type History struct {
	fsys     vfs.FS
	dir      string
	id       Identity
	segments []segment
	last     uint64
	trimmed  *atomic.Uint64 // nil = nothing is trimmed while it is read
}

// History returns the log as it is now. The owner calls it. What was not
// written yet is written first, so that a file can show it.
func (l *Log) History() (*History, error) {
	if err := l.write(); err != nil {
		return nil, err
	}
	l.forget()
	h := &History{fsys: l.fsys, dir: l.dir, id: l.id, last: l.next - 1, trimmed: &l.trimmed}
	h.segments = append(h.segments, l.segments...)
	// Entries are only ever appended, so this prefix of them stays as it is.
	active := l.active
	active.entries = active.entries[:len(active.entries):len(active.entries)]
	h.segments = append(h.segments, active)
	return h, nil
}

// History returns what was scanned.
func (sc *Scanned) History(fsys vfs.FS, dir string, id Identity) *History {
	return &History{fsys: fsys, dir: dir, id: id, segments: sc.segments, last: sc.Last}
}

// Last returns the sequence of the newest frame in it.
func (h *History) Last() uint64 { return h.last }

// First returns the sequence with which it begins.
func (h *History) First() uint64 { return h.segments[0].first }

// Whole reports whether all records from one sequence to another are kept.
func (h *History) Whole(from, to uint64) bool {
	for i := range h.segments {
		seg := &h.segments[i]
		if seg.compacted && seg.first <= to && h.lastOf(i) >= from {
			return false
		}
	}
	return h.First() <= from
}

// Records hands all records and bases with from <= sequence <= to that are kept
// to fn, in order. fn must not keep the payload.
func (h *History) Records(ctx context.Context, from, to uint64, fn func(Frame) error) error {
	return h.each(ctx, from, to, func(f vfs.File, seg *segment, from, to uint64) error {
		within := func(frame Frame) error {
			if err := ctx.Err(); err != nil || frame.Sequence < from || frame.Sequence > to {
				return err
			}
			return fn(frame)
		}
		if seg.compacted {
			s := &sealedFile{f: f, seg: segment{path: seg.path}}
			if err := s.read(h.id); err != nil {
				return err
			}
			return s.frames(within)
		}
		return seg.records(ctx, f, from, to, fn)
	})
}

// records reads a segment from its beginning, because nothing says where in it
// a sequence is.
func (seg *segment) records(ctx context.Context, f vfs.File, from, last uint64, fn func(Frame) error) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	s := &scanner{bounds: Bounds{After: from - 1}, out: &Scanned{Last: seg.first - 1}}
	var stopped error // the scanner would take it for damage
	s.fn = func(f Frame) error {
		if stopped = ctx.Err(); stopped == nil {
			stopped = fn(f)
		}
		return stopped
	}
	read := &segment{path: seg.path, salt: seg.salt} // seg is shared: frames adds to the entries
	off, reason, err := s.frames(&window{f: f, size: size}, read, segmentHeader, last)
	if stopped != nil {
		return stopped
	}
	if err == nil && s.out.Last < last {
		err = &op.CorruptError{File: seg.path, Offset: off, Reason: reason}
	}
	return err
}

// lastOf returns the sequence of the last frame of a segment.
func (h *History) lastOf(i int) uint64 {
	if i+1 < len(h.segments) {
		return h.segments[i+1].first - 1
	}
	return h.last
}

// reading reads what a segment has between two sequences, both included.
type reading func(f vfs.File, seg *segment, from, to uint64) error

// each opens the segments that have sequences between from and to, in order, for
// read. What was compacted since is read from where it is now.
func (h *History) each(ctx context.Context, from, to uint64, read reading) error {
	for i := range h.segments {
		seg, last := &h.segments[i], min(h.lastOf(i), to)
		if last < from || seg.first > to {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err := h.open(seg, i+1 < len(h.segments), max(from, seg.first), last, read)
		if errors.Is(err, errMoved) {
			err = h.moved(seg.path, max(from, seg.first), last, read)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errMoved says that the file of a segment is not there.
var errMoved = errors.New("wal: the segment's file is gone")

// open opens a segment for read.
func (h *History) open(seg *segment, older bool, from, to uint64, read reading) (err error) {
	f, err := h.fsys.OpenFile(seg.path, os.O_RDONLY, 0)
	if older && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if older {
		now, err := readSegmentHeader(f, seg.path, h.id)
		if err != nil {
			return err
		}
		if now.salt != seg.salt { // compacted since
			seg = &segment{path: seg.path, first: seg.first, salt: now.salt, compacted: now.compacted, indexed: true}
		}
	}
	return read(f, seg, from, to)
}

// moved reads what was in a segment whose file is gone: from the compacted one
// that covers it now. Where there is none, and it was trimmed off, there is nothing.
func (h *History) moved(path string, from, to uint64, read reading) error {
	for range 10 { // the file that has it now may be on its way, too
		paths, _, err := listSegments(h.fsys, h.dir)
		if err != nil {
			return err
		}
		i := sort.Search(len(paths), func(i int) bool { return named(paths[i]) > from }) - 1
		if i < 0 {
			break
		}
		seg := &segment{path: paths[i], first: named(paths[i])}
		err = h.open(seg, true, from, to, func(f vfs.File, seg *segment, from, to uint64) error {
			s := &sealedFile{f: f, seg: segment{path: seg.path}}
			if err := s.read(h.id); err != nil {
				return err
			}
			if s.ft.last < to {
				return errMoved
			}
			return read(f, seg, from, to)
		})
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	if h.trimmed != nil && to < h.trimmed.Load() {
		return nil
	}
	return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// Stream hands the records and bases of one stream with from <= sequence <= to
// to fn, in order, and reads little else: sealed segments are asked by their
// index. fn must not keep the payload.
func (h *History) Stream(ctx context.Context, stream [16]byte, from, to uint64, fn func(Frame) error) error {
	from = max(from, 1)
	cut := h.First() > from
	next := from // the first sequence that was not looked at
	return h.each(ctx, from, to, func(f vfs.File, seg *segment, from, to uint64) error {
		cut = cut || from > next || seg.compacted
		next = to + 1
		offsets, err := seg.find(f, stream)
		if err != nil {
			return err
		}
		for i, off := range offsets {
			if i > 0 && off == offsets[i-1] {
				continue // packed together
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			err := seg.recordsAt(f, off, func(frame Frame) error {
				if [streamSize]byte(frame.Payload) != stream || frame.Sequence < from || frame.Sequence > to {
					return nil
				}
				frame.Cut, cut = cut, seg.compacted
				return fn(frame)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// find returns where the stream's frames are in the segment.
func (seg *segment) find(f vfs.File, stream [16]byte) ([]int64, error) {
	if !seg.indexed {
		var offsets []int64
		for i := range seg.entries {
			if seg.entries[i].stream == stream {
				offsets = append(offsets, seg.entries[i].offset)
			}
		}
		return offsets, nil
	}
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	ft, ok, err := readFooter(f, size, seg.salt)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &op.CorruptError{File: seg.path, Offset: size, Reason: "the segment's index is gone"}
	}
	index, err := readIndex(f, ft)
	if err != nil {
		return nil, err
	}
	return lookup(index, ft, stream), nil
}

// readFrame reads and checks the frame at off.
func readFrame(f vfs.File, salt uint32, off int64) (Frame, error) {
	bad := func(reason string) (Frame, error) {
		return Frame{}, &op.CorruptError{File: f.Name(), Offset: off, Reason: reason}
	}
	size, err := f.Size()
	if err != nil {
		return Frame{}, err
	}
	if off+frameHeader > size {
		return bad("the file ends before a frame that its index names")
	}
	b := make([]byte, frameHeader)
	if _, err := f.ReadAt(b, off); err != nil {
		return Frame{}, fmt.Errorf("reading %s at %d: %w", f.Name(), off, err)
	}
	h := parseHeader(b)
	if reason := h.flaw(salt, off, size); reason != "" {
		return bad(reason)
	}
	b = make([]byte, frameSize(int(h.length)))
	if _, err := f.ReadAt(b, off); err != nil {
		return Frame{}, fmt.Errorf("reading %s at %d: %w", f.Name(), off, err)
	}
	if reason := h.flawFrame(b); reason != "" {
		return bad(reason)
	}
	return Frame{
		Kind: Kind(h.kind), Sequence: h.sequence, Synced: h.synced, Offset: off,
		Payload: b[frameHeader : frameHeader+int(h.length)],
	}, nil
}

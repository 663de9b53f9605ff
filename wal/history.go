package wal

import (
	"context"
	"errors"
	"fmt"
	"os"

	"inmem/op"
	"inmem/vfs"
)

// History is what the log held at one moment, for reading by any goroutine
// while the log grows. It does not change.
type History struct {
	fsys     vfs.FS
	segments []segment
	last     uint64
}

// History returns the log as it is now. The owner calls it. What was not
// written yet is written first, so that a file can show it.
func (l *Log) History() (*History, error) {
	if err := l.write(); err != nil {
		return nil, err
	}
	h := &History{fsys: l.fsys, last: l.next - 1}
	h.segments = append(h.segments, l.segments...)
	// Entries are only ever appended, so this prefix of them stays as it is.
	active := l.active
	active.entries = active.entries[:len(active.entries):len(active.entries)]
	h.segments = append(h.segments, active)
	return h, nil
}

// History returns what was scanned.
func (sc *Scanned) History(fsys vfs.FS) *History {
	return &History{fsys: fsys, segments: sc.segments, last: sc.Last}
}

// Last returns the sequence of the newest frame in it.
func (h *History) Last() uint64 { return h.last }

// Records hands all records with from <= sequence <= to to fn, in order. fn
// must not keep the payload.
func (h *History) Records(ctx context.Context, from, to uint64, fn func(Frame) error) error {
	for i := range h.segments {
		seg, last := &h.segments[i], min(h.lastOf(i), to)
		if last < from || seg.first > to {
			continue
		}
		if err := h.records(ctx, seg, from, last, fn); err != nil {
			return err
		}
	}
	return nil
}

// records reads a segment from its beginning, because nothing says where in it
// a sequence is.
func (h *History) records(ctx context.Context, seg *segment, from, last uint64, fn func(Frame) error) (err error) {
	f, err := h.fsys.OpenFile(seg.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
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

// Stream hands the records of one stream with from <= sequence <= to to fn, in
// order, and reads nothing else: sealed segments are asked by their index. fn
// must not keep the payload.
func (h *History) Stream(ctx context.Context, stream [16]byte, from, to uint64, fn func(Frame) error) error {
	for i := range h.segments {
		seg := &h.segments[i]
		if h.lastOf(i) < from || seg.first > to {
			continue
		}
		if err := h.segment(ctx, seg, stream, from, to, fn); err != nil {
			return err
		}
	}
	return nil
}

func (h *History) segment(ctx context.Context, seg *segment, stream [16]byte, from, to uint64, fn func(Frame) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := h.fsys.OpenFile(seg.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	offsets, err := seg.find(f, stream)
	if err != nil {
		return err
	}
	for _, off := range offsets {
		if err := ctx.Err(); err != nil {
			return err
		}
		frame, err := readFrame(f, seg.salt, off)
		if err != nil {
			return err
		}
		if frame.Sequence < from || frame.Sequence > to {
			continue
		}
		if err := fn(frame); err != nil {
			return err
		}
	}
	return nil
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

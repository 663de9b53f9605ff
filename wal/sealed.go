package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"inmem/op"
	"inmem/vfs"
)

// Sealed is a segment that has a successor and an index, so that it will not
// change any more, unless it is compacted.
type Sealed struct {
	Path        string
	First, Last uint64 // the sequences it covers
	Size        int64  // of the file; 0 = it was not looked at
	Compacted   bool   // not all of them are there
}

// Sealed returns the sealed segments that were there, in order.
func (h *History) Sealed() []Sealed {
	var list []Sealed
	for i := range h.segments[:len(h.segments)-1] {
		if seg := &h.segments[i]; seg.indexed {
			list = append(list, Sealed{Path: seg.path, First: seg.first, Last: h.lastOf(i), Size: seg.size, Compacted: seg.compacted})
		}
	}
	return list
}

// Contents is what is in a segment, as its index says, or as was seen when it was
// read or written.
type Contents struct {
	Sealed
	Open    bool  // it is not sealed …
	Bytes   int64 // of the frames
	Streams []StreamPart
}

// Segments returns how many segments there were.
func (h *History) Segments() int { return len(h.segments) }

// Contents returns what is in the i-th segment.
func (h *History) Contents(i int) (*Contents, error) {
	seg := &h.segments[i]
	if seg.indexed {
		return ReadContents(h.fsys, seg.path, h.id)
	}
	c := &Contents{Open: true, Bytes: seg.end - segmentHeader}
	c.Sealed = Sealed{Path: seg.path, First: seg.first, Last: h.lastOf(i), Size: seg.end}
	at := map[[streamSize]byte]int{}
	for k := range seg.entries {
		e := &seg.entries[k]
		if e.offset >= seg.end {
			break // not handed to the operating system yet
		}
		end := seg.end
		if k+1 < len(seg.entries) {
			end = min(end, seg.entries[k+1].offset)
		}
		n, known := at[e.stream]
		if !known {
			n = len(c.Streams)
			at[e.stream] = n
			c.Streams = append(c.Streams, StreamPart{Stream: e.stream, First: e.offset})
		}
		c.Streams[n].Count++
		c.Streams[n].Bytes += end - e.offset
	}
	return c, nil
}

// StreamPart is what a segment has of one stream.
type StreamPart struct {
	Stream [streamSize]byte
	Count  int   // records and bases
	Bytes  int64 // their frames take; of packed ones a share
	First  int64 // offset of the first one's frame
}

// sealedFile is a sealed segment that is open for reading.
type sealedFile struct {
	f    vfs.File
	seg  segment
	size int64
	ft   footer
}

// openSealed opens the sealed segment at path.
func openSealed(fsys vfs.FS, path string, id Identity) (s *sealedFile, err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	s = &sealedFile{f: f, seg: segment{path: path}}
	if err := s.read(id); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *sealedFile) read(id Identity) error {
	h, err := readSegmentHeader(s.f, s.seg.path, id)
	if err != nil {
		return err
	}
	s.seg.first, s.seg.salt, s.seg.compacted = h.first, h.salt, h.compacted
	if s.size, err = s.f.Size(); err != nil {
		return err
	}
	ft, ok, err := readFooter(s.f, s.size, h.salt)
	if err == nil && (!ok || ft.last < h.first) {
		err = &op.CorruptError{File: s.seg.path, Offset: s.size, Reason: "the segment's index is gone"}
	}
	s.ft, s.seg.end, s.seg.last, s.seg.size, s.seg.indexed = ft, ft.end, ft.last, s.size, true
	return err
}

// sealed describes it.
func (s *sealedFile) sealed() Sealed {
	return Sealed{Path: s.seg.path, First: s.seg.first, Last: s.ft.last, Size: s.size, Compacted: s.seg.compacted}
}

// frames hands all records and bases to fn, in order, each checked. Payloads are
// valid until the next call. What is wrong is an *op.CorruptError.
func (s *sealedFile) frames(fn func(Frame) error) error {
	w := &window{f: s.f, size: s.ft.end}
	last := s.seg.first - 1
	corrupt := func(off int64, reason string) error {
		return &op.CorruptError{File: s.seg.path, Offset: off, Reason: reason}
	}
	off := int64(segmentHeader)
	for off < s.ft.end {
		if off+frameHeader > s.ft.end {
			return corrupt(off, "the frames end inside of one")
		}
		b, err := w.at(off, frameHeader)
		if err != nil {
			return err
		}
		h := parseHeader(b)
		if reason := h.flaw(s.seg.salt, off, s.ft.end); reason != "" {
			return corrupt(off, reason)
		}
		if h.sequence != last+1 && !(s.seg.compacted && h.sequence > last && h.sequence <= s.ft.last) {
			return corrupt(off, fmt.Sprintf("a frame with sequence %d", h.sequence))
		}
		n := frameSize(int(h.length))
		if b, err = w.at(off, n); err != nil {
			return err
		}
		if reason := h.flawFrame(b); reason != "" {
			return corrupt(off, reason)
		}
		frame := Frame{
			Kind: Kind(h.kind), Sequence: h.sequence, Synced: h.synced, Offset: off,
			Payload: b[frameHeader : frameHeader+int(h.length)], Cut: h.sequence != last+1,
		}
		last = h.sequence
		if err := s.deliver(frame, &last, fn); errors.Is(err, errPacked) {
			return corrupt(off, err.Error())
		} else if err != nil {
			return err
		}
		off += n
	}
	if last > s.ft.last || last < s.ft.last && !s.seg.compacted {
		return corrupt(off, fmt.Sprintf("the frames end at sequence %d, but the index says %d", last, s.ft.last))
	}
	return nil
}

// deliver takes one good frame.
func (s *sealedFile) deliver(f Frame, last *uint64, fn func(Frame) error) error {
	switch {
	case f.Kind == Packed && s.seg.compacted:
		return unpack(f, func(inner Frame) error {
			inner.Cut = f.Cut || inner.Sequence > *last+1
			f.Cut = false
			if *last = inner.Sequence; *last > s.ft.last {
				return fmt.Errorf("%w: a record with sequence %d", errPacked, *last)
			}
			return fn(inner)
		})
	case f.Kind == Seal && !s.seg.compacted:
		return nil
	case f.Kind != Record && !(f.Kind == Base && s.seg.compacted):
		return &op.CorruptError{File: s.seg.path, Offset: f.Offset, Reason: fmt.Sprintf("a frame of unknown kind %d", f.Kind)}
	case len(f.Payload) < streamSize:
		return &op.CorruptError{File: s.seg.path, Offset: f.Offset, Reason: "a record too short for its stream"}
	}
	return fn(f)
}

// verify reads all of a compacted segment, its index too.
func (s *sealedFile) verify() error {
	seg := s.seg
	err := s.frames(func(f Frame) error {
		seg.entries = append(seg.entries, entry{[streamSize]byte(f.Payload), f.Offset})
		return nil
	})
	if err != nil {
		return err
	}
	return checkIndex(s.f, s.ft, &seg)
}

// ReadContents reads the index of a sealed segment.
func ReadContents(fsys vfs.FS, path string, id Identity) (c *Contents, err error) {
	s, err := openSealed(fsys, path, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.f.Close()) }()
	index, err := readIndex(s.f, s.ft)
	if err != nil {
		return nil, err
	}
	c = &Contents{Sealed: s.sealed(), Bytes: s.ft.end - segmentHeader}
	var all []int64
	for i := range int(s.ft.streams) {
		all = append(all, lookup(index, s.ft, [streamSize]byte(index[i*indexRecord:]))...)
	}
	slices.Sort(all)
	for i := range int(s.ft.streams) {
		part := StreamPart{Stream: [streamSize]byte(index[i*indexRecord:])}
		offsets := lookup(index, s.ft, part.Stream)
		if part.Count = len(offsets); part.Count == 0 {
			continue
		}
		part.First = offsets[0]
		for _, off := range offsets {
			part.Bytes += share(all, off, s.ft.end)
		}
		c.Streams = append(c.Streams, part)
	}
	return c, nil
}

// share is what a record takes of the frame at off: all of it, up to the next
// one in the index, unless there are others in it.
func share(all []int64, off, end int64) int64 {
	i, _ := slices.BinarySearch(all, off)
	n := int64(1)
	for i++; i < len(all) && all[i] == off; i++ {
		n++
	}
	if i < len(all) {
		end = all[i]
	}
	return (end - off) / n
}

// FirstOf returns the first record or base of a stream in a segment, whose frame
// is at off.
func FirstOf(fsys vfs.FS, path string, id Identity, stream [16]byte, off int64) (first Frame, err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return first, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, err := readSegmentHeader(f, path, id)
	if err != nil {
		return first, err
	}
	found := errors.New("found")
	seg := &segment{path: path, salt: h.salt}
	err = seg.recordsAt(f, off, func(f Frame) error {
		if !bytes.Equal(f.Payload[:streamSize], stream[:]) {
			return nil
		}
		first = f
		return found
	})
	if errors.Is(err, found) {
		return first, nil
	}
	if err == nil {
		err = &op.CorruptError{File: path, Offset: off, Reason: "the segment's index and its frames disagree"}
	}
	return first, err
}

// recordsAt hands the record in the frame at off, or those packed in it, to fn.
func (seg *segment) recordsAt(f vfs.File, off int64, fn func(Frame) error) error {
	frame, err := readFrame(f, seg.salt, off)
	if err != nil {
		return err
	}
	if frame.Kind != Packed {
		if len(frame.Payload) < streamSize {
			return &op.CorruptError{File: seg.path, Offset: off, Reason: "a record too short for its stream"}
		}
		return fn(frame)
	}
	err = unpack(frame, fn)
	if errors.Is(err, errPacked) {
		err = &op.CorruptError{File: seg.path, Offset: off, Reason: err.Error()}
	}
	return err
}

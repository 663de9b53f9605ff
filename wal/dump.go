package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"inmem/op"
	"inmem/vfs"
)

// Dump is what one segment file holds, read by itself: without its log, its
// store or their lock, whatever its name.
type Dump struct {
	Identity
	Path    string
	Created int64  // Unix milliseconds
	First   uint64 // sequence of the first frame
	Last    uint64 // sequence of the last good frame; First-1 = there is none
	End     int64  // offset behind the last good frame
	Size    int64  // of the file

	// Indexed says that the file ends with an index: it is complete and has a
	// successor.
	Indexed            bool
	Streams, Positions uint32 // in the index
	// Compacted says that it holds what was kept of its frames: their sequences
	// have gaps.
	Compacted bool

	// Flaw is what is wrong behind the last good frame; "" = nothing. It is a
	// write that a crash cut short, Tail bytes of it, unless Evidence says how
	// these bytes are known to have been good once. A file that has a
	// successor has no writes cut short either: the caller knows.
	Flaw     string
	Tail     int64
	Evidence string
}

// ReadSegment reads the segment file at path and hands every good frame up to
// the first bad one to fn, seals too. It changes nothing and allocates no more
// than the file is long, whatever is in it. What is wrong with the frames is in
// the Dump; an error means that the file has no readable header (a
// *op.CorruptError or *op.UnsupportedError), that it cannot be read, or is fn's.
func ReadSegment(fsys vfs.FS, path string, fn func(Frame) error) (d *Dump, err error) {
	info, err := fsys.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, fmt.Errorf("reading %s: not a regular file", path)
	}
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d = &Dump{Path: path}
	seg := &segment{path: path}
	if err := d.header(f, seg); err != nil {
		return nil, err
	}
	if d.Size, err = f.Size(); err != nil {
		return nil, err
	}
	ft, indexed, err := readFooter(f, d.Size, seg.salt)
	if err != nil {
		return nil, err
	}
	w := &window{f: f, size: d.Size}
	if indexed {
		d.Indexed, d.Streams, d.Positions = true, ft.streams, ft.positions
		w.size = ft.end // the frames go no further
	}
	if err := d.frames(w, seg, fn); err != nil {
		return nil, err
	}
	if indexed {
		return d, d.judgeIndexed(f, ft)
	}
	return d, d.judgeOpen(w, seg)
}

// header fills in what the segment's header says. A file by itself has nothing
// to be compared with, so its own word on store, shard and name is taken.
func (d *Dump) header(f vfs.File, seg *segment) error {
	b := make([]byte, segmentHeader)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	d.Identity = Identity{Store: [16]byte(b[16:32]), Shard: binary.LittleEndian.Uint32(b[12:])}
	d.Created = int64(binary.LittleEndian.Uint64(b[48:]))
	name := segmentPath(filepath.Dir(d.Path), binary.LittleEndian.Uint64(b[32:]))
	h, err := readSegmentHeader(f, name, d.Identity)
	d.First, d.Compacted, seg.salt, seg.compacted = h.first, h.compacted, h.salt, h.compacted
	var corrupt *op.CorruptError
	if errors.As(err, &corrupt) {
		corrupt.File = d.Path
	}
	var unsupported *op.UnsupportedError
	if errors.As(err, &unsupported) {
		unsupported.File = d.Path
	}
	return err
}

// frames reads frames until one is not good, or to the end of the window.
func (d *Dump) frames(w *window, seg *segment, fn func(Frame) error) error {
	d.Last, d.End = d.First-1, segmentHeader
	for d.End != w.size {
		if d.End+frameHeader > w.size {
			d.Flaw = "the file ends inside a frame"
			return nil
		}
		b, err := w.at(d.End, frameHeader)
		if err != nil {
			return err
		}
		h := parseHeader(b)
		if d.Flaw = h.flaw(seg.salt, d.End, w.size); d.Flaw != "" {
			return nil
		}
		if h.sequence != d.Last+1 && !(d.Compacted && h.sequence > d.Last) {
			d.Flaw = fmt.Sprintf("a frame with sequence %d, where %d was expected", h.sequence, d.Last+1)
			return nil
		}
		frame, err := w.at(d.End, frameSize(int(h.length)))
		if err != nil {
			return err
		}
		if d.Flaw = h.flawFrame(frame); d.Flaw != "" {
			return nil
		}
		err = d.deliver(Frame{
			Kind: Kind(h.kind), Sequence: h.sequence, Synced: h.synced, Offset: d.End,
			Payload: frame[frameHeader : frameHeader+int(h.length)],
		}, fn)
		if errors.Is(err, errPacked) {
			d.Flaw = err.Error()
			return nil
		}
		if err != nil {
			return err
		}
		d.End += frameSize(int(h.length))
	}
	return nil
}

// deliver hands a frame to fn, or what is packed in it.
func (d *Dump) deliver(f Frame, fn func(Frame) error) error {
	if f.Kind != Packed || !d.Compacted {
		d.Last = f.Sequence
		return fn(f)
	}
	return unpack(f, func(inner Frame) error {
		d.Last = inner.Sequence
		return fn(inner)
	})
}

// judgeIndexed judges a file that ends with an index: its footer was written
// when everything before it was on the device.
func (d *Dump) judgeIndexed(f vfs.File, ft footer) error {
	if d.Flaw == "" && d.Compacted && d.Last <= ft.last {
		d.Last = ft.last // it covers more than it has
	}
	if d.Flaw == "" && d.Last != ft.last {
		d.Flaw = fmt.Sprintf("the frames end at sequence %d, but the index says %d", d.Last, ft.last)
	}
	if d.Flaw != "" {
		d.Tail = ft.end - d.End
		d.Evidence = fmt.Sprintf("the index is of all frames up to offset %d", ft.end)
		return nil
	}
	_, err := readIndex(f, ft)
	var corrupt *op.CorruptError
	if errors.As(err, &corrupt) {
		d.Flaw, d.Tail = corrupt.Reason, ft.length()
		d.Evidence = "the footer is written after the index"
		return nil
	}
	return err
}

// judgeOpen judges the end of a file without an index, as Scan does for the
// last segment of a log.
func (d *Dump) judgeOpen(w *window, seg *segment) error {
	last, err := w.lastNonZero(d.End)
	if err != nil {
		return err
	}
	if last < d.End {
		d.Flaw = "" // space reserved ahead, or the end of the file
		return nil
	}
	d.Tail = last + 1 - d.End
	s := scanner{out: &Scanned{Last: d.Last}}
	d.Evidence, err = s.syncedPast(w, seg, d.End)
	if d.Evidence != "" {
		d.Evidence += " that it was on the device"
	}
	return err
}

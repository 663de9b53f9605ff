package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"inmem/op"
	"inmem/vfs"
)

// Bounds is what the manifest knows of a log.
type Bounds struct {
	First  uint64 // sequence at which the oldest kept segment begins
	After  uint64 // frames up to here are in a checkpoint and are not handed out
	Synced uint64 // frames up to here were on the device: a log that ends before is damaged
}

// least is the sequence that the log must reach. A log that ends before its
// checkpoint would give out sequences again that a later Scan passes over.
func (b *Bounds) least() uint64 { return max(b.Synced, b.After) }

// Scanned is the verdict over a log, reached by reading alone.
type Scanned struct {
	Last     uint64 // sequence of the last good frame
	Frames   uint64 // handed out
	Bytes    int64  // read
	Time     int64  // of the newest seal read, Unix milliseconds
	Sealed   bool   // nothing follows the last seal
	Torn     int64  // bytes of an unfinished write at the end, to be cut off
	TornAt   int64  // their offset …
	TornFile string // … and file
	Unsealed int    // older segments without an index, whose frames are all there

	segments []segment // the last one is open for appending
	halfMade []string
	synced   int64
}

// Extent is the beginning of a segment file.
type Extent struct {
	Path   string
	Length int64
	salt   uint32
}

// Is reports whether f is still the segment that was scanned. One that was
// compacted since is another one.
func (e *Extent) Is(f vfs.File) (bool, error) {
	b := make([]byte, 4)
	if _, err := f.ReadAt(b, 40); err != nil && err != io.EOF {
		return false, err
	}
	return binary.LittleEndian.Uint32(b) == e.salt, nil
}

// Extents returns what of the log's files makes up what was scanned. It stays
// as it is while the log grows.
func (sc *Scanned) Extents() []Extent {
	list := make([]Extent, len(sc.segments))
	for i := range sc.segments {
		seg := &sc.segments[i]
		list[i] = Extent{seg.path, seg.end, seg.salt}
		if seg.indexed && i < len(list)-1 {
			list[i].Length = seg.size
		}
	}
	return list
}

// scanner reads one log.
type scanner struct {
	fsys   vfs.FS
	dir    string
	id     Identity
	bounds Bounds
	fn     func(Frame) error
	out    *Scanned
	verify bool
	known  []segment // those that were read before, of which the last one may have grown
}

// ErrChanged says that the log got another segment, or lost one, while it was
// read, which may explain what is wrong with it: reading it again will tell.
var ErrChanged = errors.New("wal: the log was changed while it was read")

// changedError is an ErrChanged with what was found.
type changedError struct{ err error }

func (e *changedError) Error() string        { return fmt.Sprintf("%v: %v", ErrChanged, e.err) }
func (e *changedError) Is(target error) bool { return target == ErrChanged }
func (e *changedError) Unwrap() error        { return e.err }

// Scan reads the log in dir and hands every record after bounds.After to fn,
// in order. It changes nothing. Damage is an *op.CorruptError that names file
// and offset; an error of fn becomes one. A torn tail is no error: it is in
// the verdict, and Open cuts it.
//
// The log may be open: then Scan reads everything that was written before it
// was called, and some of what is written meanwhile, but never part of a frame.
// Where it finds damage it may return ErrChanged, which wraps it; a sound log
// that is only appended to gives no error.
func Scan(fsys vfs.FS, dir string, id Identity, bounds Bounds, fn func(Frame) error) (*Scanned, error) {
	return scan(fsys, dir, id, bounds, fn, false)
}

// Verify is Scan, and reads also what Scan may pass over: segments that a
// checkpoint covers, and their indexes.
func Verify(fsys vfs.FS, dir string, id Identity, bounds Bounds, fn func(Frame) error) (*Scanned, error) {
	return scan(fsys, dir, id, bounds, fn, true)
}

func scan(fsys vfs.FS, dir string, id Identity, bounds Bounds, fn func(Frame) error, verify bool) (*Scanned, error) {
	s := &scanner{fsys: fsys, dir: dir, id: id, bounds: bounds, fn: fn, verify: verify}
	s.out = &Scanned{Last: bounds.First - 1}
	return s.scan()
}

// ErrPruned says that records which are asked for were in the log and are not
// kept any more.
var ErrPruned = errors.New("inmem: what was logged since is not kept any more")

// More reads what was logged since sc was returned, hands it to fn, in order,
// and returns the verdict over all of it; Frames and Bytes are those that were
// added. Errors are those of Scan, also that of a log that is not the one that
// was scanned, and ErrPruned where some of it is not kept any more. After an
// error some records may have been handed out.
func (sc *Scanned) More(fsys vfs.FS, dir string, id Identity, fn func(Frame) error) (*Scanned, error) {
	s := &scanner{fsys: fsys, dir: dir, id: id, bounds: Bounds{First: sc.segments[0].first, After: sc.Last}, fn: fn, known: sc.segments}
	s.out = &Scanned{Last: sc.Last, Time: sc.Time, Sealed: sc.Sealed, synced: sc.synced}
	return s.scan()
}

func (s *scanner) scan() (*Scanned, error) {
	paths, halfMade, err := listSegments(s.fsys, s.dir)
	if err != nil {
		return nil, err
	}
	s.out.halfMade = halfMade
	if err := s.read(paths); err != nil {
		now, _, listErr := listSegments(s.fsys, s.dir)
		if listErr == nil && (!slices.Equal(now, paths) || s.replaced()) {
			return nil, &changedError{err}
		}
		return nil, err
	}
	return s.out, nil
}

// read reads the segments at paths, which are all there are, from where it is
// known on.
func (s *scanner) read(paths []string) error {
	if err := s.headers(paths); err != nil {
		return err
	}
	from := 0
	if n := len(s.known); n > 0 { // the last one may have grown
		from = slices.IndexFunc(s.out.segments, func(seg segment) bool { return seg.first == s.known[n-1].first })
	}
	for i := from; i < len(s.out.segments); i++ {
		if err := s.segment(i); err != nil {
			return err
		}
	}
	if s.out.Last < s.bounds.least() {
		last := s.out.segments[len(s.out.segments)-1]
		return &op.CorruptError{File: last.path, Offset: last.end, Reason: fmt.Sprintf(
			"the log ends at sequence %d, but %d was on the device", s.out.Last, s.bounds.least())}
	}
	return nil
}

// segment reads the i-th segment.
func (s *scanner) segment(i int) (err error) {
	seg := &s.out.segments[i]
	f, err := s.fsys.OpenFile(seg.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	ft, sealed, err := readFooter(f, size, seg.salt)
	if err != nil {
		return err
	}
	if seg.compacted {
		return s.compacted(i, f)
	}
	last := ft.last
	if i < len(s.out.segments)-1 {
		last = s.out.segments[i+1].first - 1
	} else if !sealed {
		return s.last(f, seg, size)
	} else if _, err := s.fsys.Stat(segmentPath(s.dir, last+1)); err != nil {
		// Otherwise it got its successor, and then its index, while we read.
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return &op.CorruptError{File: seg.path, Offset: ft.end, Reason: "the segment is sealed, but the next one is missing"}
	}
	if sealed && ft.last == last && last <= s.bounds.After && !s.verify {
		seg.end, seg.last, seg.indexed, seg.size, s.out.Last = ft.end, last, true, size, last
		return nil
	}
	return s.older(f, seg, size, last, ft, sealed)
}

// older reads a segment that has a successor: everything up to the successor's
// first sequence must be there, because a successor is made only after that
// was synced.
func (s *scanner) older(f vfs.File, seg *segment, size int64, last uint64, ft footer, sealed bool) error {
	w := &window{f: f, size: size}
	off, reason, err := s.frames(w, seg, seg.begin(), last)
	if err != nil {
		return err
	}
	if s.out.Last != last {
		return &op.CorruptError{File: seg.path, Offset: off, Reason: fmt.Sprintf(
			"%s, where sequence %d was expected; the segment has all up to %d", reason, s.out.Last+1, last)}
	}
	if reason, err := s.goesOn(w, seg, off, ft, sealed); err != nil {
		return err
	} else if reason != "" {
		return &op.CorruptError{File: seg.path, Offset: off, Reason: fmt.Sprintf(
			"%s, but the next segment begins with sequence %d", reason, last+1)}
	}
	seg.end, seg.last = off, last
	s.out.Sealed = false
	if !sealed || ft.end != off {
		s.out.Unsealed++ // Open writes the index again, from the entries
		return nil
	}
	if s.verify {
		if err := checkIndex(f, ft, seg); err != nil {
			return err
		}
	}
	seg.indexed, seg.size, seg.entries = true, size, nil
	return nil
}

// goesOn says what is in a segment behind its last frame at off, where its
// successor begins, that a log never writes there: a successor of another copy
// of the store is there, and this segment's frames must not be cut off for it.
func (s *scanner) goesOn(w *window, seg *segment, off int64, ft footer, sealed bool) (reason string, err error) {
	if sealed && ft.last != s.out.Last {
		return fmt.Sprintf("the index says that the segment goes up to sequence %d", ft.last), nil
	}
	if sealed || off+frameHeader > w.size {
		return "", nil
	}
	b, err := w.at(off, frameHeader)
	if err != nil {
		return "", err
	}
	h := parseHeader(b)
	if h.sequence != s.out.Last+1 || h.flaw(seg.salt, off, w.size) != "" {
		return "", nil
	}
	frame, err := w.at(off, frameSize(int(h.length)))
	if err == nil && h.flawFrame(frame) == "" {
		reason = fmt.Sprintf("the segment has a frame with sequence %d", h.sequence)
	}
	return reason, err
}

// checkIndex compares a segment's index with its frames.
func checkIndex(f vfs.File, ft footer, seg *segment) error {
	index, err := readIndex(f, ft)
	if err != nil {
		return err
	}
	if want, _ := encodeIndex(seg.entries, ft.end, ft.last, seg.salt); !bytes.Equal(index, want) {
		return &op.CorruptError{File: seg.path, Offset: ft.end, Reason: "the segment's index and its frames disagree"}
	}
	return nil
}

// last reads the segment that is appended to, and judges its end. What is no
// frame is looked at twice: whoever appends meanwhile may have completed it
// before the frame was written that gives evidence against it.
func (s *scanner) last(f vfs.File, seg *segment, size int64) error {
	w := &window{f: f, size: size}
	off, _, err := s.frames(w, seg, seg.begin(), ^uint64(0))
	if err != nil {
		return err
	}
	for {
		seg.end = off
		nonZero, err := w.lastNonZero(off)
		if err != nil {
			return err
		}
		if nonZero < off {
			return nil // space allocated ahead, or the end of the file
		}
		evidence, err := s.syncedPast(w, seg, off)
		if err != nil {
			return err
		}
		w.forget()
		var reason string
		if off, reason, err = s.frames(w, seg, seg.end, ^uint64(0)); err != nil {
			return err
		}
		if off == seg.end {
			return s.badEnd(seg, nonZero, reason, evidence)
		}
	}
}

// badEnd judges bytes at the end of the last segment, up to nonZero, that are
// no frame: damage, or a write that a crash cut short.
func (s *scanner) badEnd(seg *segment, nonZero int64, reason, evidence string) error {
	if evidence == "" && s.out.Last < s.bounds.least() {
		evidence = fmt.Sprintf("the manifest says that sequence %d was on the device", s.bounds.least())
	}
	if evidence != "" {
		return &op.CorruptError{File: seg.path, Offset: seg.end, Reason: reason + "; it was on the device once: " + evidence}
	}
	s.out.Torn, s.out.TornAt, s.out.TornFile = nonZero+1-seg.end, seg.end, seg.path
	s.out.Sealed = false
	return nil
}

// frames reads frames from off on until the sequence last, or until one is not
// good. It returns the offset behind the last good frame and what is wrong there.
func (s *scanner) frames(w *window, seg *segment, off int64, last uint64) (end int64, reason string, err error) {
	for s.out.Last < last {
		if off+frameHeader > w.size {
			return off, "the file ends", nil
		}
		b, err := w.at(off, frameHeader)
		if err != nil {
			return off, "", err
		}
		h := parseHeader(b)
		if reason := h.flaw(seg.salt, off, w.size); reason != "" {
			return off, reason, nil
		}
		if h.sequence != s.out.Last+1 {
			return off, fmt.Sprintf("a frame with sequence %d", h.sequence), nil
		}
		n := frameSize(int(h.length))
		frame, err := w.at(off, n)
		if err != nil {
			return off, "", err
		}
		if reason := h.flawFrame(frame); reason != "" {
			return off, reason, nil
		}
		if err := s.deliver(seg, h, off, frame[frameHeader:frameHeader+int(h.length)]); err != nil {
			var corrupt *op.CorruptError
			if errors.As(err, &corrupt) {
				return off, "", err
			}
			return off, "", &op.CorruptError{File: seg.path, Offset: off, Reason: err.Error()}
		}
		s.out.Last, s.out.synced = h.sequence, h.synced
		s.out.Bytes += n
		off += n
	}
	return off, "", nil
}

// deliver takes one good frame.
func (s *scanner) deliver(seg *segment, h header, off int64, payload []byte) error {
	s.out.Sealed = false
	switch Kind(h.kind) {
	case Seal:
		if len(payload) != 8 {
			return errors.New("a seal of the wrong length")
		}
		s.out.Time = max(s.out.Time, int64(binary.LittleEndian.Uint64(payload)))
		s.out.Sealed = true
		return nil
	case Record:
		if len(payload) < streamSize {
			return errors.New("a record too short for its stream")
		}
		seg.entries = append(seg.entries, entry{stream: [streamSize]byte(payload), offset: off})
		if h.sequence <= s.bounds.After {
			return nil
		}
		s.out.Frames++
		return s.fn(Frame{Kind: Record, Sequence: h.sequence, Synced: h.synced, Offset: off, Payload: payload})
	}
	return fmt.Errorf("a frame of unknown kind %d", h.kind)
}

// syncedPast looks behind a bad frame at off for a later good frame of this
// segment that was written when off was already on the device: then the bad
// frame is damage, and no write that a crash cut short.
func (s *scanner) syncedPast(w *window, seg *segment, off int64) (string, error) {
	for at := off + align; at+frameHeader <= w.size; at += align {
		b, err := w.at(at, frameHeader)
		if err != nil {
			return "", err
		}
		h := parseHeader(b)
		if h.synced <= off || h.sequence <= s.out.Last || h.flaw(seg.salt, at, w.size) != "" {
			continue
		}
		frame, err := w.at(at, frameSize(int(h.length)))
		if err != nil {
			return "", err
		}
		if h.flawFrame(frame) == "" {
			return fmt.Sprintf("the frame at offset %d knows", at), nil
		}
	}
	return "", nil
}

// window reads a file forward through a buffer.
type window struct {
	f    vfs.File
	size int64
	buf  []byte
	off  int64 // of buf[0] in the file
}

const readAhead = 1 << 20

// at returns n bytes at off, valid until the next call. The caller has checked
// that they lie within the file.
func (w *window) at(off, n int64) ([]byte, error) {
	if off >= w.off && off+n <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	want := min(max(n, readAhead), w.size-off)
	if int64(cap(w.buf)) < want {
		w.buf = make([]byte, want)
	}
	w.buf, w.off = w.buf[:want], off
	got, err := w.f.ReadAt(w.buf, off)
	if err != nil && err != io.EOF {
		w.buf = w.buf[:0]
		return nil, fmt.Errorf("reading %s at %d: %w", w.f.Name(), off, err)
	}
	// The log's owner may cut off what holds no frames: it reads as the zeros
	// that the space reserved ahead consists of.
	clear(w.buf[got:])
	return w.buf[:n], nil
}

// forget lets the next read ask the file.
func (w *window) forget() { w.buf = w.buf[:0] }

// lastNonZero returns the offset of the last byte from off on that is not
// zero, or off-1.
func (w *window) lastNonZero(off int64) (int64, error) {
	last := off - 1
	for at := off; at < w.size; {
		b, err := w.at(at, min(readAhead, w.size-at))
		if err != nil {
			return 0, err
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] != 0 {
				last = at + int64(i)
				break
			}
		}
		at += int64(len(b))
	}
	return last, nil
}

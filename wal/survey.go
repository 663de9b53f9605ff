package wal

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"inmem/op"
	"inmem/vfs"
)

// Survey is what can still be read of one segment file, whatever is wrong with
// it: OpenSurvey reads the header, Frames the rest.
type Survey struct {
	Path  string
	Named uint64 // the sequence that the file is named after; 0 = it has another name
	Size  int64

	// What the header says. Where HeaderFlaw says what is wrong with it the
	// Identity stands as it is in the file, and is not to be believed, and the
	// others are 0.
	HeaderFlaw string
	Identity
	Created int64
	First   uint64 // sequence of the first frame
	// Compacted says that it has what was kept of its frames, so that sequences
	// that are not there need not be missing.
	Compacted bool

	// What Frames found. Salt is what the frames of the segment have in common:
	// files with the same salt are copies of one.
	Salt uint32
	Good uint64     // frames that verify
	Last uint64     // the highest sequence of them
	End  int64      // offset behind the last of them
	Time int64      // of the newest seal, Unix milliseconds
	Bad  []BadRange // in order
	// Mixed says that a frame lies behind one with a higher sequence, or where
	// the index has none of its stream: parts of the file were overwritten with
	// others, and what lies between two frames says nothing about the sequences
	// in between.
	Mixed bool

	// Indexed says that the file ends with a footer that verifies: its frames
	// went up to IndexLast. Missing are the records that the index names and that
	// did not verify, in order, unless IndexFlaw says what is wrong with the index.
	Indexed   bool
	IndexLast uint64
	IndexEnd  int64 // where the frames end and the index begins
	IndexFlaw string
	Missing   []Missing

	fsys vfs.FS
	good []entry // records that verify, for comparison with the index
}

// BadRange is a part of a segment that holds no frame that verifies, though it
// is not empty.
type BadRange struct {
	Offset, Length int64
	Reason         string
	After, Before  uint64 // sequences of the frames on both sides; 0 = there is none
	SealOnly       bool   // it was a seal: there is no room for a record
}

// Missing is a record of which only the index is left.
type Missing struct {
	Stream [streamSize]byte
	Offset int64
}

// SegmentFiles returns the files in dir that look like segments of a log,
// whatever their name, in order.
func SegmentFiles(fsys vfs.FS, dir string) ([]string, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), segmentSuffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// OpenSurvey reads the header of the segment file at path. A header that is
// damaged is no error; one of a newer format is a *op.UnsupportedError.
func OpenSurvey(fsys vfs.FS, path string) (s *Survey, err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s = &Survey{Path: path, fsys: fsys}
	if hex := strings.TrimSuffix(filepath.Base(path), segmentSuffix); len(hex) == 16 && strings.ToLower(hex) == hex {
		s.Named, _ = strconv.ParseUint(hex, 16, 64) // 0 where it is no number
	}
	if s.Size, err = f.Size(); err != nil {
		return nil, err
	}
	d, seg := &Dump{Path: path}, &segment{}
	err = d.header(f, seg)
	s.Identity = d.Identity
	var corrupt *op.CorruptError
	switch {
	case errors.As(err, &corrupt):
		s.HeaderFlaw = corrupt.Reason
		return s, s.saltAsItStands(f)
	case err != nil:
		return nil, err
	}
	s.Created, s.First, s.Salt, s.Compacted = d.Created, d.First, seg.salt, d.Compacted
	return s, nil
}

// saltAsItStands takes the salt from a damaged header. Whether that is right
// the frames will tell.
func (s *Survey) saltAsItStands(f vfs.File) error {
	if s.Size < segmentHeader {
		return nil
	}
	b := make([]byte, 4)
	_, err := f.ReadAt(b, 40)
	s.Salt = binary.LittleEndian.Uint32(b)
	return err
}

// Frames hands every frame that verifies to fn, seals too, each sequence once,
// as they lie in the file: that is in order, unless the file was overwritten
// with parts of itself. What fn finds wrong with what is in a frame makes a bad
// range of it; "" = nothing. An error means that the file cannot be read, or
// that ctx ended.
//
// Behind a good frame the next one is expected. Where none is, each place at
// which one may begin is tried, in the payload of a damaged frame too. What is
// found there has the segment's salt, a random number that no other file has,
// and a sequence that was not found before: so it is a copy of a frame of this
// very segment, which is as good as the frame.
func (s *Survey) Frames(ctx context.Context, fn func(Frame) (flaw string)) (err error) {
	f, err := s.fsys.OpenFile(s.Path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if s.Size <= segmentHeader {
		return nil
	}
	r := &surveyor{Survey: s, ctx: ctx, w: &window{f: f, size: s.Size}, fn: fn}
	if s.HeaderFlaw != "" {
		if err := r.findSalt(); err != nil {
			return err
		}
		r.asked = 0
	}
	ft, indexed, err := readFooter(f, s.Size, s.Salt)
	if err != nil {
		return err
	}
	if indexed {
		s.Indexed, s.IndexLast, s.IndexEnd = true, ft.last, ft.end
		r.w.size = ft.end
	}
	if err := r.frames(); err != nil || !indexed {
		return err
	}
	return s.compare(f, ft)
}

// compare looks which records of the index are not there.
func (s *Survey) compare(f vfs.File, ft footer) error {
	defer func() { s.good = nil }()
	index, err := readIndex(f, ft)
	var corrupt *op.CorruptError
	if errors.As(err, &corrupt) {
		s.IndexFlaw = corrupt.Reason
		return nil
	}
	if err != nil {
		return err
	}
	known, good := 0, map[entry]bool{} // several records may be packed at one place
	for _, e := range s.good {
		good[e] = true
	}
	for i := range int(ft.streams) {
		stream := [streamSize]byte(index[i*indexRecord:])
		for _, off := range lookup(index, ft, stream) {
			if good[entry{stream, off}] {
				known++
			} else {
				s.Missing = append(s.Missing, Missing{stream, off})
			}
		}
	}
	s.Mixed = s.Mixed || known < len(s.good)
	slices.SortFunc(s.Missing, func(a, b Missing) int { return cmp.Compare(a.Offset, b.Offset) })
	return nil
}

// surveyor reads the frames of a survey.
type surveyor struct {
	*Survey
	ctx   context.Context
	w     *window
	fn    func(Frame) string
	asked int64 // where ctx was asked last
	seen  sequences
	last  uint64 // sequence of the good frame before
}

// findSalt finds the salt of a segment whose header is damaged: that of the
// header if a frame has it, else the one that most frames have.
func (r *surveyor) findSalt() error {
	count, most := map[uint32]int{}, uint32(0)
	for off := int64(segmentHeader); off+frameHeader <= r.w.size; {
		if err := r.ask(off); err != nil {
			return err
		}
		b, err := r.w.at(off, frameHeader)
		if err != nil {
			return err
		}
		h := parseHeader(b)
		reason := "no frame"
		if h.kind == uint32(Record) || h.kind == uint32(Seal) {
			if reason, _, err = r.frame(off, h.salt); err != nil {
				return err
			}
		}
		if reason != "" {
			off += align
			continue
		}
		if h.salt == r.Salt {
			return nil
		}
		if count[h.salt]++; count[h.salt] > count[most] {
			most = h.salt
		}
		off += frameSize(int(h.length))
	}
	r.Salt = most
	return nil
}

// ask returns why to stop, now and then.
func (r *surveyor) ask(off int64) error {
	if off-r.asked < readAhead {
		return nil
	}
	r.asked = off
	return r.ctx.Err()
}

// frame reads the frame at off, and returns why there is none of that salt.
func (r *surveyor) frame(off int64, salt uint32) (reason string, f Frame, err error) {
	if off+frameHeader > r.w.size {
		return "the file ends inside a frame", f, nil
	}
	b, err := r.w.at(off, frameHeader)
	if err != nil {
		return "", f, err
	}
	h := parseHeader(b)
	if reason = h.flaw(salt, off, r.w.size); reason != "" {
		return reason, f, nil
	}
	if b, err = r.w.at(off, frameSize(int(h.length))); err != nil {
		return "", f, err
	}
	return h.flawFrame(b), Frame{
		Kind: Kind(h.kind), Sequence: h.sequence, Synced: h.synced, Offset: off,
		Payload: b[frameHeader : frameHeader+int(h.length)],
	}, nil
}

// next reads the frame at off, and returns why there is none that is wanted.
func (r *surveyor) next(off int64) (reason string, f Frame, err error) {
	reason, f, err = r.frame(off, r.Salt)
	switch {
	case err != nil || reason != "":
	case f.Sequence < r.First:
		reason = fmt.Sprintf("a frame with sequence %d in a segment that begins with %d", f.Sequence, r.First)
	case r.seen.has(f.Sequence):
		reason = fmt.Sprintf("the frame with sequence %d once more", f.Sequence)
	}
	return reason, f, err
}

func (r *surveyor) frames() error {
	for off := int64(segmentHeader); off < r.w.size; {
		if err := r.ask(off); err != nil {
			return err
		}
		reason, f, err := r.next(off)
		if err != nil {
			return err
		}
		if reason != "" {
			if off, err = r.skip(off, reason); err != nil {
				return err
			}
			continue
		}
		n := frameSize(len(f.Payload))
		if f.Kind == Packed && r.Compacted {
			r.packed(f, n)
			off += n
			continue
		}
		if flaw := r.deliver(f); flaw != "" {
			r.bad(off, n, flaw, false)
		} else {
			r.reached(f.Sequence, off+n)
		}
		r.seen.add(f.Sequence)
		off += n
	}
	return nil
}

// packed takes the records of a packed frame.
func (r *surveyor) packed(f Frame, n int64) {
	flaw := ""
	err := unpack(f, func(inner Frame) error {
		if r.seen.has(inner.Sequence) {
			return nil
		}
		if bad := r.deliver(inner); bad != "" {
			flaw = bad
		} else {
			r.reached(inner.Sequence, f.Offset+n)
		}
		r.seen.add(inner.Sequence)
		return nil
	})
	if err != nil {
		flaw = err.Error()
	}
	if flaw != "" {
		r.bad(f.Offset, n, flaw, false)
	}
}

// skip looks for the next good frame behind off, where there is none.
func (r *surveyor) skip(off int64, reason string) (next int64, err error) {
	for next = off + align; next+frameHeader <= r.w.size; next += align {
		if err := r.ask(next); err != nil {
			return 0, err
		}
		flaw, _, err := r.next(next)
		if err != nil {
			return 0, err
		}
		if flaw == "" {
			r.bad(off, next-off, reason, next-off < frameSize(streamSize))
			return next, nil
		}
	}
	end := r.w.size
	if !r.Indexed { // else there were frames up to the index
		nonZero, err := r.w.lastNonZero(off)
		if err != nil {
			return 0, err
		}
		end = nonZero + 1 // behind it is space reserved ahead, or nothing
	}
	if end == off {
		return r.w.size, nil
	}
	sealOnly := r.w.size-off < frameSize(streamSize)
	if sealOnly && !r.Indexed {
		// A record whose end was cut off may be as short, but does not look
		// like a seal in its first bytes.
		if sealOnly, err = r.likeSeal(off); err != nil {
			return 0, err
		}
	}
	r.bad(off, end-off, reason, sealOnly)
	return r.w.size, nil
}

// likeSeal reports whether what is left of the file from off on has the length
// of a seal, and says itself that it is one.
func (r *surveyor) likeSeal(off int64) (bool, error) {
	if r.w.size-off != frameSize(8) {
		return false, nil
	}
	b, err := r.w.at(off, frameHeader)
	if err != nil {
		return false, err
	}
	h := parseHeader(b)
	return h.kind == uint32(Seal) || h.length == 8, nil
}

func (r *surveyor) bad(off, n int64, reason string, sealOnly bool) {
	r.Bad = append(r.Bad, BadRange{Offset: off, Length: n, Reason: reason, After: r.last, SealOnly: sealOnly})
}

// reached notes a good frame.
func (r *surveyor) reached(sequence uint64, end int64) {
	for i := len(r.Bad) - 1; i >= 0 && r.Bad[i].Before == 0; i-- {
		r.Bad[i].Before = sequence
	}
	r.Good++
	r.Mixed = r.Mixed || sequence < r.Last
	r.Last, r.End, r.last = max(r.Last, sequence), end, sequence
}

// deliver takes one frame that verifies, and returns what is wrong in it.
func (r *surveyor) deliver(f Frame) (flaw string) {
	switch f.Kind {
	case Seal:
		if len(f.Payload) != 8 {
			return "a seal of the wrong length"
		}
		r.Time = max(r.Time, int64(binary.LittleEndian.Uint64(f.Payload)))
		return r.fn(f)
	case Record, Base:
		if len(f.Payload) < streamSize {
			return "a record too short for its stream"
		}
		if f.Kind == Base && !r.Compacted && r.HeaderFlaw == "" {
			break
		}
		if flaw = r.fn(f); flaw == "" && r.Indexed {
			r.good = append(r.good, entry{[streamSize]byte(f.Payload), f.Offset})
		}
		return flaw
	}
	return fmt.Sprintf("a frame of unknown kind %d", f.Kind)
}

// sequences is a set of sequences, most of them in a row.
type sequences struct {
	rows []struct{ first, last uint64 }
	max  uint64
}

func (s *sequences) has(sequence uint64) bool {
	if sequence > s.max {
		return false // as always where the frames are in order
	}
	for _, row := range s.rows {
		if row.first <= sequence && sequence <= row.last {
			return true
		}
	}
	return false
}

func (s *sequences) add(sequence uint64) {
	s.max = max(s.max, sequence)
	for i := len(s.rows) - 1; i >= 0; i-- {
		if s.rows[i].last+1 == sequence {
			s.rows[i].last = sequence
			return
		}
	}
	s.rows = append(s.rows, struct{ first, last uint64 }{sequence, sequence})
}

// Successor returns where the segment behind an indexed one is. There was one:
// an index is written only then.
func (s *Survey) Successor() string { return segmentPath(filepath.Dir(s.Path), s.IndexLast+1) }

// CreateAt is Create for a log whose first frame has that sequence: what came
// before is in a checkpoint.
func CreateAt(fsys vfs.FS, dir string, id Identity, first uint64, opts Options) error {
	f, _, err := createSegment(fsys, dir, id, first, opts.Now())
	if err != nil {
		return err
	}
	return f.Close()
}

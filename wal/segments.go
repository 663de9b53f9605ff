package wal

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"inmem/op"
	"inmem/vfs"
)

// Which files make up a log, and what of a chain of segments is judged without
// reading frames.

// headers fills in the segments and refuses a chain that does not begin where
// the manifest says, or is not the one that is known. Files that were trimmed
// off the beginning, or that a compacted segment covers, are what a crash left.
func (s *scanner) headers(paths []string) error {
	covered := s.bounds.First - 1
	older := map[string]*segment{}
	for i := range s.known {
		older[s.known[i].path] = &s.known[i]
	}
	for _, path := range paths {
		if named(path) <= covered {
			s.out.halfMade = append(s.out.halfMade, path)
			continue
		}
		seg := segment{path: path}
		if before := older[path]; before != nil {
			seg = *before
		}
		if before := older[path]; before == nil || before == &s.known[len(s.known)-1] {
			h, err := s.header(path)
			if err != nil {
				return err
			}
			if before != nil && (h.first != before.first || h.salt != before.salt) {
				if h.compacted {
					return fmt.Errorf("%w: %s was compacted", ErrPruned, path)
				}
				return &op.CorruptError{File: path, Reason: "the segment is not the one that was read before"}
			}
			seg.first, seg.salt, seg.compacted, seg.last = h.first, h.salt, h.compacted, h.last
		}
		if seg.compacted {
			covered = seg.last
		}
		s.out.segments = append(s.out.segments, seg)
	}
	return s.chain()
}

// chain judges the beginning of the log, and that it has what is known.
func (s *scanner) chain() error {
	segments := s.out.segments
	if n := len(s.known); n > 0 {
		last := s.known[n-1]
		if slices.ContainsFunc(segments, func(seg segment) bool { return seg.first == last.first }) {
			return nil
		}
		if len(segments) > 0 && s.goesOnBehind(last.first) {
			return fmt.Errorf("%w: %s is gone", ErrPruned, last.path)
		}
		return &op.CorruptError{File: last.path, Reason: "the segment was read before and is gone"}
	}
	if len(segments) == 0 {
		return &op.CorruptError{File: segmentPath(s.dir, s.bounds.First), Reason: "the log has no segments"}
	}
	if first := segments[0]; first.first != s.bounds.First {
		return &op.CorruptError{File: first.path, Reason: fmt.Sprintf(
			"the log begins at sequence %d, but the manifest says %d: a segment is missing or too many", first.first, s.bounds.First)}
	}
	return nil
}

// goesOnBehind reports whether the log has segments behind a sequence, as it has
// where what was up to there is not kept.
func (s *scanner) goesOnBehind(sequence uint64) bool {
	last := s.out.segments[len(s.out.segments)-1]
	return last.first > sequence
}

// header reads the header of the segment at path, and of a compacted one also
// how far it goes.
func (s *scanner) header(path string) (h headerInfo, err error) {
	f, err := s.fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, err = readSegmentHeader(f, path, s.id)
	if err != nil || !h.compacted {
		return h, err
	}
	sealed := &sealedFile{f: f, seg: segment{path: path}}
	err = sealed.read(s.id)
	h.last = sealed.ft.last
	return h, err
}

// replaced reports whether a segment is not the file any more that it was when
// its header was read.
func (s *scanner) replaced() bool {
	for i := range s.out.segments {
		seg := &s.out.segments[i]
		h, err := s.header(seg.path)
		if err == nil && h.salt != seg.salt {
			return true
		}
	}
	return false
}

// compacted takes a compacted segment. It has nothing that is handed out: only
// what a checkpoint covers is compacted.
func (s *scanner) compacted(i int, f vfs.File) error {
	seg := &s.out.segments[i]
	sealed := &sealedFile{f: f, seg: *seg}
	if err := sealed.read(s.id); err != nil {
		return err
	}
	corrupt := func(reason string) error {
		return &op.CorruptError{File: seg.path, Offset: sealed.ft.end, Reason: reason}
	}
	switch {
	case sealed.seg.salt != seg.salt:
		return corrupt("the segment was replaced while it was read")
	case i == len(s.out.segments)-1:
		return corrupt("the segment is compacted, but the next one is missing")
	case s.out.segments[i+1].first != seg.last+1:
		return corrupt(fmt.Sprintf("the segment goes up to sequence %d, but the next one begins with %d", seg.last, s.out.segments[i+1].first))
	case seg.last > s.bounds.After:
		return corrupt(fmt.Sprintf("the segment is compacted up to sequence %d, but the checkpoint covers only %d", seg.last, s.bounds.After))
	}
	if s.verify {
		if err := sealed.verify(); err != nil {
			return err
		}
	}
	*seg, s.out.Last, s.out.Sealed = sealed.seg, seg.last, false
	return nil
}

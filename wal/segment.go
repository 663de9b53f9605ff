package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"inmem/op"
	"inmem/vfs"
)

const (
	segmentMagic  = "inmemWAL"
	segmentHeader = 64
	segmentSuffix = ".wal"
	temporary     = ".tmp"
	// FormatVersion is the newest segment format this program reads. Segments
	// that are appended to are written in logFormat, where commits may have puts
	// of a version, and compacted ones in format 3: so a store in which nothing
	// was compacted is one for programs that know only the former.
	FormatVersion   = 3
	logFormat       = 2
	compactedFormat = 3
)

// Identity says whose log a directory holds, so that a file of another store
// or shard is told apart from damage.
type Identity struct {
	Store [16]byte
	Shard uint32
}

// segment is a file of the log, as its header and its successor describe it.
type segment struct {
	path    string
	first   uint64 // sequence of its first frame
	last    uint64 // sequence of its last frame, once it has a successor
	salt    uint32
	end     int64   // offset after its last frame
	size    int64   // of the file, where Scan found an index in it
	indexed bool    // the file ends with an index …
	entries []entry // … and until then these say where its records are
	// compacted: it has what was kept of its frames, which has gaps, and is sealed.
	compacted bool
}

// begin returns the offset of the first frame that was not read yet.
func (seg *segment) begin() int64 { return max(seg.end, segmentHeader) }

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", first, segmentSuffix))
}

// A segment's header, little endian:
//
//	 0  8  magic "inmemWAL"
//	 8  4  format version
//	12  4  shard
//	16 16  store
//	32  8  sequence of the first frame
//	40  4  salt: random, in every frame, so that no other file's frame fits
//	44  4  zero
//	48  8  created, Unix milliseconds
//	56  4  zero
//	60  4  CRC-32C of bytes 0 … 59
//
// Magic, version and checksum stay where they are in every version, so that an
// older program can tell a newer format from damage.
func encodeSegmentHeader(id Identity, first uint64, salt uint32, created int64) []byte {
	return encodeHeader(logFormat, id, first, salt, created)
}

func encodeHeader(format uint32, id Identity, first uint64, salt uint32, created int64) []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], format)
	binary.LittleEndian.PutUint32(b[12:], id.Shard)
	copy(b[16:], id.Store[:])
	binary.LittleEndian.PutUint64(b[32:], first)
	binary.LittleEndian.PutUint32(b[40:], salt)
	binary.LittleEndian.PutUint64(b[48:], uint64(created))
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// headerInfo is what a segment's header says, once it was judged.
type headerInfo struct {
	first     uint64
	salt      uint32
	compacted bool
	last      uint64 // of a compacted one, where it was asked for
}

// readSegmentHeader reads and judges the header of the segment at path.
func readSegmentHeader(f io.ReaderAt, path string, id Identity) (h headerInfo, err error) {
	corrupt := func(off int64, reason string) (headerInfo, error) {
		return headerInfo{}, &op.CorruptError{File: path, Offset: off, Reason: reason}
	}
	b := make([]byte, segmentHeader)
	if n, err := f.ReadAt(b, 0); err != nil {
		if err == io.EOF {
			return corrupt(int64(n), "the segment ends inside its header")
		}
		return h, err
	}
	if string(b[:8]) != segmentMagic {
		return corrupt(0, "not a log segment: the magic does not match")
	}
	if crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return corrupt(60, "the segment header's checksum does not match")
	}
	version := binary.LittleEndian.Uint32(b[8:])
	switch {
	case version > FormatVersion:
		return h, &op.UnsupportedError{File: path, Version: version, Known: FormatVersion}
	case version == 0:
		return corrupt(8, "format version 0 was never written")
	}
	if [16]byte(b[16:32]) != id.Store || binary.LittleEndian.Uint32(b[12:]) != id.Shard {
		return corrupt(12, "the segment belongs to another store or shard")
	}
	h.first, h.salt = binary.LittleEndian.Uint64(b[32:]), binary.LittleEndian.Uint32(b[40:])
	h.compacted = version == compactedFormat
	if path != segmentPath(filepath.Dir(path), h.first) {
		return corrupt(32, "the segment's name and its header disagree")
	}
	return h, nil
}

// older reports whether a segment has a format before that of the log: frames
// that are new in this one must not be written to it, or a program that knows
// the older format would take them for damage.
func older(f io.ReaderAt) (bool, error) {
	b := make([]byte, 4)
	_, err := f.ReadAt(b, 8)
	return binary.LittleEndian.Uint32(b) < logFormat, err
}

// listSegments returns the paths of the log's segments in order, and of the
// half-made ones that a crash left. Files with other names are not the log's.
func listSegments(fsys vfs.FS, dir string) (segments, halfMade []string, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		base, half := strings.CutSuffix(e.Name(), temporary)
		hex, ok := strings.CutSuffix(base, segmentSuffix)
		if !ok || len(hex) != 16 || strings.Trim(hex, "0123456789abcdef") != "" {
			continue
		}
		if path := filepath.Join(dir, e.Name()); half && e.IsDir() {
			continue // none of the log's: Open would fail to remove it
		} else if half {
			halfMade = append(halfMade, path)
		} else {
			segments = append(segments, path)
		}
	}
	sort.Strings(segments) // fixed-width hexadecimal: the order of the sequences
	return segments, halfMade, nil
}

// named returns the sequence that a segment's path says.
func named(path string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), segmentSuffix), 16, 64)
	return n // listSegments has made sure that it is a number
}

// Compacted reports whether segments of the log in dir were compacted.
func Compacted(fsys vfs.FS, dir string, id Identity) (bool, error) {
	paths, _, err := listSegments(fsys, dir)
	if err != nil {
		return false, err
	}
	s := &scanner{fsys: fsys, dir: dir, id: id}
	for _, path := range paths {
		h, err := s.header(path)
		if errors.Is(err, op.ErrCorrupt) || errors.Is(err, op.ErrUnsupported) {
			continue // Scan will say so
		}
		if err != nil || h.compacted {
			return h.compacted, err
		}
	}
	return false, nil
}

// Unused reports whether the log in dir, if there is one, was created but
// never written to: what a crash during the creation of a store leaves.
func Unused(fsys vfs.FS, dir string) (bool, error) {
	segments, _, err := listSegments(fsys, dir)
	if err != nil {
		return false, err
	}
	for _, path := range segments {
		info, err := fsys.Stat(path)
		if err != nil {
			return false, err
		}
		if info.Size() > segmentHeader {
			return false, nil
		}
	}
	return true, nil
}

// Discard removes the log in dir, which Unused has said holds nothing.
func Discard(fsys vfs.FS, dir string) error {
	segments, halfMade, err := listSegments(fsys, dir)
	if err != nil {
		return err
	}
	for _, path := range append(segments, halfMade...) {
		if err := fsys.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

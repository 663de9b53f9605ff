package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"inmem/field"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

const (
	fileMagic   = "inmemCKP"
	footerMagic = "inmemEND"
	apartMagic  = "inmemENV" // of an index that names files with large values
	fileHeader  = 64
	footerSize  = 32
	blockHeader = 8
	// blockTarget is the size from which a block is closed: large enough that
	// its header does not count, small enough to be read into a cache.
	blockTarget = 64 << 10
	// maxItem bounds the key and value of one item together, in bytes.
	maxItem = 1 << 30
	// maxBlock bounds a block, in bytes: almost full, and then the largest item.
	maxBlock = maxItem + 2*blockTarget
	// packedVersion is the format of checkpoints with compressed blocks.
	packedVersion = 3
	// FileVersion is the newest format of checkpoints this program reads. In it
	// large values may be apart.
	FileVersion = 4
	suffix      = ".ckpt"
	tmpSuffix   = ".tmp" // not finished yet
)

// Name returns the path of the checkpoint that covers the log up to sequence.
func Name(dir string, sequence uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", sequence, suffix))
}

// parseName reports whether base is the name of a checkpoint, or of one that
// was not finished.
func parseName(base string) (sequence uint64, unfinished, ok bool) {
	base, unfinished = strings.CutSuffix(base, tmpSuffix)
	hex, ok := strings.CutSuffix(base, suffix)
	if !ok || len(hex) != 16 || strings.ToLower(hex) != hex {
		return 0, false, false
	}
	sequence, err := strconv.ParseUint(hex, 16, 64)
	return sequence, unfinished, err == nil
}

// Location says where an image is.
type Location struct {
	File   uint64 // the checkpoint's sequence
	Offset int64
	Length int64 // bytes, in whole blocks
}

// Entry is what the index holds of a run.
type Entry struct {
	Run       run.ID
	Version   uint64
	Time      int64  // of the run's last commit, Unix milliseconds
	FirstSeq  uint64 // where the run's history begins in the log …
	LastSeq   uint64 // … and ends, as of this checkpoint
	Keys      uint64
	Deadlines uint64 // keys that have one
	Digest    op.Digest
	Info      []byte // the run's metadata record
	Location  Location
	Earliest  int64     // of the deadlines, Unix milliseconds; 0 = there is none
	Counts    Counts    // of the keys
	Values    []Holding // of the large values that the image refers to, by file

	bare bool // of an index of format 1: Earliest and Counts are not known yet
}

// Counts are numbers of keys, by tag.
type Counts [8]int32

// Bare reports whether the entry is from an index of format 1, which does not
// say when the first key expires and of which tags the keys are. Files.Image
// finds out, and no new index takes such an entry before.
func (e *Entry) Bare() bool { return e.bare }

// summary is what an entry says of the items of its image.
type summary struct {
	keys, deadlines uint64
	earliest        int64
	counts          Counts
}

func (s *summary) add(tag byte, it op.Item) {
	s.keys++
	if int(tag) < len(s.counts) {
		s.counts[tag]++
	}
	if it.Deadline == 0 {
		return
	}
	s.deadlines++
	if s.earliest == 0 || it.Deadline < s.earliest {
		s.earliest = it.Deadline
	}
}

// header is the beginning of a checkpoint file, little endian:
//
//	 0  8  magic "inmemCKP"
//	 8  4  format version
//	12  4  shard
//	16 16  store
//	32  8  sequence: the log up to here is in the checkpoint
//	40  8  time, Unix milliseconds
//	48 12  zero
//	60  4  CRC-32C of bytes 0 … 59
type header struct {
	format   uint32
	store    [16]byte
	shard    uint32
	sequence uint64
	time     int64
}

func (h *header) encode() []byte {
	b := make([]byte, fileHeader)
	copy(b, fileMagic)
	binary.LittleEndian.PutUint32(b[8:], max(h.format, FormatVersion))
	binary.LittleEndian.PutUint32(b[12:], h.shard)
	copy(b[16:], h.store[:])
	binary.LittleEndian.PutUint64(b[32:], h.sequence)
	binary.LittleEndian.PutUint64(b[40:], uint64(h.time))
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// checkVersion judges the format version of a file whose header is intact.
func checkVersion(name string, v, known uint32) error {
	switch {
	case v == 0:
		return &op.CorruptError{File: name, Offset: 8, Reason: "there is no format 0"}
	case v > known:
		return &op.UnsupportedError{File: name, Version: v, Known: known}
	}
	return nil
}

func readHeader(f vfs.File, store [16]byte, shard uint32) (h header, err error) {
	name := f.Name()
	b := make([]byte, fileHeader)
	if _, err := readFull(f, b, 0); err != nil {
		return h, err
	}
	if string(b[:8]) != fileMagic {
		return h, &op.CorruptError{File: name, Offset: 0, Reason: "not a checkpoint: the magic does not match"}
	}
	if crc32.Checksum(b[:60], castagnoli) != binary.LittleEndian.Uint32(b[60:]) {
		return h, &op.CorruptError{File: name, Offset: 60, Reason: "the checkpoint header's checksum does not match"}
	}
	format := binary.LittleEndian.Uint32(b[8:])
	if err := checkVersion(name, format, FileVersion); err != nil {
		return h, err
	}
	h = header{
		format: format,
		shard:  binary.LittleEndian.Uint32(b[12:]), store: [16]byte(b[16:32]),
		sequence: binary.LittleEndian.Uint64(b[32:]), time: int64(binary.LittleEndian.Uint64(b[40:])),
	}
	if h.store != store || h.shard != shard {
		return h, &op.CorruptError{File: name, Offset: 12, Reason: "the checkpoint belongs to another store or shard"}
	}
	if Name(filepath.Dir(name), h.sequence) != name {
		return h, &op.CorruptError{File: name, Offset: 32, Reason: "the checkpoint's name and its header disagree"}
	}
	return h, nil
}

// A footer is the end of a checkpoint file, little endian:
//
//	 0  8  magic "inmemEND", or "inmemENV" where the entries of the index say where
//	       large values are
//	 8  8  offset of the index, whose blocks end where the footer begins
//	16  8  number of runs in the index
//	24  4  number of deleted runs in the index, behind the others
//	28  4  CRC-32C of bytes 0 … 27
type footer struct {
	index int64
	runs  uint64
	dead  uint32
	apart bool // the entries have holdings
}

func (ft *footer) encode() []byte {
	b := make([]byte, footerSize)
	copy(b, footerMagic)
	if ft.apart {
		copy(b, apartMagic)
	}
	binary.LittleEndian.PutUint64(b[8:], uint64(ft.index))
	binary.LittleEndian.PutUint64(b[16:], ft.runs)
	binary.LittleEndian.PutUint32(b[24:], ft.dead)
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	return b
}

func readFooter(f vfs.File, size int64) (ft footer, err error) {
	b := make([]byte, footerSize)
	off := max(size-footerSize, 0)
	if _, err := readFull(f, b, off); err != nil {
		return ft, err
	}
	apart := string(b[:8]) == apartMagic
	if !apart && string(b[:8]) != footerMagic || crc32.Checksum(b[:28], castagnoli) != binary.LittleEndian.Uint32(b[28:]) {
		return ft, &op.CorruptError{File: f.Name(), Offset: off, Reason: "the checkpoint's footer is damaged"}
	}
	ft = footer{
		index: int64(binary.LittleEndian.Uint64(b[8:])),
		runs:  binary.LittleEndian.Uint64(b[16:]),
		dead:  binary.LittleEndian.Uint32(b[24:]),
		apart: apart,
	}
	if ft.index < fileHeader || ft.index > off {
		return ft, &op.CorruptError{File: f.Name(), Offset: off + 8, Reason: "the checkpoint's index lies outside the file"}
	}
	return ft, nil
}

// A block is how everything between header and footer is written:
//
//	0 4  CRC-32C of all that follows
//	4 4  length of the body
//	8 …  body
//
// From format 3 on the highest bit of the length may be set. Then the body is that of a
// block as it was before compression, as
//
//	0 4  its length
//	4 …  a zstd frame
//
// The body of an image's blocks is a sequence of items:
//
//	key length uvarint | key, with its tag | value length uvarint | value | version uvarint | deadline uvarint
//
// Keys ascend, in the image as a whole. Uvarints are in their shortest form.
func appendItem(b []byte, mapKey string, it op.Item) []byte {
	b = binary.AppendUvarint(b, uint64(len(mapKey)))
	b = append(b, mapKey...)
	b = binary.AppendUvarint(b, uint64(len(it.Value)))
	b = append(b, it.Value...)
	b = binary.AppendUvarint(b, it.Version)
	return binary.AppendUvarint(b, uint64(it.Deadline))
}

// The body of the index's blocks is a sequence of entries, ordered by run:
//
//	run 16 | version | time | first sequence | last sequence | keys | deadlines, uvarints
//	digest 16 | file, offset, length of the image, uvarints | info length uvarint | info
//	earliest deadline | keys of each tag but the last, uvarints; the last tag has the rest
//
//	number of files with large values | file, bytes of each, uvarints, by file
//
// Format 1 does not have the last two lines, and the last is there only where the
// footer says so, in format 4.
//
// and then the IDs of deleted runs, 16 bytes each, ordered too. No image is in
// a newer file than the index.
func appendEntry(b []byte, e *Entry) []byte { return appendFields(append(b, e.Run[:]...), e) }

// appendFields appends an entry without the run.
func appendFields(b []byte, e *Entry) []byte {
	for _, v := range [...]uint64{e.Version, uint64(e.Time), e.FirstSeq, e.LastSeq, e.Keys, e.Deadlines} {
		b = binary.AppendUvarint(b, v)
	}
	b = append(b, e.Digest[:]...)
	for _, v := range [...]uint64{e.Location.File, uint64(e.Location.Offset), uint64(e.Location.Length)} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Info)))
	b = append(b, e.Info...)
	b = binary.AppendUvarint(b, uint64(e.Earliest))
	for tag := op.KV; tag < op.Vector; tag++ {
		b = binary.AppendUvarint(b, uint64(e.Counts[tag]))
	}
	return b
}

// take enters what was found of the items.
func (e *Entry) take(s *summary) {
	e.Keys, e.Deadlines, e.Earliest, e.Counts, e.bare = s.keys, s.deadlines, s.earliest, s.counts, false
}

var errMalformed = errors.New("malformed block")

// fields reads a block's body.
type fields struct{ field.Reader }

func newFields(body []byte) fields { return fields{field.NewReader(body, errMalformed)} }

// validItem reports whether a run's state can hold the item under a key of the
// tag. The writer asks too, so as not to write what nobody can read.
func validItem(tag op.Tag, it op.Item) bool {
	return tag.Valid() && it.Version != 0 && it.Deadline >= 0 && (it.Deadline == 0 || tag.Perishable())
}

func (d *fields) id() (id run.ID) {
	copy(id[:], d.Take(uint64(len(id))))
	if d.Err() == nil && id.IsZero() {
		d.Fail("a run without an ID")
	}
	return id
}

func (d *fields) entry(format uint32) (e Entry) {
	e.Run = d.id()
	d.fields(&e, format)
	return e
}

// fields reads an entry without the run.
func (d *fields) fields(e *Entry, format uint32) {
	e.Version, e.Time = d.Uvarint(), d.Int()
	e.FirstSeq, e.LastSeq = d.Uvarint(), d.Uvarint()
	e.Keys, e.Deadlines = d.Uvarint(), d.Uvarint()
	copy(e.Digest[:], d.Take(uint64(len(e.Digest))))
	e.Location = Location{File: d.Uvarint(), Offset: d.Int(), Length: d.Int()}
	e.Info = d.Bytes()
	if format == 1 {
		e.bare = true
		return
	}
	e.Earliest = d.Int()
	if (e.Earliest != 0) != (e.Deadlines != 0) {
		d.Fail("an earliest deadline of none, or none of some")
	}
	if e.Keys > math.MaxInt32 {
		d.Fail("more keys than a run can have")
		return
	}
	rest := e.Keys
	for tag := op.KV; tag < op.Vector; tag++ {
		n := d.Uvarint()
		if n > rest {
			d.Fail("more keys of the tags than there are")
			return
		}
		e.Counts[tag], rest = int32(n), rest-n
	}
	e.Counts[op.Vector] = int32(rest)
}

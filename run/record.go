package run

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"inmem/field"
)

// recordFormat leads every record, so that a later layout can be told apart.
const recordFormat = 1

// The flags of a record. Other bits are refused.
const (
	flagSpace  = 1 << 0
	flagParent = 1 << 1 // a parent follows
	flagsKnown = flagSpace | flagParent
)

// AppendRecord appends the stored form of i to dst: everything but ID and
// LastVersion, which whoever stores the record knows.
//
//	format 1 = 1 | status 1 | flags 1 | parent 16 (with its flag only)
//	created uvarint | ended uvarint | first version uvarint
//	name | tenant | app | agent
//	count of tags uvarint | count × (key | value)
//
// A text is its length (uvarint) and its bytes. Uvarints are those of
// encoding/binary, in their shortest form. Tags are sorted by key, so that
// equal infos give equal bytes. DecodeRecord reads the record back where
// i.Validate finds nothing wrong, the status is valid and no time is negative.
func (i *Info) AppendRecord(dst []byte) []byte {
	var flags byte
	if i.Space {
		flags |= flagSpace
	}
	if !i.Parent.IsZero() {
		flags |= flagParent
	}
	dst = append(dst, recordFormat, byte(i.Status), flags)
	if flags&flagParent != 0 {
		dst = append(dst, i.Parent[:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(i.Created))
	dst = binary.AppendUvarint(dst, uint64(i.Ended))
	dst = binary.AppendUvarint(dst, i.FirstVersion)
	for _, s := range [...]string{i.Name, i.Namespace.Tenant, i.Namespace.App, i.Namespace.Agent} {
		dst = appendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(i.Tags)))
	for _, k := range slices.Sorted(maps.Keys(i.Tags)) {
		dst = appendText(dst, k)
		dst = appendText(dst, i.Tags[k])
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// DecodeRecord decodes the record of run id; LastVersion stays 0. The result
// does not refer to b, and its size is bounded by that of b; its texts share one
// piece of memory. A format of another program is an ErrUnsupportedRecord;
// whatever AppendRecord would not have written for valid metadata is an
// ErrInvalidRecord; the zero id is an ErrInvalidID.
func DecodeRecord(id ID, b []byte) (*Info, error) {
	i, err := decodeRecord(id, b, string(b))
	if err != nil {
		return nil, err
	}
	return &i, nil
}

// CheckRecord returns the error that DecodeRecord would. Of a run without tags it
// allocates nothing.
func CheckRecord(id ID, b []byte) error {
	_, err := decodeRecord(id, b, unsafe.String(unsafe.SliceData(b), len(b)))
	return err
}

// RecordStatus returns the status of a record that CheckRecord has accepted.
func RecordStatus(b []byte) Status { return Status(b[1]) }

// decodeRecord decodes b; texts are parts of whole, which has the same bytes.
func decodeRecord(id ID, b []byte, whole string) (i Info, err error) {
	if id.IsZero() {
		return i, fmt.Errorf("%w: a record belongs to a run", ErrInvalidID)
	}
	d := decoder{field.NewReader(b, ErrInvalidRecord), whole}
	if format := d.Byte(); d.Err() == nil && format != recordFormat {
		return i, fmt.Errorf("%w: format %d, this program reads %d: use a newer inmem", ErrUnsupportedRecord, format, recordFormat)
	}
	i = Info{Meta: Meta{ID: id}, Status: d.status()}
	d.flags(&i)
	i.Created = d.Int()
	i.Ended = d.Int()
	i.FirstVersion = d.Uvarint()
	i.Name = d.text()
	i.Namespace.Tenant = d.text()
	i.Namespace.App = d.text()
	i.Namespace.Agent = d.text()
	i.Tags = d.tags()
	if d.Len() != 0 {
		d.Fail("bytes after the last tag")
	}
	if d.Err() != nil {
		return i, d.Err()
	}
	if err := i.Validate(); err != nil {
		return i, fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	return i, nil
}

// decoder reads a record's fields.
type decoder struct {
	field.Reader
	whole string // what it reads
}

func (d *decoder) text() string {
	n := len(d.Bytes())
	if d.Err() != nil {
		return ""
	}
	end := len(d.whole) - d.Len()
	return d.whole[end-n : end]
}

func (d *decoder) status() Status {
	s := Status(d.Byte())
	if !s.Valid() {
		d.Fail(s.String())
	}
	return s
}

// flags reads the flags and what they announce.
func (d *decoder) flags(i *Info) {
	flags := d.Byte()
	if flags&^flagsKnown != 0 {
		d.Fail("unknown flags")
		return
	}
	i.Space = flags&flagSpace != 0
	if flags&flagParent == 0 {
		return
	}
	copy(i.Parent[:], d.Take(uint64(len(i.Parent))))
	if i.Parent.IsZero() {
		d.Fail("the parent is zero")
	}
}

// tags reads the tags; nil where there are none.
func (d *decoder) tags() map[string]string {
	count := d.Uvarint()
	if count > MaxTags {
		d.Fail("too many tags")
	}
	if count == 0 || d.Err() != nil {
		return nil
	}
	tags := make(map[string]string)
	last := "" // below every key: none is empty
	for range count {
		k, v := d.text(), d.text()
		if k <= last {
			d.Fail("tag keys do not ascend")
			return nil
		}
		tags[k] = v
		last = k
	}
	return tags
}

package op

import (
	"encoding/binary"
	"errors"
	"math"

	"inmem/field"
	"inmem/run"
)

// Commit is an atomic set of operations on one run: the payload of one frame
// of the log.
type Commit struct {
	Run     run.ID // never zero
	Version uint64 // the run's version after this commit: 1, 2, 3 …
	Time    int64  // Unix milliseconds by the store's clock
	Ops     []Op   // in order; never empty
}

// minOp is the encoded size of the smallest operation but for a drop: of the
// deletion of an empty key.
const minOp = 3

// errMalformed is wrapped by every error of DecodeCommit.
var errMalformed = errors.New("malformed commit")

// CommitSize is an upper bound of the encoded size of a commit without its
// operations, in bytes.
const CommitSize = 16 + 3*binary.MaxVarintLen64

// Size returns an upper bound of the encoded size in bytes.
func (c *Commit) Size() int {
	n := CommitSize
	for i := range c.Ops {
		n += OpSize(len(c.Ops[i].Key), len(c.Ops[i].Value))
		if c.Ops[i].Version != 0 {
			n += binary.MaxVarintLen64
		}
	}
	return n
}

// OpSize returns an upper bound of the encoded size of an operation with a key
// and a value of the given lengths, but for a put of a version.
func OpSize(key, value int) int { return 2 + 3*binary.MaxVarintLen64 + key + value }

// AppendCommit appends the encoded commit to dst:
//
//	run 16 | version uvarint | time uvarint | count uvarint | count × operation
//
//	put:            kind 1 | tag 1 | key length uvarint | key | value length uvarint | value | deadline uvarint
//	delete, expire: kind 1 | tag 1 | key length uvarint | key
//	drop:           kind 1
//
// A put of a version is kind 5, and has the version, uvarint, behind the
// deadline: at least 1, and below that of the commit or equal to it. Uvarints are
// those of encoding/binary, in their shortest form.
func AppendCommit(dst []byte, c *Commit) []byte {
	dst, _ = AppendCommitAround(dst, nil, c, math.MaxInt)
	return dst
}

// Gap is a place in an encoded commit where bytes belong that are elsewhere.
type Gap struct {
	At    int // in what was appended to: the bytes come before what is there
	Bytes []byte
}

// InGaps returns how many bytes belong into gaps.
func InGaps(gaps []Gap) (n int) {
	for i := range gaps {
		n += len(gaps[i].Bytes)
	}
	return n
}

// AppendCommitAround is AppendCommit without the values that have at least so
// many bytes: what is left out is appended to gaps.
func AppendCommitAround(dst []byte, gaps []Gap, c *Commit, large int) ([]byte, []Gap) {
	dst = append(dst, c.Run[:]...)
	dst = binary.AppendUvarint(dst, c.Version)
	dst = binary.AppendUvarint(dst, uint64(c.Time))
	dst = binary.AppendUvarint(dst, uint64(len(c.Ops)))
	for i := range c.Ops {
		o := &c.Ops[i]
		if o.Kind == Put && o.Version != 0 {
			dst = append(dst, putVersion)
		} else {
			dst = append(dst, byte(o.Kind))
		}
		if o.Kind == Drop {
			continue
		}
		dst = append(dst, byte(o.Tag))
		dst = binary.AppendUvarint(dst, uint64(len(o.Key)))
		dst = append(dst, o.Key...)
		if o.Kind == Put {
			dst = binary.AppendUvarint(dst, uint64(len(o.Value)))
			if len(o.Value) < large {
				dst = append(dst, o.Value...)
			} else {
				gaps = append(gaps, Gap{At: len(dst), Bytes: o.Value})
			}
			dst = binary.AppendUvarint(dst, uint64(o.Deadline))
			if o.Version != 0 {
				dst = binary.AppendUvarint(dst, o.Version)
			}
		}
	}
	return dst, gaps
}

// putVersion is the kind of a put of a version, as stored.
const putVersion = 5

// DecodeCommit decodes what AppendCommit wrote. Values and keys of the result
// do not refer to b. It allocates no more than about 22 times len(b), whatever
// b holds: the ratio of an Op to the smallest one encoded.
func DecodeCommit(b []byte) (Commit, error) {
	var c Commit
	err := c.Decode(b)
	return c, err
}

// Decode is DecodeCommit into c, whose slice of operations it uses again.
func (c *Commit) Decode(b []byte) error {
	d := decoder{field.NewReader(b, errMalformed)}
	copy(c.Run[:], d.Take(uint64(len(c.Run))))
	c.Version = d.Uvarint()
	c.Time = d.Int()
	count := d.Uvarint()
	// A count that the rest cannot hold is a lie, found before anything is
	// allocated for it. One operation may be a drop, which is smaller.
	if d.Err() == nil && (count == 0 || count > max(1, uint64(d.Len()/minOp))) {
		d.Fail("count of operations")
	}
	if d.Err() == nil && (c.Run.IsZero() || c.Version == 0) {
		d.Fail("run or version is zero")
	}
	c.Ops = c.Ops[:0]
	if d.Err() == nil && count > uint64(cap(c.Ops)) {
		c.Ops = make([]Op, 0, count)
	}
	for i := uint64(0); i < count && d.Err() == nil; i++ {
		c.Ops = append(c.Ops, d.op(count, c.Version))
	}
	if d.Err() == nil && d.Len() != 0 {
		d.Fail("bytes after the last operation")
	}
	return d.Err()
}

// decoder reads a commit's fields.
type decoder struct{ field.Reader }

func (d *decoder) op(count, version uint64) Op {
	kind := d.Byte()
	o := Op{Kind: Kind(kind)}
	if kind == putVersion {
		o.Kind = Put
	}
	switch {
	case d.Err() != nil:
		return o
	case !o.Kind.Valid():
		d.Fail(o.Kind.String())
		return o
	case o.Kind == Drop:
		if count != 1 {
			d.Fail("drop is not alone")
		}
		return o
	}
	o.Tag = Tag(d.Byte())
	if d.Err() == nil && !o.Tag.Valid() {
		d.Fail(o.Tag.String())
	}
	o.Key = string(d.Bytes())
	if o.Kind != Put {
		return o
	}
	o.Value = append([]byte{}, d.Bytes()...)
	o.Deadline = d.Int()
	if d.Err() == nil && o.Deadline != 0 && !o.Tag.Perishable() {
		d.Fail("a deadline on " + o.Tag.String())
	}
	if kind == putVersion {
		if o.Version = d.Uvarint(); d.Err() == nil && (o.Version == 0 || o.Version > version) {
			d.Fail("the version of a put")
		}
	}
	return o
}

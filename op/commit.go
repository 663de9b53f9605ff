package op

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

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

// Size returns an upper bound of the encoded size in bytes.
func (c *Commit) Size() int {
	n := len(c.Run) + 3*binary.MaxVarintLen64
	for i := range c.Ops {
		n += OpSize(len(c.Ops[i].Key), len(c.Ops[i].Value))
	}
	return n
}

// OpSize returns an upper bound of the encoded size of an operation with a key
// and a value of the given lengths.
func OpSize(key, value int) int { return 2 + 3*binary.MaxVarintLen64 + key + value }

// AppendCommit appends the encoded commit to dst:
//
//	run 16 | version uvarint | time uvarint | count uvarint | count × operation
//
//	put:            kind 1 | tag 1 | key length uvarint | key | value length uvarint | value | deadline uvarint
//	delete, expire: kind 1 | tag 1 | key length uvarint | key
//	drop:           kind 1
//
// Uvarints are those of encoding/binary, in their shortest form.
func AppendCommit(dst []byte, c *Commit) []byte {
	dst = append(dst, c.Run[:]...)
	dst = binary.AppendUvarint(dst, c.Version)
	dst = binary.AppendUvarint(dst, uint64(c.Time))
	dst = binary.AppendUvarint(dst, uint64(len(c.Ops)))
	for i := range c.Ops {
		o := &c.Ops[i]
		dst = append(dst, byte(o.Kind))
		if o.Kind == Drop {
			continue
		}
		dst = append(dst, byte(o.Tag))
		dst = binary.AppendUvarint(dst, uint64(len(o.Key)))
		dst = append(dst, o.Key...)
		if o.Kind == Put {
			dst = binary.AppendUvarint(dst, uint64(len(o.Value)))
			dst = append(dst, o.Value...)
			dst = binary.AppendUvarint(dst, uint64(o.Deadline))
		}
	}
	return dst
}

// DecodeCommit decodes what AppendCommit wrote. Values and keys of the result
// do not refer to b. It allocates no more than about 20 times len(b), whatever
// b holds: the ratio of an Op to the smallest one encoded.
func DecodeCommit(b []byte) (Commit, error) {
	var c Commit
	err := c.Decode(b)
	return c, err
}

// Decode is DecodeCommit into c, whose slice of operations it uses again.
func (c *Commit) Decode(b []byte) error {
	d := decoder{b: b}
	copy(c.Run[:], d.take(uint64(len(c.Run))))
	c.Version = d.uvarint()
	c.Time = d.time()
	count := d.uvarint()
	// A count that the rest cannot hold is a lie, found before anything is
	// allocated for it. One operation may be a drop, which is smaller.
	if d.err == nil && (count == 0 || count > max(1, uint64(len(d.b)/minOp))) {
		d.fail("count of operations")
	}
	if d.err == nil && (c.Run.IsZero() || c.Version == 0) {
		d.fail("run or version is zero")
	}
	c.Ops = c.Ops[:0]
	if d.err == nil && count > uint64(cap(c.Ops)) {
		c.Ops = make([]Op, 0, count)
	}
	for i := uint64(0); i < count && d.err == nil; i++ {
		c.Ops = append(c.Ops, d.op(count))
	}
	if d.err == nil && len(d.b) != 0 {
		d.fail("bytes after the last operation")
	}
	return d.err
}

// decoder reads fields from b until the first error, which it keeps.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errMalformed, what)
	}
	d.b = nil
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("a field is longer than the payload")
		return nil
	}
	f := d.b[:n]
	d.b = d.b[n:]
	return f
}

func (d *decoder) byte() byte {
	if f := d.take(1); f != nil {
		return f[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	// One number has one encoding, so that equal commits are equal bytes.
	if n <= 0 || (n > 1 && d.b[n-1] == 0) {
		d.fail("a number is not a shortest uvarint")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) time() int64 {
	v := d.uvarint()
	if v > math.MaxInt64 {
		d.fail("a time is out of range")
	}
	return int64(v)
}

func (d *decoder) op(count uint64) Op {
	o := Op{Kind: Kind(d.byte())}
	switch {
	case d.err != nil:
		return o
	case !o.Kind.Valid():
		d.fail(o.Kind.String())
		return o
	case o.Kind == Drop:
		if count != 1 {
			d.fail("drop is not alone")
		}
		return o
	}
	o.Tag = Tag(d.byte())
	if d.err == nil && !o.Tag.Valid() {
		d.fail(o.Tag.String())
	}
	o.Key = string(d.take(d.uvarint()))
	if o.Kind != Put {
		return o
	}
	o.Value = append([]byte{}, d.take(d.uvarint())...)
	o.Deadline = d.time()
	if d.err == nil && o.Deadline != 0 && !o.Tag.Perishable() {
		d.fail("a deadline on " + o.Tag.String())
	}
	return o
}

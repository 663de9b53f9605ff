package wal

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"inmem/field"
)

const (
	// packTarget is the size, in bytes before compression, from which a packed
	// frame is closed. Larger ones compress better, and take longer to unpack for
	// the sake of one record in them.
	packTarget = 512 << 10
	packHeader = 8
	// maxRatio bounds what unpacking a record allocates that is larger than
	// packTarget, as a multiple of its packed size. What would be packed better
	// than that is not packed.
	maxRatio = 1024
)

// packer gathers records and makes packed frames of them.
type packer struct {
	zstd        *zstd.Encoder
	raw         []byte
	count       uint32
	first, last uint64
}

func newPacker() (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	return &packer{zstd: enc}, err
}

// The payload of a packed frame, little endian:
//
//	0  4  length of the records before compression
//	4  4  number of records, at least 1
//	8  …  a zstd frame of the records
//
// of which each is
//
//	kind 1 | sequence, less that of the one before, uvarint | length uvarint | payload
//
// The frame has the sequence of the first record, which is written as 0.
func (p *packer) add(f *Frame) {
	if p.count == 0 {
		p.first, p.last = f.Sequence, f.Sequence
	}
	p.raw = append(p.raw, byte(f.Kind))
	p.raw = binary.AppendUvarint(p.raw, f.Sequence-p.last)
	p.raw = binary.AppendUvarint(p.raw, uint64(len(f.Payload)))
	p.raw = append(p.raw, f.Payload...)
	p.last = f.Sequence
	p.count++
}

// appendTo appends what was added as the payload of a packed frame, and begins
// anew. It returns false, and dst as it was, where packing is of no use.
func (p *packer) appendTo(dst []byte) ([]byte, bool) {
	start := len(dst)
	out := binary.LittleEndian.AppendUint32(dst, uint32(len(p.raw)))
	out = binary.LittleEndian.AppendUint32(out, p.count)
	out = p.zstd.EncodeAll(p.raw, out)
	n := len(out) - start
	if n >= len(p.raw) || len(p.raw) > maxRaw(n) {
		return dst, false
	}
	p.reset()
	return out, true
}

func (p *packer) reset() {
	p.raw, p.count = p.raw[:0], 0
	if cap(p.raw) > 4*packTarget {
		p.raw = nil // one huge record must not hold its memory for ever
	}
}

// maxRaw bounds the records before compression in a packed frame of n bytes.
func maxRaw(n int) int { return max(2*packTarget, min(n*maxRatio, MaxPayload+64)) }

// errPacked is what unpack says of a frame that no packer made.
var errPacked = fmt.Errorf("a packed frame that cannot be unpacked")

// unpack hands the records of a packed frame to fn, in order. Their payloads are
// fn's to keep. An error that is not fn's is an errPacked.
func unpack(f Frame, fn func(Frame) error) error {
	bad := func(reason string) error { return fmt.Errorf("%w: %s", errPacked, reason) }
	if len(f.Payload) < packHeader {
		return bad("it is too short")
	}
	size, count := int(binary.LittleEndian.Uint32(f.Payload)), binary.LittleEndian.Uint32(f.Payload[4:])
	if size > maxRaw(len(f.Payload)) || count == 0 {
		return bad("a length that none has")
	}
	// It costs little beside what it does, and need not be shared.
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return err
	}
	defer z.Close()
	raw, err := z.DecodeAll(f.Payload[packHeader:], make([]byte, 0, size))
	if err != nil || len(raw) != size {
		return bad(fmt.Sprintf("%d bytes, not %d: %v", len(raw), size, err))
	}
	return records(f, raw, count, fn)
}

// records hands records to fn as they were before compression.
func records(f Frame, raw []byte, count uint32, fn func(Frame) error) error {
	r := field.NewReader(raw, errPacked)
	out := Frame{Sequence: f.Sequence, Offset: f.Offset}
	for i := range count {
		out.Kind = Kind(r.Byte())
		delta := r.Uvarint()
		out.Payload = r.Bytes()
		if r.Err() == nil && ((delta == 0) != (i == 0) || out.Sequence+delta < out.Sequence) {
			r.Fail("sequences that do not ascend")
		}
		if r.Err() == nil && (out.Kind != Record && out.Kind != Base || len(out.Payload) < streamSize) {
			r.Fail("what is no record")
		}
		if r.Err() != nil {
			return r.Err()
		}
		out.Sequence += delta
		if err := fn(out); err != nil {
			return err
		}
	}
	if r.Len() > 0 {
		r.Fail("bytes behind the last record")
	}
	return r.Err()
}

package op

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	metro "github.com/dgryski/go-metro"
)

// Digest is a 128-bit fingerprint of a run's state: its version and every key
// with value, version and deadline. Equal states give equal digests, in
// whatever order they came about. It proves a copy equal; it is no protection
// against somebody who looks for collisions.
type Digest [16]byte

// String returns 32 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// digestSeed keeps these hashes apart from others of the same family.
const digestSeed = 0x696e6d656d // "inmem"

// Digester adds up the digest of a state, key by key.
type Digester struct {
	hi, lo uint64
	count  uint64
	buf    []byte
}

// Add adds one key (with its tag) and its item. The order does not matter:
// the digest is a sum of hashes modulo 2^128.
func (d *Digester) Add(mapKey string, it Item) { d.AddPart(d.Part(mapKey, it)) }

// Part is what one key adds to a digest.
type Part struct{ Low, High uint64 }

// Part returns what one key (with its tag) and its item add, and adds nothing.
func (d *Digester) Part(mapKey string, it Item) Part {
	b := binary.AppendUvarint(d.buf[:0], uint64(len(mapKey)))
	b = append(b, mapKey...)
	b = binary.AppendUvarint(b, it.Version)
	b = binary.AppendUvarint(b, uint64(it.Deadline))
	b = append(b, it.Value...)
	d.buf = b
	lo, hi := metro.Hash128(b, digestSeed)
	return Part{lo, hi}
}

// AddPart adds what Part returned.
func (d *Digester) AddPart(p Part) {
	var carry uint64
	d.lo, carry = bits.Add64(d.lo, p.Low, 0)
	d.hi, _ = bits.Add64(d.hi, p.High, carry)
	d.count++
}

// Sum returns the digest of the state at version.
func (d *Digester) Sum(version uint64) Digest {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[0:], d.lo)
	binary.LittleEndian.PutUint64(b[8:], d.hi)
	binary.LittleEndian.PutUint64(b[16:], d.count)
	binary.LittleEndian.PutUint64(b[24:], version)
	lo, hi := metro.Hash128(b[:], digestSeed)
	var sum Digest
	binary.BigEndian.PutUint64(sum[0:], hi)
	binary.BigEndian.PutUint64(sum[8:], lo)
	return sum
}

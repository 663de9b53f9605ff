package ordered

import (
	"encoding/binary"
	"math"
)

// A key's prefix is its first eight bytes behind a number of skipped ones, as a
// number that sorts like them; what is missing counts as zero. Different
// prefixes of keys that have the skipped bytes in common order the keys; equal
// ones do not tell.

// fanout is the number of prefixes searched at once. rank needs a power of two
// less one.
const fanout = 31

// prefixes are sorted; those that are not in use are none.
type prefixes [fanout]uint64

const none = math.MaxUint64

// rank returns how many prefixes are less than p. It takes the same few steps
// for every p, without a branch that a processor could guess wrongly.
func (ps *prefixes) rank(p uint64) int {
	i := 0
	if ps[15] < p {
		i = 16
	}
	if ps[i+7] < p {
		i += 8
	}
	if ps[i+3] < p {
		i += 4
	}
	if ps[i+1] < p {
		i += 2
	}
	if ps[i] < p {
		i++
	}
	return i
}

// equals returns the end of the prefixes equal to p that begin at i, of n in use.
func (ps *prefixes) equals(p uint64, i, n int) int {
	for i < n && ps[i] == p {
		i++
	}
	return i
}

// clear marks the prefixes from n on as not in use.
func (ps *prefixes) clear(n int) {
	for i := n; i < fanout; i++ {
		ps[i] = none
	}
}

// prefixOf returns the prefix of a key that has at least skip bytes.
func prefixOf(key []byte, skip int) uint64 {
	rest := len(key) - skip
	switch {
	case rest >= 8:
		return binary.BigEndian.Uint64(key[skip:])
	case len(key) >= 8:
		return binary.BigEndian.Uint64(key[len(key)-8:]) << (64 - 8*rest)
	}
	var p uint64
	for i, b := range key[skip:] {
		p |= uint64(b) << (56 - 8*i)
	}
	return p
}

// common returns how many bytes a and b have in common at their beginning.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for i+8 <= n && binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]) {
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

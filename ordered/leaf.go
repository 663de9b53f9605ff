package ordered

import (
	"bytes"
	"math/bits"
)

// leaf holds the references of neighbouring keys, in order, and no pointers. All
// its keys have their first skip bytes in common (perhaps more: skip shrinks at
// once when it must and grows at splits and merges).
type leaf struct {
	epoch  uint64
	n      uint32
	skip   uint32
	prefix prefixes // of the keys behind skip
	refs   [fanout]ref
}

// find looks for a key. If it is not there but has the leaf's skipped bytes, the
// position is where it would be.
func (l *leaf) find(t table, key []byte) (int, bool) {
	if len(key) < int(l.skip) {
		return 0, false
	}
	p := prefixOf(key, int(l.skip))
	i := l.prefix.rank(p)
	for end := l.prefix.equals(p, i, int(l.n)); i < end; {
		mid := int(uint(i+end) / 2)
		switch c := bytes.Compare(key, t.key(l.refs[mid])); {
		case c == 0:
			return mid, true
		case c < 0:
			end = mid
		default:
			i = mid + 1
		}
	}
	return i, false
}

// search returns the position of a key or, if it is not there, the position
// where it would be.
func (l *leaf) search(t table, key []byte) (int, bool) {
	i, found := l.find(t, key)
	if found || l.skip == 0 {
		return i, found
	}
	switch c := bytes.Compare(key[:min(len(key), int(l.skip))], l.skipped(t)); {
	case c < 0:
		return 0, false
	case c > 0:
		return int(l.n), false
	}
	return i, false
}

// skipped returns the bytes that all keys of a leaf, not an empty one, have in
// common.
func (l *leaf) skipped(t table) []byte { return l.key(t, 0)[:l.skip] }

func (l *leaf) key(t table, i int) []byte { return t.key(l.refs[i]) }

// insert puts a key at a position of a leaf that has room.
func (l *leaf) insert(t table, i int, key []byte, r ref) {
	if l.n == 0 {
		l.skip = uint32(len(key))
	} else if s := l.skipped(t); !bytes.HasPrefix(key, s) {
		l.skipLess(s, common(key, s))
	}
	n := int(l.n)
	copy(l.prefix[i+1:n+1], l.prefix[i:n])
	copy(l.refs[i+1:n+1], l.refs[i:n])
	l.prefix[i] = prefixOf(key, int(l.skip))
	l.refs[i] = r
	l.n++
}

// skipLess shortens skip, of which the present bytes are given. The prefixes
// need no look into the records: they begin with the bytes no longer skipped.
func (l *leaf) skipLess(skipped []byte, skip int) {
	front := prefixOf(skipped, skip)
	shift := 8 * (len(skipped) - skip)
	for i := range l.n {
		l.prefix[i] = front | l.prefix[i]>>shift
	}
	l.skip = uint32(skip)
}

// skipMore makes skip as long as the keys allow.
func (l *leaf) skipMore(t table) {
	skip := common(l.key(t, 0), l.key(t, int(l.n)-1))
	if skip == int(l.skip) {
		return
	}
	l.skip = uint32(skip)
	for i := range int(l.n) {
		l.prefix[i] = prefixOf(l.key(t, i), skip)
	}
}

func (l *leaf) remove(i int) {
	n := int(l.n)
	copy(l.prefix[i:], l.prefix[i+1:n])
	copy(l.refs[i:], l.refs[i+1:n])
	l.truncate(n - 1)
}

func (l *leaf) truncate(n int) {
	l.n = uint32(n)
	l.prefix.clear(n)
}

// split moves the upper entries of a full leaf, into which position i is about
// to be inserted, to another, empty one.
func (l *leaf) split(t table, i int, right *leaf) {
	at := l.cut(i)
	right.skip = l.skip
	right.n = uint32(copy(right.refs[:], l.refs[at:l.n]))
	copy(right.prefix[:], l.prefix[at:l.n])
	l.truncate(at)
	l.skipMore(t)
	if right.n > 0 {
		right.skipMore(t)
	}
}

// cut returns where to split. Keys that arrive in ascending order leave full
// leaves behind. Else it is the place near the middle where neighbouring keys
// differ earliest: that makes for short separators and long skips.
func (l *leaf) cut(i int) int {
	if i == int(l.n) {
		return i
	}
	const middle, near = fanout / 2, fanout / 8
	best, least := middle, 64
	for d := range near + 1 {
		for _, at := range [2]int{middle - d, middle + d} {
			if same := bits.LeadingZeros64(l.prefix[at-1]^l.prefix[at]) / 8; same < least {
				best, least = at, same
			}
		}
	}
	return best
}

// merge takes over the entries of the next leaf; there is room.
func (l *leaf) merge(t table, next *leaf) {
	n := int(l.n)
	copy(l.refs[n:], next.refs[:next.n])
	l.n += next.n
	skip := common(l.key(t, 0), l.key(t, int(l.n)-1))
	l.skip = uint32(skip)
	for i := range int(l.n) {
		l.prefix[i] = prefixOf(l.key(t, i), skip)
	}
}

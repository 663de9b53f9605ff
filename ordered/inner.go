package ordered

import (
	"bytes"
	"slices"
)

// innerCap is how many children an inner node has at most: what fills 256 bytes.
const innerCap = 29

// inner is a node above the leaves. Its n children are leaves or inner nodes,
// depending on its height.
type inner struct {
	epoch uint64
	n     int
	seps  *separators
	kids  [innerCap]node
}

// insert puts a child behind child i, with the separator between the two; there
// is room.
func (in *inner) insert(i int, sep []byte, kid node) {
	copy(in.kids[i+2:in.n+1], in.kids[i+1:in.n])
	in.kids[i+1] = kid
	in.n++
	var buf [innerCap][]byte
	in.seps = newSeparators(slices.Insert(in.seps.list(buf[:0]), i, sep))
}

// remove takes child i out, and the separator on one side of it.
func (in *inner) remove(i int) {
	copy(in.kids[i:], in.kids[i+1:in.n])
	in.n--
	in.kids[in.n] = nil
	if in.n > 0 {
		var buf [innerCap][]byte
		at := max(i-1, 0)
		in.seps = newSeparators(slices.Delete(in.seps.list(buf[:0]), at, at+1))
	}
}

// split moves the children of a full node from at on to another, empty one and
// returns the separator between the two nodes.
func (in *inner) split(at int, right *inner) []byte {
	var buf [innerCap][]byte
	seps := in.seps.list(buf[:0])
	right.n = copy(right.kids[:], in.kids[at:in.n])
	clear(in.kids[at:in.n])
	in.n = at
	in.seps = newSeparators(seps[:at-1])
	right.seps = newSeparators(seps[at:])
	return seps[at-1]
}

// merge takes over the children of the next node, from which sep separates it;
// there is room.
func (in *inner) merge(sep []byte, next *inner) {
	var buf [2 * innerCap][]byte
	seps := append(in.seps.list(buf[:0]), sep)
	in.n += copy(in.kids[in.n:], next.kids[:next.n])
	in.seps = newSeparators(next.seps.list(seps))
}

// separators are the keys between the children of an inner node: child i holds
// the keys from separator i-1 on that are below separator i. They never change;
// copies of the node share them. Each is the shortest beginning of a key that
// separates its neighbours.
type separators struct {
	n      uint32
	skip   uint32               // bytes that all have in common
	lead   [24]byte             // the first of those, nearer than text
	prefix prefixes             // of the separators behind skip
	text   []byte               // the separators, one behind the other
	end    [innerCap - 1]uint32 // where each ends in text
}

// newSeparators returns separators with a copy of the given ones.
func newSeparators(list [][]byte) *separators {
	s := &separators{n: uint32(len(list))}
	s.prefix.clear(len(list))
	if len(list) == 0 {
		return s
	}
	size := 0
	for _, sep := range list {
		size += len(sep)
	}
	skip := common(list[0], list[len(list)-1])
	s.skip = uint32(skip)
	copy(s.lead[:], list[0][:skip])
	s.text = make([]byte, 0, size)
	for i, sep := range list {
		s.prefix[i] = prefixOf(sep, skip)
		s.text = append(s.text, sep...)
		s.end[i] = uint32(len(s.text))
	}
	return s
}

// at returns separator i.
func (s *separators) at(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = s.end[i-1]
	}
	return s.text[from:s.end[i]:s.end[i]]
}

// list appends the separators to a list.
func (s *separators) list(to [][]byte) [][]byte {
	for i := range int(s.n) {
		to = append(to, s.at(i))
	}
	return to
}

// child returns the index of the child where a key belongs: the number of
// separators that are not above it.
func (s *separators) child(key []byte) int {
	skip := int(s.skip)
	if skip > 0 {
		common := s.lead[:min(skip, len(s.lead))]
		if skip > len(s.lead) {
			common = s.text[:skip]
		}
		switch c := bytes.Compare(key[:min(skip, len(key))], common); {
		case c < 0:
			return 0
		case c > 0:
			return int(s.n)
		}
	}
	p := prefixOf(key, skip)
	i := s.prefix.rank(p)
	for end := s.prefix.equals(p, i, int(s.n)); i < end; {
		mid := int(uint(i+end) / 2)
		if bytes.Compare(s.at(mid), key) <= 0 {
			i = mid + 1
		} else {
			end = mid
		}
	}
	return i
}

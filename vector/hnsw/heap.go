package hnsw

import "math"

const maxFloat32 = math.MaxFloat32

// place is a vector and how far it is, in one number: places compare as their
// distances do, then as their vectors' numbers, so no two are equal and the
// order of all is certain. NaN is beyond everything.
type place uint64

func placeOf(distance float32, id uint32) place {
	b := math.Float32bits(distance)
	switch {
	case distance != distance:
		b = math.MaxUint32
	case b>>31 != 0: // negative: the greater the bits, the less the number
		b = ^b
	default:
		b |= 1 << 31
	}
	return place(b)<<32 | place(id)
}

func (p place) id() uint32 { return uint32(p) }

func (p place) distance() float32 {
	b := uint32(p >> 32)
	if b>>31 != 0 {
		return math.Float32frombits(b &^ (1 << 31))
	}
	return math.Float32frombits(^b)
}

// nearest is a heap with the least place on top.
type nearest []place

func (h *nearest) push(p place) {
	*h = append(*h, p)
	s := *h
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if s[up] <= p {
			break
		}
		s[i] = s[up]
		i = up
	}
	s[i] = p
}

func (h *nearest) pop() place {
	s := *h
	top, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	i := 0
	for {
		down := 2*i + 1
		if down >= len(s) {
			break
		}
		if down+1 < len(s) && s[down+1] < s[down] {
			down++
		}
		if s[down] >= last {
			break
		}
		s[i] = s[down]
		i = down
	}
	if len(s) > 0 {
		s[i] = last
	}
	return top
}

// farthest is a heap with the greatest place on top: it keeps the least ones.
type farthest []place

func (h *farthest) push(p place) {
	*h = append(*h, p)
	s := *h
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if s[up] >= p {
			break
		}
		s[i] = s[up]
		i = up
	}
	s[i] = p
}

// replace takes the greatest place out and p in.
func (h farthest) replace(p place) {
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1] > h[down] {
			down++
		}
		if h[down] <= p {
			break
		}
		h[i] = h[down]
		i = down
	}
	h[i] = p
}

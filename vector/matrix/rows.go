package matrix

import (
	"encoding/binary"
	"math"
	"math/bits"

	"inmem/vector/distance"
)

// Matrix is the vectors of a collection as they were at one version, for reading
// by any number of goroutines.
type Matrix struct {
	metric    Metric
	dimension int
	layout    layout
	parts     []part
}

// rows returns how many rows there are, those that are gone included.
func (m *Matrix) rows() int {
	last := len(m.parts) - 1
	if last < 0 {
		return 0
	}
	return m.layout.first(last) + m.parts[last].n
}

// Row returns a row by its number: it implements hnsw.Rows.
func (m *Matrix) Row(id uint32) []float32 {
	at := m.layout.place(int(id))
	from := int(at.row) * m.dimension
	return m.parts[at.part].vectors[from : from+m.dimension : from+m.dimension]
}

// part is the rows of a chunk that belong to a Matrix.
type part struct {
	*chunk
	n    int      // rows
	dead []uint64 // a bit for each row that is gone; nil = none
}

func (p *part) isDead(row int) bool { return p.dead != nil && p.dead[row/64]>>(row%64)&1 != 0 }

// chunk is a block of rows. It is filled once, from the front, by its builder.
type chunk struct {
	vectors []float32 // row by row
	// scale is, under Cosine, what makes a row's vector a unit vector, and its norm
	// under Dot; NaN where it is so large or small that float32 says nothing.
	scale []float32
	keys  []string
}

// Sizes of chunks, powers of two: enough for a scan to forget where they end, little
// enough for a small collection. Each is as large as all before it, up to a limit.
const (
	minRows   = 16
	maxRows   = 1024
	maxFloats = 1 << 17
)

// place is where a row is.
type place struct{ part, row int32 }

// layout says where the rows are that are numbered one after the other.
type layout struct {
	shift   int // the largest chunks have 1 << shift rows …
	smaller int // … and so many are smaller
}

func layoutOf(dimension int) layout {
	l := layout{shift: bits.Len(uint(min(max(maxFloats/dimension, 1), maxRows))) - 1}
	if limit := 1 << l.shift; limit > minRows {
		l.smaller = bits.Len(uint(limit / minRows))
	}
	return l
}

// size returns how many rows a part has room for.
func (l layout) size(part int) int {
	if part >= l.smaller {
		return 1 << l.shift
	}
	return max(minRows, l.first(part))
}

// first returns the number of a part's first row.
func (l layout) first(part int) int {
	switch {
	case l.smaller == 0:
		return part << l.shift
	case part >= l.smaller:
		return (part - l.smaller + 1) << l.shift
	case part == 0:
		return 0
	}
	return minRows << (part - 1)
}

// place returns where the row of a number is.
func (l layout) place(row int) place {
	part := row >> l.shift
	switch {
	case l.smaller == 0:
	case part > 0:
		part += l.smaller - 1
	default:
		part = bits.Len(uint(row / minRows))
	}
	return place{int32(part), int32(row - l.first(part))}
}

// builder is the only one who changes the rows of a collection. It hands out a
// Matrix whenever it is asked.
type builder struct {
	metric    Metric
	dimension int
	layout    layout
	parts     []part
	owned     []bool // of each part, whether its marks are the builder's alone
	places    map[string]place
	dead      int
	wild      int // rows for which float32 says nothing, gone or not
	bytes     int64
}

func newBuilder(m Metric, dimension int) *builder {
	return &builder{metric: m, dimension: dimension, layout: layoutOf(dimension), places: map[string]place{}}
}

// rowBytes is what a row takes beside its vector and its key: the place of the key
// in both tables, and the scale.
const rowBytes = 4 + 16 + 48

// matrix returns the rows as they are.
func (b *builder) matrix() *Matrix {
	m := &Matrix{metric: b.metric, dimension: b.dimension, layout: b.layout, parts: append([]part(nil), b.parts...)}
	clear(b.owned)
	return m
}

// put sets a key to a vector, dimension little-endian float32s. The key is not
// kept if it is known already.
func (b *builder) put(key string, vector []byte) {
	at := b.row(string([]byte(key))) // a listing's keys are the store's memory
	v := b.vector(at)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(vector[4*i:]))
	}
	b.measure(at)
}

// putRow sets a key to a vector of another builder's, and keeps the key.
func (b *builder) putRow(key string, vector []float32) {
	at := b.row(key)
	copy(b.vector(at), vector)
	b.measure(at)
}

// row returns a new row for a key, whose vector is to be set and measured.
func (b *builder) row(key string) place {
	b.remove(key)
	last, p := b.room()
	at := place{int32(last), int32(p.n)}
	p.n++
	b.occupy(at, key)
	return at
}

func (b *builder) vector(at place) []float32 {
	return b.parts[at.part].vectors[int(at.row)*b.dimension:][:b.dimension]
}

// occupy gives a place to a key.
func (b *builder) occupy(at place, key string) {
	b.parts[at.part].keys[at.row], b.places[key] = key, at
	b.bytes += int64(len(key))
}

// measure notes what a scan wants to know of the vector of a row.
func (b *builder) measure(at place) {
	norm := distance.Norm(b.vector(at))
	if norm > greatestNorm || norm < leastNorm && b.metric != Euclidean && norm != 0 {
		b.wild++
	}
	b.parts[at.part].scale[at.row] = scaleOf(b.metric, norm)
}

// hole appends a row that is gone, and may be filled before a Matrix is made.
func (b *builder) hole() {
	last, p := b.room()
	p.n++
	b.mark(place{int32(last), int32(p.n - 1)})
}

// fill gives a hole to a key that has no row yet.
func (b *builder) fill(at place, key string, vector []float32) {
	b.parts[at.part].dead[at.row/64] &^= 1 << (at.row % 64)
	b.dead--
	b.occupy(at, key)
	copy(b.vector(at), vector)
	b.measure(at)
}

// follow does what another builder has done since it made the Matrix m.
func (b *builder) follow(m *Matrix, newer *builder) {
	for i := range newer.parts {
		p, known := &newer.parts[i], part{}
		if i < len(m.parts) {
			known = m.parts[i]
		}
		for row := range p.n {
			switch dead := p.isDead(row); {
			case row >= known.n && !dead:
				b.putRow(p.keys[row], p.vectors[row*b.dimension:][:b.dimension])
			case row < known.n && dead && !known.isDead(row):
				b.remove(p.keys[row])
			}
		}
	}
}

// room returns the last part with room for a row.
func (b *builder) room() (int, *part) {
	last := len(b.parts) - 1
	if last >= 0 && b.parts[last].n < len(b.parts[last].keys) {
		return last, &b.parts[last]
	}
	rows := b.layout.size(last + 1)
	b.parts = append(b.parts, part{chunk: &chunk{
		vectors: make([]float32, rows*b.dimension), scale: make([]float32, rows), keys: make([]string, rows),
	}})
	b.owned = append(b.owned, false)
	b.bytes += int64(rows) * (int64(b.dimension)*4 + rowBytes)
	return last + 1, &b.parts[last+1]
}

// remove takes a key out, if it is there.
func (b *builder) remove(key string) {
	at, ok := b.places[key]
	if !ok {
		return
	}
	delete(b.places, key)
	b.mark(at)
}

// mark notes that a row is gone.
func (b *builder) mark(at place) {
	p := &b.parts[at.part]
	if !b.owned[at.part] {
		marks := make([]uint64, (len(p.keys)+63)/64)
		copy(marks, p.dead)
		p.dead, b.owned[at.part] = marks, true
	}
	p.dead[at.row/64] |= 1 << (at.row % 64)
	b.dead++
}

// wasteful reports whether so many rows are gone that the others should be copied
// elsewhere.
func (b *builder) wasteful() bool { return b.dead > len(b.places)/2+maxRows }

// compacted returns a builder with the rows that are not gone.
func (b *builder) compacted() *builder {
	out := newBuilder(b.metric, b.dimension)
	out.wild = b.wild
	for i := range b.parts {
		p := &b.parts[i]
		for row := range p.n {
			if p.isDead(row) {
				continue
			}
			at, to := out.room()
			copy(to.vectors[to.n*b.dimension:][:b.dimension], p.vectors[row*b.dimension:])
			to.keys[to.n], to.scale[to.n] = p.keys[row], p.scale[row]
			out.places[p.keys[row]] = place{int32(at), int32(to.n)}
			to.n++
			out.bytes += int64(len(p.keys[row]))
		}
	}
	return out
}

// The norms between which products of two vectors neither overflow a float32 nor
// lose all of their bits.
const (
	leastNorm    = 0x1p-40
	greatestNorm = 0x1p40
)

func scaleOf(m Metric, norm float64) float32 {
	switch {
	case m == Euclidean || norm == 0 && m == Dot:
		return 0
	case norm < leastNorm || norm > greatestNorm:
		return float32(math.NaN())
	case m == Dot:
		return float32(norm * (1 + 0x1p-20)) // rounded up, and then some
	}
	return float32(1 / norm)
}

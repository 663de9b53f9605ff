package hnsw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
)

// A graph as bytes, little endian:
//
//	 0  8  magic "inmemHNS"
//	 8  4  format version
//	12  1  metric
//	13  1  1 = with codes
//	14  2  M
//	16  4  dimension
//	20  4  EfConstruction
//	24  8  seed
//	32  4  number of vectors n
//	36  4  entry
//	40  4  highest level plus one; 0 = nothing is linked
//	44  n  for each vector its highest level
//	    8  for each 64 vectors begun: a bit for each that is dead
//	   4n  under Cosine: inverse norms
//	   4n  with codes: scales
//	   4n  with codes, under Euclidean: squares of norms
//	    …  with codes: n × the dimension, rounded up to 16
//	    …  for each vector and each of its levels: number of links 2 | links 4 each
//	    4  CRC-32C of all before
const (
	magic       = "inmemHNS"
	version     = 1
	headerSize  = 44
	trailerSize = 4
)

// Errors of Decode. Whatever it is: the graph can be built anew.
var (
	// ErrCorrupt means that the bytes are no graph, or damaged.
	ErrCorrupt = errors.New("hnsw: damaged graph: build it anew")
	// ErrVersion means that the bytes were written by a newer version.
	ErrVersion = errors.New("hnsw: graph of a newer version: build it anew")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Append appends the graph as bytes, which end with a checksum. The vectors are
// not among them: the caller must see to it that the graph meets the same ones
// again.
func (g *Graph) Append(b []byte) []byte {
	begin := len(b)
	p, le := g.params, binary.LittleEndian
	b = append(b, magic...)
	b = le.AppendUint32(b, version)
	b = append(b, byte(p.Metric), flag(p.Int8))
	b = le.AppendUint16(b, uint16(p.M))
	b = le.AppendUint32(b, uint32(p.Dimension))
	b = le.AppendUint32(b, uint32(p.EfConstruction))
	b = le.AppendUint64(b, p.Seed)
	b = le.AppendUint32(b, uint32(g.Len()))
	b = le.AppendUint32(b, g.entry)
	b = le.AppendUint32(b, uint32(g.top+1))
	b = append(b, g.levels...)
	for _, word := range g.dead {
		b = le.AppendUint64(b, word)
	}
	for _, floats := range [][]float32{g.inverse, g.codes.scales, g.codes.norms} {
		for _, f := range floats {
			b = le.AppendUint32(b, math.Float32bits(f))
		}
	}
	for _, c := range g.codes.elements {
		b = append(b, byte(c))
	}
	for id := range uint32(g.Len()) {
		for level := range int(g.levels[id]) + 1 {
			links := g.links(id, level)
			b = le.AppendUint16(b, uint16(len(links)))
			for _, other := range links {
				b = le.AppendUint32(b, other)
			}
		}
	}
	return le.AppendUint32(b, crc32.Checksum(b[begin:], castagnoli))
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// Decode returns the graph of bytes that Append made, or an error that is
// ErrCorrupt or ErrVersion. What it returns may be searched and extended with
// any vectors of its dimension without a panic.
func Decode(b []byte) (*Graph, error) {
	if len(b) < headerSize+trailerSize || string(b[:8]) != magic {
		return nil, fmt.Errorf("%w: no graph", ErrCorrupt)
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[8:]); v > version {
		return nil, fmt.Errorf("%w: %d", ErrVersion, v)
	}
	body, sum := b[:len(b)-trailerSize], le.Uint32(b[len(b)-trailerSize:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, fmt.Errorf("%w: its checksum is %08x instead of %08x", ErrCorrupt, got, sum)
	}
	d := decoder{rest: body[headerSize:]}
	g := &Graph{
		params: Params{
			Metric:         Metric(b[12]),
			Int8:           b[13] == 1,
			M:              int(le.Uint16(b[14:])),
			Dimension:      int(le.Uint32(b[16:])),
			EfConstruction: int(le.Uint32(b[20:])),
			Seed:           le.Uint64(b[24:]),
		},
		entry: le.Uint32(b[36:]),
		top:   int(le.Uint32(b[40:])) - 1,
	}
	if err := g.params.check(); err != nil || le.Uint32(b[8:]) != version || b[13] > 1 {
		return nil, fmt.Errorf("%w: header", ErrCorrupt)
	}
	d.vectors(g, int(le.Uint32(b[32:])))
	d.links(g)
	if d.err == nil && len(d.rest) > 0 {
		d.fail("bytes are left over")
	}
	if d.err != nil {
		return nil, d.err
	}
	return g, nil
}

// decoder takes fields from what is left. After the first error it takes none.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	d.rest = nil
}

// take returns the next n bytes, or nil if there are no more so many.
func (d *decoder) take(n int) []byte {
	if n > len(d.rest) {
		d.fail("it ends too early")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) floats(n int) []float32 {
	b := d.take(4 * n)
	if b == nil {
		return nil
	}
	list := make([]float32, n)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return list
}

// vectors takes what is kept of each of the n vectors.
func (d *decoder) vectors(g *Graph, n int) {
	if n > MaxLen || n > len(d.rest)/3 { // a level and a number of links take three bytes
		d.fail("it has not so many vectors")
		return
	}
	p := g.params
	g.levels = append([]uint8(nil), d.take(n)...)
	words := d.take((n + 63) / 64 * 8)
	for i := 0; i+8 <= len(words); i += 8 {
		word := binary.LittleEndian.Uint64(words[i:])
		g.dead = append(g.dead, word)
		g.deaths += bits.OnesCount64(word)
	}
	if n%64 != 0 && len(g.dead) > 0 && g.dead[n/64]>>(n%64) != 0 {
		d.fail("more are dead than there are")
	}
	if p.Metric == Cosine {
		g.inverse = d.floats(n)
	}
	if p.Int8 {
		g.codes.scales = d.floats(n)
		if p.Metric == Euclidean {
			g.codes.norms = d.floats(n)
		}
		if b := d.take(n * codeSize(p.Dimension)); b != nil {
			g.codes.elements = make([]int8, len(b))
			for i, c := range b {
				g.codes.elements[i] = int8(c)
			}
		}
	}
}

// links takes the links of each vector, and holds each against the levels that
// its vector has: a search relies on that.
func (d *decoder) links(g *Graph) {
	if d.err != nil {
		return
	}
	n, slots := len(g.levels), 0
	g.upper = make([]uint32, n)
	for id, level := range g.levels {
		if level > maxLevel {
			d.fail("a level is too high")
			return
		}
		if level > 0 {
			g.upper[id] = uint32(slots)
			slots += int(level)
		}
	}
	if 2*(n+slots) > len(d.rest) {
		d.fail("it has not so many levels")
		return
	}
	switch {
	case g.top < -1 || g.top > maxLevel, g.top == -1 && g.entry != 0,
		g.top >= 0 && (int(g.entry) >= n || int(g.levels[g.entry]) != g.top):
		d.fail("entry")
		return
	}
	g.low = make([]uint32, n*(1+2*g.params.M))
	g.high = make([]uint32, slots*(1+g.params.M))
	for id := range uint32(n) {
		for level := range int(g.levels[id]) + 1 {
			d.slot(g, g.slot(id, level), level)
		}
	}
}

func (d *decoder) slot(g *Graph, slot []uint32, level int) {
	b := d.take(2)
	if b == nil {
		return
	}
	count := int(binary.LittleEndian.Uint16(b))
	if count >= len(slot) {
		d.fail("a vector has too many links")
		return
	}
	b = d.take(4 * count)
	if b == nil {
		return
	}
	slot[0] = uint32(count)
	for i := range count {
		other := binary.LittleEndian.Uint32(b[4*i:])
		if int(other) >= len(g.levels) || int(g.levels[other]) < level {
			d.fail("a link leads to where nothing is")
			return
		}
		slot[1+i] = other
	}
}

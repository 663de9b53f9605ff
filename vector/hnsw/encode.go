package hnsw

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"slices"
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
	// step is how many bytes are read or written at a time, where there are many: what
	// a graph takes beside itself while it is.
	step = 64 << 10
)

// Errors of Decode. Whatever it is: the graph can be built anew.
var (
	// ErrCorrupt means that the bytes are no graph, or damaged.
	ErrCorrupt = errors.New("hnsw: damaged graph: build it anew")
	// ErrVersion means that the bytes were written by a newer version.
	ErrVersion = errors.New("hnsw: graph of a newer version: build it anew")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode writes the graph as bytes, which end with a checksum. The vectors are not
// among them: the caller must see to it that the graph meets the same ones again. It
// returns the writer's error.
func (g *Graph) Encode(w io.Writer) error {
	sum := crc32.New(castagnoli)
	e := encoder{bufio.NewWriterSize(io.MultiWriter(w, sum), step)}
	p, le := g.params, binary.LittleEndian
	b := append(make([]byte, 0, headerSize), magic...)
	b = le.AppendUint32(b, version)
	b = append(b, byte(p.Metric), flag(p.Int8))
	b = le.AppendUint16(b, uint16(p.M))
	b = le.AppendUint32(b, uint32(p.Dimension))
	b = le.AppendUint32(b, uint32(p.EfConstruction))
	b = le.AppendUint64(b, p.Seed)
	b = le.AppendUint32(b, uint32(g.Len()))
	b = le.AppendUint32(b, g.entry)
	b = le.AppendUint32(b, uint32(g.top+1))
	e.bytes(b)
	e.bytes(g.levels)
	for _, word := range g.dead {
		e.bytes(le.AppendUint64(e.AvailableBuffer(), word))
	}
	for _, floats := range [][]float32{g.inverse, g.codes.scales, g.codes.norms} {
		for _, f := range floats {
			e.bytes(le.AppendUint32(e.AvailableBuffer(), math.Float32bits(f)))
		}
	}
	for _, c := range g.codes.elements {
		_ = e.WriteByte(byte(c))
	}
	for id := range uint32(g.Len()) {
		for level := range int(g.levels[id]) + 1 {
			links := g.links(id, level)
			e.bytes(le.AppendUint16(e.AvailableBuffer(), uint16(len(links))))
			for _, other := range links {
				e.bytes(le.AppendUint32(e.AvailableBuffer(), other))
			}
		}
	}
	if err := e.Flush(); err != nil {
		return err
	}
	_, err := w.Write(le.AppendUint32(nil, sum.Sum32()))
	return err
}

// encoder keeps the first error until it is flushed.
type encoder struct{ *bufio.Writer }

func (e encoder) bytes(b []byte) { _, _ = e.Write(b) }

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

// Decode reads a graph of size bytes that Encode wrote, and returns a Builder that
// has it: it may be extended or handed over, with any vectors of its dimension,
// without a panic. What is allocated is in proportion to size. Errors: ErrCorrupt,
// ErrVersion, and the reader's.
func Decode(r io.Reader, size int64) (*Builder, error) {
	if size < headerSize+trailerSize {
		return nil, fmt.Errorf("%w: no graph", ErrCorrupt)
	}
	sum := crc32.New(castagnoli)
	d := &decoder{rest: size - trailerSize}
	d.r = bufio.NewReaderSize(io.TeeReader(io.LimitReader(r, d.rest), sum), step)
	g, n := d.header()
	d.vectors(g, n)
	d.links(g)
	if d.err == nil && d.rest > 0 {
		d.fail("bytes are left over")
	}
	if d.err != nil {
		return nil, d.err
	}
	var trailer [trailerSize]byte
	if _, err := io.ReadFull(r, trailer[:]); err != nil {
		d.stopped(err)
		return nil, d.err
	}
	if got, want := sum.Sum32(), binary.LittleEndian.Uint32(trailer[:]); got != want {
		return nil, fmt.Errorf("%w: its checksum is %08x instead of %08x", ErrCorrupt, got, want)
	}
	return &Builder{g}, nil
}

// decoder takes fields from what is left. After the first error it takes none.
type decoder struct {
	r    *bufio.Reader
	rest int64 // bytes
	buf  []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	d.rest = 0
}

// stopped takes the reader's error.
func (d *decoder) stopped(err error) {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		d.fail("it ends too early")
	} else if d.err == nil {
		d.err = err
	}
	d.rest = 0
}

// take returns the next n bytes until the next call, or nil if there are no more so
// many.
func (d *decoder) take(n int) []byte {
	if int64(n) > d.rest {
		d.fail("it ends too early")
	}
	if d.err != nil {
		return nil
	}
	d.buf = slices.Grow(d.buf[:0], n)[:n]
	if _, err := io.ReadFull(d.r, d.buf); err != nil {
		d.stopped(err)
		return nil
	}
	d.rest -= int64(n)
	return d.buf
}

// each takes n pieces of size bytes, some at a time.
func (d *decoder) each(n, size int, piece func(b []byte)) {
	if int64(n)*int64(size) > d.rest {
		d.fail("it ends too early")
		return
	}
	for n > 0 && d.err == nil {
		some := min(n, step/size)
		b := d.take(some * size)
		for ; len(b) > 0; b = b[size:] {
			piece(b[:size])
		}
		n -= some
	}
}

func (d *decoder) header() (g *Graph, n int) {
	g = &Graph{top: -1}
	b := d.take(headerSize)
	if b == nil {
		return g, 0
	}
	le := binary.LittleEndian
	if string(b[:8]) != magic {
		d.fail("no graph")
		return g, 0
	}
	if v := le.Uint32(b[8:]); v > version {
		d.err = fmt.Errorf("%w: %d", ErrVersion, v)
		return g, 0
	}
	g.params = Params{
		Metric:         Metric(b[12]),
		Int8:           b[13] == 1,
		M:              int(le.Uint16(b[14:])),
		Dimension:      int(le.Uint32(b[16:])),
		EfConstruction: int(le.Uint32(b[20:])),
		Seed:           le.Uint64(b[24:]),
	}
	g.entry, g.top = le.Uint32(b[36:]), int(le.Uint32(b[40:]))-1
	if err := g.params.check(); err != nil || le.Uint32(b[8:]) != version || b[13] > 1 {
		d.fail("header")
	}
	return g, int(le.Uint32(b[32:]))
}

func (d *decoder) floats(n int) []float32 {
	if 4*int64(n) > d.rest {
		d.fail("it ends too early")
		return nil
	}
	list := make([]float32, 0, n)
	d.each(n, 4, func(b []byte) { list = append(list, math.Float32frombits(binary.LittleEndian.Uint32(b))) })
	return list
}

// vectors takes what is kept of each of the n vectors.
func (d *decoder) vectors(g *Graph, n int) {
	if d.err != nil {
		return
	}
	if n > MaxLen || int64(n) > d.rest/3 { // a level and a number of links take three bytes
		d.fail("it has not so many vectors")
		return
	}
	p := g.params
	g.levels = make([]uint8, 0, n)
	d.each(n, 1, func(b []byte) { g.levels = append(g.levels, b[0]) })
	d.each((n+63)/64, 8, func(b []byte) {
		word := binary.LittleEndian.Uint64(b)
		g.dead = append(g.dead, word)
		g.deaths += bits.OnesCount64(word)
	})
	if d.err == nil && n%64 != 0 && g.dead[n/64]>>(n%64) != 0 {
		d.fail("more are dead than there are")
	}
	if p.Metric == Cosine {
		g.inverse = d.floats(n)
	}
	if !p.Int8 {
		return
	}
	g.codes.scales = d.floats(n)
	if p.Metric == Euclidean {
		g.codes.norms = d.floats(n)
	}
	if size := codeSize(p.Dimension); int64(n) > d.rest/int64(size) {
		d.fail("it ends too early")
	} else {
		g.codes.elements = make([]int8, 0, n*size)
		d.each(n, size, func(b []byte) {
			for _, c := range b {
				g.codes.elements = append(g.codes.elements, int8(c))
			}
		})
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
	if int64(2*(n+slots)) > d.rest {
		d.fail("it has not so many levels")
		return
	}
	switch {
	case g.top < -1 || g.top > maxLevel, (g.top == -1) != (n == 0), n == 0 && g.entry != 0,
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

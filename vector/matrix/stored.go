package matrix

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"

	"inmem/op"
	"inmem/run"
	"inmem/vector/hnsw"
)

// Shelf keeps indexes while nobody has them in memory. They are derived: what is
// lost there is made anew, and what was kept counts for those vectors alone that
// are the same still. It is called by several goroutines.
type Shelf interface {
	// Save keeps what write writes as the index of a collection, in place of what
	// there was, and returns its size; 0 = this shelf takes nothing.
	Save(id run.ID, collection string, write func(io.Writer) error) (bytes int64, err error)
	// Load has read called with what was kept, and its size, or returns an
	// fs.ErrNotExist. What is damaged, it does not show: that is an op.ErrCorrupt.
	Load(id run.ID, collection string, read func(r io.Reader, bytes int64) error) error
	// Remove removes what is kept for a collection, if there is something.
	Remove(id run.ID, collection string)
}

// An index as bytes, little endian:
//
//	0  1  metric
//	1  3  zero
//	4  4  dimension
//	8  4  number of rows n
//	   …  for each row: length of its key, uvarint; 0 = the row is gone
//	      | key | CRC-32C of the vector as it is in its record, 4
//	   …  the graph over these rows (package hnsw)
const storedHeader = 12

// Errors of an index that was kept and is of no use.
var (
	errForeign = errors.New("it is of another collection")
	errChanged = errors.New("too much was changed since")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf returns the checksum of a vector as its record has it.
func sumOf(v []float32, buf []byte) (uint32, []byte) {
	buf = buf[:0]
	for _, x := range v {
		buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
	}
	return crc32.Checksum(buf, castagnoli), buf
}

// encodeIndex writes the index of the first rows of m.
func encodeIndex(w io.Writer, m *Matrix, g *hnsw.Graph) error {
	le, bw := binary.LittleEndian, bufio.NewWriterSize(w, 64<<10)
	b := []byte{byte(m.metric), 0, 0, 0}
	b = le.AppendUint32(b, uint32(m.dimension))
	b = le.AppendUint32(b, uint32(g.Len()))
	var buf []byte
	for id := range uint32(g.Len()) {
		if at := m.layout.place(int(id)); m.parts[at.part].isDead(int(at.row)) {
			b = append(b, 0)
		} else {
			key, sum := m.parts[at.part].keys[at.row], uint32(0)
			sum, buf = sumOf(m.Row(id), buf)
			b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
			b = le.AppendUint32(b, sum)
		}
		if _, err := bw.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	if _, err := bw.Write(b); err != nil { // of an index without rows
		return err
	}
	if err := bw.Flush(); err != nil {
		return err
	}
	return g.Encode(w)
}

// storedRow is a row of an index that was kept.
type storedRow struct {
	key string // "" = it is gone
	sum uint32
}

// decodeIndex reads what encodeIndex has written for a collection like m. Errors:
// op.ErrCorrupt, errForeign, those of hnsw.Decode, and the reader's.
func decodeIndex(r io.Reader, size int64, m *Matrix) (rows []storedRow, b *hnsw.Builder, err error) {
	in := &counting{r: bufio.NewReaderSize(r, 64<<10), rest: size}
	var head [storedHeader]byte
	if err := in.full(head[:]); err != nil {
		return nil, nil, err
	}
	le := binary.LittleEndian
	if Metric(head[0]) != m.metric || int64(le.Uint32(head[4:])) != int64(m.dimension) {
		return nil, nil, errForeign
	}
	n := int64(le.Uint32(head[8:]))
	for int64(len(rows)) < n {
		row, err := in.row()
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, row)
	}
	if b, err = hnsw.Decode(in.r, in.rest); err != nil {
		return nil, nil, err
	}
	if b.Params() != paramsOf(m) {
		return nil, nil, errForeign // made by a program that chose others
	}
	if b.Len() != len(rows) {
		return nil, nil, fmt.Errorf("%w: an index of %d rows has a graph of %d", op.ErrCorrupt, len(rows), b.Len())
	}
	for id := range rows {
		if b.IsDead(uint32(id)) {
			rows[id] = storedRow{}
		}
	}
	return rows, b, nil
}

// counting reads fields, and knows how much is left.
type counting struct {
	r    *bufio.Reader
	rest int64
}

func (c *counting) full(b []byte) error {
	if int64(len(b)) > c.rest {
		return fmt.Errorf("%w: an index ends too early", op.ErrCorrupt)
	}
	c.rest -= int64(len(b))
	_, err := io.ReadFull(c.r, b)
	return err
}

// ReadByte implements io.ByteReader.
func (c *counting) ReadByte() (byte, error) {
	if c.rest == 0 {
		return 0, io.EOF
	}
	c.rest--
	return c.r.ReadByte()
}

func (c *counting) row() (row storedRow, err error) {
	n, err := binary.ReadUvarint(c)
	if err != nil || n > uint64(c.rest) {
		return row, fmt.Errorf("%w: an index ends in the length of a key", op.ErrCorrupt)
	}
	if n == 0 {
		return row, nil
	}
	b := make([]byte, n+4)
	if err := c.full(b); err != nil {
		return row, err
	}
	return storedRow{string(b[:n]), binary.LittleEndian.Uint32(b[n:])}, nil
}

// save keeps an index for the next time.
func (c *Cache) save(e *entry, m *Matrix, g *hnsw.Graph) {
	if c.shelf == nil {
		return
	}
	n, err := c.shelf.Save(e.id, e.name, func(w io.Writer) error { return encodeIndex(w, m, g) })
	if e.dropped.Load() {
		c.shelf.Remove(e.id, e.name) // it was dropped while this was at work
	}
	if n > 0 || err != nil {
		c.tell(IndexEvent{Run: e.id, Collection: e.name, Kind: Saved, Rows: g.Len(), Bytes: n, Err: err})
	}
}

// load takes over the index that was kept of a collection, where it is of use, and
// reports whether there is nothing left to do.
func (c *Cache) load(e *entry, now *current) bool {
	if c.shelf == nil {
		return false
	}
	select {
	case c.loader <- struct{}{}:
	case <-e.ctx.Done():
		return true
	}
	defer func() { <-c.loader }()
	var rows []storedRow
	var b *hnsw.Builder
	var size int64
	err := c.shelf.Load(e.id, e.name, func(r io.Reader, n int64) (err error) {
		size = n
		rows, b, err = decodeIndex(r, n, now.Matrix)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var arranged *builder
	if err == nil {
		arranged = arrange(now.Matrix, rows)
		if arranged.dead > len(rows)/4 {
			err = errChanged
		}
	}
	event := IndexEvent{Run: e.id, Collection: e.name, Kind: Loaded, Rows: len(rows), Bytes: size, Err: err}
	if err != nil {
		if err != errChanged { // which is replaced by what is made now
			c.shelf.Remove(e.id, e.name)
		}
		c.tell(event)
		return false
	}
	for i := range rows {
		if at := arranged.layout.place(i); arranged.parts[at.part].isDead(int(at.row)) {
			b.Delete(uint32(i))
		}
	}
	graph := b.Graph(arranged.matrix())
	if e.take(e.ctx) != nil {
		return true
	}
	defer e.release()
	if e.rows != now.rows {
		return true // the next search that wants an index tries it with these
	}
	arranged.follow(now.Matrix, e.rows)
	e.rows, e.graph = arranged, graph
	e.show(e.base)
	c.settle(e)
	c.tell(event)
	return true
}

// arrange returns a builder with the rows of m, those of an index in its order
// first. Where m has no such row, or not that vector, there is one that is gone.
func arrange(m *Matrix, order []storedRow) *builder {
	b := newBuilder(m.metric, m.dimension)
	b.places = make(map[string]place, m.rows())
	at := make(map[string]int, len(order))
	for i := range order {
		b.hole()
		if key := order[i].key; key != "" {
			at[key] = i
		}
	}
	var buf []byte
	for i := range m.parts {
		p := &m.parts[i]
		for row := range p.n {
			if p.isDead(row) {
				continue
			}
			key, v := p.keys[row], m.Row(uint32(m.layout.first(i)+row))
			if id, known := at[key]; known {
				var sum uint32
				if sum, buf = sumOf(v, buf); sum == order[id].sum {
					b.fill(b.layout.place(id), key, v)
					continue
				}
			}
			b.putRow(key, v)
		}
	}
	return b
}

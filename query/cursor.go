package query

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"time"

	"inmem/field"
	"inmem/run"
)

// MaxCursor bounds a cursor, in characters.
const MaxCursor = 32 << 10

// A cursor, before it is written in the letters of base64 for URLs:
//
//	version      1 byte, cursorVersion
//	fingerprint  8 bytes: of the query, all but limit and after
//	now          signed: what now() says on all pages, Unix ms
//	only         bytes: the ID of the only run that was asked; empty = all runs
//	keys         their number, then each: what the row is ordered by
//	place        1 byte, whether there is one; then created (signed), the run's
//	             ID (16 bytes), first, second (bytes), number
//	checksum     4 bytes: CRC-32C of all before
//
// Numbers are shortest uvarints, signed ones in zigzag; bytes have their length
// before them.
const cursorVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is where an item is, in the order in which items are found: by the run's
// creation, its ID, and then within the run.
type place struct {
	created int64 // of the run, Unix ms
	run     run.ID
	// Within the run: a key, a cell's name, a stream or a collection; the key of a
	// vector; the sequence of an event or the ID of a span. Runs themselves have
	// none of these.
	first, second string
	number        uint64
}

func (p *place) compare(o *place) int {
	return cmp.Or(cmp.Compare(p.created, o.created), p.run.Compare(o.run),
		cmp.Compare(p.first, o.first), cmp.Compare(p.second, o.second), cmp.Compare(p.number, o.number))
}

// place returns where the item in scope is. It shares its texts with the store.
func (s *scope) place(src *source) place {
	p := place{created: s.info.Created, run: s.info.ID}
	p.first, p.second, p.number = src.at(s)
	return p
}

// keptPlace is place for who keeps it.
func (s *scope) keptPlace(src *source) *place {
	p := s.place(src)
	p.first, p.second = strings.Clone(p.first), strings.Clone(p.second)
	return &p
}

// cursor is the end of a page: what comes behind it is still to be found.
type cursor struct {
	text        string // as it is written
	fingerprint [8]byte
	now         time.Time
	only        run.ID // zero = all runs were asked
	// keys are what the last row is ordered by; of groups also what they are
	// grouped by; none where the place alone says it.
	keys []any
	at   *place // nil for groups
}

// fingerprint tells queries apart: head is all tokens before limit, offset and
// after.
func fingerprint(head []token, offset int) (sum [8]byte) {
	var s strings.Builder
	for i := range head {
		s.WriteString(head[i].written())
		s.WriteByte(0)
	}
	fmt.Fprint(&s, offset)
	all := sha256.Sum256([]byte(s.String()))
	copy(sum[:], all[:])
	return sum
}

// encode writes the cursor.
func (c *cursor) encode() (string, error) {
	b := append([]byte{cursorVersion}, c.fingerprint[:]...)
	b = binary.AppendVarint(b, c.now.UnixMilli())
	if c.only.IsZero() {
		b = append(b, 0)
	} else {
		b = appendBytes(b, string(c.only[:]))
	}
	b = binary.AppendUvarint(b, uint64(len(c.keys)))
	for _, v := range c.keys {
		b = appendValue(b, v)
	}
	if p := c.at; p == nil {
		b = append(b, 0)
	} else {
		b = binary.AppendVarint(append(b, 1), p.created)
		b = append(b, p.run[:]...)
		b = appendBytes(appendBytes(b, p.first), p.second)
		b = binary.AppendUvarint(b, p.number)
	}
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if n := base64.RawURLEncoding.EncodedLen(len(b)); n > MaxCursor {
		return "", &CursorError{Reason: fmt.Sprintf("it would have %d characters, the limit is %d: order by something shorter", n, MaxCursor)}
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

func appendBytes(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// The kinds of values in a cursor.
const (
	cursorNil = iota
	cursorFalse
	cursorTrue
	cursorInt
	cursorFloat
	cursorText
	cursorTime
	cursorDuration
	cursorJSON // labels, too: they are ordered as they are written
)

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, cursorNil)
	case bool:
		if v {
			return append(b, cursorTrue)
		}
		return append(b, cursorFalse)
	case int64:
		return binary.AppendVarint(append(b, cursorInt), v)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, cursorFloat), math.Float64bits(v))
	case string:
		return appendBytes(append(b, cursorText), v)
	case time.Time:
		b = binary.AppendVarint(append(b, cursorTime), v.Unix())
		return binary.AppendUvarint(b, uint64(v.Nanosecond()))
	case time.Duration:
		return binary.AppendVarint(append(b, cursorDuration), int64(v))
	}
	return appendBytes(append(b, cursorJSON), written(v))
}

// parseCursor reads a cursor, which may be anything at all.
func parseCursor(text string) (*cursor, error) {
	if len(text) > MaxCursor {
		return nil, &CursorError{Reason: fmt.Sprintf("%d characters, the limit is %d", len(text), MaxCursor)}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	end := len(b) - crc32.Size
	if err != nil || end < 1 || strings.ContainsAny(text, "\r\n") || binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return nil, &CursorError{Reason: "it was changed or cut off: give it as it was given to you, or leave it out to begin anew"}
	}
	if b[0] != cursorVersion {
		return nil, &CursorError{Reason: "it was made by another version of inmem: leave it out to begin anew"}
	}
	c := &cursor{text: text}
	r := field.NewReader(b[1:end], ErrCursor)
	copy(c.fingerprint[:], r.Take(8))
	c.now = time.UnixMilli(signed(&r))
	if id := r.Bytes(); len(id) != 0 && len(id) != len(c.only) {
		r.Fail("an ID of another length")
	} else {
		copy(c.only[:], id)
	}
	n := r.Uvarint()
	if n > maxOrder+maxColumns {
		r.Fail("more keys than there can be")
	}
	for ; n > 0 && r.Err() == nil; n-- {
		c.keys = append(c.keys, readValue(&r))
	}
	switch r.Byte() {
	case 0:
	case 1:
		c.at = &place{created: signed(&r)}
		copy(c.at.run[:], r.Take(uint64(len(c.at.run))))
		c.at.first, c.at.second = string(r.Bytes()), string(r.Bytes())
		if c.at.number = r.Uvarint(); c.at.number >= 1<<62 {
			r.Fail("a number that no item has")
		}
	default:
		r.Fail("neither a place nor none")
	}
	if r.Len() > 0 {
		r.Fail("bytes behind its end")
	}
	if r.Err() != nil {
		return nil, &CursorError{Reason: "it was not made by a query: leave it out to begin anew"}
	}
	return c, nil
}

// signed reads a number in zigzag.
func signed(r *field.Reader) int64 {
	u := r.Uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func readValue(r *field.Reader) any {
	switch kind := r.Byte(); kind {
	case cursorNil:
	case cursorFalse, cursorTrue:
		return kind == cursorTrue
	case cursorInt:
		return signed(r)
	case cursorFloat:
		if b := r.Take(8); b != nil {
			return math.Float64frombits(binary.BigEndian.Uint64(b))
		}
	case cursorText:
		return string(r.Bytes())
	case cursorTime:
		seconds, nanos := signed(r), r.Uvarint()
		if nanos >= 1e9 {
			r.Fail("a time that there is not")
		}
		return time.Unix(seconds, int64(nanos)).UTC()
	case cursorDuration:
		return time.Duration(signed(r))
	case cursorJSON:
		return JSON(r.Bytes())
	default:
		r.Fail("a value of no kind")
	}
	return nil
}

// fits makes sure that the plan can go on behind a cursor, over all runs, or over
// the only one there is.
func (p *plan) fits(c *cursor, only run.ID) error {
	switch {
	case c.only == only && (p.q.grouped() || p.natural || len(c.keys) == len(p.orders)):
		return nil
	case c.only.IsZero():
		return &CursorError{Reason: "it is of a query over all runs: ask these, or leave it out to begin anew"}
	}
	return &CursorError{Reason: fmt.Sprintf("it is of a query over run %v: ask that one, or leave it out to begin anew", c.only)}
}

// behind reports whether an item with these keys comes behind the cursor. That is
// asked only where items are not found in the order of the query.
func (p *plan) behind(keys []any, s *scope) bool {
	c := p.q.after
	for i, o := range p.q.orders {
		if d := order(keys[i], c.keys[i]); d != 0 {
			return (d > 0) != o.desc
		}
	}
	at := s.place(p.q.source)
	d := at.compare(c.at)
	if p.q.orders[len(p.q.orders)-1].desc {
		d = -d
	}
	return d > 0
}

// issuer is what all cursors of an execution have in common. It holds on to
// nothing of the store: rows may be kept for long.
type issuer struct {
	fingerprint [8]byte
	now         time.Time
	only        run.ID
}

// origin is what a row's cursor is made of.
type origin struct {
	*issuer
	keys []any
	at   *place
}

// Cursor returns from where the query goes on behind this row: a text of letters,
// digits, - and _, of MaxCursor characters at most, for After, or for after in the
// query's text. There may be no row behind it; Page tells.
//
// Only rows of a query with a limit have cursors. They hold what the row is
// ordered by and where it was found, readable to whoever has one. The error is a
// *CursorError: the query has no limit, or the row is ordered by something too
// long.
func (r Row) Cursor() (string, error) {
	o := r.from
	if o == nil {
		return "", &CursorError{Reason: "the query has no limit: give it one, or ask for all rows"}
	}
	c := cursor{fingerprint: o.fingerprint, now: o.now, only: o.only, keys: o.keys, at: o.at}
	return c.encode()
}

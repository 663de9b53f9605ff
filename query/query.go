package query

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
)

// DefaultMemory bounds what a query keeps at once, in bytes, unless Bounded says
// otherwise. See Query.Bounded.
const DefaultMemory = 256 << 20

// Query is a question, parsed and found to make sense. It never changes.
type Query struct {
	text   string
	source *source
	where  *clause
	// selected are the columns of a row; with groups or aggregates it is empty.
	selected   []*clause
	groups     []*clause
	aggregates []*aggregate
	orders     []*ordering
	limit      int // -1 = none
	offset     int // not of what comes behind a cursor: it was passed over before
	after      *cursor
	memory     int64

	head        string  // the text up to limit, offset and after
	fingerprint [8]byte // of all but limit and after
}

// clause is an expression of a query's text.
type clause struct {
	whole    string      // the query's text
	at       int         // where the clause begins in it, in characters
	text     string      // as it is written
	name     string      // of the column that it makes
	literals map[int]any // by where they stand in the clause …
	texts    map[int]string
	tree     ast.Node
}

// aggregate makes one value of the many of a group.
type aggregate struct {
	fn   string // count, sum, min, max or avg
	of   *clause
	name string
}

// ordering is a key to order rows by.
type ordering struct {
	key  *clause
	desc bool
	// column is which column of the row the key is, where rows are groups.
	column int
}

// Parse reads a query. In its text $1, $2 … stand for the arguments: texts,
// numbers, bools, times, durations, nil, slices of these, and what has a text of
// its own, such as run.ID. An error is a *SyntaxError.
func Parse(text string, args ...any) (*Query, error) {
	p, err := newParser(text, args)
	if err != nil {
		return nil, err
	}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	// All names and types are looked at now. What time it is makes no difference.
	if _, err := newPlan(q, time.Unix(0, 0), false); err != nil {
		return nil, err
	}
	return q, nil
}

// MustParse is Parse for a text that is known to be right; it panics where it is
// not.
func MustParse(text string, args ...any) *Query {
	q, err := Parse(text, args...)
	if err != nil {
		panic(err)
	}
	return q
}

// String returns the text of the query, arguments as they are written in it.
func (q *Query) String() string { return q.text }

// Source returns what the query looks through.
func (q *Query) Source() Source { return q.source.name }

// Columns returns the names of the columns that the rows have.
func (q *Query) Columns() []string {
	if len(q.groups)+len(q.aggregates) == 0 {
		if len(q.selected) == 0 {
			return slices.Clone(q.source.shown)
		}
		return names(q.selected)
	}
	list := names(q.groups)
	for _, a := range q.aggregates {
		list = append(list, a.name)
	}
	return list
}

func names(list []*clause) []string {
	out := make([]string, 0, len(list))
	for _, c := range list {
		out = append(out, c.name)
	}
	return out
}

// Bounded returns the query with another bound of what it keeps at once, in
// bytes, of all rows that are to be ordered, or of all groups; 0 = DefaultMemory.
// Beyond it a query ends with a *MemoryError. What is neither ordered nor grouped
// is not kept, and with a limit no more than that many rows are.
func (q *Query) Bounded(bytes int64) *Query {
	out := *q
	out.memory = bytes
	if bytes <= 0 {
		out.memory = DefaultMemory
	}
	return &out
}

// Limit returns how many rows there are at most; -1 = as many as there are.
func (q *Query) Limit() int { return q.limit }

// Limited returns the query with another limit; negative = none. Cursors of one are
// good for the other.
func (q *Query) Limited(n int) *Query {
	out := *q
	out.limit = max(n, -1)
	out.text = out.rewritten()
	return &out
}

// After returns the query as it goes on behind a cursor of it, one that
// Row.Cursor or Page returned; "" = from the beginning. What now() says and what
// offset leaves out was settled on the first page. The error is a *CursorError:
// it is no cursor, or one of a query that differs in more than its limit.
func (q *Query) After(cursor string) (*Query, error) {
	out := *q
	out.after = nil
	if cursor != "" {
		c, err := parseCursor(cursor)
		if err != nil {
			return nil, err
		}
		if err := q.owns(c); err != nil {
			return nil, err
		}
		out.after = c
	}
	out.text = out.rewritten()
	return &out, nil
}

// owns makes sure that a cursor is one of the query.
func (q *Query) owns(c *cursor) error {
	keys := 0 // where the place says it
	if q.grouped() {
		keys = len(q.orders) + len(q.groups)
	} else if len(c.keys) > 0 {
		keys = len(q.orders)
	}
	if c.fingerprint != q.fingerprint || (c.at == nil) != q.grouped() || len(c.keys) != keys {
		return &CursorError{Reason: "it is of another query: ask that one, in which only limit may be another, or leave it out to begin anew"}
	}
	return nil
}

// rewritten is the query's text with its bounds as they are now.
func (q *Query) rewritten() string {
	text := q.head
	if q.limit >= 0 {
		text += " limit " + strconv.Itoa(q.limit)
	}
	if q.offset > 0 {
		text += " offset " + strconv.Itoa(q.offset)
	}
	if q.after != nil {
		text += " after " + strconv.Quote(q.after.text)
	}
	return text
}

// skipped is how many of the rows that are found are left out.
func (q *Query) skipped() int {
	if q.after != nil {
		return 0
	}
	return q.offset
}

// grouped reports whether rows are groups of items.
func (q *Query) grouped() bool { return len(q.groups)+len(q.aggregates) > 0 }

// fail is an error at a place in the clause.
func (c *clause) fail(at int, format string, args ...any) error {
	return failAt(c.whole, c.at+at, format, args...)
}

// squeezed is a text with single spaces.
func squeezed(s string) string { return strings.Join(strings.Fields(s), " ") }

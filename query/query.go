package query

import (
	"slices"
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
	offset     int
	memory     int64
}

// clause is an expression of a query's text.
type clause struct {
	whole    string      // the query's text
	at       int         // where the clause begins in it, in characters
	text     string      // as it is written
	name     string      // of the column that it makes
	literals map[int]any // by where they stand in the clause
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
	if _, err := newPlan(q, time.Unix(0, 0)); err != nil {
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

// grouped reports whether rows are groups of items.
func (q *Query) grouped() bool { return len(q.groups)+len(q.aggregates) > 0 }

// fail is an error at a place in the clause.
func (c *clause) fail(at int, format string, args ...any) error {
	return failAt(c.whole, c.at+at, format, args...)
}

// squeezed is a text with single spaces.
func squeezed(s string) string { return strings.Join(strings.Fields(s), " ") }

package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Expr is an expression of a query that is being built: it has the text that
// would be written, and says all that can be written.
type Expr struct {
	text  string
	joint bool // it has operators in it, and is put in brackets within others
	err   error
}

// C is a column, and what a path leads to in its JSON or labels: names are
// strings, indexes into arrays are ints. C("value", "user", "name") is
// value.user.name.
func C(column string, path ...any) Expr {
	var s strings.Builder
	s.WriteString(column)
	for _, p := range path {
		switch p := p.(type) {
		case string:
			s.WriteString("[" + strconv.Quote(p) + "]")
		case int:
			fmt.Fprintf(&s, "[%d]", p)
		default:
			return Expr{err: fmt.Errorf("%w: a path has names and indexes, and this is a %T", ErrInvalid, p)}
		}
	}
	return Expr{text: s.String()}
}

// V is a value: whatever may be an argument of Parse. The methods that take any
// make one of what is no Expr.
func V(v any) Expr {
	if e, ok := v.(Expr); ok {
		return e
	}
	c, ok := constantOf(v)
	if !ok {
		return Expr{err: fmt.Errorf("%w: a value of type %T", ErrInvalid, v)}
	}
	if t, is := c.(time.Time); is && !writable(t) {
		return Expr{err: fmt.Errorf("%w: a time of the year %d: the language has those from 0 to 9999", ErrInvalid, t.Year())}
	}
	text := writtenConstant(c)
	return Expr{text: text, joint: strings.HasPrefix(text, "-")}
}

// Text is an expression as it would be written, with arguments as in Parse.
func Text(text string, args ...any) Expr {
	p, err := newParser(text, args)
	if err != nil {
		return Expr{err: err}
	}
	return Expr{text: p.written(len(p.tokens) - 1), joint: true}
}

// Call calls a function of the language, such as now or lower.
func Call(function string, args ...any) Expr {
	list := make([]string, len(args))
	var err error
	for i, a := range args {
		e := V(a)
		list[i], err = e.text, first(err, e.err)
	}
	return Expr{text: function + "(" + strings.Join(list, ", ") + ")", err: err}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// within is the expression as part of another.
func (e Expr) within() string {
	if e.joint {
		return "(" + e.text + ")"
	}
	return e.text
}

func (e Expr) with(op string, v any) Expr {
	r := V(v)
	return Expr{text: e.within() + " " + op + " " + r.within(), joint: true, err: first(e.err, r.err)}
}

// Eq, Ne, Lt, Le, Gt and Ge compare. What is not there, or of another kind, fulfils
// none of them.
func (e Expr) Eq(v any) Expr { return e.with("==", v) }
func (e Expr) Ne(v any) Expr { return e.with("!=", v) } // see Eq
func (e Expr) Lt(v any) Expr { return e.with("<", v) }  // see Eq
func (e Expr) Le(v any) Expr { return e.with("<=", v) } // see Eq
func (e Expr) Gt(v any) Expr { return e.with(">", v) }  // see Eq
func (e Expr) Ge(v any) Expr { return e.with(">=", v) } // see Eq

// Missing is true of what is not there, and of JSON's null.
func (e Expr) Missing() Expr { return e.with("==", nil) }

// Present is the opposite of Missing.
func (e Expr) Present() Expr { return e.with("!=", nil) }

// In is true of what is equal to one of the values, or, where a slice is all that
// is given, to one of its values.
func (e Expr) In(values ...any) Expr {
	if len(values) == 1 {
		if c, ok := constantOf(values[0]); ok && kindOf(c) == kindList {
			return e.with("in", c)
		}
	}
	return e.with("in", values)
}

// Among is true of what is in a JSON array, or a name among labels.
func (e Expr) Among(of Expr) Expr { return e.with("in", of) }

// Between is true of what is from one value up to another, both included.
func (e Expr) Between(from, to any) Expr {
	a, b := V(from), V(to)
	return Expr{text: e.within() + " in " + a.within() + ".." + b.within(), joint: true, err: first(e.err, a.err, b.err)}
}

// HasPrefix is true of texts that begin so.
func (e Expr) HasPrefix(v any) Expr { return e.with("startsWith", v) }

// HasSuffix is true of texts that end so.
func (e Expr) HasSuffix(v any) Expr { return e.with("endsWith", v) }

// Contains is true of texts with another one in them.
func (e Expr) Contains(v any) Expr { return e.with("contains", v) }

// Matches is true of texts in which a regular expression is found, one of package
// regexp.
func (e Expr) Matches(pattern string) Expr { return e.with("matches", pattern) }

// Plus, Minus, Times, Over and Modulo compute with numbers, times and durations.
func (e Expr) Plus(v any) Expr   { return e.with("+", v) }
func (e Expr) Minus(v any) Expr  { return e.with("-", v) } // see Plus
func (e Expr) Times(v any) Expr  { return e.with("*", v) } // see Plus
func (e Expr) Over(v any) Expr   { return e.with("/", v) } // see Plus
func (e Expr) Modulo(v any) Expr { return e.with("%", v) } // see Plus

// Else is the expression, or another one where it is missing.
func (e Expr) Else(v any) Expr { return e.with("??", v) }

// And is true where all conditions are; of none it is true.
func And(conditions ...Expr) Expr { return join("and", "true", conditions) }

// Or is true where one of the conditions is; of none it is false.
func Or(conditions ...Expr) Expr { return join("or", "false", conditions) }

func join(op, none string, list []Expr) Expr {
	switch len(list) {
	case 0:
		return Expr{text: none}
	case 1:
		return list[0]
	}
	var parts []string
	var err error
	for _, e := range list {
		parts, err = append(parts, e.within()), first(err, e.err)
	}
	return Expr{text: strings.Join(parts, " "+op+" "), joint: true, err: err}
}

// Not is true where the condition is not.
func Not(condition Expr) Expr {
	return Expr{text: "not (" + condition.text + ")", joint: true, err: condition.err}
}

// As names the column that a selected expression, a group or an aggregate makes.
func (e Expr) As(name string) Expr { return Expr{text: e.text + " as " + name, err: e.err} }

// Desc orders by the expression from its last value to its first.
func (e Expr) Desc() Expr { return Expr{text: e.text + " desc", err: e.err} }

// Count is the aggregate that counts items.
func Count() Expr { return Expr{text: "count"} }

// CountOf counts the items of which the expression is not missing; Sum, Min, Max
// and Avg make one value of all of its values.
func CountOf(e Expr) Expr { return aggregated("count", e) }
func Sum(e Expr) Expr     { return aggregated("sum", e) } // see CountOf
func Min(e Expr) Expr     { return aggregated("min", e) } // see CountOf
func Max(e Expr) Expr     { return aggregated("max", e) } // see CountOf
func Avg(e Expr) Expr     { return aggregated("avg", e) } // see CountOf

func aggregated(fn string, e Expr) Expr { return Expr{text: fn + "(" + e.text + ")", err: e.err} }

// Builder builds a query out of expressions. What it has been told so far is in
// it: use each for one query, from one goroutine.
type Builder struct {
	source        Source
	where         []Expr
	selected      []Expr
	groups        []Expr
	aggregates    []Expr
	orders        []Expr
	limit, offset int
	after         string
}

// From begins a query over a source.
func From(source Source) *Builder { return &Builder{source: source, limit: -1} }

// Where adds conditions, which must all be true.
func (b *Builder) Where(conditions ...Expr) *Builder {
	b.where = append(b.where, conditions...)
	return b
}

// Select adds columns to the rows; without any a row has those that the source
// shows.
func (b *Builder) Select(columns ...Expr) *Builder {
	b.selected = append(b.selected, columns...)
	return b
}

// GroupBy makes a row of all items that are equal in all of these.
func (b *Builder) GroupBy(keys ...Expr) *Builder {
	b.groups = append(b.groups, keys...)
	return b
}

// Aggregate adds Count, Sum and others; without GroupBy all items are one group.
func (b *Builder) Aggregate(aggregates ...Expr) *Builder {
	b.aggregates = append(b.aggregates, aggregates...)
	return b
}

// OrderBy adds keys to order by, each of which decides where those before are
// equal. Of groups they are columns of the row.
func (b *Builder) OrderBy(keys ...Expr) *Builder {
	b.orders = append(b.orders, keys...)
	return b
}

// Limit ends with so many rows; negative = no limit.
func (b *Builder) Limit(n int) *Builder {
	b.limit = n
	return b
}

// Offset leaves out the first rows.
func (b *Builder) Offset(n int) *Builder {
	b.offset = n
	return b
}

// After goes on behind a cursor, which Row.Cursor or Page returned for the same
// query; "" = from the beginning.
func (b *Builder) After(cursor string) *Builder {
	b.after = cursor
	return b
}

// Query returns the query: the same as Parse makes of its text. What is wrong is
// a *SyntaxError about that text, or wraps ErrInvalid.
func (b *Builder) Query() (*Query, error) {
	parts := []string{string(b.source)}
	var err error
	clause := func(word string, list []Expr, between string) {
		var texts []string
		for _, e := range list {
			texts, err = append(texts, e.text), first(err, e.err)
		}
		if len(list) > 0 {
			parts = append(parts, strings.TrimSpace(word+" "+strings.Join(texts, between)))
		}
	}
	if len(b.where) > 0 {
		clause("where", []Expr{And(b.where...)}, "")
	}
	clause("select", b.selected, ", ")
	clause("group by", b.groups, ", ")
	clause("", b.aggregates, ", ")
	clause("order by", b.orders, ", ")
	if b.limit >= 0 {
		parts = append(parts, fmt.Sprint("limit ", b.limit))
	}
	if b.offset != 0 {
		parts = append(parts, fmt.Sprint("offset ", b.offset))
	}
	if b.after != "" {
		parts = append(parts, "after "+strconv.Quote(b.after))
	}
	if err != nil {
		return nil, err
	}
	return Parse(strings.Join(parts, " "))
}

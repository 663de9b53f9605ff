package query

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"
)

// groups are the groups of what was found, by what they are grouped by.
type groups struct {
	x   *execution
	all map[string]*group
	key []byte // of the one that was looked for last
}

type group struct {
	values []any
	sums   []sum
}

// sum is what an aggregate is made of.
type sum struct {
	total       // of sum and avg: of the kind, numbers or durations, that came first …
	other total // … and of the other one, lest it matter whose first is looked at
	n     int64 // of count
	best  any   // of min and max
}

// total is the sum of some values of one kind.
type total struct {
	of   any   // nil = there are none
	n    int64 // how many
	over bool  // it is more than there can be
}

func newGroups(x *execution) *groups {
	return &groups{x: x, all: map[string]*group{}}
}

// appendKey appends a value so that equal ones, and only these, are equal bytes.
// Numbers are equal if they are the same number, whole or not.
func appendKey(b []byte, v any) []byte {
	if f, ok := v.(float64); ok && f == math.Trunc(f) && f >= -1<<63 && f < 1<<63 {
		v = int64(f)
	}
	b = append(b, byte('0'+rank(v)))
	switch v := v.(type) {
	case nil:
		return b
	case bool:
		return append(b, map[bool]byte{true: 1}[v])
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'f'), math.Float64bits(v))
	case time.Time:
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, uint64(v.Unix())), uint32(v.Nanosecond()))
	case time.Duration:
		return binary.BigEndian.AppendUint64(b, uint64(v))
	case string:
		return append(binary.AppendUvarint(b, uint64(len(v))), v...)
	}
	text := written(v)
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// group adds the item in scope to its group.
func (c *collector) group() error {
	g, s := c.batch.groups, c.scanner.scope
	g.key = g.key[:0]
	var few [4]any
	values := few[:0]
	for _, v := range c.x.plan.selected {
		x, err := v.of(s)
		if err != nil {
			return err
		}
		values = append(values, x)
		g.key = appendKey(g.key, x)
	}
	to := g.all[string(g.key)]
	if to == nil {
		for i := range values {
			values[i] = own(values[i])
		}
		to = &group{slices.Clone(values), make([]sum, len(c.x.plan.aggregates))}
		if err := g.add(string(g.key), to); err != nil {
			return err
		}
	}
	for i, v := range c.x.plan.aggregates {
		var x any = true
		if v != nil {
			var err error
			if x, err = v.of(s); err != nil {
				return err
			}
		}
		if err := c.x.keep(to.sums[i].take(c.x.plan.q.aggregates[i].fn, x)); err != nil {
			return err
		}
	}
	return nil
}

// add takes a new group.
func (g *groups) add(key string, to *group) error {
	g.all[key] = to
	return g.x.keep(to.size(key))
}

// take adds a value to an aggregate, and returns how many bytes more are kept.
func (t *sum) take(fn string, v any) int64 {
	switch {
	case v == nil:
	case fn == "count":
		t.n++
	case fn == "sum" || fn == "avg":
		t.add(total{of: v, n: 1})
	case t.best == nil || (order(v, t.best) < 0) == (fn == "min") && order(v, t.best) != 0:
		more := sizeOf(v)
		if t.best != nil {
			more -= sizeOf(t.best)
		}
		t.best = own(v)
		return more
	}
	return 0
}

// add adds a total. Other values than numbers or durations are left out.
func (t *sum) add(v total) {
	k := kindOf(v.of)
	if k != kindNumber && k != kindDuration {
		return
	}
	to := &t.total
	if to.of != nil && kindOf(to.of) != k {
		to = &t.other
	}
	to.n, to.over = to.n+v.n, to.over || v.over
	if to.of == nil {
		to.of = v.of
	} else if both := add(to.of, v.of); both != nil {
		to.of = both
	} else {
		to.over = true
	}
}

// merge adds the groups of another collector.
func (g *groups) merge(other *groups) error {
	for _, key := range slices.Sorted(maps.Keys(other.all)) {
		from := other.all[key]
		to := g.all[key]
		if to == nil {
			g.all[key] = from
			continue
		}
		for i := range to.sums {
			t, f := &to.sums[i], &from.sums[i]
			switch fn := g.x.plan.q.aggregates[i].fn; fn {
			case "count":
				t.n += f.n
			case "sum", "avg":
				t.add(f.total)
				t.add(f.other)
			default:
				g.x.kept.Add(t.take(fn, f.best))
				if f.best != nil {
					g.x.kept.Add(-sizeOf(f.best))
				}
			}
		}
		g.x.kept.Add(-from.size(key))
	}
	return nil
}

// size is about what a new group takes in memory, in bytes.
func (g *group) size(key string) int64 {
	bytes := int64(128 + len(key) + 144*len(g.sums))
	for _, v := range g.values {
		bytes += sizeOf(v)
	}
	return bytes
}

// result is the value of an aggregate.
func (t *sum) result(fn string) any {
	switch {
	case fn == "count":
		return t.n
	case fn == "min" || fn == "max":
		return t.best
	case t.over || t.of == nil:
		return nil
	case fn == "avg":
		return divide(t.of, t.total.n)
	}
	return t.of
}

// grouped puts the groups in order, which are by what they are grouped by unless
// the query says otherwise.
func (x *execution) grouped(out *output) error {
	q := x.plan.q
	all := newGroups(x)
	if err := x.each(func(b *batch) error { return all.merge(b.groups) }); err != nil {
		return err
	}
	if len(q.groups) == 0 && len(all.all) == 0 {
		all.all[""] = &group{sums: make([]sum, len(q.aggregates))} // of nothing at all
	}
	rows := make([][]any, 0, len(all.all))
	for _, g := range all.all {
		row := g.values
		for i := range g.sums {
			row = append(row, g.sums[i].result(q.aggregates[i].fn))
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, q.compareGroups)
	for _, row := range q.behindGroup(rows) {
		e := entry{row: row}
		if x.issuer != nil {
			e.keys = q.groupKeys(row)
		}
		if err := out.row(&e); err != nil {
			return err
		}
	}
	return nil
}

// groupKeys are what a cursor has of a group: what it is ordered by, and then what
// is grouped by.
func (q *Query) groupKeys(row []any) []any {
	keys := make([]any, 0, len(q.orders)+len(q.groups))
	for _, o := range q.orders {
		keys = append(keys, row[o.column])
	}
	return append(keys, row[:len(q.groups)]...)
}

// behindGroup returns the groups, which are in order, that come behind the cursor.
func (q *Query) behindGroup(rows [][]any) [][]any {
	if q.after == nil {
		return rows
	}
	last := make([]any, len(q.groups)+len(q.aggregates))
	copy(last, q.after.keys[len(q.orders):])
	for i, o := range q.orders {
		last[o.column] = q.after.keys[i]
	}
	first, found := slices.BinarySearchFunc(rows, last, q.compareGroups)
	if found {
		first++
	}
	return rows[first:]
}

func (q *Query) compareGroups(a, b []any) int {
	desc := false
	for _, o := range q.orders {
		desc = o.desc
		if c := order(a[o.column], b[o.column]); c != 0 {
			if desc {
				return -c
			}
			return c
		}
	}
	for i := range q.groups {
		if c := order(a[i], b[i]); c != 0 {
			if desc {
				return -c
			}
			return c
		}
	}
	return 0
}

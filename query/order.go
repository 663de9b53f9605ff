package query

import (
	"cmp"
	"container/heap"
	"slices"
)

// entry is a row with what it is ordered by.
type entry struct {
	row       []any
	keys      []any
	nth, item int    // where it was found: the run's place, and the item's within it
	at        *place // the same for a cursor; nil where there will be none
	bytes     int64
}

// before reports whether a row comes before another one.
func (x *execution) before(a, b *entry) bool {
	orders := x.plan.q.orders
	for i, o := range orders {
		if c := order(a.keys[i], b.keys[i]); c != 0 {
			return (c < 0) != o.desc
		}
	}
	c := cmp.Or(cmp.Compare(a.nth, b.nth), cmp.Compare(a.item, b.item))
	return (c < 0) != orders[len(orders)-1].desc
}

// top keeps the first rows of those that it is shown, or all of them: a heap with
// the last of them on top.
type top struct {
	x       *execution
	most    int // -1 = all
	entries []entry
}

func (t *top) Len() int           { return len(t.entries) }
func (t *top) Less(i, j int) bool { return t.x.before(&t.entries[j], &t.entries[i]) }
func (t *top) Swap(i, j int)      { t.entries[i], t.entries[j] = t.entries[j], t.entries[i] }
func (t *top) Push(e any)         { t.entries = append(t.entries, e.(entry)) }
func (t *top) Pop() any {
	last := t.entries[len(t.entries)-1]
	t.entries = t.entries[:len(t.entries)-1]
	return last
}

// wants reports whether a row is among the first so far.
func (t *top) wants(e *entry) bool {
	return t.most < 0 || len(t.entries) < t.most || t.x.before(e, &t.entries[0])
}

// add takes a row that is wanted.
func (t *top) add(e entry) {
	switch {
	case t.most < 0:
		t.entries = append(t.entries, e)
	case len(t.entries) < t.most:
		heap.Push(t, e)
	default:
		t.x.kept.Add(-t.entries[0].bytes)
		t.entries[0] = e
		heap.Fix(t, 0)
	}
}

// rank keeps the item in scope, if it is among the first.
func (c *collector) rank() error {
	p, s := c.x.plan, c.scanner.scope
	c.keys = c.keys[:0]
	for _, v := range p.orders {
		x, err := v.of(s)
		if err != nil {
			return err
		}
		c.keys = append(c.keys, x)
	}
	e := entry{keys: c.keys, nth: c.nth, item: c.item}
	c.item++
	if p.q.after != nil && !p.behind(c.keys, s) || !c.top.wants(&e) {
		return nil // most are not
	}
	e.keys = make([]any, len(c.keys))
	for i, x := range c.keys {
		e.keys[i] = own(x)
	}
	var err error
	if e.row, err = c.values(); err != nil {
		return err
	}
	e.bytes = 96
	if c.x.issuer != nil {
		e.at = s.keptPlace(p.q.source)
		e.bytes += int64(88 + len(e.at.first) + len(e.at.second))
	}
	for _, list := range [][]any{e.keys, e.row} {
		for _, v := range list {
			e.bytes += sizeOf(v)
		}
	}
	if err := c.x.keep(e.bytes); err != nil {
		return err
	}
	c.top.add(e)
	return nil
}

// ordered puts the rows in order.
func (x *execution) ordered(out *output) error {
	all := &top{x: x, most: x.most()}
	err := x.each(func(b *batch) error {
		for _, e := range b.entries {
			if all.wants(&e) {
				all.add(e)
			} else {
				x.kept.Add(-e.bytes)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all.entries, func(a, b entry) int {
		if x.before(&a, &b) {
			return -1
		}
		return 1
	})
	for i := range all.entries {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		if err := out.row(&all.entries[i]); err != nil {
			return err
		}
	}
	return nil
}

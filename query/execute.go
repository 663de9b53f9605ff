package query

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync/atomic"
	"time"

	"inmem/op"
	"inmem/run"
)

// Store is what a query is executed over: the runs of a store, or a single one.
type Store interface {
	// Now is the store's clock: what now() says.
	Now() time.Time
	// Runs returns the runs that the filter chooses, in order of creation. Their
	// infos are not to be changed.
	Runs(filter *run.Filter) iter.Seq[*run.Info]
	// Run returns what is known of one run, and false where there is none.
	Run(id run.ID) (*run.Info, bool)
	// Version returns a run's version, and false once it is deleted.
	Version(id run.ID) (uint64, bool)
	// Keys returns how many keys a run has under a tag. Like all of the above it
	// loads nothing.
	Keys(id run.ID, tag op.Tag) int
	// Open returns what is in a run, and loads it where that is needed. The error
	// is a run.ErrNotFound where there is no such run.
	Open(id run.ID) (*Faces, error)
	// Only is the ID of the single run there is, where it may be opened and read by
	// one goroutine alone; zero = there are all runs of a store, for any number of
	// goroutines.
	Only() run.ID
}

// Execute finds what the query asks for. Each run is looked at as of one version,
// and what is not asked of a run is not loaded. Rows come in the order that the
// query says; those that are equal in it, and all where it says nothing, in the
// order of their runs (by creation, then ID) and within a run in that of the
// source: keys and cells by name, events by stream and sequence, spans by ID;
// where the last key is descending, in the reverse of that. Groups come by what
// they are grouped by.
//
// The loop ends after an error: ctx.Err(), a *MemoryError, a *CursorError where the
// cursor is of a query over other runs, what the store says.
func Execute(ctx context.Context, store Store, q *Query) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		p, err := planOver(store, q)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			x := &execution{ctx: ctx, store: store, plan: p, columns: q.Columns()}
			if q.limit >= 0 {
				x.issuer = &issuer{q.fingerprint, p.now, store.Only()}
			}
			err = x.rows(yield)
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(Row{}, err)
		}
	}
}

// planOver is the plan of a query over what there is.
func planOver(store Store, q *Query) (*plan, error) {
	only := store.Only()
	p, err := newPlan(q, store.Now(), !only.IsZero())
	if err == nil && q.after != nil {
		err = p.fits(q.after, only)
	}
	return p, err
}

// errStop ends what is under way: enough was found, or the caller wants no more.
var errStop = errors.New("stop")

// execution is one execution of a query.
type execution struct {
	ctx     context.Context
	store   Store
	plan    *plan
	columns []string
	issuer  *issuer      // of cursors; nil = rows have none
	kept    atomic.Int64 // bytes of rows or groups
}

// keep accounts for what is kept from now on.
func (x *execution) keep(bytes int64) error {
	if bound := x.plan.q.memory; x.kept.Add(bytes) > bound {
		return &MemoryError{Bound: bound}
	}
	return nil
}

// most is how many rows are wanted at all, from the first one on; -1 = all.
func (x *execution) most() int {
	q := x.plan.q
	if q.limit < 0 {
		return -1
	}
	return q.skipped() + q.limit
}

// rows gives the rows to yield. The error is errStop where yield wants no more.
func (x *execution) rows(yield func(Row, error) bool) error {
	q := x.plan.q
	if q.limit == 0 {
		return nil
	}
	out := &output{x: x, yield: yield, skip: q.skipped(), left: q.limit}
	switch {
	case q.grouped():
		return x.grouped(out)
	case len(q.orders) > 0 && !x.plan.natural:
		return x.ordered(out)
	}
	return x.each(func(b *batch) error {
		for i := range b.entries {
			if err := out.row(&b.entries[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// output is where rows go to.
type output struct {
	x          *execution
	yield      func(Row, error) bool
	skip, left int // rows; left < 0 = all
}

func (o *output) row(e *entry) error {
	if o.skip > 0 {
		o.skip--
		return nil
	}
	r := Row{columns: o.x.columns, values: e.row}
	if o.x.issuer != nil {
		r.from = &origin{o.x.issuer, e.keys, e.at}
	}
	if !o.yield(r, nil) {
		return errStop
	}
	if o.left--; o.left == 0 {
		return errStop
	}
	return nil
}

// each looks through all runs and gives what was found to fn, in order, in
// pieces, on the goroutine of the caller.
func (x *execution) each(fn func(*batch) error) error {
	switch {
	case x.plan.none:
		return nil
	case x.store.Only().IsZero() && x.plan.id == nil && x.plan.q.source.scan != nil && runtime.GOMAXPROCS(0) > 1:
		return x.parallel(fn)
	}
	c := x.newCollector(x.ctx, fn)
	size, left := 1, 1 // runs of the task, and how many of it are still to come
	for info := range x.runs() {
		if err := x.ctx.Err(); err != nil {
			return err
		}
		if left == 0 {
			if err := c.flush(); err != nil {
				return err
			}
			size = nextTask(size)
			left = size
		}
		left--
		if err := c.run(info); err != nil {
			if errors.Is(err, errEnough) {
				break
			}
			return err
		}
	}
	return c.flush()
}

// runs returns the runs that may match, in order.
func (x *execution) runs() iter.Seq[*run.Info] {
	p := x.plan
	if p.id == nil {
		return p.passed(x.store.Runs(&p.runs))
	}
	return p.passed(func(yield func(*run.Info) bool) {
		if info, ok := x.store.Run(*p.id); ok && p.runs.Match(info) {
			yield(info)
		}
	})
}

// batch is some of what was found: rows, or groups.
type batch struct {
	entries []entry
	groups  *groups
	err     error
}

// batchRows is how many rows that are not kept come at a time.
const batchRows = 128

// errEnough says that no more is wanted of what comes behind.
var errEnough = errors.New("enough")

// collector looks through runs and collects what it finds.
type collector struct {
	x       *execution
	scanner scanner
	out     func(*batch) error
	nth     int // of the run, in their order
	item    int // of the run
	found   int // rows
	batch   *batch
	top     *top  // of ordered rows
	keys    []any // of the item in scope
}

func (x *execution) newCollector(ctx context.Context, out func(*batch) error) *collector {
	c := &collector{x: x, out: out}
	c.scanner = scanner{ctx: ctx, plan: x.plan, scope: &scope{store: x.store}}
	switch {
	case x.plan.q.grouped():
		c.scanner.found = c.group
	case len(x.plan.q.orders) > 0 && !x.plan.natural:
		c.scanner.found = c.rank
	default:
		c.scanner.found = c.row
	}
	c.renew()
	return c
}

// renew begins with nothing found.
func (c *collector) renew() {
	c.batch = &batch{}
	if c.x.plan.q.grouped() {
		c.batch.groups = newGroups(c.x)
	}
	c.top = &top{x: c.x, most: c.x.most()}
}

// flush hands over what was found.
func (c *collector) flush() error {
	b := c.batch
	if len(c.top.entries) > 0 {
		b.entries = c.top.entries
	}
	c.renew()
	if len(b.entries) == 0 && b.groups == nil {
		return nil
	}
	return c.out(b)
}

// run looks through one run.
func (c *collector) run(info *run.Info) error {
	s, p := c.scanner.scope, c.x.plan
	s.enter(info, 0)
	c.nth++
	c.item = 0
	if ok, err := c.matches(); !ok || err != nil {
		return err
	}
	if p.q.source.scan == nil {
		if s.runVersion() == 0 {
			return nil // it was deleted meanwhile
		}
		return c.scanner.found()
	}
	if c.x.store.Keys(info.ID, p.q.source.tag) == 0 {
		return nil
	}
	faces, err := c.x.store.Open(info.ID)
	switch {
	case errors.Is(err, run.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	// The run may have gone on since.
	s.enter(faces.Info, faces.Version)
	if ok, err := c.matches(); !ok || err != nil {
		return err
	}
	c.scanner.faces, c.scanner.begin = faces, p.beginIn(info.ID)
	return p.q.source.scan(&c.scanner)
}

// matches reports whether the run in scope is one that is asked for.
func (c *collector) matches() (bool, error) {
	for _, test := range c.x.plan.runTests {
		if ok, err := test.holds(c.scanner.scope); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// row makes a row of the item in scope.
func (c *collector) row() error {
	values, err := c.values()
	if err != nil {
		return err
	}
	e := entry{row: values}
	if c.x.issuer != nil {
		e.at = c.scanner.scope.keptPlace(c.x.plan.q.source)
	}
	c.batch.entries = append(c.batch.entries, e)
	c.found++
	if most := c.x.most(); most >= 0 && c.found >= most {
		return errEnough
	}
	if len(c.batch.entries) < batchRows {
		return nil
	}
	return c.flush()
}

// values evaluates what is selected.
func (c *collector) values() ([]any, error) { return evaluate(c.x.plan.selected, c.scanner.scope) }

// evaluate evaluates expressions; the values are the caller's.
func evaluate(list []*value, s *scope) ([]any, error) {
	out := make([]any, len(list))
	for i, v := range list {
		x, err := v.of(s)
		if err != nil {
			return nil, err
		}
		out[i] = own(x)
	}
	return out, nil
}

package query

import (
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"

	"inmem/run"
)

// plan is how a query is executed: as of a time, because now() is a constant of
// the plan. Any number of goroutines may follow one.
type plan struct {
	q   *Query
	now time.Time

	runs     run.Filter // chooses by the index of runs
	id       *run.ID    // the only run that can match
	runTests []*predicate

	items access       // narrows what is read of a run
	tests []*predicate // what is left to look at for each item
	none  bool         // nothing can match

	selected   []*value // or groups, of grouped queries
	aggregates []*value // nil for count
	orders     []*value // nil where a column of a group is the key
	natural    bool     // items are found in the order that is asked for, or, if …
	reverse    bool     // … they are looked through from the last to the first
	begin      *place   // of what is natural: what comes before, and this, is not wanted
}

// newPlan binds everything in a query, and finds out what narrows it: over a store,
// or over a single run.
func newPlan(q *Query, now time.Time, single bool) (*plan, error) {
	if q.after != nil {
		now = q.after.now // what was settled on the first page
	}
	p := &plan{q: q, now: now, runs: run.Filter{Spaces: true}}
	b := &binder{source: q.source, now: now, calls: conf.FunctionsTable{}}
	if q.where != nil {
		if err := p.conditions(b, q.where); err != nil {
			return nil, err
		}
	}
	var err error
	list := q.selected
	if q.grouped() {
		list = q.groups
	}
	if p.selected, err = b.values(list); err != nil {
		return nil, err
	}
	if len(q.selected) == 0 && !q.grouped() {
		for _, name := range q.source.shown {
			c := q.source.columns[name]
			p.selected = append(p.selected, &value{bound: &bound{kind: c.kind, text: name, get: c.get}})
		}
	}
	for _, a := range q.aggregates {
		v, err := b.aggregated(a)
		if err != nil {
			return nil, err
		}
		p.aggregates = append(p.aggregates, v)
	}
	for _, o := range q.orders {
		var v *value
		if o.key != nil {
			if v, err = b.one(o.key); err != nil {
				return nil, err
			}
		}
		p.orders = append(p.orders, v)
	}
	if !q.grouped() {
		p.order(single || p.id != nil)
	}
	return p, nil
}

func (b *binder) one(c *clause) (*value, error) {
	b.clause = c
	x, err := b.bind(c.tree)
	if err != nil {
		return nil, err
	}
	if x.kind == kindList {
		return nil, c.fail(0, "a list is no value of its own: use it behind in")
	}
	return b.newValue(x)
}

func (b *binder) values(list []*clause) (out []*value, err error) {
	for _, c := range list {
		v, err := b.one(c)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// aggregated binds what an aggregate is made of.
func (b *binder) aggregated(a *aggregate) (*value, error) {
	if a.of == nil {
		return nil, nil
	}
	v, err := b.one(a.of)
	if err != nil {
		return nil, err
	}
	if a.fn == "sum" || a.fn == "avg" {
		if k := v.kind; k != kindNumber && k != kindDuration && k != kindAny {
			return nil, a.of.fail(0, "%s takes numbers or durations, and %s is %s", a.fn, v.text, k)
		}
	}
	return v, nil
}

// conditions takes a condition apart where all of its parts must hold, and uses
// each part to narrow what is looked at, as far as it can.
func (p *plan) conditions(b *binder, c *clause) error {
	b.clause = c
	for _, n := range conjunction(c.tree, nil) {
		x, err := b.bind(n)
		if err != nil {
			return err
		}
		test, err := b.newPredicate(n, x)
		if err != nil {
			return err
		}
		switch {
		case x.fixed:
			p.none = p.none || x.value != true
		case x.ofRun:
			p.narrowRuns(x)
			p.runTests = append(p.runTests, test) // the index has less than all of it
		case !p.narrowItems(x.cond):
			p.tests = append(p.tests, test)
		}
	}
	return nil
}

// conjunction returns the parts that must all hold.
func conjunction(n ast.Node, into []ast.Node) []ast.Node {
	if b, ok := n.(*ast.BinaryNode); ok && (b.Operator == "and" || b.Operator == "&&") {
		return conjunction(b.Right, conjunction(b.Left, into))
	}
	return append(into, n)
}

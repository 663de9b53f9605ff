package query

import (
	"sync"

	"github.com/expr-lang/expr/conf"

	"inmem/vector"
)

// Condition is a condition on single vectors: a vector.Filter for searches, which
// any number of them may use at once.
type Condition struct {
	text   string
	tests  []*predicate
	scopes sync.Pool // of *scope
}

// Where compiles a condition on vectors, such as
//
//	meta.author == "x" and meta.year >= $1
//
// for vector.Where. It is what stands behind "where" in a query over vectors,
// about key, version and metadata, which may be called meta: a filter knows neither
// the run nor the collection nor the time. The rest is as for Parse, errors too.
func Where(text string, args ...any) (*Condition, error) {
	p, err := newParser(text, args)
	if err != nil {
		return nil, err
	}
	c, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.now().kind != tokenEnd {
		return nil, p.fail("expected the end of the condition, and found %s", p.found())
	}
	b := &binder{source: filterSource, clause: c, calls: conf.FunctionsTable{}, timeless: true}
	w := &Condition{text: p.written(len(p.tokens) - 1), scopes: sync.Pool{New: func() any { return &scope{} }}}
	for _, n := range conjunction(c.tree, nil) {
		x, err := b.bind(n)
		if err != nil {
			return nil, err
		}
		test, err := b.newPredicate(n, x)
		if err != nil {
			return nil, err
		}
		w.tests = append(w.tests, test)
	}
	return w, nil
}

// filterSource has what a filter knows of a vector.
var filterSource = &source{name: "filters"}

func init() {
	filterSource.columns = map[string]*column{}
	for _, c := range vectorColumns {
		filterSource.columns[c.name] = c
	}
}

// String returns the text of the condition.
func (w *Condition) String() string { return w.text }

// Match implements vector.Filter.
func (w *Condition) Match(it vector.Item) (bool, error) {
	s := w.scopes.Get().(*scope)
	defer w.scopes.Put(s)
	s.enterVector(&it)
	for _, test := range w.tests {
		if ok, err := test.holds(s); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

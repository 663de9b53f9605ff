package inmem

import (
	"context"
	"fmt"
	"iter"
	"time"

	"inmem/op"
	"inmem/query"
	"inmem/run"
)

// Query finds what a query asks for in all runs and spaces of the store:
//
//	spans where kind == "tool_call" and status == "error" order by start desc limit 20
//
// In the text $1, $2 … stand for the arguments. docs/query.md has the language.
//
// Each run is looked at as of one version, the newest when its turn comes. Runs
// that the conditions on runs leave out, and those that have nothing of what is
// looked for, are not loaded. As many goroutines look through runs at once as
// there are processors, none of them a shard's; rows come in the same order all
// the same, and as they are found where the query asks for no order. See
// query.Execute for the order, query.Query.Bounded for what a query may keep, and
// query.Page for rows a page at a time.
//
// The loop ends after an error: a *query.SyntaxError that names the column, a
// *query.MemoryError, ctx.Err(), ErrClosed, a *CorruptError where a run cannot be
// loaded.
func (db *DB) Query(ctx context.Context, text string, args ...any) iter.Seq2[query.Row, error] {
	return parsed(ctx, text, args, db.Execute)
}

// Execute is Query for a query that was parsed or built before.
func (db *DB) Execute(ctx context.Context, q *query.Query) iter.Seq2[query.Row, error] {
	return executed(ctx, q, func() (query.Store, error) { return (*queryStore)(db), db.check() })
}

// Explain says how the store finds what the query asks for, without doing so.
func (db *DB) Explain(q *query.Query) (query.Plan, error) {
	if err := db.check(); err != nil {
		return query.Plan{}, err
	}
	return query.Explain((*queryStore)(db), q)
}

// Query finds what a query asks for in the run, as of its newest version when the
// loop begins. See DB.Query.
func (r *Run) Query(ctx context.Context, text string, args ...any) iter.Seq2[query.Row, error] {
	return parsed(ctx, text, args, r.Execute)
}

// Execute is Query for a query that was parsed or built before.
func (r *Run) Execute(ctx context.Context, q *query.Query) iter.Seq2[query.Row, error] {
	return executed(ctx, q, r.queried)
}

// Explain says how Execute finds in the run what the query asks for, without doing
// so: what is sorted over all runs may be found in order in one.
func (r *Run) Explain(q *query.Query) (query.Plan, error) {
	store, err := r.queried()
	if err != nil {
		return query.Plan{}, err
	}
	return query.Explain(store, q)
}

// queried is the run as queries see it.
func (r *Run) queried() (query.Store, error) {
	p, err := r.present()
	if err != nil {
		return nil, err
	}
	return &querySingle{id: r.ID(), now: p.now, faces: p.faces()}, nil
}

// Query finds what a query asks for in the run as it was. now() is the moment by
// which deadlines are judged. See DB.Query.
func (p *Past) Query(ctx context.Context, text string, args ...any) iter.Seq2[query.Row, error] {
	return parsed(ctx, text, args, p.Execute)
}

// Execute is Query for a query that was parsed or built before.
func (p *Past) Execute(ctx context.Context, q *query.Query) iter.Seq2[query.Row, error] {
	return executed(ctx, q, func() (query.Store, error) {
		return &querySingle{id: p.ID(), now: p.now, faces: p.faces()}, p.run.db.check()
	})
}

// Query finds what a query asks for in the run as the transaction sees it, its own
// writes included. What was looked through the transaction has read, and with it
// what the run is: a change of either is a conflict. See DB.Query.
func (tx *Tx) Query(ctx context.Context, text string, args ...any) iter.Seq2[query.Row, error] {
	return parsed(ctx, text, args, tx.Execute)
}

// Execute is Query for a query that was parsed or built before.
func (tx *Tx) Execute(ctx context.Context, q *query.Query) iter.Seq2[query.Row, error] {
	return executed(ctx, q, func() (query.Store, error) {
		info, err := tx.Info()
		if err != nil {
			return nil, err
		}
		return &querySingle{id: tx.ID(), now: tx.now, faces: &query.Faces{
			Version: info.LastVersion, Info: info, KV: tx.KV(), Events: tx.Events(), States: tx.State(), Spans: tx.Trace(), Vectors: tx.Vectors(),
		}}, nil
	})
}

// parsed parses a query and executes it.
func parsed(ctx context.Context, text string, args []any, execute func(context.Context, *query.Query) iter.Seq2[query.Row, error]) iter.Seq2[query.Row, error] {
	q, err := query.Parse(text, args...)
	if err != nil {
		return func(yield func(query.Row, error) bool) { yield(query.Row{}, err) }
	}
	return execute(ctx, q)
}

// executed executes a query over what there is when the loop begins.
func executed(ctx context.Context, q *query.Query, over func() (query.Store, error)) iter.Seq2[query.Row, error] {
	return func(yield func(query.Row, error) bool) {
		store, err := over()
		if err != nil {
			yield(query.Row{}, err)
			return
		}
		query.Execute(ctx, store, q)(yield)
	}
}

// present is the run as it is now, for reading: all that is read of it is of one
// version.
func (r *Run) present() (*Past, error) {
	snap, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	return &Past{run: r, snap: snap, now: r.db.store.Clock.Now()}, nil
}

func (p *Past) faces() *query.Faces {
	return &query.Faces{
		Version: p.snap.Version, Info: p.snap.Info,
		KV: p.KV(), Events: p.Events(), States: p.State(), Spans: p.Trace(), Vectors: p.Vectors(),
	}
}

// queryStore is a store as queries see it.
type queryStore DB

func (s *queryStore) Now() time.Time { return time.UnixMilli((*DB)(s).store.Clock.Now()) }

func (s *queryStore) Runs(filter *run.Filter) iter.Seq[*run.Info] { return (*DB)(s).merged(filter) }

func (s *queryStore) Run(id run.ID) (*run.Info, bool) {
	if h, err := (*DB)(s).place(id).Find(id); err == nil {
		if head := h.Head(); head != nil {
			return head.Info, true
		}
	}
	return nil, false
}

func (s *queryStore) Version(id run.ID) (uint64, bool) {
	if h, err := (*DB)(s).place(id).Find(id); err == nil {
		if head := h.Head(); head != nil {
			return head.Version, true
		}
	}
	return 0, false
}

func (s *queryStore) Keys(id run.ID, tag op.Tag) int {
	if h, err := (*DB)(s).place(id).Find(id); err == nil {
		counts, _ := h.Counts()
		return int(counts[tag])
	}
	return 0
}

func (s *queryStore) Open(id run.ID) (*query.Faces, error) {
	r, err := (*DB)(s).Run(id)
	if err != nil {
		return nil, err
	}
	p, err := r.present()
	if err != nil {
		return nil, fmt.Errorf("run %v: %w", id, err)
	}
	return p.faces(), nil
}

func (s *queryStore) Only() run.ID { return run.ID{} }

// querySingle is one run as queries see it: at one version.
type querySingle struct {
	id    run.ID
	now   int64
	faces *query.Faces
}

func (s *querySingle) Now() time.Time { return time.UnixMilli(s.now) }

func (s *querySingle) Runs(filter *run.Filter) iter.Seq[*run.Info] {
	return func(yield func(*run.Info) bool) {
		if filter.Match(s.faces.Info) {
			yield(s.faces.Info)
		}
	}
}

func (s *querySingle) Run(id run.ID) (*run.Info, bool) { return s.faces.Info, id == s.id }

func (s *querySingle) Version(run.ID) (uint64, bool) { return s.faces.Version, true }

func (s *querySingle) Keys(run.ID, op.Tag) int { return 1 } // a look tells

func (s *querySingle) Open(run.ID) (*query.Faces, error) { return s.faces, nil }

func (s *querySingle) Only() run.ID { return s.id }

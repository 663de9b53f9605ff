package query

import (
	"context"
	"iter"
)

// Executor is what queries are asked of: *inmem.DB, *inmem.Run, *inmem.Past and
// *inmem.Tx.
type Executor interface {
	Execute(ctx context.Context, q *Query) iter.Seq2[Row, error]
}

// Page returns the rows of a query, no more than its limit, and, where more are
// left, the cursor from which it goes on: what Query.After takes.
//
//	rows, next, err := query.Page(ctx, db, q)
//	…
//	q, err = q.After(next) // unless next is ""
//
// Behind a cursor come the rows that are ordered behind its row, whatever was
// written meanwhile: each that was there all the time, and whose place in the
// order stayed, is on one page. To know that more are left it looks for one row
// more than it returns. The rows belong to the caller; without a limit all are
// returned, and the bounds of Query.Bounded do not count them.
//
// The errors are those of Execute, and a *CursorError where the last row is
// ordered by something too long for a cursor; it comes with the rows.
func Page(ctx context.Context, of Executor, q *Query) (rows []Row, next string, err error) {
	ask := q
	if q.limit > 0 {
		ask = q.Limited(q.limit + 1)
	}
	for row, err := range of.Execute(ctx, ask) {
		if err != nil {
			return nil, "", err
		}
		if q.limit > 0 && len(rows) == q.limit {
			next, err = rows[len(rows)-1].Cursor()
			return rows, next, err
		}
		rows = append(rows, row)
	}
	return rows, "", nil
}

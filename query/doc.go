// Package query finds things in runs: a small language, and a builder that
// writes it, over the runs themselves, their keys, events, state cells and
// spans.
//
//	spans where kind == "tool_call" and status == "error" order by start desc limit 20
//
// docs/query.md has the grammar, the columns and what comparisons mean. Package
// inmem executes queries: DB.Query, Run.Query, Tx.Query, Past.Query.
//
// The package reads what a Store gives it through the faces. It knows no shard,
// no disk and no clock, and owns no data: a Query, once parsed, never changes and
// may be executed by any number of goroutines at once.
//
// Expressions are parsed and carried out by github.com/expr-lang/expr. What names
// mean, which types fit each other, and how values are compared is decided here,
// when a query is parsed: nothing of the data can make one fail.
//
// Invariant: of equal stores, equal queries give equal rows in the same order,
// whatever is used to find them, and however many runs are looked through at once.
package query

package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"inmem"
	"inmem/query"
)

// queryCmd finds what a query asks for.
type queryCmd struct {
	store
	Text    string  `arg:"" name:"query" help:"Such as: spans where status == \"error\" order by start desc limit 20."`
	RunID   string  `name:"run" help:"Only in this run: its ID, or the beginning of it." placeholder:"RUN"`
	At      *uint64 `help:"With --run: as it was at this version." placeholder:"VERSION"`
	Memory  int64   `help:"The most that rows to be sorted, or groups, may take, in MiB; 0 = 256." placeholder:"MIB"`
	Explain bool    `help:"Show how the query would be executed, and do not."`
	After   string  `help:"Go on behind a page: what was printed after it." placeholder:"CURSOR"`
	JSON    bool    `name:"json" help:"One JSON object a line; where more rows are left, the last has \"after\"."`
}

// Help is shown by --help.
func (*queryCmd) Help() string {
	return `A query is a source and what of it is asked for:

  runs | kv | events | states | spans | vectors
  [where CONDITION]
  [select EXPRESSION [as NAME], ...]  or  [group by EXPRESSION, ...] [count, sum(EXPRESSION), min, max, avg]
  [order by EXPRESSION [desc], ...] [limit N] [offset N] [after CURSOR]

Examples:

  inmem query 'runs where status == "failed" and created >= now() - 1h'
  inmem query 'spans where kind == "tool_call" and run.tags.task == "5" select name, took order by took desc limit 10'
  inmem query 'events where payload.content contains "refund" group by run.id count order by count desc'
  inmem query 'kv where key startsWith "user/" and value.age in 18..30'

docs/query.md has the columns and what comparisons mean.`
}

// answerer is what queries are asked of.
type answerer interface {
	Execute(ctx context.Context, q *query.Query) iter.Seq2[query.Row, error]
}

func (c *queryCmd) Run(a *app) error {
	q, err := query.Parse(c.Text)
	if err != nil {
		return querySyntax(err)
	}
	if c.After != "" {
		if q, err = q.After(c.After); err != nil {
			return usage("", "%w", err)
		}
	}
	switch {
	case c.At != nil && c.RunID == "":
		return usage("", "--at needs --run")
	case c.Memory < 0 || c.Memory > 1<<30:
		return usage("", "--memory %d is out of its bounds", c.Memory)
	}
	q = q.Bounded(c.Memory << 20)
	return c.read(a, func(db *inmem.DB) error {
		if c.Explain {
			return c.explain(a, db, q)
		}
		of, err := c.of(a, db)
		if err != nil {
			return err
		}
		return c.rows(a, q, of)
	})
}

// of returns what is asked: the store, or a run, now or as it was.
func (c *queryCmd) of(a *app, db *inmem.DB) (answerer, error) {
	if c.RunID == "" {
		return db, nil
	}
	r, err := findRun(a, db, c.RunID)
	if err != nil || c.At == nil {
		return r, err
	}
	return r.At(a.ctx, *c.At)
}

func (c *queryCmd) explain(a *app, db *inmem.DB, q *query.Query) error {
	explain := db.Explain
	if c.RunID != "" {
		r, err := findRun(a, db, c.RunID)
		if err != nil {
			return err
		}
		explain = r.Explain
	}
	plan, err := explain(q)
	if err != nil {
		return cursorUsage(err)
	}
	if c.JSON {
		return a.json(plan)
	}
	a.printf("%s", plan)
	return nil
}

// maxTable is how many rows a table holds before it is printed: the columns of
// what comes later may be wider.
const maxTable = 1000

func (c *queryCmd) rows(a *app, q *query.Query, of answerer) error {
	fresh := func() *table { return newTable(slices.Clone(q.Columns())...) }
	t, shown := fresh(), 0
	var last pagedRow
	for p, err := range paged(a.ctx, q, of) {
		if err != nil {
			return cursorUsage(err)
		}
		shown++
		last = p
		if c.JSON {
			if err := a.json(p); err != nil {
				return err
			}
			continue
		}
		t.row(rowCells(a.style, p.Row, t)...)
		if len(t.rows) == maxTable {
			t.print(a)
			t = fresh()
		}
	}
	t.print(a)
	switch {
	case last.err != nil:
		a.say("more rows are left, but there is no going on: %v", last.err)
	case c.JSON:
	case shown == 0:
		a.say("no rows")
	case last.next != "":
		a.say("more with --after %s", last.next)
	}
	return nil
}

// pagedRow is a row of a page. Where more are left, the last one knows from where
// the query goes on, or why it cannot.
type pagedRow struct {
	query.Row
	next string
	err  error
}

// MarshalJSON is the row's, with "after" where more are left: no column can be
// named so.
func (p pagedRow) MarshalJSON() ([]byte, error) {
	b, err := p.Row.MarshalJSON()
	if err != nil || p.next == "" {
		return b, err
	}
	return fmt.Appendf(b[:len(b)-1], ",%q:%q}", "after", p.next), nil
}

// paged returns the rows of a query as they come. With a limit each waits for the
// next one, which says whether it is the last.
func paged(ctx context.Context, q *query.Query, of answerer) iter.Seq2[pagedRow, error] {
	ask := q
	if q.Limit() > 0 {
		ask = q.Limited(q.Limit() + 1)
	}
	return func(yield func(pagedRow, error) bool) {
		var held pagedRow
		n := 0
		for row, err := range of.Execute(ctx, ask) {
			if n++; err == nil && q.Limit() > 0 && n > q.Limit() {
				held.next, held.err = held.Cursor()
				break
			}
			if n > 1 && !yield(held, nil) {
				return
			}
			if err != nil {
				yield(pagedRow{}, err)
				return
			}
			held = pagedRow{Row: row}
		}
		if n > 0 {
			yield(held, nil)
		}
	}
}

// cursorUsage makes a wrong cursor an error of the command's use.
func cursorUsage(err error) error {
	if errors.Is(err, query.ErrCursor) {
		return usage("", "%w", err)
	}
	return err
}

// rowCells are the values of a row for people. A column with a number in it is
// aligned to the right.
func rowCells(s style, row query.Row, t *table) []any {
	var cells []any
	for i, v := range row.Values() {
		switch v.(type) {
		case int64, float64, time.Duration:
			t.right[i] = true
		}
		cells = append(cells, valueCell(s, v))
	}
	return cells
}

func valueCell(s style, v any) cell {
	switch v := v.(type) {
	case nil:
		return cell{"-", s.dim}
	case string:
		if utf8.RuneCountInString(v) > 2*dataPreview || strings.ContainsAny(v, "\n\t") {
			return cell{text: preview([]byte(v), dataPreview)}
		}
		return cell{text: plain(v)}
	case time.Time:
		return cell{text: timeText(v.UnixMilli(), milliLayout)}
	case time.Duration:
		return cell{text: span(v)}
	case float64:
		return cell{text: strconv.FormatFloat(v, 'g', 6, 64)}
	case query.JSON:
		return cell{preview([]byte(v), dataPreview), s.dim}
	case map[string]string:
		return cell{tagsText(v), s.dim}
	}
	return cell{text: fmt.Sprint(v)}
}

// querySyntax is an error of a query's text, with the place that it is about.
func querySyntax(err error) error {
	var syntax *query.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	return usage(pointAt(syntax.Text, syntax.Column), "%w", err)
}

// pointAt shows the line of a text that a column is in, with a mark below it.
func pointAt(text string, column int) string {
	const before, behind = 50, 20
	runes := []rune(text)
	at := min(column-1, len(runes))
	from, to := max(at-before, 0), min(at+behind, len(runes))
	for i, r := range runes {
		if r == '\n' || r == '\t' {
			runes[i] = ' '
		}
	}
	return string(runes[from:to]) + "\n       " + strings.Repeat(" ", at-from) + "^"
}

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
	JSON    bool    `name:"json" help:"One JSON object a line."`
}

// Help is shown by --help.
func (*queryCmd) Help() string {
	return `A query is a source and what of it is asked for:

  runs | kv | events | states | spans | vectors
  [where CONDITION]
  [select EXPRESSION [as NAME], ...]  or  [group by EXPRESSION, ...] [count, sum(EXPRESSION), min, max, avg]
  [order by EXPRESSION [desc], ...] [limit N] [offset N]

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
	plan, err := db.Explain(q)
	if err != nil {
		return err
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
	t, found := fresh(), false
	for row, err := range of.Execute(a.ctx, q) {
		if err != nil {
			return err
		}
		found = true
		if c.JSON {
			if err := a.json(row); err != nil {
				return err
			}
			continue
		}
		t.row(rowCells(a.style, row, t)...)
		if len(t.rows) == maxTable {
			t.print(a)
			t = fresh()
		}
	}
	t.print(a)
	if !c.JSON && !found {
		a.say("no rows")
	}
	return nil
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

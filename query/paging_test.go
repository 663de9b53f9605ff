package query_test

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/query"
	"inmem/run"
	"inmem/vector"
)

// orderKeys are what rows of a source are ordered by in the tests: unique, with
// ties, missing, of several kinds, computed.
var orderKeys = map[query.Source][]string{
	query.Runs:    {"created", "id", "name", "status", "tags.a", "tags", "ended", "version", "len(name)", "now() - created"},
	query.KV:      {"key", "run.created", "run.id", "run.name", "value.x", "value", "size", "version", "deadline", "text(value)", "value.x * 1e300", "run.tags.a"},
	query.Events:  {"stream", "sequence", "time", "type", "payload.x", "payload", "run.created", "run.id", "sequence % 2"},
	query.States:  {"name", "state", "data.x", "run.created", "run.id", "size"},
	query.Spans:   {"id", "start", "took", "kind", "name", "parent", "run.created", "run.id", "cost", "end"},
	query.Vectors: {"collection", "key", "metadata.x", "run.created", "run.id"},
}

// drawQuery is a random query without a limit.
func (f *fixture) drawQuery(t *rapid.T) string {
	sources := []query.Source{query.Runs, query.KV, query.Events, query.States, query.Spans, query.Vectors}
	source := rapid.SampledFrom(sources).Draw(t, "source")
	keys := orderKeys[source]
	text := string(source)
	switch {
	case source == query.Events && rapid.Bool().Draw(t, "one stream"):
		text += ` where stream == "a"`
	case source == query.Vectors && rapid.Bool().Draw(t, "one collection"):
		text += ` where collection == "docs"`
	case source != query.States && source != query.Vectors && rapid.Bool().Draw(t, "where"):
		text += " where " + f.condition(t, source, 2).text
	}
	draw := func(what string, of []string, most int) (out []string) {
		for range rapid.IntRange(0, most).Draw(t, what+"s") {
			if k := rapid.SampledFrom(of).Draw(t, what); !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
		return out
	}
	if rapid.IntRange(0, 3).Draw(t, "grouped") == 0 {
		groups := draw("group", keys, 2)
		columns := append(slices.Clone(groups), "count", "min("+keys[0]+")", "max("+keys[1]+")")
		if len(groups) > 0 {
			text += " group by " + strings.Join(groups, ", ")
		}
		text += " count, min(" + keys[0] + "), max(" + keys[1] + ")"
		keys = columns
	} else if rapid.Bool().Draw(t, "select") {
		text += " select " + keys[0] + " as k, " + keys[1] + ", run.name as of"
		keys = append(slices.Clone(keys), "k")
	}
	orders := draw("order", keys, 3)
	same := rapid.IntRange(0, 2).Draw(t, "direction") // most of what is found in order has one
	for i := range orders {
		if same == 0 || same == 1 && rapid.Bool().Draw(t, "desc") {
			orders[i] += " desc"
		}
	}
	if len(orders) > 0 {
		text += " order by " + strings.Join(orders, ", ")
	}
	if n := rapid.IntRange(-2, 3).Draw(t, "offset"); n > 0 {
		text += fmt.Sprint(" offset ", n)
	}
	return text
}

// fillMore adds cells and vectors, in each run.
func (f *fixture) fillMore(t *rapid.T) (runs []*inmem.Run) {
	f.fill(t)
	for info, err := range f.Runs(ctx, run.Filter{Spaces: true}) {
		require.NoError(t, err)
		r, err := f.Run(info.ID)
		require.NoError(t, err)
		runs = append(runs, r)
		if info.Status.Ended() {
			continue
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "cells") {
			f.cell(r, fmt.Sprint(rapid.SampledFrom(texts).Draw(t, "cell"), i), rapid.SampledFrom([]string{"on", "off"}).Draw(t, "word"), `{"x": 1}`)
		}
		for _, name := range []string{"docs", "more"} {
			if !rapid.Bool().Draw(t, "collection") {
				continue
			}
			_, err := r.Vectors().Create(ctx, name, vector.Config{Dimension: 1, Metric: vector.Dot})
			require.NoError(t, err)
			for i := range rapid.IntRange(0, 4).Draw(t, "vectors") {
				_, err := r.Vectors().Upsert(ctx, name, fmt.Sprint("v", i), []float32{1}, fmt.Appendf(nil, `{"x": %d}`, i%2))
				require.NoError(t, err)
			}
		}
	}
	return runs
}

// TestPagesAreTheWholeResult: whatever is asked, of whatever, pages of any size
// are what is found without a limit, in the same order; and each row's own cursor
// leads to what comes behind it.
func TestPagesAreTheWholeResult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFixtureOf(t)
		defer func() { require.NoError(t, f.Close()) }()
		runs := f.fillMore(t)
		if rapid.Bool().Draw(t, "cold") {
			require.NoError(t, f.Checkpoint(ctx))
		}
		for range 8 {
			text := f.drawQuery(t)
			f.checkPages(t, f.DB, text)
			if len(runs) == 0 {
				continue
			}
			r := rapid.SampledFrom(runs).Draw(t, "run")
			f.checkPages(t, r, text)
			info, err := r.Info()
			require.NoError(t, err)
			past, err := r.At(ctx, rapid.Uint64Range(1, info.LastVersion).Draw(t, "version"))
			require.NoError(t, err)
			f.checkPages(t, past, text)
			require.NoError(t, r.View(ctx, func(tx *inmem.Tx) error {
				f.checkPages(t, tx, text)
				return nil
			}))
		}
	})
}

// checkPages holds pages against the whole. Keys past their deadlines are removed in
// the background, and versions with them: what was looked at meanwhile says nothing.
func (f *fixture) checkPages(t *rapid.T, of query.Executor, text string) {
	for range 100 {
		before := f.versions(t)
		err := f.pages(t, of, text)
		if err == nil {
			return
		}
		if f.versions(t) == before {
			t.Fatal(err)
		}
	}
	t.Fatal("it never stands still")
}

// versions is how many commits there are of all runs.
func (f *fixture) versions(t *rapid.T) (n uint64) {
	for info, err := range f.Runs(ctx, run.Filter{Spaces: true}) {
		require.NoError(t, err)
		n += info.LastVersion
	}
	return n
}

func (f *fixture) pages(t *rapid.T, of query.Executor, text string) error {
	all := query.MustParse(text)
	want := rowsOf(t, of.Execute(ctx, all))
	got, next, pages := []string{}, "", 0
	for more := true; more; more = next != "" {
		if pages > len(want)+1 {
			return fmt.Errorf("%s: more pages than rows", text)
		}
		q, err := all.After(next)
		require.NoError(t, err, text)
		rows, after, err := query.Page(ctx, of, q.Limited(rapid.IntRange(1, 5).Draw(t, "limit")))
		require.NoError(t, err, text)
		for _, row := range rows {
			got = append(got, fmt.Sprint(row.Values()))
		}
		next, pages = after, pages+1
	}
	if !slices.Equal(want, got) {
		return fmt.Errorf("%s: pages have\n%q instead of\n%q", text, got, want)
	}
	n := 0
	for row, err := range of.Execute(ctx, all.Limited(3)) {
		require.NoError(t, err)
		n++
		cursor, err := row.Cursor()
		require.NoError(t, err)
		q, err := query.Parse(text+" after $1", cursor)
		require.NoError(t, err, text)
		if rest := rowsOf(t, of.Execute(ctx, q)); n > len(want) || !slices.Equal(want[n:], rest) {
			return fmt.Errorf("%s: behind row %d of\n%q there is\n%q", text, n, want, rest)
		}
	}
	return nil
}

func rowsOf(t require.TestingT, seq iter.Seq2[query.Row, error]) []string {
	out := []string{}
	for row, err := range seq {
		require.NoError(t, err)
		out = append(out, fmt.Sprint(row.Values()))
	}
	return out
}

// changing is a store that is written to between pages.
type changing struct {
	*fixture
	runs  []*inmem.Run
	fresh int // keys are never used again
}

func (c *changing) change(t *rapid.T) {
	c.fresh++
	some := func() *inmem.Run { return rapid.SampledFrom(c.runs).Draw(t, "run") }
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0:
		c.runs = append(c.runs, c.begin(run.Meta{Name: fmt.Sprint(c.fresh % 3)}))
		c.pass(time.Duration(c.fresh%2) * time.Millisecond)
	case 1:
		if i := rapid.IntRange(0, len(c.runs)-1).Draw(t, "gone"); len(c.runs) > 2 {
			require.NoError(t, c.DeleteRun(ctx, c.runs[i].ID()))
			c.runs = slices.Delete(c.runs, i, i+1)
		}
	case 2, 3:
		r := some()
		for it, err := range r.KV().List(ctx, "") {
			require.NoError(t, err)
			_, err := r.KV().Delete(ctx, it.Key)
			require.NoError(t, err)
			break
		}
	case 4:
		c.event(some(), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "stream"), "t", `{}`)
	default:
		key := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "key"), "-", c.fresh)
		c.put(some(), key, rapid.SampledFrom([]string{`{"x": 1}`, `{"x": "a"}`, `2`, ``, `{}`}).Draw(t, "value"))
	}
}

// TestPagesOfWhatChanges: what was there all the time is on one page exactly, and
// nothing on two, whatever else comes and goes meanwhile. Each row is told apart
// by its values.
func TestPagesOfWhatChanges(t *testing.T) {
	texts := []string{
		`kv select run.id, key`,
		`kv select run.id, key order by key`,
		`kv select run.id, key order by key desc, run.name`,
		`kv select run.id, key order by value desc`,
		`kv select run.id, key order by value.x, size desc`,
		`kv select run.id, key order by run.created desc`,
		`events select run.id, stream, sequence`,
		`events select run.id, stream, sequence order by sequence desc`,
		`runs select id order by created desc`,
		`runs select id order by name`,
		`kv group by run.id, key count`,
		`kv group by run.id, key count order by key desc`,
	}
	rapid.Check(t, func(t *rapid.T) {
		c := &changing{fixture: newFixtureOf(t)}
		defer func() { require.NoError(t, c.Close()) }()
		for range 3 {
			c.runs = append(c.runs, c.begin(run.Meta{Name: "x"}))
		}
		for range 30 {
			c.change(t)
		}
		q := query.MustParse(rapid.SampledFrom(texts).Draw(t, "text"))
		always := map[string]bool{}
		for _, row := range rowsOf(t, c.Execute(ctx, q)) {
			always[row] = true
		}
		seen, next := map[string]int{}, ""
		for more := true; more; more = next != "" && len(seen) < 200 { // more comes than is read
			page, err := q.Limited(rapid.IntRange(1, 6).Draw(t, "limit")).After(next)
			require.NoError(t, err)
			rows, after, err := query.Page(ctx, c.DB, page)
			require.NoError(t, err)
			for _, row := range rows {
				seen[fmt.Sprint(row.Values())]++
			}
			next = after
			for range 3 {
				c.change(t)
			}
			now := rowsOf(t, c.Execute(ctx, q))
			for row := range always {
				if !slices.Contains(now, row) {
					delete(always, row)
				}
			}
		}
		for row, n := range seen {
			require.Equal(t, 1, n, "%v: %s", q, row)
		}
		for row := range always {
			require.True(t, seen[row] == 1 || next != "", "%v: %s", q, row)
		}
	})
}

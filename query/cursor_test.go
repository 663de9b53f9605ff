package query_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/kv"
	"inmem/query"
	"inmem/run"
	"inmem/trace"
	"inmem/vector"
)

// aCursor is the cursor behind the first row.
func aCursor(t testing.TB, of query.Executor, text string) string {
	t.Helper()
	for row, err := range of.Execute(ctx, query.MustParse(text)) {
		require.NoError(t, err)
		cursor, err := row.Cursor()
		require.NoError(t, err)
		return cursor
	}
	t.Fatal("no rows")
	return ""
}

func TestCursorsOfOtherQueries(t *testing.T) {
	f := newFixture(t)
	first, second := f.someOfEverything()
	text := `kv where key startsWith "user/" order by value.age desc, key`
	cursor := aCursor(t, f.DB, text+" limit 1")
	assert.Regexp(t, `^[A-Za-z0-9_-]+$`, cursor)
	for _, same := range []string{text, text + " limit 5", "kv  where key startsWith\n \"user/\" order by value.age desc,key limit 0", text + " limit 2 offset 0"} {
		_, err := query.MustParse(same).After(cursor)
		assert.NoError(t, err, same)
		for _, after := range []string{` after "` + cursor + `"`, ` after '` + cursor + `'`, " after `" + cursor + "`"} {
			_, err = query.Parse(same + after)
			assert.NoError(t, err, same)
		}
	}
	wrong := func(err error, reason string) {
		t.Helper()
		var of *query.CursorError
		require.ErrorAs(t, err, &of)
		assert.ErrorIs(t, err, query.ErrCursor)
		assert.Contains(t, of.Reason, reason)
		assert.Contains(t, err.Error(), reason)
	}
	for _, other := range []string{
		`kv`, text + " offset 1", `kv where key startsWith "users/" order by value.age desc, key`, `kv where key startsWith "user/" order by value.age, key`,
		`kv where key startsWith "user/" select key order by value.age desc, key`, `events`, `kv group by key count`,
	} {
		_, err := query.MustParse(other).After(cursor)
		wrong(err, "it is of another query: ask that one, in which only limit may be another")
		_, err = query.Parse(other+" after $1", cursor)
		wrong(err, "another query")
		assert.ErrorIs(t, err, query.ErrInvalid)
		var syntax *query.SyntaxError
		require.ErrorAs(t, err, &syntax)
		assert.Equal(t, len(other)+8, syntax.Column)
	}
	for _, bad := range []string{"x", cursor[:len(cursor)-1], cursor + "A", cursor[1:], cursor + "\n", strings.Repeat("A", 100), `a\"b`} {
		_, err := query.MustParse(text).After(bad)
		wrong(err, "it was changed or cut off")
		_, err = query.From(query.KV).After(bad).Query()
		wrong(err, "it was changed or cut off")
	}
	for i := range cursor {
		changed := []byte(cursor)
		changed[i] = 'A' + (changed[i]+1)%26
		_, err := query.MustParse(text).After(string(changed))
		wrong(err, "")
	}
	_, err := query.MustParse(text).After(strings.Repeat("A", query.MaxCursor+1))
	wrong(err, "the limit is 32768")

	// One of all runs is none of a single run, and the other way round.
	q, err := query.MustParse(text).After(cursor)
	require.NoError(t, err)
	failed := func(of query.Executor, q *query.Query) (last error) {
		for _, err := range of.Execute(ctx, q) {
			last = err
		}
		return last
	}
	wrong(failed(first, q), "it is of a query over all runs: ask these")
	_, err = first.Explain(q)
	wrong(err, "over all runs")
	one, err := query.MustParse(text).After(aCursor(t, first, text+" limit 1"))
	require.NoError(t, err)
	wrong(failed(f.DB, one), fmt.Sprintf("it is of a query over run %v", first.ID()))
	wrong(failed(second, one), "ask that one")
	require.NoError(t, failed(first, one))
}

// What has the right checksum may still be no cursor.
func TestForgedCursors(t *testing.T) {
	f := newFixture(t)
	f.someOfEverything()
	q := query.MustParse(`kv order by value`)
	good := query.Forged(aCursor(t, f.DB, `kv order by value limit 1`))
	_, err := q.After(query.Forge(q, good))
	require.NoError(t, err)
	place := append(append([]byte{1, 2}, make([]byte, 16)...), 1, 'k', 0, 0) // created 1, no run's ID, key k
	body := func(keys ...byte) []byte { return append(append([]byte{2, 0}, keys...), place...) }
	_, err = q.After(query.Forge(q, body(1, 0)))
	require.NoError(t, err)
	for name, bad := range map[string][]byte{
		"nothing":               {},
		"cut":                   good[:len(good)-1],
		"more":                  append(good, 0),
		"an ID of 3 bytes":      append([]byte{2, 3, 1, 2, 3, 1, 0}, place...),
		"no such kind":          body(1, 99),
		"no such time":          body(1, 6, 2, 0x80, 0xa8, 0xd6, 0xb9, 0x07),
		"half a number":         append([]byte{2, 0, 1, 4}, 1, 2, 3),
		"more keys than orders": body(2, 0, 0),
		"keys without end":      body(0xff, 0xff, 0x03),
		"no place":              {2, 0, 1, 0, 0},
		"no such place":         {2, 0, 1, 0, 2},
		"a number of none":      append(body(1, 0)[:len(body(1, 0))-1], 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40),
	} {
		_, err := q.After(query.Forge(q, bad))
		require.ErrorIs(t, err, query.ErrCursor, name)
	}
	_, err = q.After(query.ForgeVersion(q, 2, good))
	require.ErrorContains(t, err, "made by another version of inmem")
}

func TestCursorsInText(t *testing.T) {
	f := newFixture(t)
	f.someOfEverything()
	cursor := aCursor(t, f.DB, `kv select key limit 1`)
	want := shown(t, f.Query(ctx, `kv select key offset 1`))
	for _, text := range []string{`kv select key after $1`, `kv select key after $1 limit 100`, `kv select key limit 100 after $1 `} {
		assert.Equal(t, want, shown(t, f.Query(ctx, text, cursor)), text)
	}
	q, err := query.From(query.KV).Select(query.C("key")).Limit(2).After(cursor).Query()
	require.NoError(t, err)
	assert.Equal(t, want[:2], shown(t, f.Execute(ctx, q)))
	assert.Equal(t, 2, q.Limit())
	assert.Equal(t, `kv select key limit 2 after "`+cursor+`"`, q.String())
	q, err = q.After("")
	require.NoError(t, err)
	assert.Equal(t, `kv select key limit 2`, q.String())
	assert.Equal(t, `kv select key`, q.Limited(-5).String())
	// No cursor is the beginning.
	for _, none := range []any{"", nil} {
		assert.Equal(t, want[0], shown(t, f.Query(ctx, `kv select key limit 5 after $1`, none))[1])
	}
	q = query.MustParse(`kv where key != $1 select key limit 3 offset 2`, "limit 1")
	assert.Equal(t, `kv where key != "limit 1" select key limit 7 offset 2`, q.Limited(7).String())
	for text, reason := range map[string]string{
		`kv limit 1 after`:            "expected a cursor in quotes behind after, and found the end",
		`kv limit 1 after x`:          "expected a cursor in quotes behind after, and found x",
		`kv after 1`:                  "expected a cursor in quotes",
		`kv after 5s`:                 "expected a cursor in quotes",
		`kv after "" after ""`:        "after has no place here",
		`kv after "" where size == 1`: "where has no place here",
	} {
		_, err := query.Parse(text)
		assert.ErrorContains(t, err, reason, text)
	}
	_, err = query.Parse(`kv after $1`, 7)
	assert.ErrorContains(t, err, "expected a cursor in quotes")
}

func TestRowsWithoutCursors(t *testing.T) {
	f := newFixture(t)
	r := f.begin(run.Meta{})
	f.put(r, "k", strings.Repeat("x", query.MaxCursor))
	f.put(r, "l", "")
	for row, err := range f.Query(ctx, `kv`) {
		require.NoError(t, err)
		_, err = row.Cursor()
		require.ErrorIs(t, err, query.ErrCursor)
		require.ErrorContains(t, err, "the query has no limit: give it one")
	}
	_, err := query.Row{}.Cursor()
	require.ErrorIs(t, err, query.ErrCursor)
	rows, next, err := query.Page(ctx, f.DB, query.MustParse(`kv select key order by value desc limit 1`))
	require.ErrorIs(t, err, query.ErrCursor)
	require.ErrorContains(t, err, "order by something shorter")
	require.Equal(t, []any{"k"}, rows[0].Values())
	require.Empty(t, next)
	for text, n := range map[string]int{`kv limit 0`: 0, `kv`: 2, `kv limit 2`: 2, `kv limit 3`: 2, `kv count`: 1, `kv count limit 1`: 1} {
		rows, next, err := query.Page(ctx, f.DB, query.MustParse(text))
		require.NoError(t, err)
		require.Len(t, rows, n, text)
		require.Empty(t, next, text)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err = query.Page(ended, f.DB, query.MustParse(`kv limit 1`))
	require.ErrorIs(t, err, context.Canceled)
	// What now() says is settled on the first page.
	q, err := query.MustParse(`runs select now()`).After(aCursor(t, f.DB, `runs select now() limit 1`))
	require.NoError(t, err)
	f.pass(time.Hour)
	f.begin(run.Meta{})
	require.Equal(t, []string{"0s"}, shown(t, f.Execute(ctx, q)))
}

// What is found in the order of the query is not sorted, and a cursor is where
// reading begins.
func TestCursorsAreWhereReadingBegins(t *testing.T) {
	f := newFixture(t)
	first, _ := f.someOfEverything()
	in := func(plan query.Plan, err error) string {
		require.NoError(t, err)
		return plan.Order + "; " + plan.After
	}
	id := fmt.Sprintf("%q", first.ID())
	for _, c := range []struct {
		text        string
		all, single bool // whether it is found in order, over all runs and in one
	}{
		{`kv`, true, true},
		{`kv order by key`, false, true},
		{`kv order by key desc`, false, true},
		{`kv order by run.name, key, size desc`, false, true},
		{`kv where run.id == ` + id + ` order by key`, true, true},
		{`kv order by run.created`, true, true},
		{`kv order by run.created desc`, true, true},
		{`kv order by run.created desc, run.id desc, key desc`, true, true},
		{`kv order by run.created, run.id, key, value`, true, true},
		{`kv order by run.created, key`, false, true},
		{`kv order by run.created, run.id desc`, false, false},
		{`kv order by run.id`, false, true},
		{`kv order by size`, false, false},
		{`kv order by value.key`, false, false},
		{`kv order by lower(key)`, false, false},
		{`kv order by 1`, true, true},
		{`events order by stream, sequence`, false, true},
		{`events order by stream desc`, false, false},
		{`events order by sequence`, false, false},
		{`events order by time`, false, false},
		{`events where stream == "main" order by sequence`, false, true},
		{`events where stream == "main" order by time desc`, false, true},
		{`events where stream == "main" order by time, stream, sequence`, false, true},
		{`events where stream == "main" order by sequence desc`, false, true},
		{`events order by run.created desc`, false, false},
		{`states order by name`, false, true},
		{`states order by name desc`, false, false},
		{`spans order by id`, false, true},
		{`spans order by id desc`, false, true},
		{`spans order by start`, false, false},
		{`vectors order by collection, key`, false, true},
		{`vectors order by key`, false, false},
		{`vectors where collection == "docs" order by key`, false, true},
		{`vectors where collection == "docs" order by key desc`, false, false},
		{`runs order by created`, true, true},
		{`runs order by created desc, id desc`, true, true},
		{`runs order by run.created, id, name desc`, true, true},
		{`runs order by id`, false, true},
		{`kv group by key count`, false, false},
	} {
		q, err := query.MustParse(c.text).After(aCursor(t, f.DB, c.text+" limit 1"))
		require.NoError(t, err, c.text)
		how := in(f.Explain(q))
		assert.Equal(t, c.all, strings.Contains(how, "reading begins behind run "), "%s: %s", c.text, how)
		assert.Equal(t, c.all, strings.Contains(how, "nothing is kept"), "%s: %s", c.text, how)
		q, err = query.MustParse(c.text).After(aCursor(t, first, c.text+" limit 1"))
		require.NoError(t, err, c.text)
		how = in(first.Explain(q))
		assert.Equal(t, c.single, strings.Contains(how, "reading begins behind run "), "%s: %s", c.text, how)
	}
	q, err := query.MustParse(`events where stream == "main" limit 9`).After(aCursor(t, first, `events where stream == "main" limit 1`))
	require.NoError(t, err)
	plan, err := first.Explain(q)
	require.NoError(t, err)
	require.Contains(t, plan.String(), fmt.Sprintf(`
after   reading begins behind run %v, "main", 1
limit   9, from row 1 on
`, first.ID()))
}

// A page deep in a large run reads no more than the first.
func TestDeepPagesReadNoMore(t *testing.T) {
	f := newFixture(t)
	r := f.begin(run.Meta{})
	var b kv.Batch
	for i := range 1000 {
		b.Put(fmt.Sprintf("%04d", i), nil)
	}
	_, err := r.KV().Write(ctx, &b)
	require.NoError(t, err)
	for i := range 300 {
		f.event(r, fmt.Sprintf("s%03d", i), "t", `{}`)
		f.cell(r, fmt.Sprintf("c%03d", i), "on", "")
		f.span(r, trace.Start{Kind: "k", Name: "n"}, trace.Finish{})
	}
	_, err = r.Vectors().Create(ctx, "docs", vector.Config{Dimension: 1, Metric: vector.Dot})
	require.NoError(t, err)
	for i := range 300 {
		_, err = r.Vectors().Upsert(ctx, "docs", fmt.Sprintf("v%03d", i), []float32{1}, nil)
		require.NoError(t, err)
	}
	for _, text := range []string{
		`kv order by key`, `kv order by key desc`, `events`, `events where stream == "s299" order by time desc`, `states order by name`, `spans order by id desc`, `spans`, `vectors`,
	} {
		// A context counts the items that are read: each asks whether it has ended.
		q := query.MustParse(text)
		reads := func(q *query.Query) int {
			counting := &countingContext{Context: ctx}
			_, _, err := query.Page(counting, r, q.Limited(5))
			require.NoError(t, err)
			return counting.asked
		}
		rows, next, err := query.Page(ctx, r, q.Limited(250))
		require.NoError(t, err)
		if next == "" {
			require.Len(t, rows, 1, text)
			continue
		}
		deep, err := q.After(next)
		require.NoError(t, err)
		assert.LessOrEqual(t, reads(deep), reads(q)+2, text)
	}

}

// countingContext counts how often it is asked whether it has ended: for each item.
type countingContext struct {
	context.Context
	asked int
}

func (c *countingContext) Err() error {
	c.asked++
	return c.Context.Err()
}

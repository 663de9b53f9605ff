package query_test

import (
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"inmem/query"
	"inmem/run"
)

// FuzzParse: whatever the text, Parse returns a query or says where it is wrong; a
// query can be written and read again, is explained in the same words, and finds
// something or nothing, without an error.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`kv select 9999-12-31 + 100000d as late, time(200000000000) as later, 0001-01-01 - 100000d as early`,
		`spans where kind == "tool_call" and status == "error" order by start desc limit 20`,
		`kv where value.a[0]["b c"] in [1, 'x', nil] or not (key startsWith "p") and size ** 2 > -1.5e3`,
		`events where time >= now() - 1h30m and payload.x in 1..5 group by trunc(time, 1m) as m count, sum(payload.n) order by m desc`,
		`runs select name as n, tags.x ?? "none", created + 1d limit 5 offset 2`,
		`states where name matches "^a" select lower(text(data)), len(data)`,
		`kv where key == $1 and 2026-01-01T00:00:00Z < deadline`,
		"runs where `x` == \"\\u00e9\" ? 1 : 2 | {} # // /* ;", `kv where ((((((`, `kv where 0x1p-2 == 1..`, `kv where a?.b ?? c`, `kv where let x = 1; x`, `kv where b"x" == 1`, `runs where run.run.run`, `kv where "\`,
	} {
		f.Add(text)
	}
	fix := newFixture(f)
	r, _ := fix.someOfEverything()
	f.Fuzz(func(t *testing.T, text string) {
		q, err := query.Parse(text, "argument")
		if err != nil {
			var syntax *query.SyntaxError
			require.True(t, errors.As(err, &syntax), "%q: %v", text, err)
			require.GreaterOrEqual(t, syntax.Column, 1)
			require.LessOrEqual(t, syntax.Column, utf8.RuneCountInString(text)+1)
			return
		}
		plan, err := q.Explain(time.Unix(0, 0))
		require.NoError(t, err)
		again, err := query.Parse(q.String())
		require.NoError(t, err, "%q, written anew: %q", text, q.String())
		same, err := again.Explain(time.Unix(0, 0))
		require.NoError(t, err)
		require.Equal(t, plan, same)
		for row, err := range r.Execute(ctx, q) {
			require.NoError(t, err)
			_, err = row.MarshalJSON()
			require.NoError(t, err)
		}
	})
}

// FuzzValues: whatever is stored, no query fails on it.
func FuzzValues(f *testing.F) {
	for _, v := range []string{`{"a": [1, {"b": null}], "c": "x"}`, `1e999`, `"\ud800"`, `{"a": 1, "a": 2}`, `[[[[`, "\xff", `-0`, ` { } `, `{"a\u0062": 1}`, `{"": {"": ""}}`} {
		f.Add([]byte(v))
	}
	fix := newFixture(f)
	r := fix.begin(run.Meta{})
	q := query.MustParse(`kv where not (value.a == 1) and not (value.a.b > "x") and not (value["c"][0] in [1, "x"]) and not (value.a + 1 > value.c / 2) and not ("x" in value)
		select value, value.a, value.a.b, value[""][""], value.ab, value.a[0], value["a\u0000"], text(value), len(value), number(value), time(value), duration(value), lower(value), -value, value % 3 order by value, value.a desc`)
	g := query.MustParse(`kv group by value, value.a count, min(value), max(value), sum(value), avg(value.a)`)
	f.Fuzz(func(t *testing.T, value []byte) {
		_, err := r.KV().Put(ctx, "k", value)
		require.NoError(t, err)
		for _, q := range []*query.Query{q, g} {
			for row, err := range r.Execute(ctx, q) {
				require.NoError(t, err)
				_, err = row.MarshalJSON()
				require.NoError(t, err)
			}
		}
	})
}

// FuzzCursor: whatever is behind a cursor's fingerprint, a query says that it is no
// cursor of it, or goes on somewhere; and what is one is written in one way only.
func FuzzCursor(f *testing.F) {
	fix := newFixture(f)
	r, _ := fix.someOfEverything()
	var queries []*query.Query
	for _, text := range []string{
		`runs`, `kv`, `kv order by key desc`, `kv order by value, run.created desc`, `kv group by key count order by count desc`, `kv where deadline > now() - 1h`,
		`events`, `events where stream == "main" order by sequence desc`, `states`, `spans`, `spans order by id desc`, `vectors`,
	} {
		q := query.MustParse(text)
		queries = append(queries, q)
		for _, of := range []query.Executor{fix.DB, r} {
			for row, err := range of.Execute(ctx, q.Limited(2)) {
				require.NoError(f, err)
				cursor, err := row.Cursor()
				require.NoError(f, err)
				f.Add(query.Forged(cursor))
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, q := range queries {
			cursor := query.Forge(q, body)
			behind, err := q.After(cursor)
			if err != nil {
				require.ErrorIs(t, err, query.ErrCursor)
				continue
			}
			again, err := query.Again(cursor)
			require.NoError(t, err)
			require.Equal(t, cursor, again)
			for _, of := range []query.Executor{fix.DB, r} {
				for row, err := range of.Execute(ctx, behind.Limited(3)) {
					if err != nil {
						require.ErrorIs(t, err, query.ErrCursor)
						break
					}
					_, err = row.Cursor()
					require.NoError(t, err)
				}
			}
			_, err = fix.Explain(behind)
			if err != nil {
				require.ErrorIs(t, err, query.ErrCursor)
			}
		}
	})
}

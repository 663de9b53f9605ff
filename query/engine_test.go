package query_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/query"
	"inmem/run"
)

// The builder writes what a text says: the plans are equal, and so are the rows.
func TestBuilderAndTextAreEqual(t *testing.T) {
	f := newFixture(t)
	first, _ := f.someOfEverything()
	c := query.C
	for _, x := range []struct {
		built *query.Builder
		text  string
	}{
		{query.From(query.Spans).Where(c("kind").Eq("tool_call"), c("status").Eq("error")).OrderBy(c("start").Desc()).Limit(20),
			`spans where kind == "tool_call" and status == "error" order by start desc limit 20`},
		{query.From(query.KV).Where(query.Or(c("value", "age").Gt(30), c("value", "tags", 0).Eq("a")), query.Not(c("key").HasPrefix("x"))).Select(c("key"), c("value", "name").Else("?").As("name")),
			`kv where (value.age > 30 or value.tags[0] == "a") and not (key startsWith "x") select key, value["name"] ?? "?" as name`},
		{query.From(query.KV).Where(c("key").Between("a", "v"), c("size").Ne(0), c("size").Le(100), c("size").Ge(1), c("size").Lt(101)).OrderBy(c("size"), c("key").Desc()).Offset(1),
			`kv where key in "a".."v" and size != 0 and size <= 100 and size >= 1 and size < 101 order by size, key desc offset 1`},
		{query.From(query.KV).Where(query.Text("key contains $1", "e"), c("key").Contains("r"), c("key").HasSuffix("1"), query.V("b").Among(c("value", "tags")), c("value").Present(), c("value", "x").Missing(), c("key").Matches("^u")),
			`kv where key contains "e" and key contains "r" and key endsWith "1" and "b" in value.tags and value != nil and value.x == nil and key matches "^u"`},
		{query.From(query.Spans).GroupBy(c("name"), c("kind").As("k")).Aggregate(query.Count(), query.Sum(c("took")).As("took"), query.Min(c("start")), query.Max(c("start")), query.Avg(c("cost")), query.CountOf(c("error"))).OrderBy(query.Count().Desc(), c("k")),
			`spans group by name, kind as k count, sum(took) as took, min(start), max(start), avg(cost), count(error) order by count desc, k`},
		{query.From(query.Events).Where(c("time").Ge(query.Call("now").Minus(time.Hour)), c("type").In("asked", "noted"), c("run.parent").Missing()).Select(query.Call("upper", c("type")), c("sequence").Times(2).Plus(1).Modulo(4).Over(2)),
			`events where time >= now() - 1h and type in ["asked", "noted"] and run.parent == nil select upper(type), ((sequence * 2 + 1) % 4) / 2`},
		{query.From(query.Runs).Where(c("id").Eq(first.ID()), c("tags", "a b").Eq("x"), c("tags").Present(), query.And(), query.Not(query.Or())),
			fmt.Sprintf(`runs where id == "%v" and tags["a b"] == "x" and tags != nil and true and not (false)`, first.ID())},
		{query.From(query.Runs).Where(query.Or(c("name").Eq("first"))).Limit(0), `runs where name == "first" limit 0`},
	} {
		built, err := x.built.Query()
		require.NoError(t, err, x.text)
		written, err := query.Parse(x.text)
		require.NoError(t, err, x.text)
		assert.Len(t, built.Columns(), len(written.Columns()))
		assert.Equal(t, written.Source(), built.Source())
		plan, err := f.Explain(written)
		require.NoError(t, err)
		same, err := f.Explain(built)
		require.NoError(t, err)
		assert.Equal(t, plan, same, x.text)
		rows := shown(t, f.Execute(ctx, written))
		assert.Equal(t, rows, shown(t, f.Execute(ctx, built)), x.text)
	}
	_, err := query.From(query.KV).Where(c("key", 1.5).Eq(1)).Query()
	assert.ErrorIs(t, err, query.ErrInvalid)
	_, err = query.From(query.KV).Where(query.Text("key == $2", 1)).Query()
	assert.ErrorIs(t, err, query.ErrInvalid)
	_, err = query.From(query.KV).Select(query.Call("upper", struct{}{})).Query()
	assert.ErrorIs(t, err, query.ErrInvalid)
	_, err = query.From("nothing").Query()
	assert.ErrorIs(t, err, query.ErrInvalid)
}

// What is said of a query is what happens.
func TestExplain(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		text string
		want []string
	}{
		{`spans where run.status == "failed" and run.tags.task == "5" and run.namespace == "t/a/g" and name == "x" order by start desc limit 20 offset 5`, []string{
			`runs    status = failed`, `        namespace.tenant = t`, `        namespace.app = a`, `        namespace.agent = g`, `        tags.task = "5"`,
			`        run.status == "failed"`, `items   all spans of these runs; runs without any are not loaded`, `filter  name == "x"`,
			`order   the first 25 by start desc, in a heap`, `limit   20, from row 6 on`, `keeps   at most 268435456 bytes`,
		}},
		{`runs where created >= now() - 1h and created < now() and not space and parent == "00000000-0000-7000-8000-000000000001" and name == "x" order by created desc`, []string{
			`name = x`, `parent = 00000000-0000-7000-8000-000000000001`, `created from 2026-01-01T11:00:00Z`, `created before 2026-01-01T12:00:00Z`, `no spaces`,
			`order   created desc, as the index has it; nothing is kept`,
		}},
		{`kv where key startsWith "a" and key < "ab" and value.x > 1 and run.id == "00000000-0000-7000-8000-000000000001"`, []string{
			`runs    id = 00000000-0000-7000-8000-000000000001`, `items   key startsWith "a"`, `        key < "ab"`, `filter  value.x > 1`, `order   as found`,
		}},
		{`kv where key in ["a", "b"]`, []string{`items   key between the first and the last of ["a", "b"]`, `filter  key in ["a", "b"]`}},
		{`events where stream == "main" and type == "t" and sequence > 5 and time > 2026-01-01`, []string{
			`items   stream "main"`, `        type == "t"`, `        sequence > 5`, `        time > 2026-01-01T00:00:00Z`, `filter  time > 2026-01-01T00:00:00Z`,
		}},
		{`runs where name == "a" and name == "b"`, []string{`nothing can match`}},
		{`runs where status == "failed" and status == "active"`, []string{`nothing can match`}},
		{`runs where status in ["failed", "active"]`, []string{`status = failed or active`}},
		{`runs limit 0`, []string{`nothing can match`}},
		{`kv count`, []string{`runs    all, from the index`, `filter  none`, `order   one group`}},
		{`kv group by key count`, []string{`order   groups, kept, then sorted by key`}},
		{`kv group by key count order by count desc`, []string{`order   groups, kept, then sorted by count desc`}},
		{`kv order by key`, []string{`order   all rows kept, then sorted by key`}},
	} {
		plan, err := f.Explain(query.MustParse(c.text))
		require.NoError(t, err)
		for _, line := range c.want {
			assert.Contains(t, plan.String(), line, c.text)
		}
		_, err = json.Marshal(plan)
		require.NoError(t, err)
	}
}

// Runs that the conditions leave out are not loaded, nor those without items.
func TestRunsAreLoadedOnlyWhereNeeded(t *testing.T) {
	f := newFixture(t)
	for i := range 20 {
		r := f.begin(run.Meta{Name: fmt.Sprint(i), Tags: map[string]string{"mod": fmt.Sprint(i % 4)}})
		if i < 10 {
			f.put(r, "k", "v")
		}
		f.pass(time.Second)
		require.NoError(t, r.End(ctx, run.Completed))
	}
	loads := func() (n uint64) {
		for _, s := range f.Metrics().Shards {
			n += s.Loads
		}
		return n
	}
	cold := func() {
		require.NoError(t, f.Checkpoint(ctx))
		require.NoError(t, f.Close())
		f.open()
	}
	for _, c := range []struct {
		text  string
		loads int
	}{
		{`runs where took >= 1s and version > 1 count`, 0},
		{`events count`, 0},
		{`kv where run.tags.mod == "1" count`, 3},
		{`kv where run.name == "5"`, 1},
		{`kv where run.name > "5" and run.created < now() - 13s`, 1},
		{`kv where run.status == "failed"`, 0},
		{`kv count`, 10},
		{`kv count`, 10},
	} {
		cold()
		before := loads()
		shown(t, f.Query(ctx, c.text))
		assert.EqualValues(t, c.loads, loads()-before, c.text)
	}
}

func TestOneRunAndItsPast(t *testing.T) {
	f := newFixture(t)
	first, second := f.someOfEverything()
	f.put(second, "new", "1")
	count := func(seq iter.Seq2[query.Row, error]) string { return shown(t, seq)[0] }
	assert.Equal(t, "2", count(second.Query(ctx, "kv count")))
	assert.Equal(t, "0", count(second.Query(ctx, `kv where run.name == "first" count`)))
	assert.Equal(t, "1", count(second.Query(ctx, `kv where run.id == $1 and run.version == 3 and key == "new" count`, second.ID())))
	assert.Equal(t, "0", count(second.Query(ctx, `kv where run.id == $1 count`, first.ID())))
	assert.Equal(t, []string{"second|3"}, shown(t, second.Query(ctx, "runs select name, version")))
	past, err := second.At(ctx, 2)
	require.NoError(t, err)
	assert.Equal(t, "1", count(past.Query(ctx, "kv count")))
	assert.Equal(t, []string{"second|2|11s"}, shown(t, past.Query(ctx, "runs select name, version, now()")))
	assert.Equal(t, []string{"asked"}, shown(t, first.Query(ctx, `events where stream == "main" select type limit 1`)))

	// A transaction sees what it wrote, and has read what it looked through.
	err = second.Update(ctx, func(tx *inmem.Tx) error {
		_, err := tx.KV().Put(ctx, "mine", []byte("2"))
		require.NoError(t, err)
		assert.Equal(t, []string{"mine|-1"}, shown(t, tx.Query(ctx, "kv where value == 2 select key, version")))
		return nil
	})
	require.NoError(t, err)
	tx, err := second.Begin(ctx)
	require.NoError(t, err)
	shown(t, tx.Query(ctx, `kv where key startsWith "a"`))
	_, err = tx.KV().Put(ctx, "z", nil)
	require.NoError(t, err)
	f.put(second, "ab", "meanwhile")
	_, err = tx.Commit(ctx)
	require.ErrorIs(t, err, inmem.ErrConflict)
	for _, err := range tx.Query(ctx, "kv") {
		require.ErrorIs(t, err, inmem.ErrTxDone)
	}
	require.NoError(t, f.DeleteRun(ctx, second.ID()))
	for _, err := range second.Query(ctx, "kv") {
		require.ErrorIs(t, err, inmem.ErrRunNotFound)
	}
	assert.Equal(t, "1", count(past.Query(ctx, "kv count")))
}

func TestEndsEarly(t *testing.T) {
	f := newFixture(t)
	for i := range 50 {
		r := f.begin(run.Meta{Name: fmt.Sprint(i)})
		for k := range 300 {
			f.put(r, fmt.Sprint(k), "v")
		}
	}
	n := 0
	for _, err := range f.Query(ctx, "kv") {
		require.NoError(t, err)
		if n++; n == 500 {
			break
		}
	}
	// A context stops it, also from outside of the loop.
	for _, text := range []string{"kv", "kv order by key", "kv count", "runs"} {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		var last error
		for _, err := range f.Query(ended, text) {
			last = err
		}
		require.ErrorIs(t, last, context.Canceled, text)
	}
	ended, cancel := context.WithCancel(ctx)
	defer cancel()
	var last error
	n = 0
	for _, err := range f.Query(ended, "kv") {
		if last = err; err == nil {
			cancel()
			n++
		}
	}
	require.ErrorIs(t, last, context.Canceled)
	require.Less(t, n, 50*300)
	require.Panics(t, func() {
		for range f.Query(ctx, "kv") {
			panic("the caller's")
		}
	})
	require.Equal(t, []string{"300", "301"}, []string{shown(t, f.Query(ctx, `kv where run.name == "7" count`))[0], shown(t, f.Query(ctx, `runs where name == "7" select version`))[0]})
}

// What is kept is bounded.
func TestMemoryIsBounded(t *testing.T) {
	f := newFixture(t)
	for range 10 {
		r := f.begin(run.Meta{})
		for k := range 20 {
			f.put(r, fmt.Sprint(k), strings.Repeat("x", 1000))
		}
	}
	for _, c := range []struct {
		text   string
		enough bool
	}{
		{`kv select value order by key`, false},
		{`kv select value order by key limit 10`, true},
		{`kv select value order by key limit 10 offset 150`, false},
		{`kv select value`, true},
		{`kv group by key count`, true},
		{`kv group by key, value count`, false},
		{`kv group by value count`, true},
	} {
		var last error
		for _, err := range f.Execute(ctx, query.MustParse(c.text).Bounded(100_000)) {
			last = err
		}
		if c.enough {
			require.NoError(t, last, c.text)
			continue
		}
		require.ErrorIs(t, last, query.ErrMemory, c.text)
		var memory *query.MemoryError
		require.ErrorAs(t, last, &memory)
		require.EqualValues(t, 100_000, memory.Bound)
		require.Contains(t, last.Error(), "more than 100000 bytes")
	}
	require.Equal(t, []string{"200"}, shown(t, f.Execute(ctx, query.MustParse("kv count").Bounded(0))))
}

func TestRowsAsJSON(t *testing.T) {
	f := newFixture(t)
	f.someOfEverything()
	var lines []string
	for row, err := range f.Query(ctx, `kv where run.name == "first" and key in ["bytes", "user/1", "number"] select key, value as v, run.created as at, run.took as took, run.tags as tags, value.none as none, value.age as age`) {
		require.NoError(t, err)
		b, err := json.Marshal(row)
		require.NoError(t, err)
		lines = append(lines, string(b))
		require.Equal(t, []string{"key", "v", "at", "took", "tags", "none", "age"}, row.Columns())
		require.Equal(t, row.Values()[0], row.Get("key"))
		require.Nil(t, row.Get("nothing"))
	}
	require.Equal(t, []string{
		`{"key":"bytes","v_base64":"/wA=","at":"2026-01-01T12:00:00Z","took":"10s","tags":{"a b":"x","reward":"0","task":"1"},"none":null,"age":null}`,
		`{"key":"number","v":42,"at":"2026-01-01T12:00:00Z","took":"10s","tags":{"a b":"x","reward":"0","task":"1"},"none":null,"age":null}`,
		`{"key":"user/1","v":{"name":"Ann","age":31,"tags":["a","b"],"ok":true,"none":null,"address":{"city":"Rome"}},"at":"2026-01-01T12:00:00Z","took":"10s","tags":{"a b":"x","reward":"0","task":"1"},"none":null,"age":31}`,
	}, lines)
}

func TestClosedStore(t *testing.T) {
	f := newFixture(t)
	r := f.begin(run.Meta{})
	past, err := r.At(ctx, 1)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for _, seq := range []iter.Seq2[query.Row, error]{f.Query(ctx, "runs"), r.Query(ctx, "runs"), past.Query(ctx, "runs")} {
		var last error
		for _, err := range seq {
			last = err
		}
		require.ErrorIs(t, last, inmem.ErrClosed)
	}
	_, err = f.Explain(query.MustParse("runs"))
	require.ErrorIs(t, err, inmem.ErrClosed)
	_, err = r.Explain(query.MustParse("runs"))
	require.ErrorIs(t, err, inmem.ErrClosed)
	for _, err := range f.Query(ctx, "nonsense") {
		require.ErrorIs(t, err, query.ErrInvalid)
	}
}

package query_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/event"
	"inmem/kv"
	"inmem/query"
	"inmem/run"
	"inmem/trace"
)

// item is what the naive filter knows of an item: its columns, read through the
// faces one by one. A column that is not there is nil.
type item map[string]any

// everything is all items of a source, in their natural order.
func (f *fixture) everything(source query.Source) []item {
	var out []item
	for info, err := range f.Runs(ctx, run.Filter{Spaces: true}) {
		require.NoError(f.t, err)
		of := item{"run.name": info.Name, "run.status": info.Status.String(), "run.namespace.app": info.Namespace.App, "run.created": info.CreatedAt(), "run.space": info.Space}
		for _, tag := range []string{"a", "b"} {
			of["run.tags."+tag] = nil
			if v, ok := info.Tags[tag]; ok {
				of["run.tags."+tag] = v
			}
		}
		r, err := f.Run(info.ID)
		require.NoError(f.t, err)
		for _, own := range itemsOf(f.t, r, source) {
			for k, v := range of {
				own[k] = v
				if source == query.Runs {
					own[strings.TrimPrefix(k, "run.")] = v
				}
			}
			out = append(out, own)
		}
	}
	return out
}

func itemsOf(t require.TestingT, r *inmem.Run, source query.Source) (out []item) {
	switch source {
	case query.Runs:
		return []item{{}}
	case query.KV:
		for it, err := range r.KV().List(ctx, "") {
			require.NoError(t, err)
			out = append(out, item{"key": it.Key, "size": int64(len(it.Value)), "version": int64(it.Version), "value.x": valueX(string(it.Value)), "text(value)": string(it.Value)})
		}
	case query.Events:
		for name, err := range r.Events().Streams(ctx) {
			require.NoError(t, err)
			for e, err := range r.Events().Read(ctx, name) {
				require.NoError(t, err)
				out = append(out, item{"stream": name, "sequence": int64(e.Sequence), "type": e.Type, "time": e.Time, "payload.x": valueX(string(e.Payload))})
			}
		}
	case query.Spans:
		for s, err := range r.Trace().List(ctx, trace.Filter{}) {
			require.NoError(t, err)
			it := item{"id": int64(s.ID), "kind": string(s.Kind), "name": s.Name, "status": s.Status.String(), "start": s.Start, "took": nil}
			if !s.End.IsZero() {
				it["took"] = s.Duration()
			}
			out = append(out, it)
		}
	}
	return out
}

// values of x in what the tests store, as it is written and as it is meant.
var xs = map[string]any{
	`1`: int64(1), `2`: int64(2), `2.0`: 2.0, `2.5`: 2.5, `-3`: int64(-3), `"a"`: "a", `"b"`: "b", `"1"`: "1", `true`: true, `false`: false, `null`: nil,
	`9007199254740993`: int64(9007199254740993), `9007199254740992.0`: 9007199254740992.0,
}

func valueX(text string) any {
	x, ok := strings.CutPrefix(text, `{"y": [1, {"x": 5}], "x": `)
	if !ok {
		return nil
	}
	return xs[strings.TrimSuffix(x, "}")]
}

var texts = []string{"", "a", "ab", "b", "ba", "c", "é"}

// fill puts random things into the store.
func (f *fixture) fill(t *rapid.T) {
	for i := range rapid.IntRange(0, 8).Draw(t, "runs") {
		meta := run.Meta{Name: rapid.SampledFrom(texts).Draw(t, "name"), Tags: map[string]string{}}
		meta.Namespace.App = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "app")
		for _, tag := range []string{"a", "b"} {
			if rapid.Bool().Draw(t, "tagged") {
				meta.Tags[tag] = rapid.SampledFrom(texts).Draw(t, "tag")
			}
		}
		r := f.begin(meta)
		if i == 3 {
			s, err := f.Space(ctx, run.Namespace{App: "x"})
			require.NoError(t, err)
			r = s
		}
		f.fillRun(t, r)
		if i != 3 && rapid.Bool().Draw(t, "ended") {
			require.NoError(t, r.End(ctx, rapid.SampledFrom([]run.Status{run.Completed, run.Failed}).Draw(t, "status")))
		}
		f.pass(time.Duration(rapid.IntRange(0, 2).Draw(t, "pause")) * time.Second)
	}
}

func (f *fixture) fillRun(t *rapid.T, r *inmem.Run) {
	written := slices.Sorted(func(yield func(string) bool) {
		for x := range xs {
			if !yield(x) {
				return
			}
		}
	})
	value := func() string {
		if rapid.IntRange(0, 4).Draw(t, "kind of value") == 0 {
			return rapid.SampledFrom([]string{"", "text", `{"x"`, `[1]`, `7`, "\xff"}).Draw(t, "value")
		}
		return `{"y": [1, {"x": 5}], "x": ` + rapid.SampledFrom(written).Draw(t, "x") + `}`
	}
	for range rapid.IntRange(0, 12).Draw(t, "keys") {
		key := rapid.SampledFrom(texts[1:]).Draw(t, "key") + rapid.SampledFrom(texts).Draw(t, "more")
		f.put(r, key, value(), kv.TTL(time.Duration(rapid.IntRange(1, 20).Draw(t, "ttl"))*time.Second))
	}
	for range rapid.IntRange(0, 6).Draw(t, "events") {
		payload := value()
		if !strings.HasPrefix(payload, "{") || !strings.HasSuffix(payload, "}") {
			payload = "{}"
		}
		f.event(r, rapid.SampledFrom(texts[1:]).Draw(t, "stream"), rapid.SampledFrom(texts[1:]).Draw(t, "type"), payload)
		f.pass(time.Duration(rapid.IntRange(0, 2).Draw(t, "wait")) * time.Second)
	}
	for range rapid.IntRange(0, 4).Draw(t, "spans") {
		at := epoch.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "start")) * time.Second)
		start := trace.Start{Kind: trace.Kind(rapid.SampledFrom(texts[1:]).Draw(t, "kind")), Name: rapid.SampledFrom(texts).Draw(t, "span"), At: at}
		if rapid.Bool().Draw(t, "open") {
			_, err := r.Trace().Start(ctx, start)
			require.NoError(t, err)
			continue
		}
		f.span(r, start, trace.Finish{At: at.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "took")) * time.Second)})
	}
}

// condition is a random one: as a text, and as a function.
type condition struct {
	text  string
	holds func(item) bool
}

// naive compares as docs/query.md says, written down once more.
func naive(a, b any) (int, bool) {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return strings.Compare(a, b), ok
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b), true
		}
		b, ok := b.(float64)
		if a > 1<<53 { // the only such number there is, beside one that is less by 1
			return cmp.Compare(float64(a-1), math.Nextafter(b, 0)), ok
		}
		return cmp.Compare(float64(a), b), ok
	case float64:
		if b, ok := b.(int64); ok {
			c, ok := naive(b, a)
			return -c, ok
		}
		b, ok := b.(float64)
		return cmp.Compare(a, b), ok
	case bool:
		b, ok := b.(bool)
		return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)), ok
	case time.Time:
		b, ok := b.(time.Time)
		return a.Compare(b), ok
	case time.Duration:
		b, ok := b.(time.Duration)
		return cmp.Compare(a, b), ok
	}
	return 0, false
}

// columnsOf are the columns of a source that conditions are about, with constants
// to compare them with.
func columnsOf(source query.Source) map[string][]string {
	quoted := []string{`""`, `"a"`, `"ab"`, `"b"`, `'ba'`, `"c"`, `"é"`, "`x`"}
	numbers := []string{"0", "1", "2", "3", "2.5", "9007199254740992", "9007199254740993", "-3"}
	times := []string{"2026-01-01T12:00:01Z", "2026-01-01T12:00:03.5Z", "2026-01-01T13:00:00+01:00", "now()", "now() - 2s"}
	columns := map[string][]string{
		"run.name": quoted, "run.namespace.app": quoted, "run.tags.a": quoted, "run.tags.b": quoted, "run.created": times,
		"run.status": {`"active"`, `"completed"`, `"failed"`}, "run.space": {"true", "false"},
	}
	own := map[query.Source]map[string][]string{
		query.Runs:   {"name": quoted, "tags.a": quoted, "created": times, "status": columns["run.status"]},
		query.KV:     {"key": quoted, "size": numbers, "version": numbers, "value.x": append(append([]string{"true"}, quoted...), numbers...), "text(value)": quoted},
		query.Events: {"stream": quoted, "sequence": numbers, "type": quoted, "time": times, "payload.x": append(quoted, numbers...)},
		query.Spans:  {"id": numbers, "kind": quoted, "name": quoted, "status": {`"open"`, `"ok"`}, "start": times, "took": {"0s", "1s", "1500ms"}},
	}
	for c, list := range own[source] {
		columns[c] = list
	}
	return columns
}

// constants are what the constants mean.
func (f *fixture) constant(text string) any {
	now := time.UnixMilli(f.now.Load()).UTC()
	switch {
	case text == "now()":
		return now
	case text == "now() - 2s":
		return now.Add(-2 * time.Second)
	case text == "true" || text == "false":
		return text == "true"
	case strings.HasSuffix(text, "s"):
		d, _ := time.ParseDuration(text)
		return d
	case strings.HasPrefix(text, "2026"):
		t, _ := time.Parse(time.RFC3339, text)
		return t
	case strings.ContainsAny(text[:1], "\"'`"):
		return text[1 : len(text)-1]
	case strings.Contains(text, "."):
		return 2.5
	}
	var n int64
	_, _ = fmt.Sscan(text, &n)
	return n
}

func (f *fixture) condition(t *rapid.T, source query.Source, depth int) condition {
	if depth > 0 {
		switch rapid.IntRange(0, 5).Draw(t, "form") {
		case 0, 1:
			a, b := f.condition(t, source, depth-1), f.condition(t, source, depth-1)
			return condition{a.text + " and " + b.text, func(i item) bool { return a.holds(i) && b.holds(i) }}
		case 2:
			a, b := f.condition(t, source, depth-1), f.condition(t, source, depth-1)
			return condition{"(" + a.text + " or " + b.text + ")", func(i item) bool { return a.holds(i) || b.holds(i) }}
		case 3:
			a := f.condition(t, source, depth-1)
			return condition{"not (" + a.text + ")", func(i item) bool { return !a.holds(i) }}
		}
	}
	columns := columnsOf(source)
	names := slices.Sorted(func(yield func(string) bool) {
		for c := range columns {
			if !yield(c) {
				return
			}
		}
	})
	name := rapid.SampledFrom(names).Draw(t, "column")
	draw := func() string { return rapid.SampledFrom(columns[name]).Draw(t, "constant") }
	text, another := draw(), draw()
	value := f.constant(text)
	op := rapid.SampledFrom([]string{"==", "!=", "<", "<=", ">", ">=", "flip", "in", "..", "nil", "startsWith", "contains", "endsWith"}).Draw(t, "op")
	_, isText := value.(string)
	is := func(v any, op string, w any) bool {
		c, ok := naive(v, w)
		return ok && map[string]bool{"==": c == 0, "!=": c != 0, "<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[op]
	}
	switch op {
	case "nil":
		return condition{name + " == nil", func(i item) bool { return i[name] == nil }}
	case "flip":
		return condition{text + " >= " + name, func(i item) bool { return is(i[name], "<=", value) }}
	case "in":
		return condition{name + " in [" + text + ", " + another + "]", func(i item) bool {
			return is(i[name], "==", value) || is(i[name], "==", f.constant(another))
		}}
	case "..":
		return condition{name + " in " + text + ".." + another, func(i item) bool {
			return is(i[name], ">=", value) && is(i[name], "<=", f.constant(another))
		}}
	case "startsWith", "contains", "endsWith":
		if name != "run.status" && name != "status" && isText {
			match := map[string]func(string, string) bool{"startsWith": strings.HasPrefix, "contains": strings.Contains, "endsWith": strings.HasSuffix}[op]
			return condition{name + " " + op + " " + text, func(i item) bool {
				s, ok := i[name].(string)
				return ok && match(s, value.(string))
			}}
		}
		op = "=="
	}
	return condition{name + " " + op + " " + text, func(i item) bool { return is(i[name], op, value) }}
}

// TestQueriesAreWhatANaiveFilterFinds: random queries over random stores find what
// a filter over everything does, in the same order, however they are carried out.
func TestQueriesAreWhatANaiveFilterFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFixtureOf(t)
		defer func() { require.NoError(t, f.Close()) }()
		f.fill(t)
		if rapid.Bool().Draw(t, "cold") {
			require.NoError(t, f.Checkpoint(ctx))
			require.NoError(t, f.Close())
			f.open()
		}
		for _, source := range []query.Source{query.Runs, query.KV, query.Events, query.Spans} {
			f.checkSource(t, source)
		}
	})
}

func (f *fixture) checkSource(t *rapid.T, source query.Source) {
	all := f.everything(source)
	for range 6 {
		c := f.condition(t, source, 3)
		names := slices.Sorted(func(yield func(string) bool) {
			for name := range columnsOf(source) {
				if !yield(name) {
					return
				}
			}
		})
		var found []item
		for _, i := range all {
			if c.holds(i) {
				found = append(found, i)
			}
		}
		text := string(source) + " where " + c.text
		f.checkCount(t, text, names[rapid.IntRange(0, len(names)-1).Draw(t, "group")], found)
		key, desc := rapid.SampledFrom(append(names, "", "")).Draw(t, "key"), rapid.Bool().Draw(t, "desc")
		text += " select " + strings.Join(names, ", ")
		if key != "" {
			slices.SortStableFunc(found, func(a, b item) int { return total(a[key], b[key]) })
			text += " order by " + key
			if desc {
				slices.Reverse(found)
				text += " desc"
			}
		}
		limit, offset := rapid.IntRange(-1, 5).Draw(t, "limit"), rapid.IntRange(0, 3).Draw(t, "offset")
		found = found[min(offset, len(found)):]
		if limit >= 0 {
			found = found[:min(limit, len(found))]
			text += fmt.Sprint(" limit ", limit)
		}
		text += fmt.Sprint(" offset ", offset)
		n := 0
		for row, err := range f.Query(ctx, text) {
			require.NoError(t, err, text)
			require.Less(t, n, len(found), "%s: a row more: %v", text, row.Values())
			for i, name := range names {
				require.Equal(t, found[n][name], row.Values()[i], "%s: row %d, %s", text, n, name)
			}
			n++
		}
		require.Equal(t, len(found), n, text)
	}
}

// total is the order of values of any kind.
func total(a, b any) int {
	kinds := func(v any) int {
		switch v.(type) {
		case nil:
			return 0
		case bool:
			return 1
		case int64, float64:
			return 2
		}
		return 3
	}
	if c := cmp.Compare(kinds(a), kinds(b)); c != 0 {
		return c
	}
	c, _ := naive(a, b)
	return c
}

// checkCount compares groups.
func (f *fixture) checkCount(t *rapid.T, text, group string, found []item) {
	counts := map[any]int64{}
	for _, i := range found {
		v := i[group]
		if x, ok := v.(float64); ok && x == math.Trunc(x) {
			v = int64(x)
		}
		counts[v]++
	}
	seen := 0
	for row, err := range f.Query(ctx, text+" group by "+group+" count") {
		require.NoError(t, err, text)
		v := row.Values()[0]
		if x, ok := v.(float64); ok && x == math.Trunc(x) {
			v = int64(x)
		}
		require.Equal(t, counts[v], row.Values()[1], "%s group by %s: %v", text, group, v)
		seen++
	}
	require.Equal(t, len(counts), seen, text)
	for row, err := range f.Query(ctx, text+" count") {
		require.NoError(t, err, text)
		require.EqualValues(t, len(found), row.Values()[0], text)
	}
}

// An event stream that no query may stumble over.
func TestStreamsThatCannotBe(t *testing.T) {
	f := newFixture(t)
	f.event(f.begin(run.Meta{}), event.Main, "t", `{}`)
	for _, name := range []string{"", "a\x00b", strings.Repeat("x", event.MaxName+1)} {
		require.Empty(t, shown(t, f.Query(ctx, `events where stream == $1`, name)))
	}
}

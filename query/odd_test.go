package query_test

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/query"
	"inmem/run"
)

// Members with names that mean something in the language, or nothing anywhere.
func TestOddNames(t *testing.T) {
	f := newFixture(t)
	f.put(f.begin(run.Meta{}), "k", `{"limit": 1, "in": 2, "not": 3, "nil": 4, "true": 5, "größe": 6, "a.b": 7, "": 8, "7d": 9, "__": 10, "let": 11, "a\u0062": 12, "@this": 13, "after": 14, "x": {"count": 15}}`)
	for path, want := range map[string]int{
		`value.limit`: 1, `value?.limit`: 1, `value. limit`: 1, `value["limit"]`: 1, `value.in`: 2, `value.not`: 3, `value.nil`: 4, `value.true`: 5, `value.größe`: 6,
		`value["a.b"]`: 7, `value['']`: 8, "value[`7d`]": 9, `value[$1]`: 9, `value.__`: 10, `value.let`: 11, `value.ab`: 12, `value["a\x62"]`: 12, `value["@this"]`: 13,
		`value.after`: 14, `value.x.count`: 15, `value?.x?.count`: 15,
	} {
		assert.Equal(t, []string{fmt.Sprint(want)}, shown(t, f.Query(ctx, `kv where `+path+` == $2 select `+path, "7d", want)), path)
	}
	for _, path := range []string{`value.7d`, `value.$1`} {
		_, err := query.Parse(`kv where `+path+` == 9`, "7d")
		assert.ErrorContains(t, err, `column 16: expected a name behind the dot: what is no name goes into brackets, as in value["7d"] or value[$1]`)
	}
}

// Texts are bytes, in the language, as arguments and in the builder.
func TestTextsAreBytes(t *testing.T) {
	f := newFixture(t)
	r := f.begin(run.Meta{})
	for _, key := range []string{"\xff", "ÿ", "it's", `say "x"`, "a\\b", "`"} {
		f.put(r, key, "")
	}
	for text, want := range map[string]string{
		`"\xff"`: "\xff", `"\377"`: "\xff", `'\xff'`: "\xff", `"ÿ"`: "ÿ", `"\u00ff"`: "ÿ", `'it\'s'`: "it's", `"it's"`: "it's", `"it\'s"`: "it's",
		`'say "x"'`: `say "x"`, `"say \"x\""`: `say "x"`, `'say \"x\"'`: `say "x"`, "`a\\b`": `a\b`, `"a\\b"`: `a\b`, "````": "`",
	} {
		assert.Equal(t, []string{want}, shown(t, f.Query(ctx, `kv where key == `+text+` select key`)), text)
		assert.Equal(t, []string{want}, shown(t, f.Query(ctx, `kv where key startsWith `+text+` select key`)), text)
		q, err := query.From(query.KV).Where(query.C("key").HasPrefix(want)).Select(query.C("key")).Query()
		require.NoError(t, err)
		assert.Equal(t, []string{want}, shown(t, f.Execute(ctx, q)), text)
	}
	for _, bad := range []string{`"\q"`, `"\ud800"`, `"\x1"`, `"\8"`} {
		_, err := query.Parse(`kv where key == ` + bad)
		assert.ErrorContains(t, err, "column 17: the text that begins here has", bad)
	}
}

// TestConstantsAreWhatTheyWere: a value given as an argument, or to the builder, is
// the same in the text that is made of it.
func TestConstantsAreWhatTheyWere(t *testing.T) {
	f := newFixture(t)
	f.begin(run.Meta{})
	values := rapid.OneOf(
		rapid.Int64().AsAny(), rapid.SampledFrom([]any{int64(math.MinInt64), int64(math.MaxInt64), time.Duration(math.MinInt64), time.Duration(math.MaxInt64), true, nil}),
		rapid.Float64().AsAny(), rapid.String().AsAny(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) any { return string(b) }),
		rapid.Map(rapid.Int64(), func(n int64) any { return time.Duration(n) }),
		rapid.Map(rapid.Int64Range(-62167219200, 253402300799), func(n int64) any { return time.Unix(n, n&0xffff).UTC() }),
	)
	rapid.Check(t, func(rt *rapid.T) {
		v := values.Draw(rt, "value")
		if x, ok := v.(float64); ok && (math.IsInf(x, 0) || math.IsNaN(x)) {
			return
		}
		given, err := query.Parse(`runs select $1 as v`, v)
		require.NoError(rt, err)
		again, err := query.Parse(given.String())
		require.NoError(rt, err, given.String())
		built, err := query.From(query.Runs).Select(query.V(v).As("v")).Query()
		require.NoError(rt, err)
		for _, q := range []*query.Query{given, again, built} {
			for row, err := range f.Execute(ctx, q) {
				require.NoError(rt, err)
				got := row.Values()[0]
				if n, ok := got.(int64); ok {
					if x, ok := v.(float64); ok {
						require.Equal(rt, x, float64(n))
						continue
					}
				}
				require.Equal(rt, v, got, q.String())
			}
		}
	})
	for _, far := range []time.Time{time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)} {
		_, err := query.Parse(`runs where created > $1`, far)
		assert.ErrorContains(t, err, fmt.Sprintf("column 22: a time of the year %d: the language has those from 0 to 9999", far.Year()))
		_, err = query.From(query.Runs).Where(query.C("created").Gt(far)).Query()
		assert.ErrorContains(t, err, "the language has those from 0 to 9999")
	}
}

// What cannot be computed is nil, but not the word: a comparison with it is never
// what is meant.
func TestWhatCannotBeComputed(t *testing.T) {
	f := newFixture(t)
	f.put(f.begin(run.Meta{}), "k", `{"a": 1}`)
	for text, want := range map[string]string{
		`kv where key startsWith lower(nil) count`: "0", `kv where value.b == 1/value.z count`: "0", `kv where value.b == nil count`: "1", `kv where (1/0) == nil count`: "1", `kv where nil == value.b count`: "1",
		`kv select 9999-01-01 - 0001-01-01`: "<nil>", `kv select 0001-01-01 - 9999-01-01`: "<nil>", `kv select 2026-01-02 - 2026-01-01`: "24h0m0s",
		`kv select duration("-1h30m")`: "-1h30m0s", `kv select -9223372036854775807ns - 1ns`: "-2562047h47m16.854775808s", `kv select -9223372036854775807ns - 2ns`: "<nil>",
		`kv select 9223372036854775807ns + 1ns`: "<nil>", `kv select 9223372036854775806ns + 1ns`: "2562047h47m16.854775807s", `kv select -(-9223372036854775807ns - 1ns)`: "<nil>",
	} {
		assert.Equal(t, []string{want}, shown(t, f.Query(ctx, text)), text)
	}
	for text, reason := range map[string]string{
		`kv where deadline > time("2026-13-01")`:     `column 19: time("2026-13-01") comes to nil, and a comparison with that is never true`,
		`kv where deadline > now() - duration("5x")`: `now() - duration("5x") comes to nil`,
		`kv where value.b == 1/0`:                    `column 18: 1 / 0 comes to nil`,
		`kv where value.b != 1/0`:                    `1 / 0 comes to nil`,
		`kv where 1 % 0 < value.b`:                   `1 % 0 comes to nil`,
		`kv where size in 1/0..5`:                    `1 / 0 comes to nil`,
		`kv where value.b == -(1/0)`:                 `comes to nil`,
		`runs where created > "2026-01-01"`:          `created is a time and "2026-01-01" is a text: write it without quotes`,
		`runs where took > "5s"`:                     `took is a duration and "5s" is a text: write it without quotes`,
		`runs where took > "long"`:                   `they are never equal`,
		`runs where name == null`:                    `no column is named null: what is not there is nil`,
		`kv where meta == 1`:                         `no column is named meta; kv have`,
	} {
		_, err := query.Parse(text)
		assert.ErrorContains(t, err, reason, text)
	}
}

func TestInTakesASlice(t *testing.T) {
	f := newFixture(t)
	first, _ := f.someOfEverything()
	for _, in := range []query.Expr{
		query.C("key").In("plain", "empty"), query.C("key").In([]string{"plain", "empty"}), query.C("key").In([]any{"plain", "empty"}),
	} {
		q, err := query.From(query.KV).Where(in).Select(query.C("key")).Query()
		require.NoError(t, err)
		assert.Equal(t, []string{"empty", "plain"}, shown(t, first.Execute(ctx, q)))
	}
	q, err := query.From(query.KV).Where(query.C("key").In([]string{})).Query()
	require.NoError(t, err)
	assert.Empty(t, shown(t, f.Execute(ctx, q)))
}

// Numbers that are equal are one group, whole or not, however large.
func TestGroupsOfLargeNumbers(t *testing.T) {
	f := newFixture(t)
	r := f.begin(run.Meta{})
	for i, v := range []string{"4611686018427387904", "4611686018427387904.0", "-9223372036854775808", "-9223372036854775808.0", "0", "-0.0", "1e300", "1e300"} {
		f.put(r, fmt.Sprint(i), v)
	}
	assert.Equal(t, []string{"-9223372036854775808|2", "0|2", "4611686018427387904|2", "1e+300|2"}, shown(t, f.Query(ctx, `kv group by value count`)))
}

// What is added up does not depend on how many look, nor on whose is first.
func TestSumsAreTheSameHoweverManyLook(t *testing.T) {
	f := newFixture(t)
	for i := range 200 {
		r := f.begin(run.Meta{})
		f.put(r, "x", fmt.Sprint(1/float64(i+3)))
		f.put(r, "y", fmt.Sprintf("%q", time.Duration(i)*time.Second))
	}
	q := query.MustParse(`kv sum(value), avg(value), sum(duration(text(value)) ?? value) as first, sum(value ?? duration(text(value))) as second, sum(duration(value)) as seconds`)
	many := shown(t, f.Execute(ctx, q))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	assert.Equal(t, many, shown(t, f.Execute(ctx, q)))
	// In the first run there is a number, and in most tasks a duration comes first.
	mixed := `kv sum(%s) as s`
	for _, x := range []string{`duration(value) ?? value`, `(value * 1) ?? duration(value)`} {
		q := query.MustParse(fmt.Sprintf(mixed, x))
		runtime.GOMAXPROCS(4)
		many := shown(t, f.Execute(ctx, q))
		runtime.GOMAXPROCS(1)
		assert.Equal(t, many, shown(t, f.Execute(ctx, q)), x)
	}
}

// No labels are an empty object, whether the store has a map for them or none.
func TestNoLabels(t *testing.T) {
	f := newFixture(t)
	f.begin(run.Meta{Name: "none"})
	f.begin(run.Meta{Name: "empty", Tags: map[string]string{}})
	for range 2 {
		for row, err := range f.Query(ctx, `runs select tags`) {
			require.NoError(t, err)
			b, err := json.Marshal(row)
			require.NoError(t, err)
			assert.Equal(t, `{"tags":{}}`, string(b))
		}
		assert.Equal(t, []string{"map[]|2"}, shown(t, f.Query(ctx, `runs group by tags count`)))
		require.NoError(t, f.Close())
		f.open()
	}
}

package query_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/query"
	"inmem/run"
)

// What is computed of constants, and of the same values as they are stored.
func TestComputing(t *testing.T) {
	f := newFixture(t)
	r := f.begin(run.Meta{})
	f.put(r, "k", `{"one": 1, "half": 0.5, "max": 9223372036854775807, "min": -9223372036854775808, "huge": 1e308, "over": 1e999, "big": 9223372036854775808, "t": true, "text": "Text", "esc": "a\"b", "list": [1, "x", null, [2]], "none": null, "m i": {"n": 0}, "time": "2026-01-01T12:00:00Z", "dur": "1m30s", "num": "12", "real": "1.5"}`)
	for _, c := range []struct {
		expression string
		want       any
	}{
		{`1 + 2 * 3`, "7"}, {`(1 + 2) * 3`, "9"}, {`7 / 2`, "3.5"}, {`7 % 4`, "3"}, {`-7 % 4`, "-3"}, {`1.5 + 1`, "2.5"}, {`-(1.5)`, "-1.5"}, {`+1`, "1"},
		{`1 / 0`, "<nil>"}, {`1 % 0`, "<nil>"}, {`1.5 % 0`, "<nil>"}, {`5.5 % 2`, "1.5"}, {`0x10 + 0b11 + 0o7 + 1_000`, "1026"}, {`1e3`, "1000"}, {`5 % -1`, "0"},
		{`9223372036854775807 + 1`, "9.223372036854776e+18"}, {`-9223372036854775807 - 2`, "-9.223372036854776e+18"}, {`9223372036854775807 * 2`, "1.8446744073709552e+19"}, {`0 * 5`, "0"},
		{`1h + 30m`, "1h30m0s"}, {`1h - 30m`, "30m0s"}, {`1h * 2`, "2h0m0s"}, {`2 * 1h`, "2h0m0s"}, {`1.5 * 1h`, "1h30m0s"}, {`1h / 2`, "30m0s"}, {`1h / 30m`, "2"}, {`-1h`, "-1h0m0s"}, {`1h / 0`, "<nil>"},
		{`1d12h`, "36h0m0s"}, {`1w`, "168h0m0s"}, {`1.5s`, "1.5s"}, {`10us + 1ns`, "10.001µs"}, {`100000d + 100000d`, "<nil>"}, {`100000d * 2`, "<nil>"}, {`100000d - -100000d`, "<nil>"},
		{`2026-01-01T12:00:00Z + 1s`, "1s"}, {`1s + 2026-01-01T12:00:00Z`, "1s"}, {`2026-01-01T12:00:00Z - 1s`, "-1s"}, {`2026-01-02 - 2026-01-01`, "24h0m0s"}, {`now()`, "0s"},
		{`trunc(2026-01-01T12:34:56.789Z, 1h)`, "0s"}, {`trunc(now(), 0s)`, "<nil>"},
		{`lower("AbC")`, "abc"}, {`upper('é')`, "É"}, {`len("é€")`, "2"}, {`text("x")`, "x"}, {"`raw`", "raw"}, {`"a\n\u00e9"`, "a\né"},
		{`number("12")`, "12"}, {`number("1.5")`, "1.5"}, {`number("x")`, "<nil>"}, {`number(90s)`, "90"}, {`number(7)`, "7"}, {`number("Inf")`, "<nil>"},
		{`time("2026-01-01T13:00:00+01:00")`, "0s"}, {`time("x")`, "<nil>"}, {`time(1767268800)`, "0s"}, {`time(1767268800.5)`, "500ms"}, {`time(now())`, "0s"}, {`time(1e300)`, "<nil>"}, {`time(9223372036854775807)`, "<nil>"}, {`time(true)`, "<nil>"},
		{`duration("1m")`, "1m0s"}, {`duration("x")`, "<nil>"}, {`duration(1.5)`, "1.5s"}, {`duration(1h)`, "1h0m0s"}, {`duration(true)`, "<nil>"}, {`duration("")`, "<nil>"},
		{`nil ?? 1`, "1"}, {`2 ?? 1`, "2"}, {`true`, "true"}, {`not false`, "true"}, {`!true`, "false"}, {`true and 1 == 1`, "true"}, {`false || nil == nil`, "true"},
		{`1 == 1.0`, "true"}, {`9007199254740993 == 9007199254740992.0`, "false"}, {`1 < 1.5`, "true"}, {`2.5 > 2`, "true"}, {`1 < 1e300`, "true"}, {`-1e300 < 1`, "true"}, {`"a" < "b"`, "true"}, {`false < true`, "true"},
		{`1s < 1m`, "true"}, {`now() < now() + 1ns`, "true"}, {`2 in [1, 2]`, "true"}, {`"x" not in ["y"]`, "true"}, {`2 in 1..3`, "true"}, {`4 in 1..3`, "false"}, {`"abc" contains "b"`, "true"}, {`"abc" matches "^a.c$"`, "true"},
		{`value.one + 1`, "2"}, {`value.half * 4`, "2"}, {`value.max + 1`, "9.223372036854776e+18"}, {`value.min * -1`, "9.223372036854776e+18"}, {`value.min % -1`, "0"}, {`value.huge * 10`, "<nil>"}, {`value.over`, "<nil>"}, {`value.big`, "9.223372036854776e+18"},
		{`value.text + 1`, "<nil>"}, {`value.text - 1`, "<nil>"}, {`value.text * 1`, "<nil>"}, {`value.text / 1`, "<nil>"}, {`value.text % 1`, "<nil>"}, {`-value.text`, "<nil>"}, {`value.none + 1`, "<nil>"}, {`1h * value.text`, "<nil>"}, {`1h + value.one`, "<nil>"}, {`1h - value.one`, "<nil>"}, {`1h / value.text`, "<nil>"}, {`now() + value.one`, "<nil>"}, {`now() - value.one`, "<nil>"},
		{`lower(value.text)`, "text"}, {`lower(value.one)`, "<nil>"}, {`len(value.list)`, "4"}, {`len(value["m i"])`, "1"}, {`len(value.one)`, "<nil>"}, {`len(run.tags)`, "0"}, {`text(value.text)`, "Text"}, {`text(value.list)`, `[1, "x", null, [2]]`}, {`text(value.one)`, "<nil>"},
		{`value.esc`, `a"b`}, {`value["m i"].n`, "0"}, {`value["m i"]["n"]`, "0"}, {`value.list[0]`, "1"}, {`value.list[3][0]`, "2"}, {`value.list[2]`, "<nil>"}, {`value.list[9]`, "<nil>"}, {`value.list.x`, "<nil>"}, {`value[0]`, "<nil>"}, {`value.one.x`, "<nil>"}, {`value[""]`, "<nil>"}, {`value?.one`, "1"},
		{`"x" in value.list`, "true"}, {`2 in value.list`, "false"}, {`1 in value.one`, "false"}, {`1 in value["m i"]`, "false"}, {`value.one in run.tags`, "false"},
		{`value.t and true`, "true"}, {`value.one and true`, "false"}, {`not value.one`, "true"}, {`not value.none`, "true"}, {`value.one == value.one`, "true"}, {`value.one == value.text`, "false"}, {`value.list == value.list`, "false"}, {`value.none == value.none`, "false"},
		{`value.one < 2 and value.one >= 1`, "true"}, {`2 > value.one`, "true"}, {`value.text startsWith value.text`, "true"}, {`value.one startsWith value.text`, "false"}, {`value.text matches "T"`, "true"}, {`value.one matches "1"`, "false"}, {`value.one in 0..value.half`, "false"}, {`value.one + 1 in [2]`, "true"},
		{`time(value.time) == now()`, "true"}, {`duration(value.dur) > 1m`, "true"}, {`number(value.num) + number(value.real)`, "13.5"}, {`trunc(time(value.time), 24h)`, "-12h0m0s"}, {`time(value.list)`, "<nil>"}, {`(value.one / value.none) ?? "none"`, "none"},
		{`value.time == now()`, "false"}, {`value.one == true`, "false"},
	} {
		got := shown(t, r.Query(ctx, "kv select "+c.expression+" as x"))
		require.Len(t, got, 1, c.expression)
		assert.Equal(t, c.want, got[0], c.expression)
		// The same as a condition, and within an order and a group.
		for _, text := range []string{"kv order by " + c.expression, "kv group by " + c.expression + " as x min(" + c.expression + ") as y"} {
			if q, err := query.Parse(text); err == nil {
				require.LessOrEqual(t, len(shown(t, r.Execute(ctx, q))), 1, text)
			}
		}
	}
}

// Aggregates over values of several kinds, in any order of runs.
func TestAggregates(t *testing.T) {
	f := newFixture(t)
	for _, x := range []string{`1`, `2.5`, `"a"`, `null`, `"b"`, `true`, `[1]`, `9223372036854775807`, `-2`} {
		f.put(f.begin(run.Meta{}), "k", `{"x": `+x+`}`)
	}
	assert.Equal(t, []string{"9|8|9.223372036854776e+18|[1]|true|2.305843009213694e+18"}, shown(t, f.Query(ctx, "kv count, count(value.x), sum(value.x), max(value.x), min(value.x), avg(value.x)")))
	assert.Equal(t, []string{"<nil>|1", "true|1", "-2|1", "1|1", "2.5|1", "9223372036854775807|1", "a|1", "b|1", "[1]|1"}, shown(t, f.Query(ctx, "kv group by value.x count")))
	assert.Equal(t, []string{"[1]|1", "b|1", "a|1", "9223372036854775807|1", "2.5|1"}, shown(t, f.Query(ctx, "kv group by value.x as x count order by count, x desc limit 5")))
	assert.Equal(t, []string{"<nil>", "true", "-2", "1", "2.5", "9223372036854775807", "a", "b", "[1]"}, shown(t, f.Query(ctx, "kv select value.x order by value.x")))
	assert.Equal(t, []string{"2s|1s"}, shown(t, f.Query(ctx, "kv where value.x in 1..2.5 sum(1s), avg(1s)")))
	assert.Equal(t, []string{"<nil>|2"}, shown(t, f.Query(ctx, "kv where value.x in 1..2.5 sum(100000d), count")), "longer than there can be")
	assert.Equal(t, []string{"map[]|9"}, shown(t, f.Query(ctx, "kv group by run.tags count")))
	assert.Equal(t, []string{"0s|9"}, shown(t, f.Query(ctx, "kv group by run.created count")))
	assert.Equal(t, []string{"5s|9"}, shown(t, f.Query(ctx, "kv group by 5s count")))
}

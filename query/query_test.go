package query_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/query"
)

// What a query means, by example.
func TestQueries(t *testing.T) {
	f := newFixture(t)
	f.someOfEverything()
	for _, c := range []struct {
		text string
		want []string
	}{
		// Runs.
		{`runs select name`, []string{"first", "second", ""}},
		{`runs where not space select name`, []string{"first", "second"}},
		{`runs where space select namespace`, []string{"acme/desk/mia"}},
		{`runs where status == "failed" select name, took, ended - created`, []string{"first|10s|10s"}},
		{`runs where status in ["active", "paused"] and not space select name`, []string{"second"}},
		{`runs where ended == nil select name`, []string{"second", ""}},
		{`runs where tags.task == "2" select name`, []string{"second"}},
		{`runs where tags["a b"] == "x" select run.tags.reward`, []string{"0"}},
		{`runs where tags.none == "" select name`, []string{}},
		{`runs where "reward" in tags select name`, []string{"first"}},
		{`runs where namespace.tenant == "acme" select name`, []string{"first", ""}},
		{`runs where namespace == "acme/desk/mia" and namespace.agent == "joe" select name`, []string{}},
		{`runs where created >= 2026-01-01T12:00:11Z select name`, []string{"second", ""}},
		{`runs where created < 2026-01-01T12:00:11+00:00 select name`, []string{"first"}},
		{`runs where created in 2026-01-01..2026-01-02 count`, []string{"3"}},
		{`runs where created > now() - 1s select name`, []string{"second", ""}},
		{`runs where created >= now() + 1s - 1ms select name`, []string{}},
		{`runs order by created select name`, nil},
		{`runs where not space select name, version > 10 order by version desc`, []string{"first|true", "second|false"}},
		// Keys.
		{`kv select key`, []string{"bytes", "empty", "later", "number", "plain", "user/1", "user/2", "user/3", "user/1", "memory"}},
		{`kv where key startsWith "user/" and run.name == "first" select value.name`, []string{"Ann", "Bob", "Cyd"}},
		{`kv where key == "user/1" select run.name, value.name`, []string{"first|Ann", "second|Dan"}},
		{`kv where key in ["plain", "number"] select value`, []string{"42", "hello, world"}},
		{`kv where key > "number" and key < "user/2" select key`, []string{"plain", "user/1", "user/1"}},
		{`kv where key >= "plain" and key <= "user/1" and run.name == "first" select key`, []string{"plain", "user/1"}},
		{`kv where key in "a".."f" select key`, []string{"bytes", "empty"}},
		{`kv where key < "" select key`, []string{}},
		{`kv where value.age > 7 select value.name`, []string{"Ann", "Cyd", "Dan"}},
		{`kv where value.age != 31 select value.name`, []string{"Cyd"}},
		{`kv where not (value.age == 31) select key`, []string{"bytes", "empty", "later", "number", "plain", "user/2", "user/3", "memory"}},
		{`kv where value.age == nil and value.name != nil select value.name`, []string{}},
		{`kv where value.age == "old" or value.age < 8 select value.name`, []string{"Bob", "Cyd"}},
		{`kv where value.age in [31, "old"] select value.name`, []string{"Ann", "Bob", "Dan"}},
		{`kv where value.age in 7.5..30 select value.name`, []string{"Cyd"}},
		{`kv where value.ok select value.name`, []string{"Ann"}},
		{`kv where value.ok == false select value.name`, []string{"Bob"}},
		{`kv where "b" in value.tags select value.name`, []string{"Ann"}},
		{`kv where value.tags[1] == "b" select value.tags, len(value.tags), value.tags[7], value.name[0], value.address.city`, []string{`["a", "b"]|2|<nil>|<nil>|Rome`}},
		{`kv where value == 42 select key, size, text(value)`, []string{"number|2|42"}},
		{`kv where value == "42"`, []string{}},
		{`kv where text(value) == "42" select key`, []string{"number"}},
		{`kv where value contains "world" select upper(value)`, []string{"HELLO, WORLD"}},
		{`kv where value == "kept" select key, text(value)`, []string{`memory|"kept"`}},
		{`kv where text(value) matches "^h.*d$" select key`, []string{"plain"}},
		{`kv where value endsWith "world" and value startsWith "hell" select key`, []string{"plain"}},
		{`kv where value == "" select key`, []string{"empty"}},
		{`kv where deadline != nil select key, deadline - now()`, []string{"later|59m49s"}},
		{`kv where run.tags.task == "2" select value.age + 1, value.age / 2, value.name + 1, value.none ?? "?"`, []string{"32|15.5|<nil>|?"}},
		{`kv where key == "user/3" select value.age * 2, -value.age, value.age % 2, value.age - 7`, []string{"15|-7.5|1.5|0.5"}},
		{`kv where run.space count`, []string{"1"}},
		{`kv where run.name == "nobody" count, sum(size), max(key), avg(size)`, []string{"0|<nil>|<nil>|<nil>"}},
		// Events.
		{`events select stream, sequence, type`, []string{"log|1|noted", "main|1|asked", "main|2|answered"}},
		{`events where stream == "main" and sequence > 1 select payload.text`, []string{"there"}},
		{`events where stream == "" or stream == "log" select type`, []string{"noted"}},
		{`events where stream == ""`, []string{}},
		{`events where type == "asked" select payload`, []string{`{"text": "hi", "n": 1}`}},
		{`events where type in ["asked", "noted"] and type != "asked" select type`, []string{"noted"}},
		{`events where time >= 2026-01-01T12:00:05Z select type, time`, []string{"noted|5s", "answered|5s"}},
		{`events where time < 2026-01-01T12:00:05Z select type`, []string{"asked"}},
		{`events where sequence in 1..1 and stream == "main" select type`, []string{"asked"}},
		{`events where sequence <= 1 and sequence == 1 select stream`, []string{"log", "main"}},
		{`events sum(payload.n), min(payload.text), count(payload.n), avg(payload.n)`, []string{"3|hi|2|1.5"}},
		// Cells.
		{`states select name, state, data.tries, size`, []string{"jar|open|<nil>|0", "job|waiting|2|12"}},
		{`states where name startsWith "jo" select name`, []string{"job"}},
		{`states where name == "jar" select name, data`, []string{"jar|<nil>"}},
		{`states where name > "jar" select name`, []string{"job"}},
		{`states where state == "open" select name`, []string{"jar"}},
		// Spans.
		{`spans select id, kind, name, status, took, parent`, []string{"1|tool_call|search|error|2s|<nil>", "2|model_call|gpt|ok|500ms|1", "3|tool_call|search|open|<nil>|<nil>"}},
		{`spans where kind == "tool_call" and status == "error" order by start desc limit 20 select name`, nil},
		{`spans where took > 1s select name, error, cost, input.q`, []string{"search|timeout|0.5|x"}},
		{`spans where output startsWith "Error" select output`, []string{"Error: no"}},
		{`spans where attributes.gen_ai.tool.name == "search" select id`, []string{"1"}},
		{`spans where id > 1 and id < 3 select id`, []string{"2"}},
		{`spans where end == nil select start`, []string{"1m0s"}},
		{`spans group by name count, sum(took), sum(input_tokens) as tokens order by count desc, name`, []string{"search|2|2s|3", "gpt|1|500ms|10"}},
		{`spans group by kind, status == "ok" as ok count`, []string{"model_call|true|1", "tool_call|false|2"}},
		{`spans group by trunc(start, 1m) as minute count`, []string{"0s|2", "1m0s|1"}},
		{`spans group by kind`, []string{"model_call", "tool_call"}},
		// Vectors.
		{`vectors select collection, key, meta.year, metadata.none`, []string{"docs|a/1|2019|<nil>", "docs|a/2|2021|<nil>", "docs|b|<nil>|<nil>", "words|w|<nil>|<nil>"}},
		{`vectors where collection == "docs" and key startsWith "a/" and meta.year > 2020 select key, version > 10`, []string{"a/2|true"}},
		{`vectors where collection == "none" or metadata == nil select key`, []string{"b", "w"}},
		{`vectors where collection == "none"`, []string{}},
		{`vectors where key > "a/1" and key < "b" select key`, []string{"a/2"}},
		{`vectors where collection == "docs" and collection == "words"`, []string{}},
		// Order, limit, offset.
		{`kv where run.name == "first" select key order by size desc, key limit 2`, []string{"user/1", "user/2"}},
		{`kv where run.name == "first" select key order by size desc limit 2 offset 1`, []string{"user/2", "user/3"}},
		{`kv where run.name == "first" select key, len(key) as n order by n desc, size limit 2`, []string{"number|6", "user/3|6"}},
		{`kv where run.name == "first" and not (key contains "u") and key not contains "e" select key`, []string{"plain"}},
		{`runs select name order by name desc offset 1`, []string{"first", ""}},
		{`runs where not space select name order by created desc`, []string{"second", "first"}},
		{`runs where not space select name limit 1 offset 1`, []string{"second"}},
		{`runs limit 0`, []string{}},
		{`kv where false`, []string{}},
		{`kv where run.id == "nonsense"`, []string{}},
	} {
		if c.want == nil { // for the errors
			_, err := query.Parse(c.text)
			require.Error(t, err, c.text)
			continue
		}
		assert.Equal(t, c.want, shown(t, f.Query(ctx, c.text)), c.text)
		q, err := query.Parse(c.text)
		require.NoError(t, err)
		again, err := query.Parse(q.String())
		require.NoError(t, err)
		assert.Equal(t, c.want, shown(t, f.Execute(ctx, again)), q.String())
	}
}

func TestArguments(t *testing.T) {
	f := newFixture(t)
	first, second := f.someOfEverything()
	assert.Equal(t, []string{"second"}, shown(t, f.Query(ctx, `runs where id == $1 select name`, second.ID())))
	assert.Equal(t, []string{"second"}, shown(t, f.Query(ctx, `runs where parent == $1 select name`, first.ID())))
	assert.Equal(t, []string{"Ann"}, shown(t, f.Query(ctx, `kv where value.name in $1 and key == $2 select value.name limit $3`, []string{"Ann", "Bob"}, "user/1", 5)))
	q, err := query.Parse(`kv where value[$1].x > $2 and run.created < $3 and value.b == $4 and size > $5 and value.d > $6 limit $7`,
		"a\"b", 1.5, epoch, true, uint8(3), -time.Hour, 2)
	require.NoError(t, err)
	assert.Equal(t, `kv where value["a\"b"].x > 1.5 and run.created < 2026-01-01T12:00:00Z and value.b == true and size > 3 and value.d > -1h0m0s limit 2`, q.String())
}

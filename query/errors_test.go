package query_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/query"
)

// What is wrong with a text is said with its column, and what was expected.
func TestErrorsNameTheColumn(t *testing.T) {
	for _, c := range []struct {
		text   string
		column int
		reason string
	}{
		{``, 1, "expected a source, one of runs, kv, events, states, spans, vectors, and found the end"},
		{`run`, 1, "expected a source"},
		{`"runs"`, 1, "expected a source"},
		{`runs were name == "x"`, 6, "expected one of where, select"},
		{`runs where`, 11, "expected an expression, and found the end"},
		{`runs where limit 3`, 12, `expected an expression, and found limit`},
		{`runs where name ==`, 19, "expected a value, and found the end"},
		{`runs where name >`, 18, "expected a value, and found the end"},
		{`runs where name > limit 3`, 19, "expected a value, and found limit"},
		{`runs where name == limit 3`, 20, "expected a value, and found limit"},
		{`runs where name "x"`, 17, `expected an operator such as == or and, or one of where, select, group by, count, sum, min, max, avg, order by, limit, offset, after, and found "x"`},
		{`runs where name == "x`, 20, "has no end"},
		{`runs where (name == "x"`, 24, `the query ends where ")" is missing`},
		{`runs where name == "x")`, 23, `")" closes nothing`},
		{`runs where [name)`, 17, `")" closes nothing`},
		{`runs where nme == "x"`, 12, "no column is named nme; runs have created, ended, id"},
		{`runs where run.nme == "x"`, 12, "runs have no column nme"},
		{`kv where name == "x"`, 10, "no column is named name; kv have deadline, key"},
		{`kv where run == "x"`, 10, "no column is named run"},
		{`runs where name == "é" and nme == 1`, 28, "no column is named nme"},
		{"runs where\n name == 1", 18, "name is a text and 1 is a number: they are never equal"},
		{`runs where status == "error"`, 19, `status is never "error": it is active, paused`},
		{`runs where status in ["error"]`, 19, `status is never "error"`},
		{`spans where took > 5`, 18, "took is a duration and 5 is a number"},
		{`spans where start > "2026-01-01"`, 19, "start is a time and \"2026-01-01\" is a text"},
		{`spans where took + 1 > 5s`, 18, "a duration + a number: this cannot be computed"},
		{`spans where name + "x" == "y"`, 18, "a text + a text: this cannot be computed"},
		{`spans where name`, 13, "expected a condition, and this is a text"},
		{`spans where not took`, 17, "expected a condition, and this is a duration"},
		{`spans where true and name`, 22, "expected a condition"},
		{`spans where name or true`, 13, "expected a condition"},
		{`spans where name.first == 1`, 18, "name is a text: it has no members"},
		{`spans where attributes[0] == "x"`, 23, "attributes have names, not indexes"},
		{`kv where value[key] == 1`, 16, "expected a name in quotes or an index"},
		{`kv where lower(key).x == 1`, 10, "only columns have members"},
		{`kv where key < nil`, 14, "nil is compared by == and != only"},
		{`kv where not size == 1`, 14, "expected a condition, and this is a number"},
		{`kv where nil < nil`, 14, "nil is compared by == and != only"},
		{`kv where key in "x"`, 17, "expected a list such as [1, 2]"},
		{`kv where key in [1]`, 17, "key is a text, and the list has a number in it"},
		{`kv where key in [nil]`, 17, "the list has nil in it"},
		{`kv where key in [value]`, 18, "expected a constant"},
		{`kv where key in [[1]]`, 18, "expected a constant"},
		{`kv where key in 1..2`, 14, "key is a text and 1 is a number"},
		{`kv where 1..2`, 11, "there is no operator .. here"},
		{`kv where size ** 2 == 4`, 15, "there is no operator ** here"},
		{`kv where size startsWith "1"`, 15, "startsWith takes two texts, and size is a number"},
		{`kv where key contains nil`, 14, "contains takes two texts, and nil is nil"},
		{`kv where key matches value`, 22, "expected a regular expression in quotes"},
		{`kv where key matches "("`, 22, "missing closing )"},
		{`kv where key matches "` + strings.Repeat("x", 1001) + `"`, 22, "a regular expression of 1001 bytes, the limit is 1000"},
		{`kv where size matches "1"`, 15, "matches takes a text, and size is a number"},
		{`kv where [1] == value`, 14, "anything cannot be compared with a list"},
		{`runs where tags == "x"`, 17, "labels cannot be compared with a text"},
		{`kv where -key == 1`, 10, "a text has no sign"},
		{`kv where upper(size) == "x"`, 16, "upper takes a text, and this is a number"},
		{`kv where upper() == "x"`, 10, "upper takes 1 arguments, not 0"},
		{`kv where now(1) > deadline`, 10, "now takes 0 arguments, not 1"},
		{`kv where text(size) == "x"`, 15, "text takes a value, a payload"},
		{`kv where uper(key) == "x"`, 10, "there is no function uper; there are duration, len, lower, now"},
		{`kv where filter(value, true)`, 10, "there is no function filter"},
		{`kv where all(value, {# > 1})`, 21, `"{" does not belong into a query`},
		{`kv where key == "a" ? true : false`, 28, `":" does not belong into a query`},
		{`kv where key == b"x"`, 17, "there are no byte strings"},
		{`kv where key == "a" // really`, 21, "there are no comments"},
		{`kv where let x = 1`, 10, "there are no variables"},
		{`kv where size = 1`, 15, "expected an operator such as == or and"},
		{`kv where value.f(1)`, 16, "columns are not called"},
		{`kv where deadline > 2026-13-01`, 21, "2026-13-01 is no time"},
		{`kv where deadline > 2026-01-01T99:00:00Z`, 21, "is no time"},
		{`kv where deadline > now() - 5x`, 29, "5x is neither a number nor a duration such as 90s, 1h30m or 7d"},
		{`kv where size > 1__x`, 17, "neither a number nor a duration"},
		{`kv where size > 99999999999999999999`, 17, "neither a number"},
		{`kv where key == $1`, 17, "no such argument: there are 0"},
		{`kv where key == $x`, 17, "no such argument"},
		{`kv select`, 10, "expected an expression, and found the end"},
		{`kv select key,`, 15, "expected an expression, and found the end"},
		{`kv select key as`, 17, "expected a name behind as, and found the end"},
		{`kv select key as where`, 18, "expected a name behind as, and found where"},
		{`kv select key, key`, 19, "two columns are named key"},
		{`kv select [1, 2]`, 11, "a list is no value of its own"},
		{`kv select key group by key`, 21, "select and group by exclude each other"},
		{`kv select key count`, 15, "select and aggregates exclude each other"},
		{`kv group key`, 10, "expected by behind group, and found key"},
		{`kv order key`, 10, "expected by behind order, and found key"},
		{`kv count, key`, 11, "expected count, sum, min, max or avg, and found key"},
		{`kv sum`, 7, "expected an expression in brackets behind sum, and found the end"},
		{`kv sum()`, 8, `expected an expression, and found )`},
		{`kv sum(key)`, 8, "sum takes numbers or durations, and key is a text"},
		{`kv group by key count order by size`, 32, "groups have no column size to order by; they have key, count"},
		{`kv order by key where size > 1`, 17, "where has no place here: the order is where, select"},
		{`kv limit`, 9, "expected a whole number behind limit, and found the end"},
		{`kv limit -1`, 10, "expected a whole number behind limit, and found -"},
		{`kv limit 1.5`, 10, "expected a whole number"},
		{`kv limit 99999999999`, 10, "expected a whole number"},
		{`kv limit 1 limit 2`, 12, "limit has no place here"},
		{`kv order by ` + strings.Repeat("key, ", 10) + `key`, 66, "more than 10 keys to order by"},
		{`kv where ` + strings.Repeat("(", 101), 110, "more than 100 brackets in each other"},
		{`kv where ` + strings.Repeat("size == 1 or ", 400) + "true", 0, "an expression of more than 1000 parts"},
		{`kv where "` + strings.Repeat("x", query.MaxText) + `"`, 1, "the limit is 65536"},
	} {
		name := c.text[:min(len(c.text), 60)]
		_, err := query.Parse(c.text)
		require.ErrorIs(t, err, query.ErrInvalid, name)
		var syntax *query.SyntaxError
		require.ErrorAs(t, err, &syntax, name)
		assert.Contains(t, syntax.Reason, c.reason, name)
		if c.column > 0 {
			assert.Equal(t, c.column, syntax.Column, "%s: %s", name, syntax.Reason)
		}
		assert.Contains(t, err.Error(), fmt.Sprintf("column %d", syntax.Column))
	}
}

func TestArgumentsThatAreNone(t *testing.T) {
	for _, arg := range []any{struct{}{}, make(chan int), math.NaN(), math.Inf(1), uint64(math.MaxUint64), [][]int{{1}}, []any{struct{}{}}} {
		_, err := query.Parse(`kv where value == $1`, arg)
		assert.ErrorContains(t, err, "an argument of type")
		_, err = query.From(query.KV).Where(query.C("value").Eq(arg)).Query()
		assert.ErrorIs(t, err, query.ErrInvalid)
	}
	_, err := query.Parse(`kv limit $1`, -1)
	assert.ErrorContains(t, err, "expected a whole number")
	assert.Panics(t, func() { query.MustParse("nonsense") })
	assert.NotPanics(t, func() { query.MustParse("runs") })
	_, err = query.MustParse("runs").Explain(time.Time{})
	assert.NoError(t, err)
}

package query_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/query"
	"inmem/vector"
)

// A condition chooses what a search may find, and what a query would choose.
func TestWhere(t *testing.T) {
	f := newFixture(t)
	first, _ := f.someOfEverything()
	for _, c := range []struct {
		text string
		args []any
		want string
	}{
		{`meta.author == "x" and meta.year >= 2020`, nil, "a/2"},
		{`meta.year > $1`, []any{2000}, "a/2 a/1"},
		{`metadata.year == nil`, nil, "b"},
		{`not (meta.author == "x") or key endsWith "1"`, nil, "b a/1"},
		{`version > 0 and true`, nil, "b a/2 a/1"},
		{`false`, nil, ""},
	} {
		w, err := query.Where(c.text, c.args...)
		require.NoError(t, err, c.text)
		var users sync.WaitGroup
		for range 4 { // any number of searches at once
			users.Go(func() {
				hits, err := first.Vectors().Search(ctx, "docs", []float32{1, 1}, 10, vector.Where(w))
				assert.NoError(t, err)
				var keys []string
				for _, h := range hits {
					keys = append(keys, h.Key)
				}
				assert.Equal(t, c.want, strings.Join(keys, " "), c.text)
			})
		}
		users.Wait()
		if len(c.args) == 0 {
			rows := shown(t, first.Query(ctx, `vectors where collection == "docs" and (`+w.String()+`) select key`))
			assert.ElementsMatch(t, strings.Fields(c.want), rows)
		}
	}
	for text, reason := range map[string]string{
		``: "column 1: expected an expression", `meta.x ==`: "column 10: expected a value", `key == "a" limit 3`: "column 12: expected the end of the condition, and found limit",
		`collection == "docs"`: "column 1: no column is named collection", `run.name == "x"`: "no column", `meta.at > now()`: "column 11: a filter has no clock",
		`key`: "expected a condition", `key == "a`: "has no end", `key == 1`: "never equal",
	} {
		_, err := query.Where(text)
		require.ErrorIs(t, err, query.ErrInvalid, text)
		assert.ErrorContains(t, err, reason, text)
	}
}

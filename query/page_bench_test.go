package query_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/query"
	"inmem/run"
	"inmem/vfs"
)

// Pages of 20 rows, of 200,000 keys of one run: the first, and one after 180,000
// rows, by its cursor and by an offset.
func BenchmarkPage(b *testing.B) {
	db, err := inmem.Open("s", &inmem.Options{FS: vfs.NewMem(), Durability: inmem.Async, CheckpointBytes: -1})
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	r, err := db.BeginRun(ctx, run.Meta{})
	require.NoError(b, err)
	for i := range 20 {
		var batch kv.Batch
		for k := range 10_000 {
			batch.Put(fmt.Sprintf("user/%06d", i*10_000+k), fmt.Appendf(nil, `{"id": %d, "user": {"name": "somebody", "age": %d}}`, k, k%90))
		}
		_, err := r.KV().Write(ctx, &batch)
		require.NoError(b, err)
	}
	for _, c := range []struct {
		name, text string
		of         query.Executor
	}{
		{"all", `kv`, db}, {"key", `kv order by key`, r}, {"keydesc", `kv order by key desc`, r}, {"sorted", `kv order by value.user.age, key`, r},
	} {
		q := query.MustParse(c.text + " limit 20")
		page := func(b *testing.B, q *query.Query) {
			b.ReportAllocs()
			for b.Loop() {
				rows, _, err := query.Page(ctx, c.of, q)
				require.NoError(b, err)
				require.Len(b, rows, 20)
			}
		}
		b.Run(c.name+"/first", func(b *testing.B) { page(b, q) })
		_, next, err := query.Page(ctx, c.of, q.Limited(180_000))
		require.NoError(b, err)
		deep, err := q.After(next)
		require.NoError(b, err)
		b.Run(c.name+"/cursor", func(b *testing.B) { page(b, deep) })
		offset := query.MustParse(c.text + " limit 20 offset 180000")
		b.Run(c.name+"/offset", func(b *testing.B) { page(b, offset) })
	}
}

// What a limit costs a scan, whose rows then have cursors.
func BenchmarkRows(b *testing.B) {
	for _, limit := range []string{"", " limit 2000000"} {
		b.Run("kv"+limit, func(b *testing.B) { benchmarkQuery(b, `kv select key, size`+limit, 1_000_000, 1_000_000) })
	}
}

package query_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/query"
	"inmem/run"
	"inmem/vfs"
)

var benchDB *inmem.DB

// benchStore is a store that benchmarks share: 1,000 runs of 1,000 keys, and
// 99,000 runs without any.
var benchStore = sync.OnceValue(func() *inmem.DB {
	db, err := inmem.Open("s", &inmem.Options{FS: vfs.NewMem(), Durability: inmem.Async, CheckpointBytes: -1})
	if err != nil {
		panic(err)
	}
	for i := range 100_000 {
		meta := run.Meta{Name: "bench", Namespace: run.Namespace{App: strconv.Itoa(i % 10)}, Tags: map[string]string{"task": strconv.Itoa(i % 1000)}}
		r, err := db.BeginRun(ctx, meta)
		if err != nil {
			panic(err)
		}
		if i%100 == 0 {
			var b kv.Batch
			for k := range 1000 {
				b.Put(fmt.Sprintf("user/%04d", k), fmt.Appendf(nil, `{"id": %d, "user": {"name": "somebody %d", "age": %d}, "city": "Rome"}`, k, k, k%90))
			}
			if _, err := r.KV().Write(ctx, &b); err != nil {
				panic(err)
			}
		}
		if i%50 == 0 {
			if err := r.End(ctx, run.Failed); err != nil {
				panic(err)
			}
		}
	}
	benchDB = db
	return db
})

func benchmarkQuery(b *testing.B, text string, rows, items int) {
	db := benchStore()
	q := query.MustParse(text)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, err := range db.Execute(ctx, q) {
			require.NoError(b, err)
			n++
		}
		if n != rows {
			b.Fatalf("%d rows, not %d", n, rows)
		}
	}
	if items > 0 {
		b.ReportMetric(float64(items)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mitems/s")
	}
}

// Scans look at each of 1M items.
func BenchmarkScan(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"all", `kv count`},
		{"size", `kv where size > 1000 count`},
		{"key", `kv where key endsWith "x" count`},
		{"two", `kv where size > 10 and key contains "x" count`},
		{"or", `kv where size > 1000 or key == "x" count`},
		{"path", `kv where value.user.age > 100 count`},
		{"order", `kv where size > 1000 order by size desc limit 10`},
		{"group", `kv group by size count`},
	} {
		b.Run(c.name, func(b *testing.B) {
			rows := map[string]int{"order": 0, "group": 5}[c.name]
			if rows == 0 && c.name != "order" {
				rows = 1
			}
			benchmarkQuery(b, c.text, rows, 1_000_000)
		})
	}
}

// Indexed queries over 100,000 runs.
func BenchmarkIndexed(b *testing.B) {
	for _, c := range []struct {
		name, text string
		rows       int
	}{
		{"tag", `runs where tags.task == "7"`, 100},
		{"newest", `runs where status == "failed" order by created desc limit 20`, 20},
		{"count", `runs where status == "failed" count`, 1},
		{"group", `runs where status == "failed" group by namespace.app count`, 1},
		{"key", `kv where run.tags.task == "0" and key == "user/0007"`, 100},
		{"everywhere", `kv where key == "user/0007" count`, 1},
		{"runs", `runs where name != "bench" count`, 1},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkQuery(b, c.text, c.rows, 0) })
	}
}

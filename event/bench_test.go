package event_test

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/vfs"
)

const (
	benchRuns    = 64
	benchWriters = 16
	benchRound   = 1_600 // writes of one kind before it is the other's turn
)

var benchPayload = []byte(`{"step":12,"tool":"search","input":{"query":"how to store events","limit":10},"ok":true,"ms":12.5,"note":"something that is a bit longer"}`)

// benchDisks are where the stores of a benchmark lie.
var benchDisks = map[string]func(*testing.B) (vfs.FS, string){
	"mem": func(*testing.B) (vfs.FS, string) { return vfs.NewMem(), "store" },
	"dir": func(b *testing.B) (vfs.FS, string) { return vfs.OS, b.TempDir() },
}

// writers are 16 goroutines that write to 64 runs of a store of their own,
// each to four of them, so that nobody is in another's way.
type writers struct {
	b    *testing.B
	runs [benchRuns]*inmem.Run
	n    [benchRuns]int // writes of each run
	took []float64      // ns a write, of each round
	one  func(r *inmem.Run, n int) error
}

func newWriters(b *testing.B, disk string, one func(r *inmem.Run, n int) error) *writers {
	fs, dir := benchDisks[disk](b)
	db, err := inmem.Open(dir, &inmem.Options{FS: fs})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	w := &writers{b: b, one: one}
	for i := range w.runs {
		w.runs[i], err = db.BeginRun(ctx, run.Meta{})
		require.NoError(b, err)
	}
	return w
}

func (w *writers) round() {
	began := time.Now()
	var all sync.WaitGroup
	for g := range benchWriters {
		all.Go(func() {
			for i := range benchRound / benchWriters {
				at := g + i*benchWriters%benchRuns
				if err := w.one(w.runs[at], w.n[at]); err != nil {
					w.b.Error(err)
					return
				}
				w.n[at]++
			}
		})
	}
	all.Wait()
	w.took = append(w.took, float64(time.Since(began).Nanoseconds())/benchRound)
}

// median is what a write took in most rounds: other programs that want the
// processor for a while do not count.
func (w *writers) median() float64 {
	slices.Sort(w.took)
	return w.took[len(w.took)/2]
}

func putOne(r *inmem.Run, n int) error {
	_, err := r.KV().Put(ctx, "event/"+strconv.Itoa(100_000_000+n), benchPayload)
	return err
}

func appendOne(r *inmem.Run, _ int) error {
	_, err := r.Events().Append(ctx, event.Main, event.New{Type: "tool.called", Payload: benchPayload})
	return err
}

func appendOneWithID(r *inmem.Run, n int) error {
	_, err := r.Events().Append(ctx, event.Main, event.New{Type: "tool.called", ID: "call-" + strconv.Itoa(100_000_000+n), Payload: benchPayload})
	return err
}

// BenchmarkAppendToPut compares appends with puts of new keys, the same bytes,
// turn by turn, so that both have the same machine. append/put is how many
// appends are made in the time of one put.
func BenchmarkAppendToPut(b *testing.B) {
	for _, disk := range []string{"mem", "dir"} {
		b.Run(disk, func(b *testing.B) {
			puts, appends, ids := newWriters(b, disk, putOne), newWriters(b, disk, appendOne), newWriters(b, disk, appendOneWithID)
			for b.Loop() {
				puts.round()
				appends.round()
				ids.round()
			}
			b.ReportMetric(puts.median(), "ns/put")
			b.ReportMetric(appends.median(), "ns/append")
			b.ReportMetric(puts.median()/appends.median(), "append/put")
			b.ReportMetric(puts.median()/ids.median(), "appendID/put")
		})
	}
}

func benchmark(b *testing.B, one func(*inmem.Run, int) error) {
	for _, disk := range []string{"mem", "dir"} {
		b.Run(disk, func(b *testing.B) {
			w := newWriters(b, disk, one)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if err := one(w.runs[n%benchRuns], n/benchRuns); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}

func BenchmarkPut(b *testing.B)          { benchmark(b, putOne) }
func BenchmarkAppend(b *testing.B)       { benchmark(b, appendOne) }
func BenchmarkAppendWithID(b *testing.B) { benchmark(b, appendOneWithID) }

// BenchmarkAppendInTransaction appends many events in one transaction: an
// append must not cost more because of those that it follows.
func BenchmarkAppendInTransaction(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			r := newWriters(b, "mem", nil).runs[0]
			for b.Loop() {
				tx, err := r.Begin(ctx)
				require.NoError(b, err)
				for range n {
					if _, err := tx.Events().Append(ctx, event.Main, event.New{Type: "a"}); err != nil {
						b.Fatal(err)
					}
				}
				tx.Rollback()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/append")
		})
	}
}

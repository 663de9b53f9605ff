package alone

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"inmem"
	"inmem/run"
)

const watchWriters = 16

// BenchmarkWatch tells how long after a put was called, and after it was
// acknowledged, a watcher of the whole store has its commit, while commits come
// at a steady rate.
func BenchmarkWatch(b *testing.B) {
	b.Run(fmt.Sprintf("rate=%d", sized().watch), func(b *testing.B) {
		w := &watched{
			store:  openStore(b, options(inmem.Batched), watchWriters),
			called: make([]time.Duration, b.N), acknowledged: make([]time.Duration, b.N), seen: make([]time.Duration, b.N),
		}
		b.ResetTimer()
		w.begun = time.Now()
		must(b, w.measure())
		b.StopTimer()
		b.ReportMetric(0, "ns/op") // it would be the rate
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		report := func(what string, from, to []time.Duration) {
			took := make([]time.Duration, len(to))
			for i := range took {
				took[i] = max(0, to[i]-from[i]) // a commit can be seen before its answer is
			}
			slices.Sort(took)
			for _, p := range []int{50, 99} {
				b.ReportMetric(float64(took[len(took)*p/100].Nanoseconds()), fmt.Sprintf("%s-p%d-ns", what, p))
			}
		}
		report("call", w.called, w.seen)
		report("ack", w.acknowledged, w.seen)
		report("put", w.called, w.acknowledged)
	})
}

// watched is commits with the moments they were called for, acknowledged and
// seen. Each is written by one goroutine, and read when all have ended.
type watched struct {
	*store
	called, acknowledged, seen []time.Duration // since begun
	begun                      time.Time
}

func (w *watched) measure() error {
	var all sync.WaitGroup
	var watchErr error
	from := w.Latest()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all.Go(func() {
		left := len(w.seen)
		for c, err := range w.Watch(ctx, run.Filter{}, from) {
			if err != nil {
				watchErr = err
				return
			}
			w.seen[binary.LittleEndian.Uint64(c.Ops[0].Value)] = time.Since(w.begun)
			if left--; left == 0 {
				return
			}
		}
	})
	err := parallel(watchWriters, watchWriters, func(_, writer int) error { return w.write(writer) })
	if err != nil {
		stop() // the watcher waits for what will not come
	}
	all.Wait()
	return cmp.Or(err, watchErr)
}

// write makes a writer's share of the commits: every millisecond those that are
// due.
func (w *watched) write(writer int) error {
	value := make([]byte, 8+valueSize)
	face := w.runs[writer].KV()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := writer; n < len(w.seen); {
		due := min(len(w.seen), 1+int(time.Since(w.begun).Seconds()*float64(sized().watch)))
		for ; n < due; n += watchWriters {
			binary.LittleEndian.PutUint64(value, uint64(n))
			w.called[n] = time.Since(w.begun)
			if _, err := face.Put(ctx, "key", value); err != nil {
				return err
			}
			w.acknowledged[n] = time.Since(w.begun)
		}
		<-tick.C
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"inmem/run"
)

const watchWriters = 16

// watching measures how long after a put was called, and after it was
// acknowledged, a watcher of the whole store has its commit, while commits come
// at a steady rate.
func watching(cfg *config, table *table) error {
	name := fmt.Sprintf("watch at %d commits/s", cfg.sizes.rate)
	if !cfg.wants(name) {
		return nil
	}
	return scratch(cfg, "watch", watchWriters, func(s *store) error {
		for round := range cfg.rounds {
			progress("round %d of %d: %s", round+1, cfg.rounds, name)
			w := newWatched(s)
			if err := w.measure(); err != nil {
				return err
			}
			table.add(name+": reached", 0, w.rate)
			for _, part := range []struct {
				what     string
				from, to []time.Duration
			}{
				{"from the call", w.called, w.seen},
				{"from the acknowledgement", w.acknowledged, w.seen},
				{"the put itself", w.called, w.acknowledged},
			} {
				took := make([]time.Duration, len(part.to))
				for i := range took {
					took[i] = max(0, part.to[i]-part.from[i]) // a commit can be seen before its answer is
				}
				slices.Sort(took)
				for _, p := range []int{50, 99} {
					table.add(fmt.Sprintf("%s: %s, p%d, µs", name, part.what, p), 0, float64(took[len(took)*p/100].Nanoseconds())/1000)
				}
			}
		}
		return nil
	})
}

// watched is commits with the moments they were called for, acknowledged and
// seen. Each is written by one goroutine, and read when all have ended.
type watched struct {
	*store
	called, acknowledged, seen []time.Duration // since begun
	begun                      time.Time
	rate                       float64
}

func newWatched(s *store) *watched {
	n := max(1, int(float64(s.cfg.sizes.rate)*s.cfg.cell.Seconds())/watchWriters) * watchWriters
	return &watched{
		store: s, begun: time.Now(),
		called: make([]time.Duration, n), acknowledged: make([]time.Duration, n), seen: make([]time.Duration, n),
	}
}

func (w *watched) measure() error {
	var all sync.WaitGroup
	var watchErr error
	from := w.db.Latest()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all.Go(func() {
		left := len(w.seen)
		for c, err := range w.db.Watch(ctx, run.Filter{}, from) {
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
	err := parallel(watchWriters, w.write)
	w.rate = float64(len(w.seen)) / time.Since(w.begun).Seconds()
	if err != nil {
		stop() // the watcher waits for what will not come
	}
	all.Wait()
	return cmp.Or(err, watchErr)
}

// write makes a writer's share of the commits: every millisecond those that are
// due.
func (w *watched) write(writer int) error {
	c := w.cfg.callers(1)[0]
	value := append(make([]byte, 8), c.value...)
	r := w.runs[writer].KV()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := writer; n < len(w.seen); {
		due := int(time.Since(w.begun).Seconds() * float64(w.cfg.sizes.rate))
		for ; n < min(due, len(w.seen)); n += watchWriters {
			binary.LittleEndian.PutUint64(value, uint64(n))
			w.called[n] = time.Since(w.begun)
			if _, err := r.Put(ctx, "key", value); err != nil {
				return err
			}
			w.acknowledged[n] = time.Since(w.begun)
		}
		<-tick.C
	}
	return nil
}

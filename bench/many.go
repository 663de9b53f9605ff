package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"inmem"
	"inmem/bench/measure"
	"inmem/bench/report"
	inrun "inmem/run"
)

// manySize is a store of many small runs.
func (b *bench) manySize() coldSize {
	if b.cfg.quick {
		return coldSize{max(1, b.cfg.Keys/10), 3}
	}
	return coldSize{b.cfg.Keys, 3}
}

// manyTime is how long it takes.
func (b *bench) manyTime() time.Duration {
	if !b.oursWanted(report.Many) {
		return 0
	}
	return time.Second + time.Duration(b.manySize().runs)*time.Duration(40+10*b.cfg.rounds)*time.Microsecond
}

// many measures a store of many runs.
func (b *bench) many(ctx context.Context) error {
	if !b.oursWanted(report.Many) {
		return nil
	}
	size := b.manySize()
	b.progress.step(b.manyTime(), "%s: %d runs of %d keys", report.Many, size.runs, size.keys)
	return b.problem(ctx, report.Many, b.manyRuns(ctx, size))
}

func (b *bench) manyRuns(ctx context.Context, size coldSize) (err error) {
	dir := filepath.Join(b.dir, "many")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	figure := func(name, unit string, value float64) {
		b.coldFigure(report.Many, fmt.Sprintf("%d ended runs of %d keys: %s", size.runs, size.keys, name), unit, value)
	}
	task := coldTask{Do: "fill", Dir: dir, Runs: size.runs, Keys: size.keys, Value: 32}
	begun := time.Now()
	if _, err := b.coldProcess(ctx, task); err != nil {
		return err
	}
	figure("begun, filled and ended", "runs/s", float64(size.runs)/time.Since(begun).Seconds())
	task.Do = "many"
	for range b.cfg.rounds {
		r, err := b.coldProcess(ctx, task)
		if err != nil {
			return err
		}
		figure("open", "ms", r.Opening.Seconds()*1000)
		figure("resident then", "MB", float64(r.Resident)/1e6)
		figure("first read of a run, median", "µs", r.First.Seconds()*1e6)
		figure("Metrics", "µs", r.Metrics.Seconds()*1e6)
		figure("first listing, of a name", "ms", r.Listing.Seconds()*1000)
		figure("resident then, with an index", "MB", float64(r.Most)/1e6)
		figure("listing of another name", "µs", r.Again.Seconds()*1e6)
		figure("listing of the newest 10", "µs", r.Newest.Seconds()*1e6)
	}
	return nil
}

// many times what a program asks of a store that has many runs.
func (t *coldTask) many(db *inmem.DB, reply *coldReply) error {
	timed := func(fn func() error) (time.Duration, error) {
		begun := time.Now()
		err := fn()
		return time.Since(begun), err
	}
	listing := func(f inrun.Filter, want int) func() error {
		return func() error {
			n := 0
			for _, err := range db.Runs(context.Background(), f) {
				if err != nil {
					return err
				}
				n++
			}
			if n != want {
				return fmt.Errorf("%d runs are listed, not %d", n, want)
			}
			return nil
		}
	}
	name := func(n int) inrun.Filter { return inrun.Filter{Name: fmt.Sprint("run ", n)} }
	for _, x := range []struct {
		took *time.Duration
		fn   func() error
	}{
		{&reply.Metrics, func() error { db.Metrics(); return nil }},
		{&reply.Listing, listing(name(t.Runs/2), 1)},
		{&reply.Again, listing(name(t.Runs/3), 1)},
		{&reply.Newest, listing(inrun.Filter{Reverse: true, Limit: 10}, min(10, t.Runs))},
	} {
		var err error
		if *x.took, err = timed(x.fn); err != nil {
			return err
		}
	}
	reply.Most = measure.Resident(os.Getpid())
	return t.open(db, reply)
}

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"inmem/bench/child"
	"inmem/bench/measure"
	"inmem/bench/report"
	"inmem/bench/store"
	"inmem/bench/workload"
)

// diskPasses is how often each key is overwritten.
const diskPasses = 20

// diskSize is the data set of the section, and how long the files are looked at
// after the last write.
func (b *bench) diskSize() (size workload.Size, after time.Duration) {
	size = b.cfg.Size
	size.Keys = max(size.Keys/10, 4)
	size.Runs = max(1, min(size.Runs, size.Keys/4))
	after = min(time.Minute, 60*b.cfg.cell)
	if b.cfg.quick {
		after = min(after, 3*time.Second)
	}
	return size, after
}

// diskSubjects are the stores that have files.
func (b *bench) diskSubjects() (list []*subject) {
	if !b.cfg.wants(report.Disk) {
		return nil
	}
	for _, k := range b.kinds {
		for _, class := range k.Classes {
			if class == store.Batched {
				list = append(list, &subject{kind: k, class: class, dir: filepath.Join(b.dir, "disk-"+fileName(k.Name))})
			}
		}
	}
	return list
}

// diskTime is how long it takes.
func (b *bench) diskTime() time.Duration {
	stores := len(b.diskSubjects())
	if stores == 0 {
		return 0
	}
	size, after := b.diskSize()
	return after + time.Duration(stores)*(500*time.Millisecond+diskPasses*time.Duration(size.Keys)*4*time.Microsecond)
}

// disk tells how the files of stores grow while the same keys are written again
// and again, and what becomes of them afterwards. One store is overwritten after
// the other; they are looked at afterwards all at the same time.
func (b *bench) disk(ctx context.Context) error {
	subjects := b.diskSubjects()
	if len(subjects) == 0 {
		return nil
	}
	size, after := b.diskSize()
	var looking sync.WaitGroup
	var mu sync.Mutex // of what is written down
	defer func() {
		looking.Wait()
		for _, s := range subjects {
			b.end(s)
		}
	}()
	for _, s := range subjects {
		b.progress.step(b.diskTime()/time.Duration(len(subjects)), "%s: overwriting %d keys of %s %d times", report.Disk, size.Keys, s.name(), diskPasses)
		grown, err := b.overwritten(ctx, s, size)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		mu.Lock()
		b.diskFigure(s, "overwriting took", "s", grown.took.Seconds(), err)
		b.diskFigure(s, "at most meanwhile", "MB", float64(grown.most)/1e6, err)
		mu.Unlock()
		if err != nil {
			b.progress.say("%s: %v", s.name(), err)
			continue
		}
		looking.Go(func() {
			sizes, err := watchDisk(ctx, s.dir, after)
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() == nil {
				b.diskLater(s, sizes, after, err)
			}
		})
	}
	return nil
}

func (b *bench) diskFigure(s *subject, name, unit string, value float64, err error) {
	f := b.results.Figure(report.Disk, name, unit, s.kind.Name, s.class)
	if f.Values = append(f.Values, value); err != nil {
		f.Err = err.Error()
	}
}

// diskLater writes down what the files occupied after the last write.
func (b *bench) diskLater(s *subject, sizes []int64, after time.Duration, err error) {
	if err != nil || len(sizes) == 0 {
		b.diskFigure(s, "at the last write", "MB", 0, fmt.Errorf("looking at the files: %v", err))
		return
	}
	most := sizes[0]
	for _, n := range sizes {
		most = max(most, n)
	}
	last := sizes[len(sizes)-1]
	b.diskFigure(s, "at the last write", "MB", float64(sizes[0])/1e6, nil)
	b.diskFigure(s, "at most afterwards", "MB", float64(most)/1e6, nil)
	b.diskFigure(s, fmt.Sprint(after/6, " later"), "MB", float64(sizes[len(sizes)/6])/1e6, nil)
	b.diskFigure(s, fmt.Sprint(after, " later"), "MB", float64(last)/1e6, nil)
}

// overwrittenReply is what overwriting came to.
type overwrittenReply struct {
	took time.Duration
	most int64 // bytes that the files occupied
}

// overwritten fills a store and overwrites it, and looks at its files meanwhile.
func (b *bench) overwritten(ctx context.Context, s *subject, size workload.Size) (out overwrittenReply, err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return out, err
	}
	if s.process, err = child.Start(b.program); err != nil {
		return out, err
	}
	opened := child.Store{Kind: s.kind.Name, Class: s.class, Dir: filepath.Join(s.dir, "store"), Size: size, Seed: b.cfg.seed, Lean: true}
	if _, err := s.process.Open(ctx, opened); err != nil {
		return out, err
	}
	if err := s.process.Load(ctx, b.cfg.seed); err != nil {
		return out, err
	}
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() { out.most = mostDisk(s.dir, done) })
	begun := time.Now()
	for pass := 0; pass < diskPasses && err == nil; pass++ {
		err = s.process.Overwrite(ctx, b.cfg.seed+uint64(pass)+1)
	}
	out.took = time.Since(begun)
	close(done)
	looking.Wait()
	return out, err
}

// mostDisk returns the most that the files of a directory occupy until done is
// closed.
func mostDisk(dir string, done <-chan struct{}) (most int64) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if n, err := measure.Disk(dir); err == nil {
			most = max(most, n)
		}
		select {
		case <-done:
			return most
		case <-look.C:
		}
	}
}

// watchDisk returns what the files of a directory occupy, sixty times over a
// while.
func watchDisk(ctx context.Context, dir string, over time.Duration) (sizes []int64, err error) {
	const looks = 60
	look := time.NewTicker(max(over/looks, time.Millisecond))
	defer look.Stop()
	for {
		n, err := measure.Disk(dir)
		if err != nil {
			return nil, err
		}
		if sizes = append(sizes, n); len(sizes) > looks {
			return sizes, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-look.C:
		}
	}
}

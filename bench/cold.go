package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"inmem/bench/report"
	"inmem/bench/store"
)

// coldArgument lets the program do one task with runs that are on disk, in a
// process of its own, whose memory is told.
const coldArgument = "cold-runs"

// coldTask is what such a process is asked for.
type coldTask struct {
	Do           string        // fill, open, warm, many or read
	Killed       bool          // fill: the process is killed, and does not close the store
	Dir          string        // of the store
	Runs         int           // ended ones
	Keys         int           // in each of them
	Value        int           // bytes
	Budget       int64         // Options.MemoryBudget
	For          time.Duration // read: how long the hot runs are read
	Hot, Callers int           // read: how many runs, and who reads them
	Profile      string        // fill, read: a file for the CPU profile, or ""
}

// coldReply is what it found.
type coldReply struct {
	Opening  time.Duration
	Warm     time.Duration // from before it was opened until all runs were in memory
	Resident int64         // bytes, when it was open
	First    time.Duration // of a run, at the median
	Rate     float64       // hot reads a second
	Most     int64         // bytes that were ever resident
	Used     int64         // bytes that the store says it takes

	Metrics, Listing, Again, Newest time.Duration // many: of one call
}

// coldSize is a store of runs that are on disk.
type coldSize struct{ runs, keys int }

// coldSizes returns the stores to open, and to read with a budget.
func (b *bench) coldSizes() (open, read coldSize, budget int64) {
	if b.cfg.quick {
		return coldSize{1000, 100}, coldSize{1000, 400}, 12 << 20
	}
	return coldSize{max(1, b.cfg.Keys/100), 100}, coldSize{max(1, b.cfg.Keys/25), 400}, max(int64(b.cfg.Keys)*400, 1<<20)
}

// oursWanted says whether a section of ours alone was asked for.
func (b *bench) oursWanted(section string) bool {
	ours := func(k store.Kind) bool { return k.Name == report.Ours }
	return b.cfg.wants(section) && slices.ContainsFunc(b.kinds, ours)
}

// problem writes down that a section failed, unless it was interrupted.
func (b *bench) problem(ctx context.Context, section string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		b.results.Problems = append(b.results.Problems, fmt.Sprintf("%s: %v", section, err))
	}
	return nil
}

// cold measures what opening costs.
func (b *bench) cold(ctx context.Context) error {
	if !b.oursWanted(report.Cold) {
		return nil
	}
	open, _, _ := b.coldSizes()
	b.progress.step(b.coldTime(), "%s: %d runs of %d keys", report.Cold, open.runs, open.keys)
	return b.problem(ctx, report.Cold, b.coldOpen(ctx, open))
}

// coldTime is how long it takes.
func (b *bench) coldTime() time.Duration {
	if !b.oursWanted(report.Cold) {
		return 0
	}
	open, _, _ := b.coldSizes()
	return time.Duration(open.runs*open.keys)*2*10*time.Microsecond + time.Duration(b.cfg.rounds)*4*time.Second
}

// large measures data larger than memory.
func (b *bench) large(ctx context.Context) error {
	if !b.oursWanted(report.Large) {
		return nil
	}
	_, read, budget := b.coldSizes()
	b.progress.step(b.largeTime(), "%s: %d runs of %d keys under %d MB", report.Large, read.runs, read.keys, budget/1e6)
	return b.problem(ctx, report.Large, b.coldRead(ctx, read, budget))
}

// largeTime is how long it takes.
func (b *bench) largeTime() time.Duration {
	if !b.oursWanted(report.Large) {
		return 0
	}
	_, read, _ := b.coldSizes()
	return time.Duration(read.runs*read.keys)*10*time.Microsecond + time.Duration(b.cfg.rounds)*2*(8*b.cfg.cell+time.Second)
}

func (b *bench) coldFigure(section, name, unit string, value float64) {
	f := b.results.Figure(section, name, unit, report.Ours, store.Batched)
	f.Values = append(f.Values, value)
}

// coldOpen fills stores, one that is closed and one whose process is killed after
// the last write, and opens copies of each: who opens one changes it.
func (b *bench) coldOpen(ctx context.Context, size coldSize) error {
	for _, killed := range []bool{false, true} {
		if err := b.coldOpened(ctx, size, killed); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) coldOpened(ctx context.Context, size coldSize, killed bool) (err error) {
	master, dir := filepath.Join(b.dir, "cold"), filepath.Join(b.dir, "cold-copy")
	defer func() { err = errors.Join(err, os.RemoveAll(master), os.RemoveAll(dir)) }()
	task := coldTask{Do: "fill", Dir: master, Runs: size.runs, Keys: size.keys, Value: b.cfg.Value, Killed: killed}
	if _, err := b.coldProcess(ctx, task); err != nil {
		return err
	}
	name := fmt.Sprintf("%d ended runs of %d keys, %s: ", size.runs, size.keys, reopening{killed: killed}.how())
	task.Dir, task.Killed = dir, false
	for range b.cfg.rounds {
		for _, task.Do = range []string{"open", "warm"} {
			if err := copyTree(master, dir); err != nil {
				return err
			}
			r, err := b.coldProcess(ctx, task)
			if err == nil {
				err = os.RemoveAll(dir)
			}
			if err != nil {
				return err
			}
			if task.Do == "warm" {
				b.coldFigure(report.Cold, name+"open, and all runs loaded", "ms", r.Warm.Seconds()*1000)
				b.coldFigure(report.Cold, name+"resident when all are", "MB", float64(r.Resident)/1e6)
				continue
			}
			b.coldFigure(report.Cold, name+"open", "ms", r.Opening.Seconds()*1000)
			b.coldFigure(report.Cold, name+"resident then", "MB", float64(r.Resident)/1e6)
			b.coldFigure(report.Cold, name+"first read of a run, median", "µs", r.First.Seconds()*1e6)
		}
	}
	return nil
}

func (b *bench) coldRead(ctx context.Context, size coldSize, budget int64) (err error) {
	dir := filepath.Join(b.dir, "cold")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	task := coldTask{
		Do: "fill", Dir: dir, Runs: size.runs, Keys: size.keys, Value: b.cfg.Value, Budget: budget,
		For: 4 * b.cfg.cell, Hot: max(1, size.runs/40), Callers: 4,
	}
	if _, err := b.coldProcess(ctx, task); err != nil {
		return err
	}
	task.Do = "read"
	for range b.cfg.rounds {
		for _, bounded := range []bool{true, false} {
			name := fmt.Sprintf("%d MB of values: ", size.runs*size.keys*b.cfg.Value/1e6)
			if task.Budget = 0; bounded {
				task.Budget = budget
				name += fmt.Sprintf("budget %d MB: ", budget/1e6)
			}
			if b.cfg.profile != "" {
				task.Profile = filepath.Join(b.cfg.profile, fileName(name+".pprof"))
			}
			r, err := b.coldProcess(ctx, task)
			if err != nil {
				return err
			}
			b.coldFigure(report.Large, name+"hot reads", "1/s", r.Rate)
			b.coldFigure(report.Large, name+"resident at most", "MB", float64(r.Most)/1e6)
			b.coldFigure(report.Large, name+"said to be used", "MB", float64(r.Used)/1e6)
		}
	}
	return nil
}

// coldProcess lets a process of its own do a task.
func (b *bench) coldProcess(ctx context.Context, task coldTask) (reply coldReply, err error) {
	cmd, err := b.taskProcess(ctx, coldArgument, task)
	if err != nil {
		return reply, err
	}
	if task.Budget > 0 && task.Do == "read" {
		// The collector needs room to work in, and the program some for itself.
		cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%d", max(task.Budget*7/5, 32<<20)))
	}
	err = replied(cmd, &reply)
	if task.Killed && cmd.ProcessState != nil && !cmd.ProcessState.Exited() && ctx.Err() == nil {
		return reply, nil // as it was told to
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", task.Do, err)
	}
	return reply, err
}

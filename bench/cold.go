package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	Do           string        // fill, open or read
	Dir          string        // of the store
	Runs         int           // ended ones
	Keys         int           // in each of them
	Value        int           // bytes
	Budget       int64         // Options.MemoryBudget
	For          time.Duration // read: how long the hot runs are read
	Hot, Callers int           // read: how many runs, and who reads them
}

// coldReply is what it found.
type coldReply struct {
	Opening  time.Duration
	Resident int64         // bytes, when it was open
	First    time.Duration // of a run, at the median
	Rate     float64       // hot reads a second
	Most     int64         // bytes that were ever resident
	Used     int64         // bytes that the store says it takes
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

func (b *bench) coldWanted() bool {
	ours := func(k store.Kind) bool { return k.Name == report.Ours }
	return b.cfg.wants(report.Cold) && slices.ContainsFunc(b.kinds, ours)
}

// cold measures what opening costs, and data larger than memory.
func (b *bench) cold(ctx context.Context) error {
	if !b.coldWanted() {
		return nil
	}
	open, read, budget := b.coldSizes()
	b.progress.step(b.coldTime(), "%s: %d runs of %d keys, then %d of %d", report.Cold, open.runs, open.keys, read.runs, read.keys)
	err := b.coldOpen(ctx, open)
	if err == nil {
		err = b.coldRead(ctx, read, budget)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		b.results.Problems = append(b.results.Problems, fmt.Sprintf("%s: %v", report.Cold, err))
	}
	return nil
}

// coldTime is how long it takes.
func (b *bench) coldTime() time.Duration {
	if !b.coldWanted() {
		return 0
	}
	open, read, _ := b.coldSizes()
	return time.Duration(open.runs*open.keys+read.runs*read.keys)*10*time.Microsecond + time.Duration(b.cfg.rounds)*2*(4*b.cfg.cell+time.Second)
}

func (b *bench) coldFigure(name, unit string, value float64) {
	f := b.results.Figure(report.Cold, name, unit, report.Ours, store.Batched)
	f.Values = append(f.Values, value)
}

func (b *bench) coldOpen(ctx context.Context, size coldSize) (err error) {
	dir := filepath.Join(b.dir, "cold")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	task := coldTask{Do: "fill", Dir: dir, Runs: size.runs, Keys: size.keys, Value: b.cfg.Value}
	if _, err := b.coldProcess(ctx, task); err != nil {
		return err
	}
	name := fmt.Sprintf("%d ended runs of %d keys: ", size.runs, size.keys)
	for range b.cfg.rounds {
		task.Do = "open"
		r, err := b.coldProcess(ctx, task)
		if err != nil {
			return err
		}
		b.coldFigure(name+"open", "ms", r.Opening.Seconds()*1000)
		b.coldFigure(name+"resident then", "MB", float64(r.Resident)/1e6)
		b.coldFigure(name+"first read of a run, median", "µs", r.First.Seconds()*1e6)
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
			r, err := b.coldProcess(ctx, task)
			if err != nil {
				return err
			}
			b.coldFigure(name+"hot reads", "1/s", r.Rate)
			b.coldFigure(name+"resident at most", "MB", float64(r.Most)/1e6)
			b.coldFigure(name+"said to be used", "MB", float64(r.Used)/1e6)
		}
	}
	return nil
}

// coldProcess lets a process of its own do a task.
func (b *bench) coldProcess(ctx context.Context, task coldTask) (reply coldReply, err error) {
	spec, err := json.Marshal(task)
	if err != nil {
		return reply, err
	}
	cmd := exec.CommandContext(ctx, b.program, coldArgument, string(spec))
	if task.Budget > 0 && task.Do == "read" {
		// The collector needs room to work in, and the program some for itself.
		cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%d", max(task.Budget*7/5, 32<<20)))
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return reply, fmt.Errorf("%s: %w", task.Do, err)
	}
	return reply, json.Unmarshal(out, &reply)
}

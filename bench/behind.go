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

// behindArgument lets the program measure writers beside the background of a
// store, in a process of its own.
const behindArgument = "background-work"

// behindTask is what such a process is asked for.
type behindTask struct {
	Mode  string // one of behindModes
	Dir   string // of the store
	Keys  int    // that are overwritten
	Runs  int    // they are in
	Value int    // bytes
	Rate  int    // puts a second of the second half, in which latency is measured
	For   time.Duration
	Seed  uint64
}

// behindReply is what it found.
type behindReply struct {
	Rate               float64       // puts a second, each caller as fast as it can
	Service, Latency   time.Duration // the 99th percentiles of that, and at the fixed rate
	Checkpoints, Swept uint64        // that were taken; segments that were removed or compacted
}

// What a store does in the background.
const (
	behindNothing    = "nothing"
	behindImages     = "checkpoints"
	behindRetention  = "checkpoints, no history"
	behindCompaction = "checkpoints, no history of 3 in 4 runs"
)

var behindModes = []string{behindNothing, behindImages, behindRetention, behindCompaction}

// behindCallers put at the same time.
const behindCallers = 16

// behindFor is how long puts are measured in each half of a round.
func (b *bench) behindFor() time.Duration {
	if b.cfg.quick {
		return b.cfg.cell
	}
	return 4 * b.cfg.cell
}

// behindTime is how long it takes.
func (b *bench) behindTime() time.Duration {
	if !b.oursWanted(report.Behind) {
		return 0
	}
	return time.Duration(b.cfg.rounds*len(behindModes)) * (time.Second + 5*b.behindFor()/2)
}

// behind measures what writers lose to the background.
func (b *bench) behind(ctx context.Context) error {
	if !b.oursWanted(report.Behind) {
		return nil
	}
	size, _ := b.diskSize()
	modes := slices.Clone(behindModes)
	for round := range b.cfg.rounds {
		b.rng.Shuffle(len(modes), func(i, j int) { modes[i], modes[j] = modes[j], modes[i] })
		for _, mode := range modes {
			b.progress.step(b.behindTime()/time.Duration(b.cfg.rounds*len(modes)), "%s, round %d of %d: %s", report.Behind, round+1, b.cfg.rounds, mode)
			r, err := b.behindProcess(ctx, behindTask{
				Mode: mode, Dir: filepath.Join(b.dir, "behind"), Keys: size.Keys, Runs: size.Runs, Value: size.Value,
				Rate: 20_000, For: b.behindFor(), Seed: b.rng.Uint64(),
			})
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				b.results.Problems = append(b.results.Problems, fmt.Sprintf("%s: %s: %v", report.Behind, mode, err))
				continue
			}
			b.behindFigures(mode, r)
		}
	}
	return nil
}

func (b *bench) behindFigures(mode string, r behindReply) {
	for _, x := range []struct {
		name, unit string
		value      float64
	}{
		{"puts", "1/s", r.Rate},
		{"p99", "µs", float64(r.Service.Nanoseconds()) / 1e3},
		{"p99 at 20000/s", "µs", float64(r.Latency.Nanoseconds()) / 1e3},
		{"checkpoints", "", float64(r.Checkpoints)},
		{"segments removed or compacted", "", float64(r.Swept)},
	} {
		f := b.results.Figure(report.Behind, mode+": "+x.name, x.unit, report.Ours, store.Batched)
		f.Values = append(f.Values, x.value)
	}
}

// behindProcess lets a process of its own do a task, and removes its store.
func (b *bench) behindProcess(ctx context.Context, task behindTask) (reply behindReply, err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(task.Dir)) }()
	cmd, err := b.taskProcess(ctx, behindArgument, task)
	if err != nil {
		return reply, err
	}
	return reply, replied(cmd, &reply)
}

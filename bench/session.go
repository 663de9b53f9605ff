package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"inmem/bench/child"
	"inmem/bench/measure"
	"inmem/bench/report"
	"inmem/bench/store"
	"inmem/bench/workload"
)

// bench is one run of the harness.
type bench struct {
	cfg      *config
	program  string // this one, to start children
	kinds    []store.Kind
	dir      string
	agents   string // a file, or ""
	results  *report.Results
	progress *progress
	rng      *rand.Rand
}

func newBench(cfg *config, kinds []store.Kind, dir string, out io.Writer) (*bench, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bench{cfg: cfg, program: program, dir: dir, rng: rand.New(rand.NewPCG(cfg.seed, 0))}
	b.results = &report.Results{
		Environment: measure.Describe(dir, cfg.flags, cfg.seed),
		Config:      report.Config{Size: cfg.Size, Rounds: cfg.rounds, Seconds: cfg.cell.Seconds(), Quick: cfg.quick},
	}
	if _, err := os.Stat(cfg.agents); err == nil {
		if b.agents, err = filepath.Abs(cfg.agents); err != nil {
			return nil, err
		}
	}
	for _, k := range kinds {
		if len(cfg.stores) > 0 && !slices.Contains(cfg.stores, k.Name) {
			continue
		}
		s := report.Store{Name: k.Name, Version: k.Version, Missing: k.Missing()}
		for _, c := range k.Classes {
			s.Classes = append(s.Classes, c.String())
			if note := k.Notes[c]; note != "" {
				s.Notes = append(s.Notes, c.String()+": "+note)
			}
		}
		b.results.Stores = append(b.results.Stores, s)
		if s.Missing == "" {
			b.kinds = append(b.kinds, k)
		}
	}
	b.progress = newProgress(out, b.estimate())
	return b, nil
}

// all measures everything that was asked for. When it is interrupted, what there
// is is kept, and marked.
func (b *bench) all(ctx context.Context) error {
	begun := time.Now()
	if err := b.source(); err != nil {
		return err
	}
	b.progress.say("seed %d, about %v", b.cfg.seed, b.progress.left())
	for _, part := range []func(context.Context) error{b.floors, b.throughput, b.disk, b.behind, b.reopening, b.cold, b.many, b.large, b.rest, b.growth} {
		if ctx.Err() != nil {
			break
		}
		if err := part(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	b.results.Partial = ctx.Err() != nil
	b.results.Seconds = time.Since(begun).Seconds()
	if b.results.Partial {
		b.progress.say("interrupted: the report has what there is")
	}
	return nil
}

// source notes which agents will be replayed, and that they can be read.
func (b *bench) source() error {
	if !slices.ContainsFunc(b.cells(), func(c workload.Cell) bool { return c.Name == workload.Agents }) {
		return nil
	}
	t := workload.Synthetic(100)
	if b.agents != "" {
		var err error
		if t, err = workload.ReadTranscripts(b.agents); err != nil {
			return err
		}
	}
	b.results.Transcripts = t.Source
	return nil
}

// cells returns those that were asked for.
func (b *bench) cells() []workload.Cell {
	return slices.DeleteFunc(workload.Cells(), func(c workload.Cell) bool {
		return b.cfg.quick && !c.Quick || !b.cfg.wants(c.ID())
	})
}

// floors measures what the machine can do.
func (b *bench) floors(ctx context.Context) error {
	if !b.cfg.wants(report.Floors) {
		return nil
	}
	for range b.cfg.rounds {
		for _, f := range measure.Floors() {
			figure := b.results.Figure(report.Floors, f.Name, f.Unit, "", 0)
			b.progress.step(b.cfg.cell*5/4, "floor: %s", f.Name)
			v, err := f.Measure(ctx, b.dir, b.cfg.cell)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				figure.Err = err.Error()
				continue
			}
			figure.Values = append(figure.Values, v)
		}
	}
	return nil
}

// subject is a store of a class in its process.
type subject struct {
	kind    store.Kind
	class   store.Class
	dir     string
	process *child.Process
	atRest  bool
	before  float64 // MB resident before the store was opened
	err     error   // it cannot be measured any more
}

func (s *subject) name() string { return s.kind.Name + " " + s.class.String() }

// subjects returns those that a cell, or the section on memory, is about.
func (b *bench) subjects() []*subject {
	var list []*subject
	for _, k := range b.kinds {
		for _, class := range k.Classes {
			needed := slices.ContainsFunc(b.cells(), func(c workload.Cell) bool { return c.On(class) })
			if needed || class != store.Strict && b.cfg.wants(report.Memory) {
				dir := filepath.Join(b.dir, fileName(k.Name+"-"+class.String()))
				list = append(list, &subject{kind: k, class: class, dir: dir})
			}
		}
	}
	return list
}

// fileName makes a name for a file of any text.
func fileName(text string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(`/\ %:,`, c) {
			return '-'
		}
		return c
	}, text)
}

// throughput does the cells, and what can be told of the stores that they are
// done to.
func (b *bench) throughput(ctx context.Context) error {
	subjects := b.subjects()
	if len(subjects) == 0 {
		return nil
	}
	defer func() {
		for _, s := range subjects {
			b.end(s)
		}
	}()
	if err := b.start(ctx, subjects); err != nil {
		return err
	}
	for round := range b.cfg.rounds {
		for _, c := range b.cells() {
			if err := b.round(ctx, round, c, subjects); err != nil {
				return err
			}
		}
	}
	return b.overwriting(ctx, subjects)
}

// start starts the processes, and has them checked and loaded, as many at the
// same time as there are processors. Their memory is told before the next.
func (b *bench) start(ctx context.Context, subjects []*subject) error {
	var all sync.WaitGroup
	var mu sync.Mutex // of what is written down
	room := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, s := range subjects {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			if ctx.Err() != nil {
				return
			}
			s.err = b.load(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			b.progress.step(b.loading(), "checked and loaded: %s", s.name())
			if s.err != nil {
				b.progress.say("%s: %v", s.name(), s.err)
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, s := range subjects {
		if b.cfg.wants(report.Memory) && s.class != store.Strict && s.err == nil {
			b.results.Figure(report.Memory, "memory before the store is opened", "MB", s.kind.Name, s.class).Values = []float64{s.before}
		}
		if err := b.footprint(ctx, s, "with all keys put once"); err != nil {
			return err
		}
	}
	return nil
}

// load checks a store and loads its data set.
func (b *bench) load(ctx context.Context, s *subject) error {
	process, err := child.Start(b.program)
	if err != nil {
		return err
	}
	s.process = process
	check := s.dir + "-check"
	if err := process.Check(ctx, s.kind.Name, s.class, check); err != nil {
		return fmt.Errorf("%s is not correct: %w", s.name(), err)
	}
	if err := os.RemoveAll(check); err != nil {
		return err
	}
	opened, err := process.Open(ctx, child.Store{
		Kind: s.kind.Name, Class: s.class, Dir: s.dir, Size: b.cfg.Size, Seed: b.cfg.seed, Transcripts: b.agents,
	})
	s.before = float64(opened.Collected) / 1e6
	if err == nil {
		err = process.Load(ctx, b.cfg.seed)
	}
	return err
}

// end kills the process and removes its files: nothing is wanted of them any
// more.
func (b *bench) end(s *subject) {
	if s.process != nil {
		s.process.Kill()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		b.progress.say("%v", err)
	}
}

// round does a cell in one round, to all its stores.
func (b *bench) round(ctx context.Context, round int, c workload.Cell, subjects []*subject) error {
	list := slices.DeleteFunc(slices.Clone(subjects), func(s *subject) bool { return !c.On(s.class) })
	b.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	seed := b.rng.Uint64() // the same for all
	for _, s := range list {
		score := b.results.Score(c, s.kind.Name, s.class)
		b.progress.step(b.timed(), "round %d of %d: %s: %s", round+1, b.cfg.rounds, c.ID(), s.kind.Name)
		if s.err != nil {
			score.Err = s.err.Error()
		}
		if score.Err != "" || score.Unsupported {
			continue
		}
		if err := b.quiet(ctx, subjects); err != nil {
			return err
		}
		profile := ""
		if b.cfg.profile != "" {
			name := fmt.Sprintf("%s %s %d.pprof", s.name(), c.ID(), round+1)
			profile = filepath.Join(b.cfg.profile, fileName(name))
		}
		s.atRest = false
		reply, err := s.process.Cell(ctx, c, b.cfg.cell, b.cfg.cell/4, seed, profile)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failed := (*child.Failed)(nil); err == nil {
			score.Rounds = append(score.Rounds, reply.Result)
		} else if errors.As(err, &failed) && failed.Unsupported {
			score.Unsupported = true
		} else {
			score.Err = err.Error()
			b.progress.say("%s, %s: %v", c.ID(), s.name(), err)
			if failed == nil {
				s.err = err
			}
		}
	}
	return nil
}

// quiet waits until those that were at work are at rest. A run of very short cells
// has no time for it.
func (b *bench) quiet(ctx context.Context, subjects []*subject) error {
	for _, s := range subjects {
		if s.atRest || s.err != nil {
			continue
		}
		_, err := s.process.Rest(ctx, min(200*time.Millisecond, 4*b.cfg.cell), min(5*time.Second, 100*b.cfg.cell))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.atRest, s.err = true, err
	}
	return nil
}

// footprint writes down what a store occupies.
func (b *bench) footprint(ctx context.Context, s *subject, when string) error {
	if !b.cfg.wants(report.Memory) || s.class == store.Strict {
		return nil
	}
	if err := b.quiet(ctx, []*subject{s}); err != nil {
		return err
	}
	figure := func(what string) *report.Figure {
		return b.results.Figure(report.Memory, what+" "+when, "MB", s.kind.Name, s.class)
	}
	now, collected := figure("memory"), figure("memory, collected,")
	reply, err := child.Reply{}, s.err
	if err == nil {
		reply, err = s.process.Memory(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		now.Err, collected.Err = err.Error(), err.Error()
		return nil
	}
	now.Values = []float64{float64(reply.Resident) / 1e6}
	collected.Values = []float64{float64(reply.Collected) / 1e6}
	if s.class == store.Volatile {
		return nil
	}
	disk := figure("disk")
	bytes, err := measure.Disk(s.dir)
	if err != nil {
		disk.Err = err.Error()
		return nil
	}
	disk.Values = []float64{float64(bytes) / 1e6}
	return nil
}

// overwriting tells what stores occupy when all keys were overwritten three
// times, 5 s later.
func (b *bench) overwriting(ctx context.Context, subjects []*subject) error {
	if b.cfg.quick || !b.cfg.wants(report.Memory) {
		return nil
	}
	for _, s := range subjects {
		if s.class == store.Strict {
			continue
		}
		b.progress.step(b.overwrites(), "overwriting all keys of %s", s.name())
		for i := 0; i < 3 && s.err == nil; i++ {
			s.err = s.process.Overwrite(ctx, b.cfg.seed+uint64(i)+1)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause(b.cfg)):
		}
		s.atRest = true // the time that it has to tidy up is over
		if err := b.footprint(ctx, s, "after overwriting all keys 3 times and 5 s"); err != nil {
			return err
		}
	}
	return nil
}

// pause is the time for which a store is left alone after it was overwritten; not
// as long in a run that is too short for anything anyway.
func pause(cfg *config) time.Duration { return min(5*time.Second, 100*cfg.cell) }

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"inmem/bench/child"
	"inmem/bench/report"
	"inmem/bench/store"
)

// reopening is a store that is opened again.
type reopening struct {
	kind    store.Kind
	class   store.Class
	commits int
	killed  bool
}

// how says how the process ended that wrote.
func (r reopening) how() string {
	if r.killed {
		return "SIGKILL"
	}
	return "a clean close"
}

func (r reopening) name() string { return fmt.Sprintf("%d commits, %s", r.commits, r.how()) }

// expected is how long it takes; a commit costs most stores about 10 µs, and
// 100 µs where it is synced.
func (r reopening) expected(b *bench) time.Duration {
	each := 8 * time.Microsecond
	if r.class == store.Strict {
		each = 100 * time.Microsecond
	}
	opening := 300*time.Millisecond + time.Duration(r.commits)*4*time.Microsecond
	return 300*time.Millisecond + time.Duration(r.commits)*each + time.Duration(b.cfg.rounds)*opening
}

// reopenings returns those that were asked for.
func (b *bench) reopenings() []reopening {
	const few = 10_000
	many := b.cfg.Keys
	if b.cfg.quick {
		many = 0
	}
	var list []reopening
	if !b.cfg.wants(report.Reopen) {
		return nil
	}
	for _, commits := range []int{min(few, b.cfg.Keys), many} {
		if commits == 0 || commits == many && len(list) > 0 && many <= few {
			continue
		}
		for _, killed := range []bool{false, true} {
			if b.cfg.quick && !killed {
				continue
			}
			for _, k := range b.kinds {
				for _, class := range k.Classes {
					// What Strict stores lose, few commits tell; they would take minutes for many.
					strict := class == store.Strict && killed && commits <= few && !b.cfg.quick
					if class == store.Batched || strict {
						list = append(list, reopening{k, class, commits, killed})
					}
				}
			}
		}
	}
	return list
}

// reopening measures them all.
func (b *bench) reopening(ctx context.Context) error {
	for _, r := range b.reopenings() {
		b.progress.step(r.expected(b), "%s: %s %s, %s", report.Reopen, r.kind.Name, r.class, r.name())
		err := b.reopen(ctx, r)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.progress.say("%s %s, %s: %v", r.kind.Name, r.class, r.name(), err)
			b.figure(r, report.Reopen, "ready", "ms").Err = err.Error()
			b.figure(r, report.Reopen, "loaded", "ms").Err = err.Error()
			b.figure(r, report.Reopen, "all read", "ms").Err = err.Error()
			if r.killed {
				b.figure(r, report.Lost, "lost", "commits").Err = err.Error()
			}
		}
	}
	return nil
}

func (b *bench) figure(r reopening, section, what, unit string) *report.Figure {
	return b.results.Figure(section, r.name()+": "+what, unit, r.kind.Name, r.class)
}

// reopen makes a store, and opens a copy of it in each round. The last one is
// asked what it lost.
func (b *bench) reopen(ctx context.Context, r reopening) (err error) {
	dir := filepath.Join(b.dir, "reopen")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	master, ledger := filepath.Join(dir, "store"), filepath.Join(dir, "ledger")
	if err := b.fill(ctx, r, master, ledger); err != nil {
		return err
	}
	for round := range b.cfg.rounds {
		again := filepath.Join(dir, fmt.Sprint(round))
		if err := copyTree(master, again); err != nil {
			return err
		}
		if err := b.openCopy(ctx, r, again, ledger); err != nil {
			return err
		}
		if err := os.RemoveAll(again); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) store(r reopening, dir string, commits int) child.Store {
	return child.Store{Kind: r.kind.Name, Class: r.class, Dir: dir, Size: b.cfg.Size, Seed: b.cfg.seed, Commits: commits}
}

// fill makes the commits in a process of its own, which is then killed, or closes
// the store.
func (b *bench) fill(ctx context.Context, r reopening, dir, ledger string) error {
	p, err := child.Start(b.program)
	if err != nil {
		return err
	}
	defer p.Kill()
	if _, err := p.Open(ctx, b.store(r, dir, 0)); err != nil {
		return err
	}
	if err := p.Commit(ctx, r.commits, ledger, r.killed); err != nil {
		return err
	}
	if r.killed {
		p.Kill()
		return nil
	}
	return p.Close(ctx)
}

// openCopy opens a copy in a fresh process, and counts what is missing.
func (b *bench) openCopy(ctx context.Context, r reopening, dir, ledger string) error {
	p, err := child.Start(b.program)
	if err != nil {
		return err
	}
	defer p.Kill()
	reply, err := p.Open(ctx, b.store(r, dir, r.commits))
	if err != nil {
		return err
	}
	ready, loaded := b.figure(r, report.Reopen, "ready", "ms"), b.figure(r, report.Reopen, "loaded", "ms")
	ready.Values = append(ready.Values, reply.Ready.Seconds()*1000)
	loaded.Values = append(loaded.Values, reply.Loaded.Seconds()*1000)
	counted, err := p.Missing(ctx, ledger)
	if err != nil {
		return err
	}
	all := b.figure(r, report.Reopen, "all read", "ms")
	all.Values = append(all.Values, (reply.Loaded+counted.Took).Seconds()*1000)
	if !r.killed && counted.Missing > 0 {
		return fmt.Errorf("%d of %d commits are missing after a clean close", counted.Missing, counted.Acked)
	}
	if r.killed {
		f := b.figure(r, report.Lost, "lost", "commits")
		f.Values = append(f.Values, float64(counted.Missing))
	}
	return p.Close(ctx)
}

package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"inmem/bench/report"
	"inmem/bench/store"
)

// progress tells what is done and how much time is left, by how long the steps
// so far were expected to take and did take.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	begun    time.Time
	total    time.Duration // expected of all
	done     time.Duration // expected of the steps before this one
	underWay time.Duration
}

func newProgress(out io.Writer, total time.Duration) *progress {
	return &progress{out: out, begun: time.Now(), total: total}
}

// step says what comes next, and how long it is expected to take.
func (p *progress) step(expected time.Duration, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	left := p.left()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.underWay = p.done+p.underWay, expected
	fmt.Fprintf(p.out, "%s %7v left  %s\n", time.Now().Format("15:04:05"), left, text)
}

// say tells something else.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// left returns about how much time is left.
func (p *progress) left() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := p.done + p.underWay
	left := max(0, p.total-done)
	if done > 10*time.Second {
		left = time.Duration(float64(left) * min(3, max(0.3, time.Since(p.begun).Seconds()/done.Seconds())))
	}
	return left.Round(time.Second)
}

// estimate returns about how long the run will take.
func (b *bench) estimate() time.Duration {
	total := time.Duration(0)
	if b.cfg.wants(report.Floors) {
		total += time.Duration(7*b.cfg.rounds) * b.cfg.cell * 5 / 4
	}
	for _, s := range b.subjects() {
		total += b.loading()
		for _, c := range b.cells() {
			if c.On(s.class) {
				total += time.Duration(b.cfg.rounds) * b.timed()
			}
		}
		if !b.cfg.quick && s.class != store.Strict && b.cfg.wants(report.Memory) {
			total += b.overwrites()
		}
	}
	for _, r := range b.reopenings() {
		total += r.expected(b)
	}
	total += b.diskTime() + b.behindTime() + b.coldTime() + b.manyTime() + b.largeTime() + b.restTime()
	if i := slices.IndexFunc(b.kinds, func(k store.Kind) bool { return k.Name == report.Ours }); i >= 0 {
		for _, size := range b.sizes() {
			total += b.growing(size)
		}
	}
	return total
}

// timed is how long a cell takes, with its warm-up and the rest before.
func (b *bench) timed() time.Duration { return b.cfg.cell*5/4 + 280*time.Millisecond }

// loading is how long a store takes to be checked and loaded, of several at once.
func (b *bench) loading() time.Duration {
	return 500*time.Millisecond + time.Duration(b.cfg.Keys)*3*time.Microsecond
}

func (b *bench) overwrites() time.Duration {
	return pause(b.cfg) + time.Duration(b.cfg.Keys)*12*time.Microsecond
}

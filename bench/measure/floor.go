package measure

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// Floor is what the machine can do without any store.
type Floor struct {
	Name string
	Unit string
	// Measure returns the figure. The directory is there for files.
	Measure func(ctx context.Context, dir string, d time.Duration) (float64, error)
}

// Floors returns them all.
func Floors() []Floor {
	const ns, us = "ns", "µs"
	return []Floor{
		{"append 300 B and fdatasync, a file that grows", us, func(ctx context.Context, dir string, d time.Duration) (float64, error) {
			return syncs(ctx, dir, d, false)
		}},
		{"write 300 B and fdatasync, a file written before", us, func(ctx context.Context, dir string, d time.Duration) (float64, error) {
			return syncs(ctx, dir, d, true)
		}},
		{"copy 256 B from anywhere in 256 MB, 1 goroutine", ns, func(ctx context.Context, _ string, d time.Duration) (float64, error) {
			return copies(ctx, d, 1)
		}},
		{"copy 256 B from anywhere in 256 MB, 16 goroutines", ns, func(ctx context.Context, _ string, d time.Duration) (float64, error) {
			return copies(ctx, d, 16)
		}},
		{"round trip between two goroutines over channels", ns, roundTrips},
		{"wake-up at a fixed rate of 20,000/s, 16 callers, median", us, func(ctx context.Context, _ string, d time.Duration) (float64, error) {
			return wakeUps(ctx, d, 50)
		}},
		{"wake-up at a fixed rate of 20,000/s, 16 callers, p99", us, func(ctx context.Context, _ string, d time.Duration) (float64, error) {
			return wakeUps(ctx, d, 99)
		}},
	}
}

// syncs returns the median of the microseconds that a small write takes with its
// sync.
func syncs(ctx context.Context, dir string, d time.Duration, before bool) (us float64, err error) {
	const size, most = 300, 64 << 20
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		return 0, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
		if e := os.Remove(f.Name()); err == nil {
			err = e
		}
	}()
	if before {
		if _, err := f.Write(make([]byte, most)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	record, at := make([]byte, size), int64(0)
	r, err := closed(ctx, Plan{For: d, WarmUp: d / 4}, []Op{func() error {
		if at+size > most {
			at = 0
		}
		if _, err := f.WriteAt(record, at); err != nil {
			return err
		}
		at += size
		return datasync(f)
	}})
	if err != nil {
		return 0, err
	}
	return float64(r.Latency.At(50).Nanoseconds()) / 1000, nil
}

// copies returns the nanoseconds of a copy, in the eyes of a caller.
func copies(ctx context.Context, d time.Duration, callers int) (float64, error) {
	const record = 256
	memory := make([]byte, 256<<20)
	fill(memory)
	ops := make([]Op, callers)
	for i := range ops {
		rng := rand.New(rand.NewPCG(uint64(i), 0))
		to := make([]byte, record)
		ops[i] = func() error {
			at := rng.IntN(len(memory)/record) * record
			copy(to, memory[at:at+record])
			return nil
		}
	}
	r, err := closed(ctx, Plan{For: d, WarmUp: d / 4}, ops)
	if err != nil {
		return 0, err
	}
	return 1e9 / r.Rate(), nil
}

// fill touches each page, so that none is the kernel's page of zeros.
func fill(memory []byte) {
	for i := 0; i < len(memory); i += 64 {
		memory[i] = byte(i >> 6)
	}
}

func roundTrips(ctx context.Context, _ string, d time.Duration) (float64, error) {
	there, back := make(chan int), make(chan int)
	go func() {
		defer close(back)
		for n := range there {
			back <- n
		}
	}()
	n := 0
	r, err := closed(ctx, Plan{For: d, WarmUp: d / 4}, []Op{func() error {
		there <- n
		if got := <-back; got != n {
			return fmt.Errorf("%d came back for %d", got, n)
		}
		n++
		return nil
	}})
	close(there)
	<-back
	if err != nil {
		return 0, err
	}
	return 1e9 / r.Rate(), nil
}

// wakeUps returns what a cell with a fixed rate shows for a store that takes no
// time: what of its latency is the harness and the scheduler.
func wakeUps(ctx context.Context, d time.Duration, percent float64) (float64, error) {
	ops := make([]Op, 16)
	for i := range ops {
		ops[i] = func() error { return nil }
	}
	r, err := open(ctx, Plan{For: d, WarmUp: d / 4, Rate: 20_000}, ops)
	if err != nil {
		return 0, err
	}
	return float64(r.Latency.At(percent).Nanoseconds()) / 1000, nil
}

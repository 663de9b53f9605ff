package inmem_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// panicking is a store in which something panics, once, at the n-th of the
// moments that a test chooses, while several callers are at work.
type panicking struct {
	*store
	left    atomic.Int64 // moments until then; 0 = it is over, or has not begun
	fired   atomic.Bool
	kept    *inmem.Run
	writers []*counted
}

func newPanicking(t testing.TB, change func(*panicking, *inmem.Options)) *panicking {
	p := &panicking{}
	p.store = newStore(t, func(o *inmem.Options) {
		o.Shards, o.SegmentSize, o.CheckpointBytes = 2, 4<<10, 4<<10
		change(p, o)
	})
	p.kept = p.begin()
	put(t, p.kept, "k", "v")
	for range 2 {
		for _, r := range p.oneOfEach() {
			p.writers = append(p.writers, &counted{run: r})
		}
	}
	require.NoError(t, p.Flush(ctx))
	return p
}

// moment is one of those at which it may panic.
func (p *panicking) moment() {
	if p.left.Load() > 0 && p.left.Add(-1) == 0 {
		p.fired.Store(true)
		panic(errDisk)
	}
}

// work makes calls of many kinds from several goroutines, up to a number or to
// the first refusal, which must give the panic as its reason.
func (p *panicking) work() {
	var all sync.WaitGroup
	loop := func(n int, call func(i int) error) {
		all.Go(func() {
			for i := range n {
				if err := call(i); err != nil {
					assert.ErrorIs(p.t, err, inmem.ErrPoisoned)
					assert.ErrorIs(p.t, err, errDisk)
					return
				}
			}
		})
	}
	for _, w := range p.writers {
		loop(25, w.next)
	}
	loop(3, func(int) error { return p.DB.Checkpoint(ctx) })
	loop(5, func(int) error { return p.Flush(ctx) })
	loop(10, func(i int) error {
		r, err := p.BeginRun(ctx, metaNamed(strings.Repeat("long ", 100)))
		if err != nil {
			return err
		}
		if i%2 == 0 {
			return p.DeleteRun(ctx, r.ID())
		}
		return r.End(ctx, run.Failed)
	})
	loop(10, func(int) error {
		for _, err := range p.kept.History(ctx, 0) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	all.Wait()
	for _, w := range p.writers[:2] { // there is always something new for the last checkpoint
		loop(1, w.next)
	}
	all.Wait()
	loop(1, func(int) error { return p.DB.Checkpoint(ctx) })
	all.Wait()
}

// next puts the next number.
func (w *counted) next(int) error {
	w.tried = w.acked + 1
	_, err := w.run.KV().Put(ctx, fmt.Sprint(w.tried%countedKeys), fmt.Append(nil, w.tried))
	if err == nil {
		w.acked = w.tried
	}
	return err
}

// after checks that a panic stopped the store, and that what was acknowledged
// is there once it is open again.
func (p *panicking) after() {
	soon(p.t, "the panic's end", func() bool { return p.Flush(ctx) != nil })
	p.stopped(p.kept, errDisk)
	p.open()
	for i, w := range p.writers {
		w.verify(p.store, true, fmt.Sprint("writer ", i))
	}
	assert.Equal(p.t, "v", get(p.t, p.run(p.kept.ID()), "k"))
	put(p.t, p.run(p.kept.ID()), "k", "on")
}

// panicAtEach lets the first moment panic, then the second … until there is none.
func panicAtEach(t *testing.T, least int, round func(t *testing.T, n int64) (fired bool)) {
	n := int64(1)
	for round(t, n) {
		require.False(t, t.Failed(), "at moment %d", n)
		n++
		if testing.Short() || raceEnabled {
			n += n / 3
		}
	}
	t.Logf("%d moments", n-1)
	assert.Greater(t, int(n), least, "hardly anything panicked")
}

// A panic at any operation of the disk, in an owner or in the goroutine that
// writes checkpoints: the store stops, nobody is left waiting, the process
// lives, and nothing acknowledged is lost, whatever was half done.
func TestPanicAtEveryOperation(t *testing.T) {
	watchdog(t)
	for _, where := range []struct {
		name, function string
		mode           inmem.Durability
		least          int
	}{
		{"owner, Strict", "inmem/shard.(*Shard).loop", inmem.Strict, 40},
		{"owner, Batched", "inmem/shard.(*Shard).loop", inmem.Batched, 20},
		{"checkpoints", "inmem/shard.(*imager).take", inmem.Batched, 15},
	} {
		t.Run(where.name, func(t *testing.T) {
			panicAtEach(t, where.least, func(t *testing.T, n int64) bool {
				p := newPanicking(t, func(_ *panicking, o *inmem.Options) { o.Durability = where.mode })
				p.mem.SetFault(func(vfs.Op) error {
					if calledFrom(where.function) {
						p.moment()
					}
					return nil
				})
				p.left.Store(n)
				p.work()
				p.left.Store(0)
				if p.fired.Load() {
					p.after()
				}
				p.end()
				return p.fired.Load()
			})
		})
	}
}

// calledFrom reports whether the function is on the stack.
func calledFrom(function string) bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if f.Function == function {
			return true
		}
		if !more {
			return false
		}
	}
}

// A clock of the program that panics at any look at it. If it was the engine
// who looked, the store stops; if it was a caller, that is the caller's panic,
// and the store goes on.
func TestPanicAtEveryLookAtTheClock(t *testing.T) {
	watchdog(t)
	var callers, engine int
	panicAtEach(t, 40, func(t *testing.T, n int64) bool {
		p := newPanicking(t, func(p *panicking, o *inmem.Options) {
			o.Now = func() time.Time { p.moment(); return time.UnixMilli(epoch) }
		})
		put(t, p.kept, "perishable", "v", kv.TTL(time.Hour))
		var mine atomic.Bool
		var reader sync.WaitGroup
		p.left.Store(n)
		reader.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					assert.Equal(t, errDisk, v)
					mine.Store(true)
				}
			}()
			for range 20 {
				_, err := p.kept.KV().Get(ctx, "perishable")
				assert.NoError(t, err)
				for _, err := range p.kept.KV().List(ctx, "") {
					assert.NoError(t, err)
				}
			}
		})
		p.work()
		reader.Wait()
		p.left.Store(0)
		switch {
		case mine.Load():
			callers++
			p.healthy()
		case p.fired.Load():
			engine++
			p.after()
		}
		p.end()
		return p.fired.Load()
	})
	t.Logf("%d looks of callers, %d of the engine", callers, engine)
	assert.Positive(t, callers)
	assert.Positive(t, engine)
}

// The program of TestPanicOfAListener.
func init() {
	children["panicking listener"] = func() {
		db, err := inmem.Open(os.Getenv(dirEnv), &inmem.Options{Shards: 2, OnEvent: func(e inmem.Event) {
			if _, ok := e.(inmem.CheckpointDone); ok {
				panic("the listener is broken")
			}
		}})
		must(err)
		r, err := db.BeginRun(ctx, metaNamed("listened to"))
		must(err)
		for i := range 100 {
			_, err := r.KV().Put(ctx, key(i), []byte("v"))
			must(err)
		}
		must(db.Checkpoint(ctx))
		must(db.Close()) // tells all events that there were
	}
}

// A panic of the program's own listener is the program's end, as everywhere
// else in it; what was acknowledged until then is there.
func TestPanicOfAListener(t *testing.T) {
	watchdog(t)
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "INMEM_TEST_CHILD=panicking listener", dirEnv+"="+dir)
	var said bytes.Buffer
	child.Stderr = &said
	err := child.Run()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v", err)
	assert.Equal(t, 2, exit.ExitCode())
	assert.Contains(t, said.String(), "panic: the listener is broken")

	s := openStore(t, vfs.OS, dir, func(o *inmem.Options) { o.Shards = 0 })
	found := names(t, s, run.Filter{Name: "listened to"})
	require.Len(t, found, 1)
	for info, err := range s.Runs(ctx, run.Filter{}) {
		require.NoError(t, err)
		assert.Len(t, list(t, s.run(info.ID), ""), 100)
	}
}

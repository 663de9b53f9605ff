package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
)

const (
	mailboxRoom = 1024 // commands that wait for a shard, as docs/architecture.md has it
	// hangs is how often a watchdog looks before it barks, 10 ms apart: a
	// minute. Like patience it counts looks, not time.
	hangs = 6000
)

// watchdog ends the program, with the stacks of all goroutines, where a test or
// its cleanup does not come to its end. It does what the timeout of go test
// does, sooner and for a test that it names.
func watchdog(t testing.TB) {
	t.Helper()
	looks := hangs
	if raceEnabled {
		looks *= 3
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for range looks {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		debug.SetTraceback("all")
		panic(t.Name() + " hangs")
	}()
	t.Cleanup(func() { // the first to be asked for is the last to run
		close(done)
		<-gone
	})
}

// panics is an outcome of a standstill: whoever stands there panics.
type panics struct{ error }

// standstill lets the disk stand still at the next operation of the kind on a
// file with the suffix, and at all such, until resume says how they end.
func (s *store) standstill(kind vfs.OpKind, suffix string) (resume func(error)) {
	gate := make(chan struct{})
	var outcome error
	s.mem.SetFault(func(o vfs.Op) error {
		if o.Kind != kind || !strings.HasSuffix(o.Name, suffix) {
			return nil
		}
		<-gate
		if p, ok := outcome.(panics); ok {
			panic(p.error)
		}
		return outcome
	})
	var once sync.Once
	resume = func(err error) { once.Do(func() { outcome = err; close(gate) }) }
	s.t.Cleanup(func() { resume(nil) }) // before the store's own, which closes it
	return resume
}

// oneOfEach begins a run in every shard.
func (s *store) oneOfEach() []*inmem.Run {
	s.t.Helper()
	runs := make([]*inmem.Run, len(s.Metrics().Shards))
	for slices.Contains(runs, nil) {
		r := s.begin()
		if at := shard.Place(r.ID(), len(runs)); runs[at] == nil {
			runs[at] = r
		}
	}
	return runs
}

// queues returns how many commands wait for each shard.
func (s *store) queues() (depths []int) {
	for _, m := range s.Metrics().Shards {
		depths = append(depths, m.QueueDepth)
	}
	return depths
}

// calls are puts at the same time, one key each, in every run of a list.
type calls struct {
	name     string
	runs     []*inmem.Run
	n        int // for each run
	errs     []error
	versions []uint64
	all      sync.WaitGroup
}

func (c *calls) key(i int) string { return fmt.Sprint(c.name, " ", i/len(c.runs)) }

func startCalls(ctx context.Context, name string, runs []*inmem.Run, n int) *calls {
	c := &calls{name: name, runs: runs, n: n, errs: make([]error, n*len(runs)), versions: make([]uint64, n*len(runs))}
	for i := range c.errs {
		c.errs[i] = errUnanswered
		c.all.Go(func() { c.versions[i], c.errs[i] = runs[i%len(runs)].KV().Put(ctx, c.key(i), []byte(name)) })
	}
	return c
}

// errUnanswered stands for the answer of a call whose goroutine ended within it.
var errUnanswered = errors.New("the goroutine ended in the call")

// answered waits for the calls and holds their answers against one error, nil
// for success, and its text.
func (c *calls) answered(t testing.TB, want error, text string) {
	t.Helper()
	c.all.Wait()
	for i, err := range c.errs {
		if want == nil {
			require.NoError(t, err, c.key(i))
			continue
		}
		require.ErrorIs(t, err, want, c.key(i))
		require.Contains(t, err.Error(), text, c.key(i))
		require.Zero(t, c.versions[i], "a failed call has no version")
	}
}

// happened checks whether the calls left their values, in runs that may have
// been opened again.
func (c *calls) happened(s *store, want bool) {
	s.t.Helper()
	for i := range c.errs {
		got := get(s.t, s.run(c.runs[i%len(c.runs)].ID()), c.key(i))
		require.Equal(s.t, want, got == c.name, "%s: %q", c.key(i), got)
	}
}

const (
	unknown     = "accepted, its outcome is unknown"
	notAccepted = "not accepted"
)

// crowd is a store whose disk stands still while more callers come than its
// mailboxes have room for. The first of each shard is with the disk.
type crowd struct {
	*store
	runs                       []*inmem.Run
	resume                     func(error)
	first, quits, late, stays  *calls // accepted
	outQuits, outLate, outside *calls // waiting for room
	quit                       func()
}

// newCrowd must be called in a bubble. Those called late have a minute.
func newCrowd(t *testing.T) *crowd {
	c := &crowd{store: newStore(t, func(o *inmem.Options) {
		o.Durability, o.Shards, o.Now = inmem.Strict, 2, time.Now
	})}
	c.wall.moved.Store(true)
	c.runs = c.oneOfEach()
	for _, r := range c.runs {
		put(t, r, "k", "v")
		put(t, r, "perishable", "v", kv.TTL(30*time.Second))
	}
	require.NoError(t, c.Flush(ctx))
	c.resume = c.standstill(vfs.Write, ".wal")
	quitting, quit := context.WithCancel(ctx)
	late, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	c.quit = quit

	c.first = startCalls(ctx, "first", c.runs, 1)
	synctest.Wait()
	require.Equal(t, []int{0, 0}, c.queues())
	c.quits = startCalls(quitting, "quits", c.runs, 200)
	c.late = startCalls(late, "late", c.runs, 200)
	c.stays = startCalls(ctx, "stays", c.runs, mailboxRoom-400)
	synctest.Wait()
	require.Equal(t, []int{mailboxRoom, mailboxRoom}, c.queues())
	c.outQuits = startCalls(quitting, "outside, quits", c.runs, 300)
	c.outLate = startCalls(late, "outside, late", c.runs, 300)
	c.outside = startCalls(ctx, "outside", c.runs, 500)
	synctest.Wait()
	require.Equal(t, []int{mailboxRoom, mailboxRoom}, c.queues())
	return c
}

// giveUp lets those quit and be late who do, which does not take the disk.
func (c *crowd) giveUp() {
	c.quit()
	c.quits.answered(c.t, context.Canceled, unknown)
	c.outQuits.answered(c.t, context.Canceled, notAccepted)
	time.Sleep(2 * time.Minute)
	c.late.answered(c.t, context.DeadlineExceeded, unknown)
	c.outLate.answered(c.t, context.DeadlineExceeded, notAccepted)
	assert.Equal(c.t, []int{mailboxRoom, mailboxRoom}, c.queues(), "what was accepted stays accepted")
}

// Thousands of callers, a disk that stands still and full mailboxes: nobody who
// reads waits; who gives up is told whether the call was accepted, and that is
// how it turns out when the disk goes on.
func TestFullMailboxes(t *testing.T) {
	watchdog(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		for name, err := range c.withoutRoom() {
			assert.ErrorIs(t, err, context.DeadlineExceeded, name)
			assert.ErrorContains(t, err, notAccepted, name)
		}
		c.reads("v")
		c.giveUp()
		c.reads("-") // its deadline came while nothing could be logged
		ended, cancel := context.WithCancel(ctx)
		cancel()
		never := startCalls(ended, "never", c.runs, 10)
		never.answered(t, context.Canceled, notAccepted)

		c.resume(nil)
		acked := []*calls{c.first, c.stays, c.outside}
		for _, group := range acked {
			group.answered(t, nil, "")
			group.happened(c.store, true)
		}
		for _, group := range []*calls{c.quits, c.late} {
			group.happened(c.store, true)
		}
		for _, group := range []*calls{c.outQuits, c.outLate, never} {
			group.happened(c.store, false)
		}
		c.expired(2)
		for i, r := range c.runs {
			seen := map[uint64]bool{}
			for _, group := range acked {
				for at := i; at < len(group.versions); at += len(c.runs) {
					seen[group.versions[at]] = true
				}
			}
			assert.Len(t, seen, 1+c.stays.n+c.outside.n, "every commit has a version of its own")
			info, err := r.Info()
			require.NoError(t, err)
			assert.Equal(t, 1+2+1+mailboxRoom+c.outside.n+1, int(info.LastVersion), "begun, k, perishable … and removed")
		}
	})
}

// withoutRoom makes every call that needs room in a mailbox, in vain.
func (c *crowd) withoutRoom() map[string]error {
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, errs := c.runs[0], map[string]error{}
	var b kv.Batch
	b.Put("never", nil)
	_, errs["Write"] = r.KV().Write(short, &b)
	_, errs["PutIf"] = r.KV().PutIf(short, "never", nil, 0)
	_, errs["Delete"] = r.KV().Delete(short, "perishable")
	_, errs["BeginRun"] = c.BeginRun(short, run.Meta{})
	_, errs["Space"] = c.Space(short, someNamespace)
	errs["DeleteRun"] = c.DeleteRun(short, r.ID())
	errs["Pause"], errs["End"] = r.Pause(short), r.End(short, run.Completed)
	errs["Flush"], errs["Checkpoint"] = c.Flush(short), c.DB.Checkpoint(short)
	for _, err := range r.History(short, 0) {
		errs["History"] = err
	}
	return errs
}

// reads makes every call that needs no room.
func (c *crowd) reads(perishable string) {
	c.t.Helper()
	for _, r := range c.runs {
		assert.Equal(c.t, perishable, get(c.t, r, "perishable"))
		assert.Len(c.t, list(c.t, r, "per"), map[string]int{"v": 1, "-": 0}[perishable])
		assert.Equal(c.t, "-", get(c.t, r, "first 0"), "nothing is visible before it is acknowledged")
		info, err := r.Info()
		require.NoError(c.t, err)
		assert.Equal(c.t, 3, int(info.LastVersion))
		_, version, err := r.Digest()
		require.NoError(c.t, err)
		assert.Equal(c.t, 3, int(version))
	}
	n := 0
	for _, err := range c.Runs(ctx, run.Filter{}) {
		require.NoError(c.t, err)
		n++
	}
	assert.GreaterOrEqual(c.t, n, 2)
}

// Close on a disk that stands still: who waits for room is let go at once, who
// was accepted is answered when the disk goes on, and that holds after
// reopening.
func TestCloseWhileTheDiskStandsStill(t *testing.T) {
	watchdog(t)
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		time.Sleep(40 * time.Second) // the removal of what perished waits for room as well
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		for _, group := range []*calls{c.outQuits, c.outLate, c.outside} {
			group.answered(t, inmem.ErrClosed, "")
		}
		requireAll(t, c.everyCall(c.runs[0]), inmem.ErrClosed)
		c.quit()
		c.quits.answered(t, context.Canceled, unknown)
		synctest.Wait()
		assert.Empty(t, closed, "there is something to wait for")

		c.resume(nil)
		require.NoError(t, <-closed)
		for _, group := range []*calls{c.first, c.late, c.stays} {
			group.answered(t, nil, "")
		}
		c.sound()
		c.open()
		for _, group := range []*calls{c.first, c.late, c.stays, c.quits} {
			group.happened(c.store, true)
		}
		for _, group := range []*calls{c.outQuits, c.outLate, c.outside} {
			group.happened(c.store, false)
		}
		for _, r := range c.runs {
			assert.Equal(t, "-", get(t, c.run(r.ID()), "perishable"))
		}
	})
}

// A disk that stood still fails, or those who waited for it panic: everybody
// else who waits, accepted or not, is told, and nothing of what was refused can
// be seen.
func TestStandstillThatEndsInAFailure(t *testing.T) {
	watchdog(t)
	for name, outcome := range map[string]error{"error": errDisk, "panic": panics{errDisk}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t)
				c.giveUp()
				if name == "panic" {
					c.mem.SetFault(nil) // only for those who stand there
				}
				c.resume(outcome)
				for _, group := range []*calls{c.first, c.stays, c.outside} {
					group.answered(t, inmem.ErrPoisoned, errDisk.Error())
				}
				c.reads("-")
				c.stopped(c.runs[0], errDisk)
				c.mem.SetFault(nil)
				c.open()
				for _, group := range []*calls{c.outQuits, c.outLate} {
					group.happened(c.store, false)
				}
			})
		})
	}
}

// A sync that stands still, which the log waits for with a lock: a Flush and a
// checkpoint wait for it, the window of Batched is full, and the mailboxes fill
// up behind them.
func TestSyncThatStandsStill(t *testing.T) {
	watchdog(t)
	for _, outcome := range []error{nil, errDisk} {
		t.Run(fmt.Sprint(outcome), func(t *testing.T) {
			s := newStore(t, func(o *inmem.Options) { o.Shards, o.BatchCommits, o.CheckpointBytes = 2, 8, 1 })
			runs := s.oneOfEach()
			require.NoError(t, s.Flush(ctx))
			resume := s.standstill(vfs.Sync, ".wal")
			for _, r := range runs {
				put(t, r, "k", "v")
			}
			waiting := map[string]chan error{"Flush": make(chan error, 1), "Checkpoint": make(chan error, 1)}
			go func() { waiting["Flush"] <- s.Flush(ctx) }()
			go func() { waiting["Checkpoint"] <- s.DB.Checkpoint(ctx) }()
			crowd := startCalls(ctx, "crowd", runs, 2*mailboxRoom+300) // the owner may have as many in hand as wait
			soon(t, "full mailboxes", func() bool { return slices.Min(s.queues()) == mailboxRoom })
			quitting, quit := context.WithCancel(ctx)
			outside := startCalls(quitting, "outside", runs, 300)
			quit()
			outside.answered(t, context.Canceled, "") // the owner may have made room for some
			for _, r := range runs {
				assert.Equal(t, "v", get(t, r, "k"), "reads do not wait")
			}
			resume(outcome)
			want := inmem.ErrPoisoned
			if outcome == nil {
				want = nil
			}
			for name, answer := range waiting {
				assert.ErrorIs(t, <-answer, want, name)
			}
			crowd.all.Wait()
			if outcome != nil {
				crowd.seenIfAcked(t)
				s.stopped(runs[0], errDisk)
				s.mem.SetFault(nil)
				s.open()
			} else {
				crowd.answered(t, nil, "")
				crowd.happened(s, true)
			}
			outside.neverIfNotAccepted(s)
		})
	}
}

// neverIfNotAccepted checks that what was not accepted has not happened.
func (c *calls) neverIfNotAccepted(s *store) {
	s.t.Helper()
	for i, err := range c.errs {
		if strings.Contains(err.Error(), notAccepted) {
			require.Equal(s.t, "-", get(s.t, s.run(c.runs[i%len(c.runs)].ID()), c.key(i)), c.key(i))
		}
	}
}

// seenIfAcked checks on a poisoned store that the calls which got through are
// seen, and that the others know why they did not.
func (c *calls) seenIfAcked(t testing.TB) {
	t.Helper()
	for i, err := range c.errs {
		if err == nil {
			require.Equal(t, c.name, get(t, c.runs[i%len(c.runs)], c.key(i)))
			continue
		}
		require.ErrorIs(t, err, inmem.ErrPoisoned)
		require.ErrorIs(t, err, errDisk)
	}
}

package inmem_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
)

// faultLedger is the ledger of a store whose system calls fail, and the judge
// of what the store says of it.
type faultLedger struct {
	*ledger
	t     *testing.T
	errno string // with which calls fail; "" = the process is killed

	clock     int64 // of the child
	at        int64 // of the note that is entered
	tried     map[run.ID]faultNote
	begun     map[int]begunCall
	poisoned  bool // the store has said so since it was opened
	incidents int  // failures that were told, each once
	thread    int
	tears     bool // writes may be cut short
	torn      int  // openings that cut something off
	acked     int  // commits
}

// begunCall is a call that has not been answered yet.
type begunCall struct {
	faultNote
	poisoned bool // it was known then
}

func newFaultLedger(t *testing.T, errno string) *faultLedger {
	f := &faultLedger{t: t, errno: errno, clock: scriptTime, tried: map[run.ID]faultNote{}}
	f.ledger = newLedger(func() int64 { return f.at }, 1<<40)
	f.again()
	return f
}

// again makes ready for another child on the same store.
func (f *faultLedger) again() {
	f.begun = map[int]begunCall{}
	f.poisoned, f.incidents, f.torn, f.acked = false, 0, 0, 0
}

// clone returns a ledger of the same store.
func (f *faultLedger) clone(t *testing.T, errno string) *faultLedger {
	c := newFaultLedger(t, errno)
	c.clock, c.tears = f.clock, f.tears
	for id, e := range f.runs {
		copied := *e
		copied.acks = maps.Clone(e.acks)
		c.runs[id] = &copied
	}
	c.order = slices.Clone(f.order)
	return c
}

func (f *faultLedger) enter(n faultNote) {
	f.at = n.Clock
	f.ledger.enter(n.note)
}

func (f *faultLedger) take(n faultNote) {
	f.t.Helper()
	f.clock = n.Clock
	switch n.What {
	case "thread":
		f.thread = n.N
	case "try":
		f.try(n)
	case "end":
		begun := f.begun[n.N]
		delete(f.begun, n.N)
		if n.Err == "" {
			f.done(n, begun)
		} else {
			f.failed(n, begun)
		}
	case "found":
		f.found(n)
	case "late":
		require.Equal(f.t, "ENOSPC", f.errno, "an expiration never came, though the disk had space")
	default:
		require.Fail(f.t, n.What, "life %d: %s", n.Life, n.Err)
	}
}

func (f *faultLedger) try(n faultNote) {
	if n.Call == "open" {
		f.poisoned = false
	}
	f.begun[n.N] = begunCall{n, f.poisoned}
	// An expiration has no caller: where nobody saw it, compare judges it. A
	// poisoned store has no use for another call.
	if !n.Run.IsZero() && n.Call != "expire" && !f.poisoned {
		require.NotContains(f.t, f.tried, n.Run)
		f.tried[n.Run] = n
	}
}

// done enters a call that succeeded.
func (f *faultLedger) done(n faultNote, begun begunCall) {
	t := f.t
	require.False(t, begun.poisoned, "life %d: %s succeeded after an ErrPoisoned", n.Life, n.Call)
	if n.Torn > 0 {
		require.True(t, f.tears, "no write was cut short")
		f.torn++
	}
	switch {
	case n.Call == "open", n.Call == "warm", n.Call == "history":
	case !n.Run.IsZero():
		f.enter(begun.faultNote)
		delete(f.tried, n.Run)
		f.acked++
	default:
		f.allSafe()
	}
}

// failed judges the error of a call: it is of a kind that is documented for the
// call, and wraps what made it fail.
func (f *faultLedger) failed(n faultNote, begun begunCall) {
	t := f.t
	require.Equal(t, f.errno, n.Errno, "life %d: %s failed for another reason: %s", n.Life, n.Call, n.Err)
	require.False(t, n.Poisoned && n.DiskFull, "life %d: %s: may the store go on or not? %s", n.Life, n.Call, n.Err)
	switch {
	case n.Call == "open":
		require.False(t, n.Poisoned, n.Err)
		require.Equal(t, f.errno == "ENOSPC", n.DiskFull, n.Err)
	case begun.poisoned:
		require.True(t, n.Poisoned, "life %d: %s after an ErrPoisoned: %s", n.Life, n.Call, n.Err)
		return
	case n.Poisoned:
		if f.poisoned { // the call was under way when another was told
			return
		}
		f.poisoned = true
	case n.DiskFull:
		require.Equal(t, "ENOSPC", f.errno, n.Err)
		require.NotEqual(t, "flush", n.Call, "a Flush takes no space: %s", n.Err)
		delete(f.tried, n.Run)
	default:
		require.Contains(t, []string{"close", "warm", "history"}, n.Call, "neither ErrPoisoned nor ErrDiskFull: %s", n.Err)
	}
	f.incidents++
}

// found holds what an opening found of a run against what was acknowledged, and
// goes on with it as the truth.
func (f *faultLedger) found(n faultNote) {
	t := f.t
	promised := int(f.promises().kill[n.Run])
	if tried, ok := f.tried[n.Run]; ok {
		delete(f.tried, n.Run)
		gone := n.Version == 0 && tried.Info == nil && tried.Ops[0].Kind == op.Drop
		if gone || n.Version >= tried.Version {
			f.enter(tried)
		}
	}
	e := f.runs[n.Run]
	switch {
	case e == nil:
		require.Zero(t, n.Version, "nobody began run %v", n.Run)
		return
	case e.dropped && n.Version == 0:
		n.Version = e.last
	}
	require.GreaterOrEqual(t, int(n.Version), promised, "life %d: run %v lost what was acknowledged", n.Life, n.Run)
	f.keep(n.Run, min(n.Version, e.last))
}

// keep lets a run be what it was at a version.
func (f *faultLedger) keep(id run.ID, version uint64) {
	if version == 0 {
		delete(f.runs, id)
		f.order = slices.DeleteFunc(f.order, func(other run.ID) bool { return other == id })
		return
	}
	e := f.runs[id]
	maps.DeleteFunc(e.acks, func(v uint64, _ ack) bool { return v > version })
	e.last, e.safe, e.killSafe = version, version, version
	e.dropped = e.acks[version].commit.Ops[0].Kind == op.Drop
}

// settleMaybe takes what was tried and not answered as if it had come through:
// it may have. It returns what must be there in any case.
func (f *faultLedger) settleMaybe() (promised map[run.ID]uint64) {
	f.t.Helper()
	promised = f.promises().kill
	for _, n := range f.tried {
		f.enter(n)
	}
	clear(f.tried)
	f.settle(f.t)
	return promised
}

// finish recovers the store where nothing fails, and compares.
func (f *faultLedger) finish(dir string) found {
	t := f.t
	t.Helper()
	promised := f.settleMaybe()
	opts := faultOptions('o')
	opts.Now = func() time.Time { return time.UnixMilli(f.clock) }
	f.expire(dir, opts, promised)
	report, got := f.verify(t, dir, opts, promised)
	if report.Verdict == recovery.Torn {
		require.True(t, f.tears, "no write was cut short")
		f.torn++
	}
	return got
}

// expire lets the expirations happen that are due, where that has not happened
// for sure: they would come at some time while the store is compared.
func (f *faultLedger) expire(dir string, opts inmem.Options, promised map[run.ID]uint64) {
	due := map[run.ID]uint64{} // the version of the key
	for id, e := range f.runs {
		for v, a := range e.acks {
			if d := a.commit.Ops[0].Deadline; d != 0 && d <= f.clock && promised[id] <= v {
				due[id] = v
			}
		}
	}
	if len(due) == 0 {
		return
	}
	t := f.t
	checked, err := recovery.Check(opts.FS, dir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	db, err := inmem.Open(dir, &opts)
	require.NoError(t, err)
	for id, v := range due {
		r, err := db.Run(id)
		if errors.Is(err, inmem.ErrRunNotFound) {
			continue
		}
		require.NoError(t, err)
		soon(t, "an expiration", func() bool {
			info, err := r.Info()
			require.NoError(t, err)
			return info.LastVersion != v // which is less if the key got lost
		})
	}
	require.NoError(t, db.Close())
}

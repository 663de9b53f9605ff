package inmem_test

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
)

// crashModel is the model in a world where the disk loses power, fails and
// fills up, and a ledger of what the store acknowledged meanwhile. After a
// crash the model goes on with the versions of the runs that are left.
type crashModel struct {
	*model
	tb     testing.TB
	ledger *ledger
	full   bool  // the disk has no space
	cause  error // what the disk fails with, if it does
	count  *crashCount

	mu     sync.Mutex
	fault  func(vfs.Op) error // that the disk is armed with
	failed int64              // when the disk failed; 0 = it has not
}

type crashCount struct{ histories, calls, commits, powerCuts, kills, closes, faults, fullDisk, unknown, lost int }

// TestModelCrashes lets the model live with crashes: after each the store holds
// a version of every run that is not older than what was durable, and nothing
// else. INMEM_CRASHES is how many times rapid makes all its checks.
func TestModelCrashes(t *testing.T) {
	rounds, ok := envNumber(t, crashesEnv)
	if !ok {
		rounds = 2
	}
	var count crashCount
	synctest.Test(t, func(t *testing.T) {
		for range rounds {
			rapid.Check(inBubble{t}, func(rt *rapid.T) {
				m := newCrashModel(t, rt, &count)
				defer m.letGo(rt)
				rt.Repeat(m.actions())
				m.space(rt)
				m.reopen(rt)
				m.disarm()
				m.close(rt)
				m.db = nil
				count.histories++
			})
		}
	})
	t.Logf("%+v", count)
}

// inBubble is a test with a clock that goes on only when nobody has anything
// left to do, so that the same draws mean the same life, as far as several
// shards at work at the same time allow. It hides from rapid that it is one:
// there is no asking for its deadline.
type inBubble struct{ *testing.T }

// rapidTB makes a rapid.T of what the ledger asks of a test.
type rapidTB struct {
	testing.TB
	t *rapid.T
}

func (tb rapidTB) Helper()                           { tb.t.Helper() }
func (tb rapidTB) Errorf(format string, args ...any) { tb.t.Errorf(format, args...) }
func (tb rapidTB) FailNow()                          { tb.t.FailNow() }

func newCrashModel(t *testing.T, rt *rapid.T, count *crashCount) *crashModel {
	m := &crashModel{model: newModel(rt), tb: rapidTB{t, rt}, count: count}
	m.world = m
	m.ids = func(n int) run.ID { return run.Namespace{App: "model"}.DeriveID(fmt.Sprint(n)) }
	m.opts.BatchInterval = 20 * time.Millisecond
	m.opts.BatchCommits = rapid.IntRange(1, 20).Draw(rt, "batch commits")
	m.ledger = newLedger(m.wall.ms.Load, m.opts.BatchInterval.Milliseconds())
	m.open(rt)
	for range 3 {
		m.begin(rt)
	}
	return m
}

// letGo closes what a failed test left open, so that its goroutines end.
func (m *crashModel) letGo(t *rapid.T) {
	if m.db != nil {
		t.Log("closing after the failure:", m.db.Close())
	}
}

// actions are what may happen.
func (m *crashModel) actions() map[string]func(*rapid.T) {
	actions := map[string]func(*rapid.T){
		"begin": m.begin, "history": m.calmly(m.histories), "time": m.pass, "flush": m.flush, "checkpoint": m.checkpoint,
		"reopen": m.reopen, "power cut": m.powerCut, "kill": m.kill, "fault": m.arm, "another fault": m.arm, "space": m.space,
		"status": seldom(m.status), "deleteRun": m.deleteRun, "full disk": seldom(m.fill),
	}
	for name, act := range actions {
		actions[name] = m.step(act)
	}
	// Most of the time the store is written to.
	writes := map[string]func(*rapid.T){
		"put": m.step(m.put), "putif": m.step(m.putIf), "delete": m.step(m.delete), "batch": m.step(m.batch), "time": m.step(m.pass),
	}
	often := rapid.SampledFrom([]string{"put", "put", "put", "putif", "delete", "batch", "batch", "time"})
	for _, name := range []string{"work", "more work", "again work", "still work"} {
		actions[name] = func(t *rapid.T) {
			for range rapid.IntRange(1, 12).Draw(t, "writes") {
				writes[often.Draw(t, "write")](t)
			}
		}
	}
	actions[""] = m.agree
	return actions
}

func seldom(act func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		if rapid.IntRange(0, 2).Draw(t, "really") != 0 {
			t.Skip("not this time")
		}
		act(t)
	}
}

// step is an action, and what the background makes of it.
func (m *crashModel) step(act func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		act(t)
		m.count.calls++
		m.rest(t)
	}
}

// rest lets the background come to rest and enters what it did. A disk that
// failed ends the store's life.
func (m *crashModel) rest(t *rapid.T) {
	synctest.Wait()
	if m.failedAt() != 0 {
		m.count.faults++
		switch rapid.SampledFrom([]string{"reopen", "kill", "power cut"}).Draw(t, "after the fault") {
		case "reopen":
			m.reopen(t)
		case "kill":
			m.kill(t)
		default:
			m.powerCut(t)
		}
	}
	m.calmly(m.removals)(t)
}

// removals enters the removals of expired keys.
func (m *crashModel) removals(t *rapid.T) {
	for _, r := range m.runs {
		if r.deleted {
			continue
		}
		info, err := r.run.Info()
		require.NoError(t, err)
		if info.LastVersion != m.ledger.runs[r.info.ID].last {
			m.ledger.learn(m.tb, m.db, r.info.ID)
		}
		r.atLeast = info.LastVersion
	}
}

// spoiled implements world.
func (m *crashModel) spoiled(t *rapid.T, a attempt, want, err error) bool {
	switch {
	case errors.Is(err, inmem.ErrDiskFull):
		require.True(t, m.full || m.failedAt() != 0 && m.cause == syscall.ENOSPC, "%v", err)
		m.count.fullDisk++
		return true
	case errors.Is(err, inmem.ErrPoisoned):
		require.NotZero(t, m.failedAt(), "%v", err)
		if want == nil && len(a.ops) > 0 { // it may be there after the next opening
			m.count.unknown++
			if m.enter(a, inmem.Async) == 1 {
				m.runs = append(m.runs, a.run)
			}
		}
		return true
	}
	return false
}

// committed implements world.
func (m *crashModel) committed(t *rapid.T, a attempt) {
	mode := a.mode
	if mode == op.Default {
		mode = m.opts.Durability
	}
	version := m.enter(a, mode)
	if a.version != 0 {
		require.Equal(t, version, a.version, "versions have no gaps")
	}
	m.count.commits++
	// It is in the log behind everything that its shard had before.
	for id, e := range m.ledger.runs {
		if shard.Place(id, m.opts.Shards) != shard.Place(a.run.info.ID, m.opts.Shards) || mode == inmem.Async {
			continue
		}
		e.killSafe = e.last
		if mode == inmem.Strict {
			e.safe = e.last
		}
	}
}

// enter puts a commit into the ledger, as the run's next.
func (m *crashModel) enter(a attempt, mode inmem.Durability) (version uint64) {
	id := a.run.info.ID
	e := m.ledger.runs[id]
	if e == nil {
		m.ledger.begun(a.run.info, mode)
		e = m.ledger.runs[id]
	} else {
		m.ledger.acked(id, e.last+1, mode, a.ops...)
	}
	e.history = append(e.history, e.acks[e.last].commit)
	return e.last
}

// pass lets time go by, for the store's clock and for its timers.
func (m *crashModel) pass(t *rapid.T) {
	for range rapid.IntRange(1, 60).Draw(t, "ms") {
		m.wall.move(time.Millisecond)
		time.Sleep(time.Millisecond)
	}
}

func (m *crashModel) flush(t *rapid.T) { m.allSafe(t, m.db.Flush(ctx)) }

func (m *crashModel) checkpoint(t *rapid.T) { m.allSafe(t, m.db.Checkpoint(ctx)) }

// allSafe enters that a call made everything durable, unless it failed.
func (m *crashModel) allSafe(t *rapid.T, err error) {
	if !m.spoiled(t, attempt{}, nil, err) {
		require.NoError(t, err)
		m.ledger.allSafe()
	}
}

package inmem_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// arm lets the disk fail at one of its next operations on the files of one shard,
// or on those of none, and sometimes at all that follow. Shards work at the same
// time: among the operations of all the n-th would not always be the same.
func (m *crashModel) arm(t *rapid.T) {
	in := rapid.IntRange(-1, m.opts.Shards-1).Draw(t, "shard")
	left := rapid.IntRange(1, 12).Draw(t, "operations")
	m.cause = rapid.SampledFrom([]error{errDisk, errDisk, syscall.ENOSPC}).Draw(t, "cause")
	cause, forGood := m.cause, m.cause == errDisk && rapid.Bool().Draw(t, "for good")
	written := rapid.IntRange(0, 1024).Draw(t, "written")
	m.fault = func(o vfs.Op) error {
		if in < 0 == strings.Contains(o.Name, "shard-") || in >= 0 && !strings.Contains(o.Name, fmt.Sprintf("shard-%04d", in)) {
			return nil
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		left--
		if left > 0 || left < 0 && !forGood {
			return nil
		}
		if m.failed == 0 {
			m.failed = m.wall.ms.Load()
		}
		if o.Kind == vfs.Write {
			return vfs.ShortWrite{N: written, Err: cause}
		}
		return cause
	}
	m.disk.SetFault(m.fault)
}

func (m *crashModel) disarm() {
	m.fault = nil
	m.disk.SetFault(nil)
}

// calmly looks at the store while the disk does not fail: reading a history may
// write what Async has in memory.
func (m *crashModel) calmly(look func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		m.disk.SetFault(nil)
		defer func() { m.disk.SetFault(m.fault) }()
		look(t)
	}
}

func (m *crashModel) failedAt() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

// mend makes the disk work again.
func (m *crashModel) mend() {
	m.disarm()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = 0
}

func (m *crashModel) fill(*rapid.T) {
	m.disk.SetCapacity(1)
	m.full = true
}

func (m *crashModel) space(*rapid.T) {
	m.disk.SetCapacity(0)
	m.full = false
}

// promises is what must be there after a crash now. A disk that failed has kept
// nothing since.
func (m *crashModel) promises() promises {
	if at := m.failedAt(); at != 0 {
		now := m.ledger.now
		defer func() { m.ledger.now = now }()
		m.ledger.now = func() int64 { return at }
	}
	return m.ledger.promises()
}

func (m *crashModel) dice(t *rapid.T) *rand.Rand {
	return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "dice"), 1))
}

// reopen closes the store and opens it again. Where the disk lets it down it is
// as after a kill.
func (m *crashModel) reopen(t *rapid.T) {
	err := m.db.Close()
	clean := err == nil && !m.full
	if err == nil {
		m.ledger.allSafe()
	} else {
		m.trouble(t, err)
	}
	promised := m.promises()
	m.mend()
	m.count.closes++
	if m.recover(t, promised, false) && clean {
		require.Equal(t, recovery.Clean, m.db.Recovery().Verdict)
	}
}

// trouble wants the disk to be the reason of an error.
func (m *crashModel) trouble(t *rapid.T, err error) {
	switch {
	case m.failedAt() != 0:
		require.True(t, isAny(err, inmem.ErrPoisoned, inmem.ErrDiskFull, errDisk), "%v", err)
	case m.full:
		require.ErrorIs(t, err, inmem.ErrDiskFull)
	default:
		require.NoError(t, err)
	}
}

func (m *crashModel) kill(t *rapid.T) {
	promised, left, whole := m.promises(), m.disk.Clone(), m.failedAt() == 0
	m.count.kills++
	m.replace(t, left)
	if m.recover(t, promised, false) && whole {
		require.NotEqual(t, recovery.Torn, m.db.Recovery().Verdict, "a kill cuts no write short")
	}
}

func (m *crashModel) powerCut(t *rapid.T) {
	promised, left := m.promises(), m.disk.Crash(m.dice(t))
	m.count.powerCuts++
	m.replace(t, left)
	m.recover(t, promised, true)
}

// replace ends the process: its disk is another's from now on.
func (m *crashModel) replace(t *rapid.T, left *vfs.Mem) {
	m.disk.SetCapacity(0)
	m.disk.SetFault(nil)
	if err := m.db.Close(); err != nil {
		require.NotZero(t, m.failedAt(), "%v", err)
	}
	m.disk, m.opts.FS = left, left
	m.mend()
}

// recover opens what is left, holds it against the promises and goes on with
// it. The disk may fail meanwhile: then there is another attempt. It reports
// whether the first one worked.
func (m *crashModel) recover(t *rapid.T, p promises, power bool) (first bool) {
	m.sound(t)
	if rapid.IntRange(0, 3).Draw(t, "fault in recovery") == 0 {
		m.arm(t)
	}
	for first = true; !m.opens(t); first = false {
		if power && rapid.Bool().Draw(t, "power cut in recovery") {
			m.count.powerCuts++
			m.disk = m.disk.Crash(m.dice(t))
			m.opts.FS = m.disk
		}
	}
	promised := p.kill
	if power {
		promised = p.power
	}
	var found found
	m.calmly(func(*rapid.T) { found = m.ledger.compare(m.tb, m.db, promised) })(t)
	lost := m.ledger.lost(found, p, m.opts.Shards)
	m.count.lost += lost
	if power {
		require.LessOrEqual(t, lost, m.opts.BatchCommits, "more Batched commits were lost than may be unsynced")
	}
	m.ledger.goOn(found)
	m.goOn(t)
	m.calmly(m.removals)(t)
	return first
}

// opens tries to open the store. Where the disk does not let it, the disk is
// in order again afterwards.
func (m *crashModel) opens(t *rapid.T) bool {
	db, err := inmem.Open(modelDir, &m.opts)
	m.db = db
	synctest.Wait()
	if err == nil && m.failedAt() == 0 {
		return true
	}
	if err == nil {
		err = db.Close() // it failed right after it was opened
		m.db = nil
	}
	if err != nil {
		m.trouble(t, err)
	}
	m.mend()
	m.space(t)
	return false
}

// goOn makes what was found after a crash the truth: what is not there never
// was. What is there is on the device, but for expirations at the end: those the
// recovered store may just have made itself.
func (l *ledger) goOn(found found) {
	for id, e := range l.runs {
		n := found.kept[id]
		e.history = e.history[:n]
		for v := range e.acks {
			if v > uint64(n) {
				delete(e.acks, v)
			}
		}
		safe := n
		for safe > 0 && e.history[safe-1].Ops[0].Kind == op.Expire {
			safe--
		}
		e.last, e.safe, e.killSafe = uint64(n), uint64(safe), uint64(safe)
		e.dropped = n > 0 && e.history[n-1].Ops[0].Kind == op.Drop
		if n == 0 {
			delete(l.runs, id)
		}
	}
	l.order = slices.DeleteFunc(l.order, func(id run.ID) bool { return l.runs[id] == nil })
}

// goOn makes the model what the ledger says.
func (m *crashModel) goOn(t *rapid.T) {
	m.runs = slices.DeleteFunc(m.runs, func(r *modelRun) bool { return m.ledger.runs[r.info.ID] == nil })
	for _, r := range m.runs {
		r.deleted, r.atLeast, r.keys = false, 0, map[string]modelItem{}
		for _, c := range m.ledger.runs[r.info.ID].history {
			r.apply(t, c.Version, c.Ops)
		}
	}
	m.find(t)
}

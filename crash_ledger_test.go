package inmem_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
)

// ledger notes what a store acknowledged, and by which promise. It is the
// other opinion: it shares no code with the store but the vocabulary.
type ledger struct {
	now      func() int64 // Unix ms; what the store's clock says
	interval int64        // Options.BatchInterval in ms

	mu    sync.Mutex // crashes are taken on whatever goroutine touches the disk
	runs  map[run.ID]*entry
	order []run.ID
}

// entry is a run in the ledger.
type entry struct {
	info     run.Info
	acks     map[uint64]ack // by version
	last     uint64         // newest version that is known
	killSafe uint64         // a killed process must not lose versions up to here …
	safe     uint64         // … nor a power cut up to here
	history  []op.Commit    // what the run's whole life turned out to be
	dropped  bool
}

// ack is a commit as the caller knows it.
type ack struct {
	commit op.Commit
	mode   inmem.Durability
	at     int64
}

func newLedger(now func() int64, interval int64) *ledger {
	return &ledger{now: now, interval: interval, runs: map[run.ID]*entry{}}
}

// begun notes that a run, or a space, was begun.
func (l *ledger) begun(info run.Info, mode inmem.Durability) {
	l.mu.Lock()
	l.runs[info.ID] = &entry{info: info, acks: map[uint64]ack{}}
	l.order = append(l.order, info.ID)
	l.mu.Unlock()
	l.acked(info.ID, 1, mode, op.Op{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)})
}

// acked notes a commit that was acknowledged.
func (l *ledger) acked(id run.ID, version uint64, mode inmem.Durability, ops ...op.Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.runs[id]
	now := l.now()
	e.acks[version] = ack{op.Commit{Run: id, Version: version, Time: now, Ops: ops}, mode, now}
	e.last = max(e.last, version)
	switch mode {
	case inmem.Strict:
		e.safe, e.killSafe = version, version
	case inmem.Batched:
		e.killSafe = version
	}
	if ops[0].Kind == op.Drop {
		e.dropped = true
	}
}

// allSafe notes that everything acknowledged is on the device.
func (l *ledger) allSafe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.runs {
		e.safe, e.killSafe = e.last, e.last
	}
}

// promises is what must be there after a crash now: a version for each run.
type promises struct {
	kill, power map[run.ID]uint64
	acked       map[run.ID]uint64 // the newest that was acknowledged at all
	now         int64
}

func (l *ledger) promises() promises {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := promises{kill: map[run.ID]uint64{}, power: map[run.ID]uint64{}, acked: map[run.ID]uint64{}, now: l.now()}
	for id, e := range l.runs {
		kill, power := e.killSafe, e.safe
		for v, a := range e.acks {
			if v > power && a.at+l.interval < p.now {
				power = v // the window is over
			}
		}
		p.kill[id], p.power[id], p.acked[id] = max(kill, power), power, e.last
	}
	return p
}

// learn takes over what the store's history says of a run, and holds it
// against what was acknowledged.
func (l *ledger) learn(t testing.TB, db *inmem.DB, id run.ID) {
	t.Helper()
	e := l.runs[id]
	e.history = historyOf(t, db, id)
	for v, a := range e.acks {
		require.LessOrEqual(t, int(v), len(e.history), "run %v: an acknowledged version is missing", id)
		require.Equal(t, a.commit, e.history[v-1], "run %v: what was acknowledged is not what the history says", id)
	}
	state := newState(e.history[:1])
	for _, c := range e.history[1:] {
		if _, ok := e.acks[c.Version]; !ok {
			require.True(t, state.expires(c), "run %v: nobody asked for %v", id, c)
		}
		state.apply(c)
	}
	e.last = uint64(len(e.history))
}

// drop notes that a run was deleted; its history was learned right before.
func (l *ledger) drop(id run.ID, mode inmem.Durability) {
	e := l.runs[id]
	v := uint64(len(e.history)) + 1
	l.acked(id, v, mode, op.Op{Kind: op.Drop})
	e.history = append(e.history, e.acks[v].commit)
}

// replayed is a run's state as a replay of its commits gives it.
type replayed struct {
	version uint64
	items   map[string]op.Item
}

func newState(commits []op.Commit) *replayed {
	s := &replayed{items: map[string]op.Item{}}
	for _, c := range commits {
		s.apply(c)
	}
	return s
}

func (s *replayed) apply(c op.Commit) {
	s.version = c.Version
	for _, o := range c.Ops {
		key := string([]byte{byte(o.Tag)}) + o.Key
		switch o.Kind {
		case op.Put:
			s.items[key] = op.Item{Value: o.Value, Version: c.Version, Deadline: o.Deadline}
		case op.Delete, op.Expire:
			delete(s.items, key)
		case op.Drop:
			clear(s.items)
		}
	}
}

// expires reports whether a commit removes keys that are due, and nothing else.
func (s *replayed) expires(c op.Commit) bool {
	for _, o := range c.Ops {
		it, ok := s.items[string([]byte{byte(o.Tag)})+o.Key]
		if o.Kind != op.Expire || !ok || it.Deadline == 0 || it.Deadline > c.Time {
			return false
		}
	}
	return len(c.Ops) > 0
}

func (s *replayed) digest() inmem.Digest {
	var d op.Digester
	for key, it := range s.items {
		d.Add(key, it)
	}
	return d.Sum(s.version)
}

// historyOf reads a run's whole history, whose versions must have no gaps.
func historyOf(t testing.TB, db *inmem.DB, id run.ID) []op.Commit {
	t.Helper()
	r, err := db.Run(id)
	require.NoError(t, err)
	var list []op.Commit
	for c, err := range r.History(context.Background(), 0) {
		require.NoError(t, err, "the history of run %v", id)
		if c.Version != uint64(len(list)+1) { // an assertion for each of many is slow
			require.Equal(t, len(list)+1, int(c.Version), "run %v: the versions of its history have a gap", id)
		}
		for i := range c.Ops { // as the ledger has them
			if len(c.Ops[i].Value) == 0 {
				c.Ops[i].Value = nil
			}
		}
		list = append(list, *c)
	}
	return list
}

func sameCommit(a, b op.Commit) bool {
	return a.Run == b.Run && a.Version == b.Version && a.Time == b.Time && slices.EqualFunc(a.Ops, b.Ops, func(a, b op.Op) bool {
		return a.Kind == b.Kind && a.Tag == b.Tag && a.Key == b.Key && a.Deadline == b.Deadline && bytes.Equal(a.Value, b.Value)
	})
}

// found is what a recovered store holds of the ledger's runs.
type found struct {
	kept   map[run.ID]int // commits of the ledger that are there
	digest map[run.ID]inmem.Digest
}

// lost returns how many Batched commits are not there that were acknowledged
// before the crash, in the shard that lost most.
func (l *ledger) lost(got found, p promises, shards int) int {
	lost := make([]int, shards)
	for id, e := range l.runs {
		for v, a := range e.acks {
			if int(v) > got.kept[id] && v <= p.acked[id] && a.mode == inmem.Batched {
				lost[shard.Place(id, shards)]++
			}
		}
	}
	return slices.Max(lost)
}

// compare holds a recovered store against the ledger: each run is a prefix of
// its life, at least as long as promised; what follows it, if anything, is the
// recovered store's own expirations; the digests are those of a replay; and
// there is no run that nobody began.
func (l *ledger) compare(t testing.TB, db *inmem.DB, promised map[run.ID]uint64) found {
	t.Helper()
	out := found{kept: map[run.ID]int{}, digest: map[run.ID]inmem.Digest{}}
	for _, id := range l.order {
		e := l.runs[id]
		n := l.compareRun(t, db, e, out.digest)
		out.kept[id] = n
		require.GreaterOrEqual(t, n, int(promised[id]), "run %v: of %d commits %d were promised", id, len(e.history), promised[id])
	}
	for info, err := range db.Runs(context.Background(), run.Filter{Spaces: true}) {
		require.NoError(t, err)
		require.Contains(t, l.runs, info.ID, "nobody began this run")
	}
	return out
}

// compareRun returns how many of the run's commits are there.
func (l *ledger) compareRun(t testing.TB, db *inmem.DB, e *entry, digests map[run.ID]inmem.Digest) int {
	t.Helper()
	id := e.info.ID
	r, err := db.Run(id)
	if errors.Is(err, inmem.ErrRunNotFound) {
		// A deleted run is told from one that never was by the error of a delete.
		if errors.Is(db.DeleteRun(context.Background(), id), inmem.ErrRunDeleted) {
			require.NotEmpty(t, e.history)
			require.Equal(t, op.Drop, e.history[len(e.history)-1].Ops[0].Kind, "run %v: nobody deleted it", id)
			return len(e.history)
		}
		return 0
	}
	require.NoError(t, err)
	got := historyOf(t, db, id)
	n := 0
	for n < len(got) && n < len(e.history) && sameCommit(got[n], e.history[n]) {
		n++
	}
	s := newState(got[:n])
	for _, c := range got[n:] {
		require.True(t, s.expires(c), "run %v: the recovered store invented %v", id, c)
		s.apply(c)
	}
	digest, version, err := r.Digest()
	require.NoError(t, err)
	require.Equal(t, uint64(len(got)), version)
	require.Equal(t, s.digest(), digest, "run %v: the state is not what its history gives", id)
	digests[id] = digest
	return n
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

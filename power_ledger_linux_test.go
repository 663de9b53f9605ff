package inmem_test

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/shard"
)

// powerAllowance is what a commit may be late with its sync beside the interval
// and the time that a sync takes, on a machine that is busy with other tests.
const powerAllowance = 150 * time.Millisecond

// powerLedger is the ledger of one store over many power cuts.
type powerLedger struct {
	*ledger

	mu       sync.Mutex // of what follows: notes come in while the power is cut
	tried    map[run.ID]powerNote
	begun    map[run.ID]int64            // when an unanswered Strict commit was tried
	marks    map[int]map[run.ID]uint64   // what an actor's call will make durable
	at       map[run.ID]map[uint64]int64 // when a version was acknowledged
	sync     int64                       // the longest that a Strict commit took in this cycle
	cut      bool
	early    string // why the child failed before the cut
	acked    int    // before the cut
	opening  chan struct{}
	opened   chan struct{}
	promised promises
	cutAt    int64
}

func newPowerLedger() *powerLedger {
	return &powerLedger{ledger: scriptLedger(), at: map[run.ID]map[uint64]int64{}}
}

// cycle makes ready for a new child.
func (p *powerLedger) cycle() {
	p.tried, p.begun, p.marks = map[run.ID]powerNote{}, map[run.ID]int64{}, map[int]map[run.ID]uint64{}
	p.sync, p.cut, p.early = 0, false, ""
	p.opening, p.opened = make(chan struct{}), make(chan struct{})
}

// take enters a note. After the cut the notes go on to come in: they are of
// what may have happened, and promise nothing.
func (p *powerLedger) take(n powerNote) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch n.What {
	case "opening":
		close(p.opening)
	case "opened":
		close(p.opened)
	case "try":
		p.tried[n.Run] = n
		if n.Mode == inmem.Strict {
			p.begun[n.Run] = n.At
			p.mark(n.Actor, func(id run.ID) bool { return place(id) == place(n.Run) })
		}
	case "flushing":
		p.mark(n.Actor, func(run.ID) bool { return true })
	case "flush":
		p.vouch(n.Actor)
	case "ack":
		p.enter(p.tried[n.Run].note)
		p.stamp(n)
		if !p.cut {
			p.acked++
		}
		if p.tried[n.Run].Mode == inmem.Strict {
			p.sync = max(p.sync, n.At-p.begun[n.Run])
			delete(p.begun, n.Run)
			p.vouch(n.Actor)
		}
	case "failed":
		if !p.cut {
			p.early = n.Err
		}
	}
}

func place(id run.ID) int { return shard.Place(id, powerShards) }

func (p *powerLedger) stamp(n powerNote) {
	if p.at[n.Run] == nil {
		p.at[n.Run] = map[uint64]int64{}
	}
	p.at[n.Run][n.Version] = n.At
}

// mark notes what was acknowledged before a call that will make it durable: a
// Strict commit in its shard, a Flush everywhere.
func (p *powerLedger) mark(actor int, in func(run.ID) bool) {
	m := map[run.ID]uint64{}
	for id, e := range p.runs {
		if in(id) {
			m[id] = e.last
		}
	}
	p.marks[actor] = m
}

func (p *powerLedger) vouch(actor int) {
	for id, v := range p.marks[actor] {
		p.runs[id].safe = max(p.runs[id].safe, v)
	}
}

// promise settles what must be there when the power goes off now.
func (p *powerLedger) promise() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.promised, p.cutAt = true, p.promises(), monotonic()
	for _, since := range p.begun {
		p.sync = max(p.sync, p.cutAt-since)
	}
	window := int64(powerOptions(true).BatchInterval+powerAllowance) + p.sync
	for id, e := range p.runs {
		for v := e.last; v > p.promised.power[id]; v-- {
			if at, ok := p.at[id][v]; ok && p.cutAt-at > window {
				p.promised.power[id] = v
			}
		}
	}
}

// settleMaybe takes what was tried and not answered as if it had come through:
// it may have.
func (p *powerLedger) settleMaybe(t testing.TB) {
	t.Helper()
	require.Empty(t, p.early, "the child failed before the power was cut")
	for id, n := range p.tried {
		last := uint64(0)
		if e := p.runs[id]; e != nil {
			last = e.last
		}
		if n.Version == last+1 {
			p.enter(n.note)
		}
	}
	for _, e := range p.runs { // as settle does, but only what is new
		for v := uint64(len(e.history)) + 1; v <= e.last; v++ {
			a, ok := e.acks[v]
			require.True(t, ok, "version %d was never tried", v)
			e.history = append(e.history, a.commit)
		}
	}
}

// goOn takes what is there as the truth. It returns how many acknowledged
// commits are lost, and for how long the oldest of them had been acknowledged.
func (p *powerLedger) goOn(got found) (lost int, oldest time.Duration) {
	for id, n := range got.kept {
		e := p.runs[id]
		for v := range e.acks {
			if int(v) <= n {
				continue
			}
			if at, ok := p.at[id][v]; ok && v <= p.promised.acked[id] {
				lost++
				oldest = max(oldest, time.Duration(p.cutAt-at))
			}
			delete(e.acks, v)
			delete(p.at[id], v)
		}
		e.history = e.history[:n]
		e.last, e.safe, e.killSafe = uint64(n), uint64(n), uint64(n)
		if n == 0 {
			delete(p.runs, id)
		}
	}
	p.order = slices.Collect(maps.Keys(p.runs))
	return lost, oldest
}

package ttl

import (
	"cmp"
	"time"

	"github.com/tidwall/btree"

	"inmem/run"
)

// book is the deadlines: a pure data structure without clock or goroutine.
//
// An entry is in runs from the change that made it until it is replaced,
// forgotten or settled. It is in queue as well, except while it is in a batch
// that take handed out and in hold.
type book struct {
	runs  map[run.ID]map[string]entry
	queue *btree.BTreeG[slot]
	held  []heldBatch // in order of until
	count int         // entries in runs
}

// entry is the newest known deadline of a key.
type entry struct {
	version  uint64
	deadline int64
}

// slot is an entry's place in the queue.
type slot struct {
	deadline int64
	run      run.ID
	key      string
}

// batch is one message: keys of one run that are due.
type batch struct {
	run       run.ID
	due       []Due
	deadlines []int64 // beside due; with the version it tells whether the entry is still the same
}

// heldBatch is a batch that could not be sent and rests.
type heldBatch struct {
	batch
	until time.Time
}

func newBook() *book {
	return &book{
		runs:  make(map[run.ID]map[string]entry),
		queue: btree.NewBTreeGOptions(slotLess, btree.Options{NoLocks: true}),
	}
}

func slotLess(a, b slot) bool {
	if a.deadline != b.deadline {
		return a.deadline < b.deadline
	}
	if c := a.run.Compare(b.run); c != 0 {
		return c < 0
	}
	return cmp.Less(a.key, b.key)
}

func (b *book) len() int { return b.count }

// track enters a change, unless a newer one of the same key is known.
func (b *book) track(c Change) {
	keys := b.runs[c.Run]
	known, ok := keys[c.Key]
	switch {
	case ok && c.Version < known.version:
		return
	case c.Deadline == 0:
		if ok {
			b.remove(c.Run, c.Key, known)
		}
		return
	case ok:
		b.queue.Delete(slot{known.deadline, c.Run, c.Key})
	default:
		b.count++
	}
	if keys == nil {
		keys = make(map[string]entry)
		b.runs[c.Run] = keys
	}
	keys[c.Key] = entry{c.Version, c.Deadline}
	b.queue.Set(slot{c.Deadline, c.Run, c.Key})
}

// forget drops a run.
func (b *book) forget(id run.ID) {
	for key, e := range b.runs[id] {
		b.queue.Delete(slot{e.deadline, id, key})
		b.count--
	}
	delete(b.runs, id)
}

// remove drops an entry that is there, from the queue as well if it is in it.
func (b *book) remove(id run.ID, key string, e entry) {
	b.queue.Delete(slot{e.deadline, id, key})
	keys := b.runs[id]
	delete(keys, key)
	if len(keys) == 0 {
		delete(b.runs, id)
	}
	b.count--
}

// take moves what is due at now out of the queue, earliest first and at most
// maxTake entries, into batches of one run and at most maxDue keys each. The
// batches are in the order of their first keys. Each must be given back to
// settle or hold.
func (b *book) take(now int64) []batch {
	var batches []batch
	filling := make(map[run.ID]int) // the index of the run's last batch
	for range maxTake {
		s, ok := b.queue.Min()
		if !ok || s.deadline > now {
			break
		}
		b.queue.PopMin()
		i, ok := filling[s.run]
		if !ok || len(batches[i].due) == maxDue {
			i = len(batches)
			filling[s.run] = i
			batches = append(batches, batch{run: s.run})
		}
		m := &batches[i]
		m.due = append(m.due, Due{Key: s.key, Version: b.runs[s.run][s.key].version})
		m.deadlines = append(m.deadlines, s.deadline)
	}
	return batches
}

// settle drops the entries of a batch that was sent, except those that changed
// since it was taken.
func (b *book) settle(m batch) {
	for i, d := range m.due {
		if e, same := b.unchanged(m, i); same {
			b.remove(m.run, d.Key, e)
		}
	}
}

// hold keeps a batch that could not be sent until release. Calls come in order
// of until.
func (b *book) hold(m batch, until time.Time) {
	b.held = append(b.held, heldBatch{m, until})
}

// release queues again what was held until at or before t, except entries that
// changed in the meantime.
func (b *book) release(t time.Time) {
	n := 0
	for n < len(b.held) && !b.held[n].until.After(t) {
		m := b.held[n].batch
		for i, d := range m.due {
			if e, same := b.unchanged(m, i); same {
				b.queue.Set(slot{e.deadline, m.run, d.Key})
			}
		}
		n++
	}
	if n == len(b.held) {
		b.held = nil
	} else {
		b.held = b.held[n:]
	}
}

// unchanged returns the present entry of the batch's i-th key and whether it is
// the one that was taken.
func (b *book) unchanged(m batch, i int) (entry, bool) {
	e, ok := b.runs[m.run][m.due[i].Key]
	return e, ok && e == entry{m.due[i].Version, m.deadlines[i]}
}

// wait returns how long until the next entry needs a look, at most maxSleep,
// and false if there is none. now is the store's clock, t the time by which
// held batches rest.
func (b *book) wait(now int64, t time.Time) (time.Duration, bool) {
	wait, ok := maxSleep, false
	if s, some := b.queue.Min(); some {
		ok = true
		// As unsigned numbers, because a deadline may lie more than half of
		// all time ahead.
		gap := uint64(s.deadline) - uint64(now)
		if s.deadline <= now {
			gap = 0
		}
		if gap < uint64(maxSleep.Milliseconds()) {
			wait = time.Duration(gap) * time.Millisecond
		}
	}
	if len(b.held) > 0 {
		ok = true
		wait = min(wait, max(0, b.held[0].until.Sub(t)))
	}
	return wait, ok
}

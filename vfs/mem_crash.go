package vfs

import "math/rand/v2"

// Loss says what a power loss does to what was not synced. What was synced it
// never touches. Keep, Drop and Garble are weights, of which at least one is
// positive; the others are probabilities.
type Loss struct {
	// Of a write, each 512-byte sector by itself is on the disk, is not, or
	// holds random bytes where it was written. A change of size happened or did
	// not; a garbled growth stopped halfway, and a garbled cut did not happen.
	Keep, Drop, Garble float64

	// KeepNames is the probability that a create, remove, rename or mkdir is on
	// the disk. Each is there or not by itself, but never without what was done
	// before to the same name.
	KeepNames float64

	// InOrder is the probability that a file's changes reached the disk in order:
	// a number of them whole, one in part, the rest not. Otherwise each fares by
	// itself, and later ones may survive where earlier ones do not.
	InOrder float64
}

// The two ends: nothing that was not synced survives, and everything does.
var (
	DropAll = Loss{Drop: 1}
	KeepAll = Loss{Keep: 1, KeepNames: 1}
)

// Crash returns what the disk holds after a power loss now. The Mem goes on
// unharmed and can crash again. The new one has no locks, faults or open files;
// its operations count from 0, and its capacity is the same. The same history
// and random numbers give the same disk.
//
// How bad it is varies from crash to crash: now and then all or nothing survives,
// most often a mix. CrashWith leaves the choice to the caller.
func (m *Mem) Crash(rng *rand.Rand) *Mem {
	switch rng.IntN(8) {
	case 0:
		return m.CrashWith(rng, DropAll)
	case 1:
		return m.CrashWith(rng, KeepAll)
	}
	return m.CrashWith(rng, Loss{
		Keep:      rng.Float64() + 0.01,
		Drop:      rng.Float64(),
		Garble:    rng.Float64() / 2,
		KeepNames: rng.Float64(),
		InOrder:   0.5,
	})
}

// CrashWith is Crash with a loss of the caller's choice.
func (m *Mem) CrashWith(rng *rand.Rand, loss Loss) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := crash{rng: rng, loss: loss}
	names := m.surviving(func() bool { return c.chance(loss.KeepNames) })
	return m.successor(c.file, func(d *directory) map[string]*node {
		if left, touched := names[d]; touched {
			return left
		}
		return d.synced
	})
}

// Clone returns what a killed process leaves behind, if the system lives on:
// everything it did, as durable. There are no locks, faults or open files.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.successor(
		func(s *storage) content { return s.live.snapshot() },
		func(d *directory) map[string]*node { return d.live },
	)
}

// successor makes a Mem of what remains of each file and directory.
func (m *Mem) successor(contents func(*storage) content, names func(*directory) map[string]*node) *Mem {
	next := NewMem()
	next.capacity = m.capacity
	var copyOf func(n *node) *node
	copyOf = func(n *node) *node {
		if n.file != nil {
			s := &storage{live: contents(n.file), users: 1}
			next.used += s.live.allocated.total()
			return &node{mode: n.mode, file: s}
		}
		dir := newDir(n.mode)
		for name, child := range sorted(names(n.dir)) {
			child := copyOf(child)
			dir.dir.live[name], dir.dir.synced[name] = child, child
		}
		return dir
	}
	next.root = copyOf(m.root)
	return next
}

// crash is one power loss at work.
type crash struct {
	rng  *rand.Rand
	loss Loss
}

// fate is what becomes of one thing that was not synced.
type fate uint8

const (
	kept fate = iota
	dropped
	garbled
)

func (c *crash) chance(p float64) bool { return c.rng.Float64() < p }

func (c *crash) draw() fate {
	x := c.rng.Float64() * (c.loss.Keep + c.loss.Drop + c.loss.Garble)
	switch {
	case x < c.loss.Keep:
		return kept
	case x < c.loss.Keep+c.loss.Drop:
		return dropped
	}
	return garbled
}

func always(f fate) func() fate { return func() fate { return f } }

// file works out what is left of a file's contents.
func (c *crash) file(s *storage) content {
	if s.synced == nil {
		return s.live.snapshot()
	}
	left := s.synced.snapshot()
	whole := -1 // the number of changes kept whole, if they are kept in order
	if c.chance(c.loss.InOrder) {
		whole = c.rng.IntN(len(s.pending) + 1)
	}
	for i, ch := range s.pending {
		switch {
		case whole < 0 || i == whole:
			c.replay(&left, ch, c.draw)
		case i < whole:
			c.replay(&left, ch, always(kept))
		}
	}
	left.resize(left.size) // a sector may be kept where the growth was not
	return left
}

// replay does to the content what the disk has of a change.
func (c *crash) replay(left *content, ch change, draw func() fate) {
	f := draw()
	switch {
	case ch.kind == Truncate && f == kept:
		left.resize(ch.off)
		return
	case ch.kind == Allocate && f == kept:
		left.allocated.add(ch.off, ch.off+ch.n)
	case ch.kind == Write:
		c.sectors(left, ch, draw)
	}
	c.grow(left, ch.off+ch.n, f)
}

// grow extends the content to size, if it is smaller: whole, not, or in part.
func (c *crash) grow(left *content, size int64, f fate) {
	switch more := size - left.size; {
	case more <= 0 || f == dropped:
	case f == kept:
		left.size = size
	case f == garbled:
		left.size += c.rng.Int64N(more)
	}
}

// sectors puts a write's bytes where their sectors are kept, and random ones
// where they are garbled. Sectors of the same fate go together, to save time.
func (c *crash) sectors(left *content, ch change, draw func() fate) {
	flush := func(f fate, data []byte, off int64) {
		switch f {
		case kept:
			left.put(data, off)
		case garbled:
			left.put(c.noise(len(data)), off)
		}
	}
	start, was := int64(0), kept
	for at := int64(0); at < ch.n; {
		if f := draw(); f != was {
			flush(was, ch.data[start:at], ch.off+start)
			start, was = at, f
		}
		at += sectorSize - (ch.off+at)%sectorSize
	}
	flush(was, ch.data[start:], ch.off+start)
}

// noise is n random bytes.
func (c *crash) noise(n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		for j, x := i, c.rng.Uint64(); j < min(i+8, n); j, x = j+1, x>>8 {
			b[j] = byte(x)
		}
	}
	return b
}

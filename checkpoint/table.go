package checkpoint

import (
	"encoding/binary"
	"slices"

	"inmem/run"
)

// Table is an index as an open store keeps it: what is known of all runs that have
// an image, in order of the run. There may be millions that nobody uses, so it is
// bytes in a few large pieces, which the garbage collector does not look through;
// an entry is decoded when somebody asks for it. A Table does not change. The nil
// Table has no runs.
type Table struct {
	Sequence uint64 // the log up to here is covered
	Time     int64  // Unix milliseconds
	Deleted  []run.ID

	places []place
	blocks [][]byte
	live   int // bytes of blocks that places refer to …
	dead   int // … and that none does any more
}

// place says where in the blocks a run's entry lies.
type place struct {
	run           run.ID
	block, offset uint32
}

// The bounds of a block, in bytes: a table of few runs has small ones.
const (
	leastTableBlock = 4 << 10
	mostTableBlock  = 256 << 10
)

// The flags in front of an entry. What follows is as in a file, without the run.
const (
	entryBare  = 1 << iota // see Entry.Bare
	entryApart             // there are holdings
)

func appendKept(b []byte, e *Entry) []byte {
	var flags byte
	if e.bare {
		flags |= entryBare
	}
	if len(e.Values) > 0 {
		flags |= entryApart
	}
	b = appendFields(append(b, flags), e)
	if flags&entryApart != 0 {
		b = appendHoldings(b, e.Values)
	}
	return b
}

// at decodes the entry at a place, and returns how many bytes it takes.
func (t *Table) at(p place) (e Entry, size int) {
	b := t.blocks[p.block][p.offset:]
	d := newFields(b[1:])
	format := uint32(FormatVersion)
	if b[0]&entryBare != 0 {
		format = 1
	}
	e.Run = p.run
	d.fields(&e, format)
	if b[0]&entryApart != 0 {
		e.Values = d.holdings()
	}
	return e, len(b) - d.Len()
}

// mostFields is more than an entry takes but for its record and holdings, in bytes.
const mostFields = 256

// add appends an entry, behind all others.
func (t *Table) add(e *Entry) {
	most := mostFields + len(e.Info) + 2*binary.MaxVarintLen64*len(e.Values)
	last := len(t.blocks) - 1
	if last < 0 || most > cap(t.blocks[last])-len(t.blocks[last]) {
		size := min(max(t.live, leastTableBlock), mostTableBlock)
		t.blocks = append(t.blocks, make([]byte, 0, max(size, most)))
		last++
	}
	block := t.blocks[last]
	t.places = append(t.places, place{e.Run, uint32(last), uint32(len(block))})
	t.blocks[last] = appendKept(block, e)
	t.live += len(t.blocks[last]) - len(block)
}

// Table reads the index of the checkpoint that covers the log up to sequence.
func (fs *Files) Table(sequence uint64) (*Table, error) {
	t := &Table{}
	x, err := fs.index(sequence, func(e *Entry, runs uint64) {
		if t.places == nil {
			t.places = make([]place, 0, runs)
		}
		t.add(e)
	})
	if err != nil {
		return nil, err
	}
	t.Sequence, t.Time, t.Deleted = x.Sequence, x.Time, x.Deleted
	return t.trim(), nil
}

// Table returns the index as a table.
func (x *Index) Table() *Table {
	t := &Table{Sequence: x.Sequence, Time: x.Time, Deleted: x.Deleted, places: make([]place, 0, len(x.Entries))}
	for i := range x.Entries {
		t.add(&x.Entries[i])
	}
	return t.trim()
}

// Len returns how many runs there are.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return len(t.places)
}

// find returns where the run is, or would be.
func (t *Table) find(id run.ID) (i int, found bool) {
	if t == nil {
		return 0, false
	}
	n := len(t.places)
	if n == 0 || id.Compare(t.places[n-1].run) > 0 { // a new run, for the most part
		return n, false
	}
	return slices.BinarySearchFunc(t.places, id, func(p place, id run.ID) int { return p.run.Compare(id) })
}

// Has reports whether the run is there.
func (t *Table) Has(id run.ID) bool {
	_, found := t.find(id)
	return found
}

// Find returns the entry of a run, and false where there is none. Its Info must not
// be changed.
func (t *Table) Find(id run.ID) (e Entry, found bool) {
	i, found := t.find(id)
	if found {
		e, _ = t.at(t.places[i])
	}
	return e, found
}

// All yields the entries in order of the run. Each is good until the next.
func (t *Table) All(yield func(*Entry) bool) {
	if t == nil {
		return
	}
	for _, p := range t.places {
		if e, _ := t.at(p); !yield(&e) {
			return
		}
	}
}

// With returns a table in which some runs have other entries, or come to the others,
// and some are gone. Both are in order; a run that is in both is gone. It takes
// O(runs), but for what did not change it copies places only.
func (t *Table) With(changed []*Entry, gone []run.ID) *Table {
	next := &Table{}
	var old []place
	if t != nil {
		*next = *t
		old, next.blocks = t.places, slices.Clone(t.blocks)
	}
	next.places = make([]place, 0, len(old)+len(changed))
	keep := func(id run.ID) bool {
		for len(gone) > 0 && gone[0].Compare(id) < 0 {
			gone = gone[1:]
		}
		return len(gone) == 0 || gone[0] != id
	}
	for len(old) > 0 || len(changed) > 0 {
		if len(changed) == 0 || len(old) > 0 && old[0].run.Compare(changed[0].Run) < 0 {
			if keep(old[0].run) {
				next.places = append(next.places, old[0])
			} else {
				next.lose(t, old[0])
			}
			old = old[1:]
			continue
		}
		if len(old) > 0 && old[0].run == changed[0].Run {
			next.lose(t, old[0])
			old = old[1:]
		}
		if keep(changed[0].Run) {
			next.add(changed[0])
		}
		changed = changed[1:]
	}
	if next.dead > next.live {
		return next.compact()
	}
	return next.trim()
}

// lose notes that an entry of the table before is not in this one.
func (t *Table) lose(before *Table, p place) {
	_, size := before.at(p)
	t.live -= size
	t.dead += size
}

// compact returns the same entries without what is dead.
func (t *Table) compact() *Table {
	next := &Table{Sequence: t.Sequence, Time: t.Time, Deleted: t.Deleted, places: make([]place, 0, len(t.places))}
	for e := range t.All {
		next.add(e)
	}
	return next.trim()
}

// trim completes a table: its last block has no room left, for whoever shares it.
func (t *Table) trim() *Table {
	if last := len(t.blocks) - 1; last >= 0 && len(t.blocks[last]) < cap(t.blocks[last]) {
		t.blocks[last] = append(make([]byte, 0, len(t.blocks[last])), t.blocks[last]...)
	}
	return t
}

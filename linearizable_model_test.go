package inmem_test

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"

	"inmem"
)

// asked is what a client, or a crash, does to a run.
type asked struct {
	what   question
	run    int
	key    string   // of a get; the prefix of a listing
	keys   []string // that a transaction reads, before it lists key
	writes []change
	mode   inmem.Durability
}

type question uint8

const (
	askPut question = iota
	askPutIf
	askDelete
	askBatch
	askUpdate // a transaction that reads and writes
	askView   // one that reads
	askGet
	askList
	askVersion
	askFlush
	askReopen // after a close; what is asked of the crashes follows
	askKill
	askPowerCut
)

var questionNames = [...]string{"put", "put if", "delete", "batch", "update", "view", "get", "list", "version", "flush", "reopen", "kill", "power cut"}

// writes reports whether the question may change the run.
func (q question) writes() bool { return q <= askUpdate }

// change is one write of a request.
type change struct {
	key, value string
	remove     bool
	only       bool // if the key is at the version
	version    uint64
}

// told is the answer. Its zero value, but for unknown, is that of a flush.
type told struct {
	unknown bool // the call did not return, or not with an answer
	version uint64
	value   string
	absent  bool
	refused string // the key of the write whose condition did not hold, at version
	lost    bool   // the transaction had a conflict
	items   []pair // what was read, also where the outcome is unknown
}

type pair struct {
	key, value string
	version    uint64
}

func (a told) equal(b told) bool {
	return a.version == b.version && a.value == b.value && a.absent == b.absent &&
		a.refused == b.refused && a.lost == b.lost && slices.Equal(a.items, b.items)
}

// moment is a run as one commit left it. It never changes.
type moment struct {
	version uint64
	items   map[string]pair
	before  *moment
	hash    uint64 // of all commits up to here
}

// runState is what the model knows of a run: its commits, and how many of them
// a kill and a power cut must leave.
type runState struct {
	*moment
	written, synced uint64
}

var hashSeed = maphash.MakeSeed()

type hashed struct {
	before uint64
	change change
}

// born is a run after its first commit, which is on the device.
func born() runState { return runState{&moment{version: 1}, 1, 1} }

// after returns the moment that a request leads to, and the answer to it.
func (m *moment) after(in *asked) (*moment, told) {
	next := &moment{version: m.version + 1, items: maps.Clone(m.items), before: m, hash: m.hash}
	if next.items == nil {
		next.items = map[string]pair{}
	}
	changes := false
	for _, c := range in.writes {
		if is := m.items[c.key].version; c.only && is != c.version {
			return m, told{refused: c.key, version: is}
		}
		if _, there := next.items[c.key]; c.remove && there {
			changes = true
			delete(next.items, c.key)
		}
		if !c.remove {
			changes = true
			next.items[c.key] = pair{c.key, c.value, next.version}
		}
		next.hash = maphash.Comparable(hashSeed, hashed{next.hash, c})
	}
	if in.what == askDelete {
		old, there := m.items[in.writes[0].key]
		if !there {
			return m, told{absent: true}
		}
		return next, told{value: old.value}
	}
	if !changes {
		return m, told{version: m.version}
	}
	return next, told{version: next.version}
}

// answer is what a read is told.
func (m *moment) answer(in *asked) told {
	switch in.what {
	case askGet:
		it, there := m.items[in.key]
		return told{value: it.value, version: it.version, absent: !there}
	case askList:
		return told{items: m.list(in.key)}
	case askView:
		return told{items: m.reads(in)}
	case askVersion:
		return told{version: m.version}
	}
	return told{}
}

// reads is what a transaction reads: some keys, and the list of a prefix.
func (m *moment) reads(in *asked) (items []pair) {
	for _, key := range in.keys {
		it := m.items[key]
		items = append(items, pair{key, it.value, it.version})
	}
	return append(items, m.list(in.key)...)
}

func (m *moment) list(prefix string) (items []pair) {
	for _, key := range slices.Sorted(maps.Keys(m.items)) {
		if strings.HasPrefix(key, prefix) {
			items = append(items, m.items[key])
		}
	}
	return items
}

// step returns the states that a call and its answer may lead to.
func (s runState) step(in *asked, out told) []any {
	switch {
	case in.what.writes():
		return s.write(in, out)
	case in.what >= askReopen:
		return s.crash(in, out)
	case !s.answer(in).equal(out):
		return nil
	case in.what == askFlush:
		s.written, s.synced = s.version, s.version
	}
	return []any{s}
}

func (s runState) write(in *asked, out told) []any {
	if out.lost {
		return []any{s}
	}
	next, want := s.after(in)
	if in.what == askUpdate {
		// What it read was there when it committed, or it did not commit. Who was
		// killed did not tell what it read.
		if want.items = s.reads(in); out.unknown && len(out.items) > 0 && !slices.Equal(want.items, out.items) {
			return []any{s}
		}
	}
	after := s
	if next != s.moment {
		after.moment = next
		// Who sees a commit sees one that is as durable as its mode promises.
		switch in.mode {
		case inmem.Strict:
			after.written, after.synced = next.version, next.version
		case inmem.Batched:
			after.written = next.version
		}
	}
	switch {
	case out.unknown && next != s.moment:
		return []any{s, after}
	case out.unknown || want.equal(out):
		return []any{after}
	}
	return nil
}

// crash takes the run back to the version it was found at, which must be one it
// had, and not older than what the crash had to leave. What was found is on the
// device: recovery sees to that before it shows it.
func (s runState) crash(in *asked, out told) []any {
	least := map[question]uint64{askReopen: s.version, askKill: s.written, askPowerCut: s.synced}[in.what]
	if out.version < least || out.version > s.version {
		return nil
	}
	left := s.moment
	for left.version > out.version {
		left = left.before
	}
	if !slices.Equal(left.list(""), out.items) {
		return nil
	}
	return []any{runState{left, left.version, left.version}}
}

// linearizable is the model: each run by itself.
func linearizable() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			var parts [linearRuns][]porcupine.Operation
			for _, o := range history {
				in := o.Input.(*asked)
				parts[in.run] = append(parts[in.run], o)
			}
			return slices.DeleteFunc(parts[:], func(p []porcupine.Operation) bool { return len(p) == 0 })
		},
		Init: func() []any { return []any{born()} },
		Step: func(s, in, out any) []any { return s.(runState).step(in.(*asked), out.(told)) },
		Equal: func(a, b any) bool {
			x, y := a.(runState), b.(runState)
			return x.hash == y.hash && x.version == y.version && x.written == y.written && x.synced == y.synced
		},
		Hash: func(a any) uint64 { return a.(runState).hash },
		DescribeOperation: func(in, out any) string {
			return fmt.Sprintf("%v → %v", in.(*asked), out.(told))
		},
		DescribeState: func(a any) string {
			s := a.(runState)
			return fmt.Sprintf("version %d (written %d, synced %d): %v", s.version, s.written, s.synced, s.list(""))
		},
	}
	return model.ToModel()
}

func (in *asked) String() string {
	b := fmt.Appendf(nil, "%s", questionNames[in.what])
	if in.key != "" || len(in.keys) > 0 {
		b = fmt.Appendf(b, " %s%v", in.key, in.keys)
	}
	for _, c := range in.writes {
		b = fmt.Appendf(b, " %v", c)
	}
	if in.what.writes() {
		b = fmt.Appendf(b, " (%v)", in.mode)
	}
	return string(b)
}

func (c change) String() string {
	text := fmt.Sprintf("%s=%s", c.key, short(c.value))
	if c.remove {
		text = "-" + c.key
	}
	if c.only {
		text += fmt.Sprintf(" at %d", c.version)
	}
	return text
}

func (p pair) String() string { return fmt.Sprintf("%s=%s@%d", p.key, short(p.value), p.version) }

// short leaves the padding of a value out.
func short(value string) string { return strings.TrimRight(value, ".") }

func (out told) String() string {
	switch {
	case out.unknown:
		return fmt.Sprint("unknown ", out.items)
	case out.lost:
		return "conflict"
	case out.refused != "":
		return fmt.Sprintf("refused: %s is at %d", out.refused, out.version)
	case out.absent:
		return "absent"
	}
	return strings.TrimSpace(fmt.Sprintf("%s @%d %v", short(out.value), out.version, out.items))
}

// TestLinearizableModel holds the model itself against short histories of one
// run: some that may happen, and for each way of going wrong one that may not.
func TestLinearizableModel(t *testing.T) {
	a1 := &asked{what: askPut, writes: []change{{key: "a", value: "1"}}, mode: inmem.Strict}
	b1 := &asked{what: askPut, writes: []change{{key: "b", value: "1"}}, mode: inmem.Batched}
	both := &asked{what: askBatch, writes: []change{{key: "a", value: "2"}, {key: "b", value: "2"}}, mode: inmem.Async}
	onlyNew := &asked{what: askPutIf, writes: []change{{key: "a", value: "3", only: true}}, mode: inmem.Async}
	remove := &asked{what: askDelete, writes: []change{{key: "a", remove: true}}, mode: inmem.Async}
	copied := &asked{what: askUpdate, keys: []string{"a"}, key: "b", writes: []change{{key: "b", value: "1"}}, mode: inmem.Strict}
	view := &asked{what: askView, keys: []string{"a"}, key: "b"}
	get, list, version := &asked{what: askGet, key: "a"}, &asked{what: askList}, &asked{what: askVersion}
	flush, reopen, kill, cut := &asked{what: askFlush}, &asked{what: askReopen}, &asked{what: askKill}, &asked{what: askPowerCut}
	at := func(v uint64, items ...pair) told { return told{version: v, items: items} }
	lost := told{unknown: true}
	a, b := pair{"a", "1", 2}, pair{"b", "1", 3}
	type step struct {
		in   *asked
		out  told
		long bool // it goes on during the next one
	}
	for name, c := range map[string]struct {
		steps []step
		want  bool
	}{
		"reads":                   {[]step{{a1, at(2), false}, {get, told{value: "1", version: 2}, false}, {list, at(0, a), false}, {version, at(2), false}}, true},
		"stale read":              {[]step{{a1, at(2), false}, {get, told{absent: true}, false}}, false},
		"read meanwhile":          {[]step{{a1, at(2), true}, {get, told{absent: true}, false}}, true},
		"read of the future":      {[]step{{get, told{value: "1", version: 2}, false}, {a1, at(2), false}}, false},
		"stale version":           {[]step{{a1, at(2), false}, {version, at(1), false}}, false},
		"version with a gap":      {[]step{{a1, at(2), false}, {b1, at(4), false}}, false},
		"half a batch":            {[]step{{both, at(2), true}, {list, at(0, pair{"a", "2", 2}), false}}, false},
		"condition":               {[]step{{onlyNew, at(2), false}, {onlyNew, told{refused: "a", version: 2}, false}}, true},
		"condition not held":      {[]step{{a1, at(2), false}, {onlyNew, at(3), false}}, false},
		"refused without reason":  {[]step{{onlyNew, told{refused: "a", version: 2}, false}}, false},
		"delete":                  {[]step{{a1, at(2), false}, {remove, told{value: "1"}, false}, {remove, told{absent: true}, false}, {version, at(3), false}}, true},
		"deleted twice":           {[]step{{a1, at(2), false}, {remove, told{value: "1"}, false}, {remove, told{value: "1"}, false}}, false},
		"Strict stays":            {[]step{{a1, at(2), false}, {cut, at(2, a), false}}, true},
		"Strict lost":             {[]step{{a1, at(2), false}, {cut, at(1), false}}, false},
		"Batched lost":            {[]step{{a1, at(2), false}, {b1, at(3), false}, {cut, at(2, a), false}, {b1, at(3), false}}, true},
		"Batched lost in a kill":  {[]step{{a1, at(2), false}, {b1, at(3), false}, {kill, at(2, a), false}}, false},
		"Batched lost in a close": {[]step{{a1, at(2), false}, {b1, at(3), false}, {reopen, at(2, a), false}}, false},
		"lost after a flush":      {[]step{{both, at(2), false}, {flush, told{}, false}, {cut, at(1), false}}, false},
		"lost during a flush":     {[]step{{flush, told{}, true}, {both, at(2), false}, {cut, at(1), false}}, true},
		"Async lost in a kill":    {[]step{{both, at(2), false}, {kill, at(1), false}}, true},
		"not the last is lost":    {[]step{{b1, at(2), false}, {both, at(3), false}, {cut, at(2, pair{"a", "2", 2}), false}}, false},
		"lost, and seen again":    {[]step{{a1, at(2), false}, {b1, at(3), false}, {cut, at(2, a), false}, {list, at(0, a, b), false}}, false},
		"left over, then lost":    {[]step{{b1, at(2), false}, {cut, at(2, pair{"b", "1", 2}), false}, {cut, at(1), false}}, false},
		"unknown, did not happen": {[]step{{a1, lost, false}, {cut, at(1), false}}, true},
		"unknown, happened":       {[]step{{a1, lost, false}, {cut, at(2, a), false}}, true},
		"unknown, in half":        {[]step{{both, lost, false}, {cut, at(2, pair{"a", "2", 2}), false}}, false},
		"unknown, seen and lost":  {[]step{{a1, lost, true}, {get, told{value: "1", version: 2}, false}, {cut, at(1), false}}, false},
		"unknown, too late":       {[]step{{a1, lost, false}, {cut, at(1), false}, {get, told{value: "1", version: 2}, false}}, false},
		"transaction":             {[]step{{a1, at(2), false}, {copied, at(3, a), false}, {view, at(0, a, b), false}}, true},
		"read before another":     {[]step{{copied, at(3, pair{"a", "", 0}), true}, {a1, at(2), false}}, false},
		"phantom":                 {[]step{{a1, at(2), false}, {b1, at(3), false}, {copied, at(4, a), false}}, false},
		"conflict":                {[]step{{a1, at(2), false}, {copied, told{lost: true}, false}, {view, at(0, a), false}}, true},
		"conflict, and written":   {[]step{{a1, at(2), false}, {copied, told{lost: true}, false}, {view, at(0, a, b), false}}, false},
		"unknown, read too early": {[]step{{copied, told{unknown: true, items: []pair{{"a", "", 0}}}, true}, {a1, at(2), false}, {version, at(3), false}}, false},
		"unknown, and committed":  {[]step{{a1, at(2), false}, {copied, told{unknown: true, items: []pair{a}}, true}, {version, at(3), false}}, true},
		"view of two moments":     {[]step{{a1, at(2), false}, {view, at(0, pair{"a", "", 0}, b), true}, {b1, at(3), false}}, false},
		"invented":                {[]step{{a1, at(2), false}, {cut, at(3, a, b), false}}, false},
	} {
		var history []porcupine.Operation
		for i, s := range c.steps {
			o := porcupine.Operation{ClientId: i, Input: s.in, Output: s.out, Call: int64(10 * i), Return: int64(10*i + 5)}
			if s.long {
				o.Return += 10
			}
			history = append(history, o)
		}
		assert.Equal(t, c.want, porcupine.CheckOperations(linearizable(), history), name)
	}
}

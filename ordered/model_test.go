package ordered

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/btree"
	"pgregory.net/rapid"

	"inmem/op"
)

type model = btree.Map[string, op.Item]

// pair is a View beside the model of the same moment.
type pair struct {
	view  View
	model *model
}

// requireEqual looks at everything a View can be asked.
func (p *pair) requireEqual(t require.TestingT) {
	require.NoError(t, p.view.Check())
	require.Equal(t, p.model.Len(), p.view.Len())
	var got, want []entry
	p.view.Ascend("", collect(&got, -1))
	p.model.Scan(collect(&want, -1))
	require.Equal(t, want, got)
	var counts Counts
	for _, e := range want {
		if first := (e.key + "\x00")[0]; int(first) < len(counts) {
			counts[first]++
		} else {
			counts[0]++
		}
	}
	require.Equal(t, counts, p.view.Counts())
	got = nil
	p.view.Descend("", collect(&got, -1))
	slices.Reverse(got)
	require.Equal(t, want, got)
	for _, e := range want {
		it, ok := p.view.Get(e.key)
		require.True(t, ok)
		require.Equal(t, e.item, it)
	}
}

type entry struct {
	key  string
	item op.Item
}

// collect appends up to n entries to a list; a negative n means all.
func collect(to *[]entry, n int) func(string, op.Item) bool {
	return func(key string, it op.Item) bool {
		it.Value = it.Value[:len(it.Value):len(it.Value)]
		*to = append(*to, entry{strings.Clone(key), it})
		n--
		return n != 0
	}
}

// keys draws keys of several hard families, few enough to meet again.
func keys() *rapid.Generator[string] {
	long := strings.Repeat("long ", 60)
	return rapid.OneOf(
		rapid.Map(rapid.IntRange(0, 400), func(i int) string { return fmt.Sprintf("\x01key-%08d", i) }),
		rapid.Map(rapid.IntRange(0, 150), func(i int) string { return fmt.Sprintf("\x02%s%d", long, i) }),
		rapid.Map(rapid.IntRange(0, 60), func(i int) string { return strings.Repeat("\x00", i) }),
		rapid.Map(rapid.IntRange(0, 60), func(i int) string { return strings.Repeat("\xff", i) }),
		rapid.Map(rapid.IntRange(0, 60), func(i int) string { return "\xff\xff\xff" + strings.Repeat("\x00", i) }),
		rapid.Map(rapid.IntRange(0, 300), func(i int) string { return long[:i] }),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xfe, 0xff}), 0, 4), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }),
	)
}

func items() *rapid.Generator[op.Item] {
	return rapid.Custom(func(t *rapid.T) op.Item {
		size := rapid.OneOf(
			rapid.IntRange(0, 40),
			rapid.Just(256),
			rapid.SampledFrom([]int{maxShared - 100, maxShared + 100, 3 * maxChunk}),
		).Draw(t, "size")
		return op.Item{
			Value:    bytes.Repeat([]byte{rapid.Byte().Draw(t, "fill")}, size),
			Version:  rapid.Uint64().Draw(t, "version"),
			Deadline: rapid.Int64().Draw(t, "deadline"),
		}
	})
}

// Whatever is done to a map, it and every View taken on the way answer like the
// model, then and later.
func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := machine{}
		t.Repeat(rapid.StateMachineActions(&m))
		m.Snapshot(t)
		for i := range m.past {
			m.past[i].requireEqual(t)
		}
	})
}

// machine is what rapid drives: each exported method is one thing to do.
type machine struct {
	m    Map
	live model
	past []pair
}

// Check runs after each of the others.
func (s *machine) Check(t *rapid.T) {
	require.NoError(t, s.m.Check())
	require.Equal(t, s.live.Len(), s.m.Len())
}

func (s *machine) set(t *rapid.T, key string, it op.Item) {
	was, existed := s.live.Set(key, it)
	got, ok := s.m.Set(key, it)
	require.Equal(t, existed, ok)
	require.Equal(t, was, got)
}

func (s *machine) remove(t *rapid.T, key string) {
	was, existed := s.live.Delete(key)
	got, ok := s.m.Delete(key)
	require.Equal(t, existed, ok)
	require.Equal(t, was, got)
}

// some draws a key and often takes the next one that is there instead.
func (s *machine) some(t *rapid.T) string {
	key := keys().Draw(t, "key")
	if rapid.IntRange(0, 2).Draw(t, "there") > 0 {
		s.live.Ascend(key, func(k string, _ op.Item) bool { key = k; return false })
	}
	return key
}

// several returns some entries that are there, side by side.
func (s *machine) several(t *rapid.T) []entry {
	var list []entry
	s.live.Ascend(s.some(t), collect(&list, rapid.IntRange(1, 300).Draw(t, "n")))
	return list
}

func (s *machine) Set(t *rapid.T) { s.set(t, s.some(t), items().Draw(t, "item")) }

func (s *machine) SetMany(t *rapid.T) {
	it := items().Draw(t, "item")
	for _, key := range rapid.SliceOfN(keys(), 1, 200).Draw(t, "keys") {
		s.set(t, key, it)
	}
}

func (s *machine) Overwrite(t *rapid.T) {
	it := op.Item{Value: make([]byte, rapid.IntRange(0, 300).Draw(t, "size"))}
	for _, e := range s.several(t) {
		s.set(t, e.key, it)
	}
}

func (s *machine) Delete(t *rapid.T) { s.remove(t, s.some(t)) }

func (s *machine) DeleteMany(t *rapid.T) {
	for _, e := range s.several(t) {
		s.remove(t, e.key)
	}
}

func (s *machine) Get(t *rapid.T) {
	key := s.some(t)
	want, is := s.live.Get(key)
	got, ok := s.m.Get(key)
	require.Equal(t, is, ok)
	require.Equal(t, want, got)
}

func (s *machine) Scan(t *rapid.T) {
	v, from, n := s.m.Snapshot(), s.some(t), rapid.IntRange(1, 80).Draw(t, "n")
	var got, want []entry
	v.Ascend(from, collect(&got, n))
	s.live.Ascend(from, collect(&want, n))
	require.Equal(t, want, got)

	got, want = nil, nil
	v.Descend(from, collect(&got, n))
	take := collect(&want, n)
	s.live.Reverse(func(key string, it op.Item) bool {
		return from != "" && key >= from || take(key, it)
	})
	require.Equal(t, want, got)
}

func (s *machine) Snapshot(*rapid.T) {
	s.past = append(s.past, pair{s.m.Snapshot(), s.live.Copy()})
}

func (s *machine) LookBack(t *rapid.T) {
	if len(s.past) == 0 {
		return
	}
	i := rapid.IntRange(0, len(s.past)-1).Draw(t, "which")
	s.past[i].requireEqual(t)
	if rapid.Bool().Draw(t, "let go") {
		s.past = append(s.past[:i], s.past[i+1:]...)
	}
}

package ordered

import (
	"bytes"
	"fmt"
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
		m, live := &Map{}, &model{}
		var past []pair
		set := func(key string, it op.Item) {
			previous, existed := m.Set(key, it)
			wasItem, was := live.Set(key, it)
			require.Equal(t, was, existed)
			require.Equal(t, wasItem, previous)
		}
		remove := func(key string) {
			previous, existed := m.Delete(key)
			wasItem, was := live.Delete(key)
			require.Equal(t, was, existed)
			require.Equal(t, wasItem, previous)
		}
		// some draws a key and often takes the next one that is there.
		some := func(t *rapid.T) string {
			key := keys().Draw(t, "key")
			if rapid.IntRange(0, 2).Draw(t, "there") > 0 {
				live.Ascend(key, func(k string, _ op.Item) bool { key = k; return false })
			}
			return key
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) { set(some(t), items().Draw(t, "item")) },
			"set many": func(t *rapid.T) {
				all := rapid.SliceOfN(keys(), 1, 200).Draw(t, "keys")
				it := items().Draw(t, "item")
				for _, key := range all {
					set(key, it)
				}
			},
			"overwrite": func(t *rapid.T) {
				it := op.Item{Value: make([]byte, rapid.IntRange(0, 300).Draw(t, "size"))}
				for _, e := range entries(live, some(t), rapid.IntRange(1, 300).Draw(t, "n")) {
					set(e.key, it)
				}
			},
			"delete": func(t *rapid.T) { remove(some(t)) },
			"delete many": func(t *rapid.T) {
				for _, e := range entries(live, some(t), rapid.IntRange(1, 300).Draw(t, "n")) {
					remove(e.key)
				}
			},
			"get": func(t *rapid.T) {
				key := some(t)
				want, is := live.Get(key)
				got, ok := m.Get(key)
				require.Equal(t, is, ok)
				require.Equal(t, want, got)
			},
			"scan": func(t *rapid.T) {
				v, from, n := m.Snapshot(), some(t), rapid.IntRange(1, 80).Draw(t, "n")
				var got, want []entry
				v.Ascend(from, collect(&got, n))
				live.Ascend(from, collect(&want, n))
				require.Equal(t, want, got)
				got, want = nil, nil
				v.Descend(from, collect(&got, n))
				live.Reverse(func(key string, it op.Item) bool {
					if from != "" && key >= from {
						return true
					}
					return collect(&want, 0)(key, it) && len(want) < n
				})
				require.Equal(t, want, got)
			},
			"snapshot": func(*rapid.T) {
				past = append(past, pair{m.Snapshot(), live.Copy()})
			},
			"look back": func(t *rapid.T) {
				if len(past) > 0 {
					i := rapid.IntRange(0, len(past)-1).Draw(t, "which")
					past[i].requireEqual(t)
					if rapid.Bool().Draw(t, "let go") {
						past = append(past[:i], past[i+1:]...)
					}
				}
			},
			"": func(t *rapid.T) {
				require.NoError(t, m.Check())
				require.Equal(t, live.Len(), m.Len())
			},
		})
		past = append(past, pair{m.Snapshot(), live})
		for i := range past {
			past[i].requireEqual(t)
		}
	})
}

// entries lists up to n entries of a model from a key on.
func entries(m *model, from string, n int) []entry {
	var list []entry
	m.Ascend(from, collect(&list, n))
	return list
}

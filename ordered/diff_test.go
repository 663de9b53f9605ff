package ordered

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/op"
)

// seen is what Diff said of a key; version 0 = it is not there.
type seen struct{ was, is uint64 }

func diffOf(t require.TestingT, old, now *View, r Range) map[string]seen {
	got := map[string]seen{}
	require.True(t, now.Diff(old, r, -1, func(key string, was, is *op.Item) bool {
		_, twice := got[key]
		require.False(t, twice, "key %q comes twice", key)
		s := seen{}
		if was != nil {
			s.was = was.Version
		}
		if is != nil {
			s.is = is.Version
		}
		got[strings.Clone(key)] = s
		return true
	}))
	return got
}

func modelDiff(old, now *model, r Range) map[string]seen {
	want := map[string]seen{}
	within := func(key string) bool { return key >= r.From && (r.Below == "" || key < r.Below) }
	old.Scan(func(key string, it op.Item) bool {
		if after, ok := now.Get(key); within(key) && (!ok || after.Version != it.Version) {
			want[key] = seen{it.Version, after.Version}
		}
		return true
	})
	now.Scan(func(key string, it op.Item) bool {
		if _, ok := old.Get(key); within(key) && !ok {
			want[key] = seen{0, it.Version}
		}
		return true
	})
	return want
}

// TestDiffAgainstAModel: between any two Views of a map's life, in both
// directions and over any range, Diff says what a comparison of all keys says.
func TestDiffAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Map
		var oracle model
		space := rapid.SampledFrom([]int{5, 100, 3000}).Draw(t, "keys")
		name := func(label string) string {
			return fmt.Sprintf("%c%05d", 'a'+rapid.IntRange(0, 2).Draw(t, label+" tag"), rapid.IntRange(0, space).Draw(t, label))
		}
		pairs := []pair{{m.Snapshot(), oracle.Copy()}}
		version := uint64(0)
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			for range rapid.SampledFrom([]int{1, 3, 100, 700}).Draw(t, "changes") {
				version++
				key := name("key")
				switch rapid.IntRange(0, 9).Draw(t, "kind") {
				case 0, 1, 2:
					m.Delete(key)
					oracle.Delete(key)
				case 3:
					m.Settle()
				default:
					it := op.Item{Value: []byte(key), Version: version}
					m.Put(key, it)
					oracle.Set(key, it)
				}
			}
			pairs = append(pairs, pair{m.Snapshot(), oracle.Copy()})
		}
		a := pairs[rapid.IntRange(0, len(pairs)-1).Draw(t, "a")]
		b := pairs[rapid.IntRange(0, len(pairs)-1).Draw(t, "b")]
		r := Range{}
		if rapid.Bool().Draw(t, "bounded") {
			r = Range{From: name("from"), Below: name("below")}
		}
		require.Equal(t, modelDiff(a.model, b.model, r), diffOf(t, &a.view, &b.view, r))
	})
}

// TestDiffTakesAsLongAsThereAreChanges: a large map in which little was changed
// is not gone through, and one that shares nothing is given up in time.
func TestDiffTakesAsLongAsThereAreChanges(t *testing.T) {
	var m, other Map
	const keys = 100_000
	for i := range keys {
		it := op.Item{Version: uint64(i + 1)}
		m.Put(fmt.Sprintf("%08d", i), it)
		other.Put(fmt.Sprintf("%08d", i), it)
	}
	m.Settle()
	old := m.Snapshot()
	for i := range 10 {
		m.Put(fmt.Sprintf("%08d", i*9_999), op.Item{Version: keys + 1})
	}
	m.Delete("00050000")
	now := m.Snapshot()
	count := 0
	diff := func(a, b *View, most int) bool {
		count = 0
		return b.Diff(a, Range{}, most, func(string, *op.Item, *op.Item) bool { count++; return true })
	}
	require.True(t, diff(&old, &now, 11*fanout), "no more than the leaves that were changed")
	require.Equal(t, 11, count)
	require.True(t, diff(&now, &now, 0))
	require.Zero(t, count)

	foreign := other.Snapshot()
	require.False(t, diff(&old, &foreign, keys-1))
	require.True(t, diff(&old, &foreign, -1), "nothing is shared, and nothing differs")
	require.Zero(t, count)

	require.True(t, now.Diff(&old, Range{}, -1, func(string, *op.Item, *op.Item) bool { count++; return false }))
	require.Equal(t, 1, count, "it ends when it is told to")
}

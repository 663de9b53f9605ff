package ordered

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
)

// set stores a value that tells which key and version it belongs to.
func set(m *Map, key string, version uint64) {
	m.Set(key, op.Item{Value: fmt.Appendf(nil, "%s@%d", key, version), Version: version})
}

// walk returns all keys of a map, in both directions.
func walk(t *testing.T, m *Map) []string {
	v := m.Snapshot()
	var up, down []string
	v.Ascend("", func(key string, _ op.Item) bool { up = append(up, key); return true })
	v.Descend("", func(key string, _ op.Item) bool { down = append(down, key); return true })
	slices.Reverse(down)
	require.Equal(t, up, down)
	require.Len(t, up, v.Len())
	return up
}

func TestZeroValues(t *testing.T) {
	var m Map
	var v View
	for _, w := range []View{v, m.Snapshot()} {
		_, ok := w.Get("")
		require.False(t, ok)
		require.Zero(t, w.Len())
		w.Ascend("", func(string, op.Item) bool { panic("empty") })
		w.Descend("", func(string, op.Item) bool { panic("empty") })
		require.NoError(t, w.Check())
	}
	_, ok := m.Get("a")
	require.False(t, ok)
	_, existed := m.Delete("a")
	require.False(t, existed)
	require.NoError(t, m.Check())
}

func TestItemsComeBack(t *testing.T) {
	var m Map
	value := []byte("value")
	first := op.Item{Value: value, Version: 1<<63 + 1, Deadline: -5}
	_, existed := m.Set("", first)
	require.False(t, existed)
	value[0] = 'V' // the map has a copy
	it, ok := m.Get("")
	require.True(t, ok)
	first.Value = []byte("value")
	require.Equal(t, first, it)
	require.Equal(t, len(it.Value), cap(it.Value))

	previous, existed := m.Set("", op.Item{})
	require.True(t, existed)
	require.Equal(t, first, previous)
	it, _ = m.Get("")
	require.NotNil(t, it.Value)
	require.Empty(t, it.Value)
	require.Zero(t, cap(it.Value))

	previous, existed = m.Delete("")
	require.True(t, existed)
	require.Empty(t, previous.Value)
	require.Zero(t, m.Len())
	require.Equal(t, "value", string(first.Value))
}

// A caller may reuse the memory of a key.
func TestKeysAreCopied(t *testing.T) {
	var m Map
	key := []byte("key")
	m.Set(stringOf(key), op.Item{})
	key[0] = 'K'
	require.Equal(t, []string{"key"}, walk(t, &m))
}

func TestKeyTooLong(t *testing.T) {
	var m Map
	require.Panics(t, func() { m.Set(stringOf(make([]byte, maxKey+1)), op.Item{}) })
	require.Zero(t, m.Len())
}

// Families of keys that are hard on prefixes.
func hardKeys() map[string][]string {
	long := strings.Repeat("p", 1000)
	families := map[string][]string{}
	for i := range 600 {
		families["counted"] = append(families["counted"], fmt.Sprintf("\x01key-%08d", i))
		families["nested"] = append(families["nested"], strings.Repeat("n", i))
		families["zeros"] = append(families["zeros"], "z"+strings.Repeat("\x00", i))
		families["ones"] = append(families["ones"], strings.Repeat("\xff", i))
		families["long"] = append(families["long"], long+fmt.Sprint(i)+long)
		families["long and apart"] = append(families["long and apart"], string([]byte{byte(i)})+long+fmt.Sprint(i))
		families["binary"] = append(families["binary"], string([]byte{byte(i >> 6), 0, byte(i) | 0xf0, 0xff, byte(i), 0}))
	}
	for _, keys := range families {
		families["all"] = append(families["all"], keys...)
	}
	for name, keys := range families {
		slices.Sort(keys)
		families[name] = slices.Compact(keys)
	}
	return families
}

// orders are the ways in which sorted keys may arrive.
var orders = map[string]func([]string){
	"ascending":  func([]string) {},
	"descending": slices.Reverse[[]string],
	"random": func(keys []string) {
		rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	},
}

func TestHardKeys(t *testing.T) {
	for family, sorted := range hardKeys() {
		for order, arrange := range orders {
			t.Run(family+" "+order, func(t *testing.T) {
				var m Map
				keys := slices.Clone(sorted)
				arrange(keys)
				for i, key := range keys {
					set(&m, key, 1)
					if i%16 == 0 {
						require.NoError(t, m.Check())
						m.Snapshot()
					}
				}
				require.NoError(t, m.Check())
				require.Equal(t, sorted, walk(t, &m))
				bounds(t, m.Snapshot(), sorted)

				arrange(keys)
				for i, key := range keys {
					_, existed := m.Delete(key)
					require.True(t, existed)
					_, ok := m.Get(key)
					require.False(t, ok)
					if i%16 == 0 {
						require.NoError(t, m.Check())
					}
				}
				require.NoError(t, m.Check())
				set(&m, keys[0], 2)
				require.Equal(t, keys[:1], walk(t, &m))
			})
		}
	}
}

// bounds looks up and scans from every key and from its nearest neighbours.
func bounds(t *testing.T, v View, sorted []string) {
	for _, key := range sorted {
		it, ok := v.Get(key)
		require.True(t, ok)
		require.Equal(t, key+"@1", string(it.Value))
		near := []string{key, key + "\x00", key[:len(key)*2/3]}
		if len(key) > 0 {
			near = append(near, key[:len(key)-1]+string([]byte{key[len(key)-1] - 1}))
		}
		for _, from := range near {
			at, there := slices.BinarySearch(sorted, from)
			_, ok := v.Get(from)
			require.Equal(t, there, ok)
			var got []string
			take := func(key string, _ op.Item) bool {
				got = append(got, key)
				return len(got) < 3
			}
			v.Ascend(from, take)
			require.Equal(t, sorted[at:min(at+3, len(sorted))], append([]string{}, got...))
			if from == "" {
				continue
			}
			got = nil
			v.Descend(from, take)
			slices.Reverse(got)
			require.Equal(t, sorted[max(at-3, 0):at], append([]string{}, got...))
		}
	}
}

// Ascending order, as of events, leaves full leaves behind.
func TestAscendingKeysFillLeaves(t *testing.T) {
	var m Map
	const n = 50_000
	for i := range n {
		m.Set(fmt.Sprintf("%012d", i), op.Item{})
	}
	require.NoError(t, m.Check())
	require.Less(t, m.nodes, int64(n*20))
}

// A View is not touched by what happens to the map later.
func TestViewsStay(t *testing.T) {
	var m Map
	keys := hardKeys()["counted"]
	type moment struct {
		view    View
		version uint64
	}
	var past []moment
	for version := uint64(1); version <= 40; version++ {
		rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		for _, key := range keys {
			set(&m, key, version)
		}
		past = append(past, moment{m.Snapshot(), version})
		for _, key := range keys[:len(keys)/2] {
			m.Delete(key)
			if rand.IntN(8) == 0 {
				m.Snapshot()
			}
		}
	}
	for _, p := range past {
		require.NoError(t, p.view.Check())
		require.Equal(t, len(keys), p.view.Len())
		p.view.Ascend("", func(key string, it op.Item) bool {
			require.Equal(t, p.version, it.Version)
			require.Equal(t, fmt.Sprintf("%s@%d", key, p.version), string(it.Value))
			return true
		})
	}
}

func TestHugeValues(t *testing.T) {
	var m Map
	sizes := []int{maxShared - recordStart - 1, maxShared - recordStart, maxShared, maxChunk, 1 << 20, 40 << 20}
	for round := range 3 {
		for i, size := range sizes {
			m.Set(fmt.Sprint(i), op.Item{Value: bytes.Repeat([]byte{byte(round)}, size)})
			require.NoError(t, m.Check())
		}
	}
	v := m.Snapshot()
	for i, size := range sizes {
		it, ok := v.Get(fmt.Sprint(i))
		require.True(t, ok)
		require.Len(t, it.Value, size)
		require.Equal(t, size, bytes.Count(it.Value, []byte{2}))
	}
	live := int64(0)
	for _, size := range sizes {
		live += int64(size)
	}
	require.Less(t, m.Bytes(), live*5/4)
}

func TestGetDoesNotAllocate(t *testing.T) {
	var m Map
	for _, key := range hardKeys()["counted"] {
		set(&m, key, 1)
	}
	v := m.Snapshot()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		v.Get("\x01key-00000077")
		m.Get("\x01key-00000500")
		m.Get("absent")
	}))
}

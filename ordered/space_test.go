package ordered

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
)

// liveBytes is what a map's keys and values take by themselves, with the
// record's head and the leaf's entry.
func liveBytes(m *Map) int64 {
	return m.live + int64(m.Len())*16
}

// However long keys are overwritten, memory stays in proportion.
func TestOverwritingKeepsMemoryInProportion(t *testing.T) {
	for _, c := range []struct{ keys, least, most int }{
		{1, 8, 8}, {1, 5000, 15000}, {10, 256, 256}, {50, 100, 10000}, {500, 256, 256},
		{500, 0, 40}, {1000, 0, 1000}, {3000, 1000, 20000}, {20000, 256, 256},
	} {
		t.Run(fmt.Sprintf("%d keys of %d-%d bytes", c.keys, c.least, c.most), func(t *testing.T) {
			var m Map
			worst := 0.0
			room := int64(4096 + min(4*c.most, maxChunk)) // what a map of few keys needs to turn round
			value := make([]byte, c.most)
			for i := range 8 * c.keys {
				key := fmt.Sprintf("\x01key-%08d", rand.IntN(c.keys))
				m.Set(key, op.Item{Value: value[:c.least+rand.IntN(c.most-c.least+1)]})
				if i%100 == 0 {
					m.Snapshot()
				}
				if i > c.keys {
					worst = max(worst, float64(m.Bytes()-room)/float64(liveBytes(&m)))
				}
			}
			require.NoError(t, m.Check())
			t.Logf("at worst %.2f of live", worst)
			require.Less(t, worst, 2.2)
		})
	}
}

// A map that was large and shrank gives its memory back.
func TestShrinkingGivesMemoryBack(t *testing.T) {
	var m Map
	value := make([]byte, 300)
	key := func(i int) string { return fmt.Sprintf("%08d", i) }
	for i := range 20_000 {
		m.Set(key(i), op.Item{Value: value})
	}
	for _, left := range []int{5000, 1000, 100, 10, 1} {
		for i := range rand.Perm(20_000) {
			if m.Len() > left {
				m.Delete(key(i))
			}
		}
		require.NoError(t, m.Check())
		require.Less(t, m.Bytes(), 4*liveBytes(&m)+16384, "%d keys left", left)
	}
	m.Delete(key(19_999))
	require.Zero(t, m.Len())
	require.Less(t, m.Bytes(), int64(1024))
}

// Large values each have a chunk; the chunk table must not be copied for each of
// them that goes.
func TestManyLargeValues(t *testing.T) {
	var m Map
	value := make([]byte, maxShared)
	for range 20 {
		for i := range 300 {
			m.Set(fmt.Sprint(i), op.Item{Value: value})
		}
	}
	require.NoError(t, m.Check())
	require.Less(t, m.Bytes(), liveBytes(&m)*5/4)
	require.Less(t, len(m.table), 400)
}

// Bytes agrees with what the runtime says.
func TestBytesIsHonest(t *testing.T) {
	for _, order := range []string{"ascending", "random"} {
		for _, size := range []int{0, 20, 256, 20_000} {
			n := 10_000_000 / (100 + size)
			keys := make([]string, n)
			for i := range keys {
				keys[i] = fmt.Sprintf("\x01user-%010d", i)
			}
			orders[order](keys)
			value := make([]byte, size)
			before := heap()
			m := &Map{}
			for range 2 {
				for _, key := range keys {
					m.Set(key, op.Item{Value: value})
				}
			}
			used := float64(heap() - before)
			require.InEpsilon(t, used, m.Bytes(), 0.1, "%d values of %d bytes, %s", n, size, order)
			runtime.KeepAlive(keys)
		}
	}
}

// A value in a block is not copied into the map, nor when the map goes on.
func TestPutBlock(t *testing.T) {
	var m Map
	value := func(n int, b byte) *op.Block { return op.BlockOf("key", bytes.Repeat([]byte{b}, n)) }
	put := func(b *op.Block, version uint64) {
		m.PutBlock("\x01key", op.Item{Value: b.Value(), Version: version, Deadline: 9}, b)
		require.NoError(t, m.Check())
	}
	first := value(op.Large, 1)
	mine := first.Value()
	put(first, 1)
	view := m.Snapshot()
	require.GreaterOrEqual(t, m.Bytes(), int64(op.Large))
	require.Less(t, m.Bytes(), int64(op.Large+op.Large/4))
	for i := range 5000 {
		m.Put(fmt.Sprintf("\x01small %d", i), op.Item{Value: mine[:100], Version: 2})
	}
	m.Settle()
	require.NoError(t, m.Check())
	got, ok := m.Get("\x01key")
	require.True(t, ok)
	require.Equal(t, op.Item{Value: mine, Version: 1, Deadline: 9}, got)
	require.Same(t, &mine[0], &got.Value[0])
	fork := view.Map()
	require.NoError(t, fork.Check())
	of, _ := fork.Get("\x01key")
	require.Same(t, &mine[0], &of.Value[0])

	// A block that is taken, that is small, or that was made for another key is copied.
	m.PutBlock("\x01again", op.Item{Value: mine, Version: 3}, first)
	small := value(maxShared-100, 2)
	put(small, 4)
	m.PutBlock("\x01other key", op.Item{Value: value(op.Large, 3).Value(), Version: 5}, value(op.Large, 4))
	other := value(op.Large, 5)
	m.PutBlock("\x01other key", op.Item{Value: other.Value(), Version: 6}, other)
	m.Settle()
	require.NoError(t, m.Check())
	for key, b := range map[string]byte{"\x01again": 1, "\x01key": 2, "\x01other key": 5} {
		got, ok = m.Get(key)
		require.True(t, ok)
		require.Equal(t, b, got.Value[0], "%q", key)
		require.NotSame(t, &mine[0], &got.Value[0])
	}
	got, _ = view.Get("\x01key")
	require.Equal(t, mine, got.Value)

	// Overwritten for long, it takes no more memory than one of it.
	for i := range 100 {
		put(value(op.Large, byte(i)), uint64(10+i))
	}
	m.Delete("\x01again")
	m.Delete("\x01other key")
	require.Less(t, m.Bytes(), int64(5000*200+3*op.Large))
}

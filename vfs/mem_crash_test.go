package vfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// outcomes crashes a Mem many times and collects what describe says about each
// disk.
func outcomes(m *Mem, loss Loss, describe func(*Mem) string) map[string]int {
	seen := map[string]int{}
	for seed := range uint64(500) {
		seen[describe(m.CrashWith(seeded(seed), loss))]++
	}
	return seen
}

// tree describes the files of a disk, with their contents.
func tree(m *Mem) string {
	var b strings.Builder
	for _, name := range m.Files() {
		data, err := m.ReadFile(name)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "%s=%s ", name, data)
	}
	return strings.TrimSpace(b.String())
}

var names = Loss{Keep: 1, KeepNames: 0.5} // loses names only

func TestNamesAndContentsAreSyncedApart(t *testing.T) {
	m := NewMem()
	f := memOpen(t, m, "a")
	_, err := f.WriteAt([]byte("text"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	assert.Equal(t, "", tree(m.CrashWith(seeded(1), DropAll)), "a synced file without a name")

	g := memOpen(t, m, "b")
	_, err = g.WriteAt([]byte("text"), 0)
	require.NoError(t, err)
	require.NoError(t, m.SyncDir("/"))
	assert.Equal(t, "a=text b=", tree(m.CrashWith(seeded(1), DropAll)), "a name without contents")
	assert.Equal(t, "a=text b=text", tree(m.CrashWith(seeded(1), KeepAll)))
}

// A directory's own name is in the directory above it.
func TestDirectoryNeedsItsName(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.MkdirAll("d/e", 0o755))
	f := memOpen(t, m, "d/e/a")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("d/e"))
	assert.Empty(t, m.CrashWith(seeded(1), DropAll).Files())
	require.NoError(t, m.SyncDir("/"))
	assert.Empty(t, m.CrashWith(seeded(1), DropAll).Files())
	require.NoError(t, m.SyncDir("d"))
	assert.Equal(t, []string{"d/e/a"}, m.CrashWith(seeded(1), DropAll).Files())
}

func TestRenameOutcomes(t *testing.T) {
	keys := func(seen map[string]int) []string {
		var all []string
		for k := range seen {
			all = append(all, k)
		}
		slices.Sort(all)
		return all
	}
	base := func() *Mem {
		m := NewMem()
		require.NoError(t, m.WriteFile("a", []byte("A")))
		require.NoError(t, m.WriteFile("b", []byte("B")))
		require.NoError(t, m.MkdirAll("d", 0o755))
		require.NoError(t, m.SyncDir("/"))
		return m
	}
	m := base()
	require.NoError(t, m.Rename("a", "b"))
	assert.Equal(t, []string{"a=A b=B", "b=A"}, keys(outcomes(m, names, tree)), "over an existing name")

	m = base()
	require.NoError(t, m.Rename("b", "c"))
	require.NoError(t, m.Rename("a", "b"))
	assert.Equal(t, []string{"a=A b=B", "a=A c=B", "b=A c=B"}, keys(outcomes(m, names, tree)), "rotation loses no file")

	m = base()
	memOpen(t, m, "t")
	require.NoError(t, m.Rename("t", "a"))
	assert.Equal(t, []string{"a= b=B", "a=A b=B", "a=A b=B t="}, keys(outcomes(m, names, tree)), "a rename needs its create")

	m = base()
	require.NoError(t, m.Remove("a"))
	memOpen(t, m, "a")
	assert.Equal(t, []string{"a= b=B", "a=A b=B", "b=B"}, keys(outcomes(m, names, tree)))

	m = base()
	require.NoError(t, m.Rename("a", "d/a"))
	assert.Equal(t, []string{"a=A b=B", "b=B d/a=A"}, keys(outcomes(m, names, tree)), "to another directory")
	for _, dir := range []string{"/", "d"} {
		synced := m.Clone()
		require.NoError(t, synced.Rename("b", "d/b"))
		require.NoError(t, synced.Rename("d/b", "d/c"))
		require.NoError(t, synced.Rename("d/c", "e"))
		require.NoError(t, synced.SyncDir(dir))
		assert.Equal(t, "d/a=A e=B", tree(synced.CrashWith(seeded(1), DropAll)), "synced by either directory")
	}
}

// TestSettleTakesAlong: a sync makes durable what its operations build upon in
// other directories, and nothing else there.
func TestSettleTakesAlong(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.MkdirAll("x", 0o755))
	require.NoError(t, m.MkdirAll("y", 0o755))
	require.NoError(t, m.SyncDir("/"))
	memOpen(t, m, "x/a")
	memOpen(t, m, "x/b")
	require.NoError(t, m.Rename("x/a", "y/a"))
	require.NoError(t, m.SyncDir("y"))
	assert.Equal(t, "y/a=", tree(m.CrashWith(seeded(1), DropAll)))
}

func TestSectors(t *testing.T) {
	const sectors = 64
	m := NewMem()
	old := bytes.Repeat([]byte{'o'}, sectors*sectorSize)
	require.NoError(t, m.WriteFile("a", old))
	f := memOpen(t, m, "a")
	fresh := bytes.Repeat([]byte{'n'}, len(old)-200)
	_, err := f.WriteAt(fresh, 100)
	require.NoError(t, err)

	got, err := m.CrashWith(seeded(1), Loss{Keep: 1, Drop: 1, Garble: 1}).ReadFile("a")
	require.NoError(t, err)
	require.Len(t, got, len(old))
	assert.Equal(t, old[:100], got[:100], "what was not written stays")
	assert.Equal(t, old[:100], got[len(got)-100:])
	count := map[fate]int{}
	for i := range sectors {
		sector := got[max(100, i*sectorSize):min(len(old)-100, (i+1)*sectorSize)]
		switch {
		case bytes.Count(sector, []byte{'n'}) == len(sector):
			count[kept]++
		case bytes.Count(sector, []byte{'o'}) == len(sector):
			count[dropped]++
		default:
			count[garbled]++
		}
	}
	for f, n := range count {
		assert.Greater(t, n, 5, f)
	}
	assert.Len(t, count, 3)

	got, err = m.CrashWith(seeded(1), Loss{Keep: 1, Drop: 1}).ReadFile("a")
	require.NoError(t, err)
	for i := 1; i < sectors-1; i++ {
		sector := got[i*sectorSize : (i+1)*sectorSize]
		assert.Equal(t, sectorSize, bytes.Count(sector, sector[:1]), "sector %d is torn", i)
	}
}

// What was written beyond an end that the disk never saw is gone: it neither
// shows when the file grows again nor takes up room.
func TestNothingBeyondTheEnd(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.WriteFile("a", []byte("text")))
	_, err := memOpen(t, m, "a").WriteAt(bytes.Repeat([]byte{'x'}, 3*pageSize), 4)
	require.NoError(t, err)
	for seed := range uint64(200) {
		next := m.CrashWith(seeded(seed), Loss{Keep: 1, Drop: 1, Garble: 1})
		f := memOpen(t, next, "a")
		size, err := f.Size()
		require.NoError(t, err)
		require.LessOrEqual(t, next.used, size)
		require.NoError(t, f.Truncate(4*pageSize))
		got, err := next.ReadFile("a")
		require.NoError(t, err)
		require.Equal(t, len(got)-int(size), bytes.Count(got[size:], []byte{0}))
	}
}

func TestSizeOutcomes(t *testing.T) {
	size := func(m *Mem) string {
		data, err := m.ReadFile("a")
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(len(data))
	}
	for _, c := range []struct {
		name string
		do   func(File) error
		loss Loss
		want []string // nil = anything between, too
	}{
		{"cut", func(f File) error { return f.Truncate(10) }, Loss{Keep: 1, Drop: 1, Garble: 1}, []string{"10", "100"}},
		{"garbled cut", func(f File) error { return f.Truncate(10) }, Loss{Garble: 1}, []string{"100"}},
		{"extend", func(f File) error { return f.Truncate(200) }, Loss{Keep: 1, Drop: 1}, []string{"100", "200"}},
		{"allocate", func(f File) error { return f.Allocate(100, 100) }, Loss{Keep: 1, Drop: 1}, []string{"100", "200"}},
		{"append", func(f File) error { _, err := f.WriteAt(make([]byte, 100), 100); return err }, Loss{Keep: 1, Drop: 1}, []string{"100", "200"}},
		{"torn append", func(f File) error { _, err := f.WriteAt(make([]byte, 100), 100); return err }, Loss{Garble: 1}, nil},
	} {
		m := NewMem()
		require.NoError(t, m.WriteFile("a", make([]byte, 100)))
		require.NoError(t, c.do(memOpen(t, m, "a")))
		seen := outcomes(m, c.loss, size)
		if c.want == nil {
			assert.Greater(t, len(seen), 50, c.name)
			continue
		}
		assert.Len(t, seen, len(c.want), c.name)
		for _, w := range c.want {
			assert.Contains(t, seen, w, c.name)
		}
	}
}

// With InOrder the disk has the first changes, and none after the first one that
// it lacks.
func TestInOrder(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.WriteFile("a", make([]byte, 8)))
	f := memOpen(t, m, "a")
	for i := range 8 {
		_, err := f.WriteAt([]byte{'x'}, int64(i))
		require.NoError(t, err)
	}
	seen := outcomes(m, Loss{Drop: 1, InOrder: 1}, tree)
	want := map[string]bool{}
	for n := range 9 {
		want["a="+strings.Repeat("x", n)+string(make([]byte, 8-n))] = true
	}
	assert.Len(t, seen, len(want))
	for s := range seen {
		assert.True(t, want[s], "%q", s)
	}
}

func TestCrashIsDeterministicAndHarmless(t *testing.T) {
	m := NewMem()
	for i := range 10 {
		f := memOpen(t, m, fmt.Sprint(i))
		_, err := f.WriteAt(bytes.Repeat([]byte{byte(i)}, 2000), 0)
		require.NoError(t, err)
	}
	before := tree(m)
	distinct := map[string]bool{}
	for seed := range uint64(200) {
		a, b := tree(m.Crash(seeded(seed))), tree(m.Crash(seeded(seed)))
		require.Equal(t, a, b)
		distinct[a] = true
	}
	assert.Greater(t, len(distinct), 100)
	assert.Contains(t, distinct, "", "sometimes nothing survives")
	assert.Contains(t, distinct, before, "sometimes everything does")
	assert.Equal(t, before, tree(m))
}

func TestCrashReleasesLocks(t *testing.T) {
	m := NewMem()
	_, err := m.Lock("LOCK", "me")
	require.NoError(t, err)
	for _, next := range []*Mem{m.Crash(seeded(1)), m.Clone()} {
		_, locked, err := next.Locked("LOCK")
		require.NoError(t, err)
		assert.False(t, locked)
		l, err := next.Lock("LOCK", "me again")
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}

// A crash may come while others use the Mem.
func TestCrashBesideWriters(t *testing.T) {
	m := NewMem()
	f := memOpen(t, m, "a")
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 200 {
			_, err := f.WriteAt(make([]byte, 3000), int64(i*100))
			assert.NoError(t, err)
			if i%10 == 0 {
				assert.NoError(t, f.Sync())
			}
		}
	})
	for seed := range uint64(4) {
		wg.Go(func() {
			for range 50 {
				next := m.Crash(seeded(seed))
				g := memOpen(t, next, "a")
				_, err := g.WriteAt([]byte("mine"), 0)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkCrash is the price of one simulated crash of a small store.
func BenchmarkCrash(b *testing.B) {
	m := NewMem()
	for i := range 8 {
		f := memOpen(b, m, fmt.Sprintf("%d.wal", i))
		require.NoError(b, f.Allocate(0, 4<<20))
		_, err := f.WriteAt(make([]byte, 64<<10), 0)
		require.NoError(b, err)
		require.NoError(b, f.Sync())
		_, err = f.WriteAt(make([]byte, 4<<10), 64<<10)
		require.NoError(b, err)
	}
	rng := seeded(1)
	for b.Loop() {
		m.Crash(rng)
	}
}

// BenchmarkAppend is the price of a small write and a sync in a file of 64 MiB.
func BenchmarkAppend(b *testing.B) {
	f := memOpen(b, NewMem(), "wal")
	_, err := f.WriteAt(make([]byte, 64<<20), 0)
	require.NoError(b, err)
	data := make([]byte, 300)
	for i := 0; b.Loop(); i++ {
		_, err := f.WriteAt(data, int64(i*300)%(60<<20))
		require.NoError(b, err)
		require.NoError(b, f.Sync())
	}
}

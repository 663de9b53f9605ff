package salvage_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/salvage"
)

// forkLife is a store of runs that begin with later versions than 1: forks from
// before and after a checkpoint, forks of forks, and deleted ones.
func forkLife(t testing.TB) *life {
	t.Helper()
	l := newLife(t, 2)
	for n := range 4 {
		l.begin(n)
		l.put(n, 6+n, 30)
	}
	l.fork(9, 2)
	l.put(9, 4, 40)
	l.fork(10, 0)
	l.fork(13, 1)
	l.drop(13)
	l.drop(2) // what was forked from it stays
	l.checkpoint()
	l.put(3, 20, 30)
	l.fork(12, 10)
	l.put(10, 3, 30)
	l.fork(11, 9)
	l.put(11, 2, 30)
	l.drop(12)
	return l.close()
}

// Runs that begin with a later version come out whole as others do.
func TestForks(t *testing.T) {
	l := forkLife(t)
	report := l.restore(l.disk.Clone())
	require.True(t, report.Complete())
	require.Empty(t, report.Damage)
	require.Zero(t, report.Images)

	// So they do without any checkpoint, and without the manifest.
	disk := l.disk.Clone()
	for shard := range 2 {
		for _, name := range pick(t, disk, shard, ".ckpt") {
			require.NoError(t, disk.Remove(name))
		}
	}
	report = l.restore(disk.Clone())
	require.True(t, report.Complete())
	require.Empty(t, report.Losses)
	require.NoError(t, disk.Remove(from+"/MANIFEST"))
	require.Empty(t, l.restore(disk).Losses)
}

// TestForksAndMissingFiles: each file of the store is missing in turn.
func TestForksAndMissingFiles(t *testing.T) {
	l := forkLife(t)
	for name := range files(t, l.disk, from) {
		disk := l.disk.Clone()
		require.NoError(t, disk.Remove(name))
		l.restore(disk, name)
	}
}

// TestForksInDamagedStores damages the store at random.
func TestForksInDamagedStores(t *testing.T) {
	l := forkLife(t)
	rounds := 100
	if testing.Short() {
		rounds = 25
	}
	if n, ok := envNumber(t, roundsEnv); ok {
		rounds = int(n)
	}
	first := rand.Uint64N(1 << 32)
	if n, ok := envNumber(t, seedEnv); ok {
		first, rounds = n, 1
	}
	for i := range rounds {
		seed := first + uint64(i)
		disk := l.disk.Clone()
		spoilAtRandom(t, disk, rand.New(rand.NewPCG(seed, 1)))
		what := fmt.Sprintf("repeat with %s=%d", seedEnv, seed)
		report, err := salvage.Store(bg, config(disk))
		if err != nil {
			require.ErrorIs(t, err, salvage.ErrNothing, what)
			continue
		}
		l.compare(disk, report, what)
	}
}

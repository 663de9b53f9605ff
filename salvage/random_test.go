package salvage_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/salvage"
	"inmem/vfs"
)

// Environment variables that steer the random damage.
const (
	seedEnv   = "INMEM_SEED"    // repeat one round
	roundsEnv = "INMEM_CRASHES" // how many rounds
)

func envNumber(t *testing.T, name string) (n uint64, ok bool) {
	s := os.Getenv(name)
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 0, 64)
	require.NoError(t, err, name)
	return n, true
}

// TestRandomDamage damages stores at random: many bits, parts that are
// overwritten or zero, files that are cut, removed, or copied over others.
func TestRandomDamage(t *testing.T) {
	l := fullLife(t)
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	if n, ok := envNumber(t, roundsEnv); ok {
		rounds = int(n)
	}
	first := rand.Uint64N(1 << 32)
	if n, ok := envNumber(t, seedEnv); ok {
		first, rounds = n, 1
	}
	lost, nothing := 0, 0
	for i := range rounds {
		seed := first + uint64(i)
		disk := l.disk.Clone()
		spoilAtRandom(t, disk, rand.New(rand.NewPCG(seed, 1)))
		what := fmt.Sprintf("repeat with %s=%d", seedEnv, seed)
		before := files(t, disk, from)
		report, err := salvage.Store(bg, config(disk))
		require.Equal(t, before, files(t, disk, from), what)
		if err != nil {
			require.ErrorIs(t, err, salvage.ErrNothing, what)
			nothing++
			continue
		}
		l.compare(disk, report, what)
		if !report.Complete() {
			lost++
		}
	}
	t.Logf("%d rounds, %d with losses, %d with nothing left", rounds, lost, nothing)
}

func spoilAtRandom(t *testing.T, disk *vfs.Mem, rng *rand.Rand) {
	var names []string
	for name, b := range files(t, disk, from) {
		if len(b) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for range 1 + rng.IntN(6) {
		name := names[rng.IntN(len(names))]
		b, err := disk.ReadFile(name)
		if err != nil || len(b) == 0 {
			continue // gone already
		}
		from := rng.IntN(len(b))
		to := min(len(b), from+1+rng.IntN(1500))
		switch rng.IntN(7) {
		case 0:
			for range 1 + rng.IntN(30) {
				b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
			}
		case 1:
			clear(b[from:to])
		case 2:
			for i := from; i < to; i++ {
				b[i] = byte(rng.Uint32())
			}
		case 3:
			b = b[:from]
		case 4:
			require.NoError(t, disk.Remove(name))
			continue
		case 5:
			copy(b[from:to], b[rng.IntN(len(b)):])
		case 6:
			other := names[rng.IntN(len(names))]
			if filepath.Ext(other) == filepath.Ext(name) {
				if c, err := disk.ReadFile(other); err == nil {
					b = c
				}
			}
		}
		require.NoError(t, disk.WriteFile(name, b))
	}
}

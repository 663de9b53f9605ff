package event_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/op"
)

// Environment variables that steer the random crashes.
const (
	seedEnv    = "INMEM_SEED"    // repeat one seed
	crashesEnv = "INMEM_CRASHES" // how many seeds to try
)

func seeds(t *testing.T, n int) []uint64 {
	t.Helper()
	number := func(name string) (uint64, bool) {
		s := os.Getenv(name)
		if s == "" {
			return 0, false
		}
		v, err := strconv.ParseUint(s, 0, 64)
		require.NoError(t, err, name)
		return v, true
	}
	if seed, ok := number(seedEnv); ok {
		return []uint64{seed}
	}
	if m, ok := number(crashesEnv); ok {
		n = int(m)
	} else if testing.Short() {
		n = max(1, n/4)
	}
	list := make([]uint64, n)
	for i := range list {
		list[i] = rand.Uint64N(1 << 32)
	}
	return list
}

// TestPowerLoss: whatever a power cut takes, what is left of a stream is its
// beginning, whole, with everything that was synced, and it goes on from there.
func TestPowerLoss(t *testing.T) {
	for _, seed := range seeds(t, 40) {
		t.Run(fmt.Sprintf("%s=%d", seedEnv, seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			w := newWorld(t, func(o *inmem.Options) { o.SegmentSize, o.CheckpointBytes = 4<<10, 2<<10 })
			require.NoError(t, w.db.Flush(ctx)) // there is a run
			names := []string{"a", "ab", "b"}
			for range 3 {
				all, synced := map[string][]event.Event{}, map[string]int{}
				s := w.run.Events()
				for _, name := range names {
					all[name] = collect(t, s.Read(ctx, name))
					synced[name] = len(all[name])
				}
				for range rng.IntN(60) {
					name := names[rng.IntN(len(names))]
					in := make([]event.New, 1+rng.IntN(3))
					for i := range in {
						in[i] = event.New{Type: "x", Payload: fmt.Appendf(nil, `{"n":%d}`, rng.IntN(1000))}
						if rng.IntN(2) == 0 {
							in[i].ID = fmt.Sprint(rng.Uint64())
						}
					}
					mode := op.Durability(1 + rng.IntN(3))
					got, err := s.AppendAll(ctx, name, in, event.Durability(mode))
					require.NoError(t, err)
					all[name] = append(all[name], got...)
					if mode == op.Strict { // what was before is before it in the log
						for name, list := range all {
							synced[name] = len(list)
						}
					}
				}
				left := w.disk.Crash(rng)
				require.NoError(t, w.db.Close())
				w.disk = left
				w.again()
				s = w.run.Events()
				for _, name := range names {
					got := collect(t, s.Read(ctx, name))
					require.GreaterOrEqual(t, len(got), synced[name], "what was synced is there")
					require.LessOrEqual(t, len(got), len(all[name]))
					require.Equal(t, append([]event.Event{}, all[name][:len(got)]...), got, "what is there is the beginning")
					require.NoError(t, s.Verify(ctx, name))
				}
			}
		})
	}
}

// TestKilled: an append that was acknowledged is there after the process was
// killed, and one whose answer was lost can be repeated.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	e := event.New{Type: "a", ID: "1"}
	want := add(t, w.run.Events(), event.Main, e)
	w.kill()
	got, err := w.run.Events().Append(ctx, event.Main, e)
	require.NoError(t, err)
	require.Equal(t, want, got)
	w.powerCut() // recovery synced what it found
	require.Equal(t, []event.Event{want}, collect(t, w.run.Events().Read(ctx, event.Main)))
}

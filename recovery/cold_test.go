package recovery

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/ttl"
	"inmem/vfs"
	"inmem/wal"
)

// TestOpenLeavesRunsOnDisk: of a store with a checkpoint only the runs that the
// log goes on with are in memory, and the others come when they are asked for.
func TestOpenLeavesRunsOnDisk(t *testing.T) {
	disk, want := closed(t)
	e := start(t, config(disk))
	cold, runs := int64(0), int64(0)
	for _, s := range e.shards {
		m := s.Metrics()
		cold, runs = cold+m.ColdRuns, runs+m.Runs
		require.Zero(t, m.Loads)
	}
	require.Positive(t, cold)
	require.Less(t, cold, runs, "some runs are in the log's tail")
	keys := 0
	for i := range e.st.Report.Shards {
		keys += e.st.Report.Shards[i].Keys
	}
	require.Equal(t, want, e.digests())
	have := int64(0)
	for _, s := range e.shards {
		m := s.Metrics()
		require.Zero(t, m.ColdRuns, "all were asked for")
		cold -= int64(m.Loads)
		have += m.Keys
	}
	require.Zero(t, cold, "each was loaded once")
	require.EqualValues(t, have, keys)
	require.NoError(t, e.stop())
}

// TestDamagedImage: damage in an image is found when its run is used first. It
// concerns that run alone, and stays known to Check.
func TestDamagedImage(t *testing.T) {
	disk, want := closed(t)
	e := start(t, config(disk))
	var victim run.ID
	for id := range want {
		entry, _, err := e.shard(id).Image(id, 0)
		require.NoError(t, err)
		h, err := e.shard(id).Find(id)
		require.NoError(t, err)
		if entry != nil && entry.Version == h.Head().Version && h.Head().Info.Status == run.Active {
			victim = id
		}
	}
	entry, _, err := e.shard(victim).Image(victim, 0)
	require.NoError(t, err)
	file := fmt.Sprintf("%s/%016x.ckpt", Dir(testDir, shard.Place(victim, len(e.shards))), entry.Location.File)
	require.NoError(t, e.stop())
	require.NoError(t, disk.Flip(file, 8*(entry.Location.Offset+12)))

	cfg := config(disk)
	e = start(t, cfg)
	h, err := e.shard(victim).Find(victim)
	require.NoError(t, err)
	require.Equal(t, entry.Version, h.Head().Version, "what the index says is known")
	for range 2 {
		_, err = e.shard(victim).Load(h)
		var corrupt *op.CorruptError
		require.ErrorAs(t, err, &corrupt)
		require.Equal(t, op.CorruptError{File: file, Offset: entry.Location.Offset, Reason: corrupt.Reason}, *corrupt)
		require.ErrorIs(t, e.put(victim, "k", "v"), op.ErrCorrupt)
	}
	require.NoError(t, cfg.Health.Err())
	for id, digest := range want {
		if id == victim {
			continue
		}
		h, err := e.shard(id).Find(id)
		require.NoError(t, err)
		require.Equal(t, digest, loaded(e.shard(id), h).Digest())
	}
	// Checkpoints go on, also where they would move the damaged image.
	for range 4 {
		for id := range want {
			h, err := e.shard(id).Find(id)
			require.NoError(t, err)
			if id != victim && h.Head().Info.Status == run.Active {
				require.NoError(t, e.put(id, "new", "value"))
			}
		}
		require.NoError(t, e.checkpoint())
	}
	require.NoError(t, e.stop())
	checked, err := Check(disk, testDir)
	require.NoError(t, err)
	require.NotEmpty(t, checked.Problems)
	require.ErrorIs(t, checked.Problems[0], op.ErrCorrupt)

	// Deleting the run is a way out.
	e = start(t, config(disk))
	require.NoError(t, e.shard(victim).Drop(bg, victim, op.Default))
	require.NoError(t, e.checkpoint())
	require.NoError(t, e.stop())
	checked, err = Check(disk, testDir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
}

// bounded starts a store whose runs do not fit into memory together.
func bounded(cfg Config) (e *engine, stop func() error, err error) {
	cfg.Log = func(int) wal.Options { // with a new segment before each checkpoint
		return wal.Options{SegmentSize: 2000, RenewFrom: 100, Interval: time.Hour}
	}
	st, err := Open(cfg)
	if err != nil {
		return nil, nil, err
	}
	e = &engine{st: st}
	memory := shard.NewMemory(24 << 10)
	for _, c := range st.Shards {
		c.Durability, c.CheckpointBytes, c.Memory = op.Strict, 2<<10, memory
		c.Track, c.Forget, c.Left = func([]ttl.Change) {}, func(run.ID) {}, func(run.ID) {}
		c.OnCheckpoint = func(shard.CheckpointDone) {}
		e.shards = append(e.shards, shard.New(c))
	}
	memory.Start(e.shards, func() {}, cfg.Health.Poison)
	return e, func() error {
		memory.Stop()
		return e.stop()
	}, nil
}

// comings is a life in which runs leave memory and come back to be written to. It
// ends at the first error.
func (e *engine) comings() error {
	if err := e.fill(0, 8, 3); err != nil {
		return err
	}
	for n := range 40 {
		id := runID(n * 5 % 8)
		if err := e.put(id, fmt.Sprint("key ", n%6), strings.Repeat("w", 200)); err != nil {
			return err
		}
		other := runID((n*5 + 3) % 8)
		h, err := e.shard(other).Find(other)
		if err != nil {
			return err
		}
		if _, err := e.shard(other).Load(h); err != nil {
			return err
		}
	}
	return e.shard(runID(1)).SetStatus(bg, runID(1), run.Completed, op.Expect{}, op.Default)
}

// TestKilledWhileRunsComeAndGo kills a store with a budget of memory before each of
// its operations, and cuts the power after the next opening. A life that ends by
// itself leaves what one without a budget does.
func TestKilledWhileRunsComeAndGo(t *testing.T) {
	plain := start(t, config(vfs.NewMem()))
	require.NoError(t, plain.comings())
	want := plain.digests()
	require.NoError(t, plain.stop())

	rng := rand.New(rand.NewPCG(seedOf(t), 6))
	step, n := 1, 1
	if testing.Short() {
		step = 5
	}
	for ; ; n += step {
		disk := vfs.NewMem()
		reached := killAt(disk, n)
		e, stop, err := bounded(config(disk))
		if err == nil {
			err = e.comings()
			if err == nil && !reached() {
				require.Equal(t, want, e.digests())
				loads := uint64(0)
				for _, s := range e.shards {
					loads += s.Metrics().Loads
				}
				require.Positive(t, loads)
			}
			_ = stop()
		}
		if !reached() {
			require.NoError(t, err)
			requireStore(t, disk, want, "it ended by itself")
			break
		}
		thenPowerCut(t, disk, rng, fmt.Sprintf("killed before operation %d", n))
	}
	t.Logf("%d kills, each followed by power cuts", n/step)
	require.Greater(t, n, 100)
}

package inmem_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/salvage"
	"inmem/vfs"
)

// forkLife is the life of a store in which runs are forked, on a disk of which
// every moment is kept.
type forkLife struct {
	*store
	rng     *rand.Rand
	runs    []run.ID
	handles map[run.ID]*inmem.Run           // of their agents
	was     map[run.ID]map[uint64]op.Digest // what each run was at each version

	mu      sync.Mutex
	dice    *rand.Rand        // of the power cuts
	acked   map[run.ID]uint64 // the newest version that is safe
	moments []forkMoment
}

// forkMoment is what a power cut leaves, and what must be there.
type forkMoment struct {
	what  string
	disk  *vfs.Mem
	acked map[run.ID]uint64
}

func (l *forkLife) snap(o vfs.Op) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	acked := maps.Clone(l.acked)
	for range 2 {
		l.moments = append(l.moments, forkMoment{fmt.Sprint("before ", o), l.mem.Crash(l.dice), acked})
	}
	return nil
}

// note notes what a run has become, which is on the device.
func (l *forkLife) note(r *inmem.Run) {
	v := versionOf(l.t, r)
	if l.was[r.ID()] == nil {
		l.runs, l.was[r.ID()] = append(l.runs, r.ID()), map[uint64]op.Digest{}
	}
	l.was[r.ID()][v], l.handles[r.ID()] = ground(l.t, r), r
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[r.ID()] = v
}

// step does something with a run.
func (l *forkLife) step() {
	r := l.handles[l.runs[l.rng.IntN(len(l.runs))]]
	switch l.rng.IntN(6) {
	case 0:
		at := uint64(0)
		if info, err := r.Info(); err == nil && l.rng.IntN(2) == 0 {
			at = info.FirstVersion + l.rng.Uint64N(info.LastVersion-info.FirstVersion+1)
		}
		id := run.ID{1, byte(len(l.runs))}
		l.was[id] = map[uint64]op.Digest{versionAt(l.t, r, at): l.was[r.ID()][versionAt(l.t, r, at)]}
		l.runs = append(l.runs, id)
		l.note(l.fork(r.ID(), at, run.Meta{ID: id}))
	case 1:
		writeAllFaces(l.t, r, int(l.rng.Uint32()))
		l.note(r)
	default:
		put(l.t, r, key(l.rng.IntN(12)), string(big(l.rng.IntN(300))))
		l.note(r)
	}
}

func versionAt(t testing.TB, r *inmem.Run, at uint64) uint64 {
	if at == 0 {
		return versionOf(t, r)
	}
	return at
}

// A power cut before every operation on the disk: a fork is there whole or not at
// all, and whole if it was acknowledged; and what is left is sound, opens, and
// comes whole out of a salvage.
func TestForkCrash(t *testing.T) {
	total, missing := 0, 0
	for _, seed := range crashSeeds(t, 4) {
		rng := rand.New(rand.NewPCG(seed, 33))
		l := &forkLife{
			rng: rng, dice: rand.New(rand.NewPCG(seed, 34)),
			was: map[run.ID]map[uint64]op.Digest{}, acked: map[run.ID]uint64{}, handles: map[run.ID]*inmem.Run{},
		}
		l.store = newStore(t, func(o *inmem.Options) {
			o.Shards, o.Durability, o.SegmentSize, o.CheckpointBytes = 2, inmem.Strict, 8<<10, -1
			o.BatchInterval = time.Hour
		})
		l.note(l.begin())
		l.mem.SetFault(l.snap)
		for i := range 40 {
			if l.step(); i == 20 {
				require.NoError(t, l.Checkpoint(ctx))
			}
		}
		l.mem.SetFault(nil)
		for i := range l.moments {
			missing += l.requireMoment(&l.moments[i], fmt.Sprintf("%s=%d: %s", seedEnv, seed, l.moments[i].what), rng.IntN(8) == 0)
		}
		total += len(l.moments)
	}
	t.Logf("%d crashes, %d forks that were not begun yet", total, missing)
}

func (l *forkLife) requireMoment(m *forkMoment, what string, alsoSalvage bool) (missing int) {
	t := l.t
	checked, err := recovery.Check(m.disk, l.dir)
	require.NoError(t, err, what)
	require.Empty(t, checked.Problems, what)
	if alsoSalvage {
		saved := m.disk.Clone()
		report, err := salvage.Store(ctx, salvage.Config{FS: saved, From: l.dir, To: "/saved", DefaultShards: 2, Holder: "us", Wall: l.wall.Now})
		require.NoError(t, err, what)
		require.Empty(t, report.Losses, what)
		l.requireRuns(m, saved, "/saved", what+", salvaged")
	}
	return l.requireRuns(m, m.disk, l.dir, what)
}

func (l *forkLife) requireRuns(m *forkMoment, disk *vfs.Mem, dir, what string) (missing int) {
	t, opts := l.t, l.opts
	opts.FS, opts.Shards = disk, 0
	db, err := inmem.Open(dir, &opts)
	require.NoError(t, err, what)
	defer func() { require.NoError(t, db.Close()) }()
	for _, id := range l.runs {
		r, err := db.Run(id)
		if err != nil {
			require.ErrorIs(t, err, inmem.ErrRunNotFound, what)
			require.Zero(t, m.acked[id], "%s: run %v is gone", what, id)
			missing++
			continue
		}
		v := versionOf(t, r)
		require.GreaterOrEqual(t, v, m.acked[id], what)
		if want, noted := l.was[id][v]; noted { // a step makes several commits
			require.Equal(t, want, ground(t, r), "%s: run %v at version %d", what, id, v)
		}
	}
	return missing
}

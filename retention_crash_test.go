package inmem_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// pruned is a store with runs of every policy, about to be pruned, and what must
// be there afterwards.
type pruned struct {
	*store
	whole   map[run.ID]map[uint64]inmem.Digest // all versions
	last    map[run.ID]map[uint64]inmem.Digest // the last 12
	newest  map[run.ID]inmem.Digest
	deleted []run.ID
	ended   []run.ID // of which none is kept
}

func aboutToPrune(t *testing.T, compression inmem.Compression) *pruned {
	s := newStore(t, small, keeps(inmem.Retention{Rules: []inmem.RetentionRule{
		{Tags: map[string]string{"kind": "ended"}, Limits: inmem.RetentionLimits{EndedRuns: -1}},
	}}), func(o *inmem.Options) { o.SegmentSize, o.Compression = 6<<10, compression })
	p := &pruned{store: s, whole: map[run.ID]map[uint64]inmem.Digest{}, last: map[run.ID]map[uint64]inmem.Digest{}, newest: map[run.ID]inmem.Digest{}}
	begin := func(keep string) *inmem.Run {
		return s.begin(run.Meta{Tags: map[string]string{inmem.TagHistory: keep}})
	}
	all, last, none := begin("all"), begin("12"), begin("none")
	p.whole[all.ID()], p.last[last.ID()] = map[uint64]inmem.Digest{}, map[uint64]inmem.Digest{}
	rng := rand.New(rand.NewPCG(1, 1))
	random := func(r *inmem.Run, into map[uint64]inmem.Digest) { // which does not compress
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		v := put(t, r, key(rng.IntN(4)), string(b))
		if into != nil {
			d, _, err := r.Digest()
			require.NoError(t, err)
			into[v] = d
		}
	}
	for i := range 30 {
		random(all, p.whole[all.ID()])
		for range 4 {
			random(last, p.last[last.ID()])
		}
		random(none, nil)
		gone := s.begin(run.Meta{Tags: map[string]string{"kind": "ended"}})
		filled(t, gone, 3)
		if i%2 == 0 {
			require.NoError(t, s.DeleteRun(ctx, gone.ID()))
			p.deleted = append(p.deleted, gone.ID())
		} else {
			require.NoError(t, gone.End(ctx, run.Completed))
			p.ended = append(p.ended, gone.ID())
		}
		if i == 15 {
			require.NoError(t, s.DB.Checkpoint(ctx))
		}
	}
	for _, r := range []*inmem.Run{all, last, none} {
		d, _, err := r.Digest()
		require.NoError(t, err)
		p.newest[r.ID()] = d
	}
	for id, versions := range p.last {
		_, newest, err := s.run(id).Digest()
		require.NoError(t, err)
		for v := range versions {
			if v+12 <= newest {
				delete(versions, v)
			}
		}
	}
	require.NoError(t, s.Flush(ctx))
	return p
}

// requireKept opens what a crash left and wants everything that is to be kept.
func (p *pruned) requireKept(disk *vfs.Mem, what string) {
	t := p.t
	t.Helper()
	checked, err := recovery.Check(disk, p.dir)
	require.NoError(t, err, what)
	require.Empty(t, checked.Problems, what)
	opts := p.opts
	opts.FS = disk
	db, err := inmem.Open(p.dir, &opts)
	require.NoError(t, err, what)
	defer func() { require.NoError(t, db.Close(), what) }()
	p.requireIn(db, what)
	for _, name := range disk.Files() {
		require.NotContains(t, name, ".wal.tmp", what)
	}
}

func (p *pruned) requireIn(db *inmem.DB, what string) {
	t := p.t
	t.Helper()
	for id, d := range p.newest {
		r, err := db.Run(id)
		require.NoError(t, err, what)
		got, _, err := r.Digest()
		require.NoError(t, err, what)
		require.Equal(t, d, got, what)
	}
	for _, kept := range []map[run.ID]map[uint64]inmem.Digest{p.whole, p.last} {
		for id, versions := range kept {
			r, err := db.Run(id)
			require.NoError(t, err, what)
			for v, d := range versions {
				past, err := r.At(ctx, v)
				require.NoError(t, err, "%s: version %d", what, v)
				require.Equal(t, d, past.Digest(), "%s: version %d", what, v)
			}
			n := uint64(0)
			for c, err := range r.History(ctx, 0) {
				require.NoError(t, err, what)
				if _, promised := versions[c.Version]; promised {
					n++
				}
			}
			require.EqualValues(t, len(versions), n, "%s: commits of %v", what, id)
		}
	}
	for id := range p.whole {
		_, err := db.Verify(ctx, id, 3)
		require.NoError(t, err, what)
	}
	for _, id := range p.deleted {
		_, err := db.Run(id)
		require.ErrorIs(t, err, inmem.ErrRunNotFound, what)
	}
}

// TestPruneSurvivesCrashes cuts the power, and kills, before each operation of a
// pruning: what is to be kept is there, and the next pruning goes on.
func TestPruneSurvivesCrashes(t *testing.T) {
	slowAndAlone(t)
	for _, compression := range []inmem.Compression{inmem.NoCompression, inmem.Zstd} {
		t.Run(fmt.Sprint("compression ", compression), func(t *testing.T) {
			p := aboutToPrune(t, compression)
			rng := rand.New(rand.NewPCG(crashSeeds(t, 1)[0], 9))
			type crash struct {
				what string
				disk *vfs.Mem
			}
			var mu sync.Mutex
			var crashes []crash
			p.mem.SetFault(func(o vfs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				crashes = append(crashes, crash{fmt.Sprint("killed before ", o), p.mem.Clone()},
					crash{fmt.Sprint("power cut before ", o), p.mem.Crash(rng)},
					crash{fmt.Sprint("all dropped before ", o), p.mem.CrashWith(rng, vfs.DropAll)})
				return nil
			})
			report := p.prune(nil)
			p.mem.SetFault(nil)
			require.ElementsMatch(t, p.ended, report.Runs)
			require.Positive(t, report.SegmentsCompacted)
			require.Greater(t, len(crashes), 60)
			if testing.Short() {
				rng.Shuffle(len(crashes), func(i, j int) { crashes[i], crashes[j] = crashes[j], crashes[i] })
				crashes = crashes[:60]
			}
			for i, c := range crashes {
				p.requireKept(c.disk, c.what)
				if i%5 > 0 {
					continue
				}
				opts := p.opts
				opts.FS = c.disk
				db, err := inmem.Open(p.dir, &opts)
				require.NoError(t, err)
				_, err = db.Prune(ctx, nil)
				require.NoError(t, err, c.what)
				p.requireIn(db, c.what+", then pruned")
				for _, id := range p.ended {
					_, err := db.Run(id)
					require.ErrorIs(t, err, inmem.ErrRunNotFound)
				}
				require.NoError(t, db.Close())
			}
			t.Logf("%d crashes", len(crashes))
			p.requireIn(p.DB, "without a crash")
		})
	}
}

var errPruneFault = errors.New("the disk failed")

// TestPruneFailsAtEveryOperation: the store stops, or the pruning only did not
// come about; nothing that is to be kept is lost.
func TestPruneFailsAtEveryOperation(t *testing.T) {
	slowAndAlone(t)
	step := 1
	if testing.Short() {
		step = 7
	}
	for n := 1; ; n += step {
		p := aboutToPrune(t, inmem.NoCompression)
		var mu sync.Mutex
		count := 0
		var failed vfs.Op
		p.mem.SetFault(func(o vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == n {
				failed = o
				return errPruneFault
			}
			return nil
		})
		_, err := p.Prune(ctx, nil)
		p.mem.SetFault(nil)
		what := fmt.Sprint("failed: ", failed)
		if count < n {
			require.NoError(t, err)
			require.Greater(t, n, 30)
			return
		}
		_ = p.Close() // which may say the same
		p.ended0()
		p.requireKept(p.mem, what)
		require.True(t, err == nil || strings.Contains(err.Error(), errPruneFault.Error()), "%s: %v", what, err)
	}
}

// ended0 keeps the store from its full check: the test has made its own.
func (p *pruned) ended0() { p.store.ended = true }

package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// crash is what a power cut, or a kill, right before an operation leaves.
type crash struct {
	op       string
	disk     *vfs.Mem
	promised uint64 // the sequence up to which nothing may be missing
}

// workload is a random life of a log. Before each operation on the disk the
// power fails, in a copy of the world, while the workload goes on.
type workload struct {
	t    testing.TB
	rng  *rand.Rand
	opts Options
	mem  *vfs.Mem
	log  *Log
	recs []rec // all that were ever appended

	mu      sync.Mutex // guards what the background's operations see
	dice    *rand.Rand
	synced  uint64 // acknowledged as synced
	written uint64 // acknowledged as handed to the operating system
	crashes []crash
}

func TestPowerLossAtEveryOperation(t *testing.T) {
	n := 60 // of about a thousand crashes each
	switch {
	case testing.Short() && raceEnabled:
		n = 5
	case testing.Short() || raceEnabled:
		n = 15
	}
	for _, seed := range seeds(t, n) {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d: repeat with -wal.seed=%d or %s=%d", seed, seed, seedEnv, seed)
				}
			}()
			live(t, seed)
		})
		if t.Failed() {
			return
		}
	}
}

// live runs three lives of one log, each on what a crash left of the one before.
func live(t testing.TB, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	opts := testOptions()
	opts.SegmentSize = 150 + rng.Int64N(2500)
	opts.Commits = 1 + rng.IntN(12)
	opts.ZeroAhead = rng.IntN(2) == 0
	w := &workload{t: t, rng: rng, dice: rand.New(rand.NewPCG(seed, 2)), opts: opts}
	w.mem = newDisk(t, opts)
	for range 3 {
		w.run()
		for i := range w.crashes {
			w.check(&w.crashes[i], i%8 == 0)
		}
		w.restart()
	}
}

// run is one life.
func (w *workload) run() {
	w.crashes = nil
	w.mem.SetFault(w.snap)
	recs, l := reopen(w.t, w.mem, w.opts)
	require.Equal(w.t, len(w.recs), len(recs))
	w.mu.Lock()
	w.log, w.synced, w.written = l, l.Next()-1, l.Next()-1
	w.mu.Unlock()
	for range 5 + w.rng.IntN(25) {
		w.step()
		// The background comes to rest, so that a seed means one history.
		synctest.Wait()
	}
	w.mem.SetCapacity(0)
	mustClose(w.t, l)
	w.mem.SetFault(nil)
	recs, sc := mustRead(w.t, w.mem)
	requireRecs(w.t, w.recs, recs)
	require.Zero(w.t, sc.Torn)
	w.acknowledge(op.Strict)
	w.snapNow("the end")
}

func (w *workload) step() {
	l, t := w.log, w.t
	switch w.rng.IntN(16) {
	case 0:
		require.NoError(t, l.Tick())
	case 1:
		require.NoError(t, l.Sync())
	case 2:
		require.NoError(t, l.Flush())
		w.acknowledge(op.Strict)
	case 3:
		_, err := l.History()
		require.NoError(t, err)
	case 4:
		w.mem.SetCapacity(w.used() + w.rng.Int64N(600))
	case 5, 6:
		w.mem.SetCapacity(0)
	default:
		for range 1 + w.rng.IntN(4) {
			stream, size := byte(w.rng.IntN(3)), 24+w.rng.IntN(300)
			r, err := rec{}, error(nil)
			if w.rng.IntN(3) == 0 {
				r, err = tryAddAround(l, stream, size, w.rng)
			} else {
				r, err = tryAdd(l, stream, size)
			}
			if err != nil {
				require.ErrorIs(t, err, op.ErrDiskFull)
				continue
			}
			w.recs = append(w.recs, r)
		}
		mode := modes[w.rng.IntN(len(modes))]
		require.NoError(t, l.Commit(mode))
		w.acknowledge(mode)
	}
}

// used is the room that the files take.
func (w *workload) used() (n int64) {
	for _, b := range contents(w.t, w.mem) {
		n += int64(len(b))
	}
	return n
}

// acknowledge notes what was promised to the caller of Commit.
func (w *workload) acknowledge(mode op.Durability) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch mode {
	case op.Strict:
		w.synced, w.written = w.log.Next()-1, w.log.Next()-1
	case op.Batched:
		w.written = w.log.Next() - 1
	}
}

func (w *workload) snap(o vfs.Op) error {
	w.snapNow(o.String())
	return nil
}

func (w *workload) snapNow(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	synced := w.synced
	if w.log != nil {
		synced = max(synced, w.log.Synced())
	}
	w.crashes = append(w.crashes,
		crash{"power cut before " + name, w.mem.Crash(w.dice), synced},
		crash{"kill before " + name, w.mem.Clone(), max(synced, w.written)})
}

// check recovers from a crash: a prefix, nothing promised is missing, the same
// every time.
func (w *workload) check(c *crash, deep bool) {
	t := w.t
	c.disk.SetCapacity(0)
	bounds := Bounds{First: 1, Synced: c.promised}
	recs, sc, err := read(c.disk, bounds)
	require.NoError(t, err, c.op)
	require.GreaterOrEqual(t, sc.Last, c.promised, c.op)
	w.prefix(c, recs, sc.Last)
	if !deep {
		return
	}
	again, _, err := read(c.disk, bounds)
	require.NoError(t, err, c.op)
	require.Equal(t, recs, again, c.op)

	disk := c.disk.Clone()
	var inside []crash
	disk.SetFault(func(o vfs.Op) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		inside = append(inside,
			crash{fmt.Sprintf("%s, and in recovery before %v", c.op, o), disk.Crash(w.dice), sc.Last},
			crash{fmt.Sprintf("%s, and killed in recovery before %v", c.op, o), disk.Clone(), sc.Last})
		return nil
	})
	l, err := Open(disk, logDir, testID, sc, w.opts)
	require.NoError(t, err, c.op)
	require.Equal(t, sc.Last, l.Synced(), "what recovery shows is durable")
	r := add(t, l, 1, 60)
	synctest.Wait()
	disk.SetFault(nil)
	for i := range inside {
		again, _, err := read(inside[i].disk, bounds)
		require.NoError(t, err, inside[i].op)
		require.Equal(t, recs, again, inside[i].op)
	}
	require.NoError(t, l.Commit(op.Strict))
	after, _ := mustRead(t, disk.Crash(w.dice))
	require.Equal(t, append(recs[:len(recs):len(recs)], r), after, c.op)
	for _, stream := range []byte{0, 1} {
		require.Equal(t, pick(after, stream, 0, r.seq), streamed(t, historyOf(t, l), stream, 0, r.seq), c.op)
	}
	mustClose(t, l)
	_, _, err = readBy(Verify, disk, logDir, bounds)
	require.NoError(t, err, c.op)
}

// prefix wants recs to be all records up to the sequence last.
func (w *workload) prefix(c *crash, recs []rec, last uint64) {
	n := 0
	for n < len(w.recs) && w.recs[n].seq <= last {
		n++
	}
	requireRecs(w.t, w.recs[:n], recs, c.op)
}

// restart goes on with one of the crashes.
func (w *workload) restart() {
	c := w.crashes[w.rng.IntN(len(w.crashes))]
	w.mem = c.disk
	recs, sc := mustRead(w.t, w.mem)
	w.recs, w.log, w.synced, w.written = recs, nil, sc.Last, sc.Last
}

// TestSeedIsReported holds the tests above to their word.
func TestSeedIsReported(t *testing.T) {
	t.Setenv(seedEnv, "0x2a")
	if *seedFlag == 0 {
		require.Equal(t, []uint64{42}, seeds(t, 100))
	}
	t.Setenv(seedEnv, "")
	if *seedFlag == 0 {
		require.NotEqual(t, seeds(t, 100), seeds(t, 100))
	}
}

// TestDamageIsNotPowerLoss looks at crashes of synced logs: whatever the power
// cut does to the rest, a flipped bit in what was synced and is witnessed stays
// damage.
func TestDamageIsNotPowerLoss(t *testing.T) {
	for _, seed := range seeds(t, 200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		mem, l := create(t, testOptions())
		for range 6 {
			add(t, l, 1, 40)
			require.NoError(t, l.Commit(op.Strict))
		}
		disk := mem.Crash(rng)
		bit := at(0)*8 + rng.Int64N(5*testFrame*8)
		require.NoError(t, disk.Flip(segmentPath(logDir, 1), bit))
		_, _, err := read(disk, Bounds{First: 1})
		require.ErrorIs(t, err, op.ErrCorrupt, "seed %d: bit %d", seed, bit)
		mustClose(t, l)
	}
}

var errAny = errors.New("any")

func TestCreateSurvivesOrFails(t *testing.T) {
	for bad := 1; ; bad++ {
		mem := vfs.NewMem()
		require.NoError(t, mem.MkdirAll(logDir, 0o755))
		base, done := mem.Ops(), true
		mem.SetFault(func(o vfs.Op) error {
			if o.Index == base+bad {
				done = false
				return errAny
			}
			return nil
		})
		err := Create(mem, logDir, testID, testOptions())
		if done {
			require.NoError(t, err)
			require.Greater(t, bad, 4)
			return
		}
		require.ErrorIs(t, err, errAny)
		require.False(t, strings.HasSuffix(strings.Join(mem.Files(), " "), temporary), "half a segment is left: %v", mem.Files())
	}
}

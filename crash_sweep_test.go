package inmem_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// Environment variables that steer the random crashes.
const (
	seedEnv    = "INMEM_SEED"    // repeat one seed
	crashesEnv = "INMEM_CRASHES" // how many seeds to try
)

func envNumber(t testing.TB, name string) (n uint64, ok bool) {
	s := os.Getenv(name)
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 0, 64)
	require.NoError(t, err, name)
	return n, true
}

// crashSeeds returns the one seed that was asked for, or new ones.
func crashSeeds(t testing.TB, n int) []uint64 {
	if seed, ok := envNumber(t, seedEnv); ok {
		return []uint64{seed}
	}
	if m, ok := envNumber(t, crashesEnv); ok {
		n = int(m)
	} else if testing.Short() || raceEnabled {
		n = max(1, n/4)
	}
	list := make([]uint64, n)
	for i := range list {
		list[i] = rand.Uint64N(1 << 32)
	}
	return list
}

// crashed is the disk that a crash left, and what must be on it.
type crashed struct {
	what     string
	disk     *vfs.Mem
	power    bool // else the process was killed
	promised promises
}

// life is the random life of a store on a disk of which every moment is kept.
type life struct {
	t      *testing.T
	rng    *rand.Rand
	opts   inmem.Options
	disk   *vfs.Mem
	db     *inmem.DB
	other  *inmem.DB // opened on a crash's disk
	ledger *ledger
	live   []run.ID // not deleted
	losses int      // power cuts for each operation

	mu      sync.Mutex
	dice    *rand.Rand
	crashes []crashed
}

const storeDir = "store"

func nowMilli() int64 { return time.Now().UnixMilli() }

// TestPowerLossSweep crashes a store before every operation on its disk: by a
// power cut, several ways, and by a kill.
func TestPowerLossSweep(t *testing.T) {
	total, torn, again := 0, 0, 0
	for _, seed := range crashSeeds(t, 4) {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("repeat with %s=%d", seedEnv, seed)
				}
			}()
			a, b, c := sweep(t, seed)
			total, torn, again = total+a, torn+b, again+c
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d crashes, %d with a torn tail; %d more crashes inside recovery", total, torn, again)
}

func sweep(t *testing.T, seed uint64) (total, torn, again int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	l := &life{t: t, rng: rng, dice: rand.New(rand.NewPCG(seed, 2)), disk: vfs.NewMem(), losses: 2}
	l.opts = inmem.Options{
		FS: l.disk, Shards: 1 + rng.IntN(3), SegmentSize: 4 << 10, CheckpointBytes: []int64{-1, 1500, 6000}[rng.IntN(3)],
		BatchCommits: 1 + rng.IntN(20), BatchInterval: 100 * time.Millisecond,
		Durability: []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Batched, inmem.Async}[rng.IntN(4)],
		// Of the runs that are there everything is kept; what deleted ones had goes.
		PruneInterval: []time.Duration{-1, -1, 70 * time.Millisecond}[rng.IntN(3)],
		Compression:   []inmem.Compression{inmem.NoCompression, inmem.NoCompression, inmem.Zstd}[rng.IntN(3)],
	}
	l.ledger = newLedger(nowMilli, 100)
	defer l.letGo()
	l.run(30 + rng.IntN(60))
	for i := range l.crashes {
		c := &l.crashes[i]
		if l.check(c, i) {
			torn++
		}
		if rng.IntN(12) == 0 {
			again += l.crashInRecovery(c)
		}
	}
	return len(l.crashes), torn, again
}

// snap keeps what crashes at this moment would leave.
func (l *life) snap(o vfs.Op) error {
	l.snapAt(fmt.Sprintf("before %v", o))
	return nil
}

func (l *life) snapAt(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.ledger.promises()
	l.crashes = append(l.crashes, crashed{"kill " + what, l.disk.Clone(), false, p})
	for range l.losses {
		l.crashes = append(l.crashes, crashed{"power cut " + what, l.disk.Crash(l.dice), true, p})
	}
}

// run lives for some steps, closing and opening the store in between.
func (l *life) run(steps int) {
	l.disk.SetFault(l.snap)
	l.open()
	for range steps {
		if l.rng.IntN(25) == 0 {
			l.close()
			l.open()
		}
		l.step()
		// The background comes to rest, so that a seed means one life.
		synctest.Wait()
	}
	for _, id := range l.live {
		l.ledger.learn(l.t, l.db, id)
	}
	l.close()
	l.disk.SetFault(nil)
	l.snapAt("at the end")
}

func (l *life) open() {
	db, err := inmem.Open(storeDir, &l.opts)
	require.NoError(l.t, err)
	l.db = db
	synctest.Wait()
}

// openOther opens what a crash left, and lets the expirations that are due
// happen.
func (l *life) openOther(opts *inmem.Options, what string) *inmem.DB {
	db, err := inmem.Open(storeDir, opts)
	require.NoError(l.t, err, what)
	l.other = db
	synctest.Wait()
	return db
}

// letGo closes what a failed test left open, without which its bubble cannot end.
func (l *life) letGo() {
	for _, db := range []*inmem.DB{l.db, l.other} {
		if db != nil && l.t.Failed() {
			l.t.Log("closing after the failure:", db.Close())
		}
	}
}

func (l *life) close() {
	require.NoError(l.t, l.db.Close())
	l.ledger.allSafe()
}

func (l *life) mode(asked inmem.Durability) inmem.Durability {
	if asked == op.Default {
		return l.opts.Durability
	}
	return asked
}

var bg = context.Background() // for calls that nobody cancels

func (l *life) step() {
	t := l.t
	if len(l.live) == 0 || l.rng.IntN(9) == 0 {
		l.begin()
		return
	}
	id := l.live[l.rng.IntN(len(l.live))]
	r, err := l.db.Run(id)
	require.NoError(t, err)
	switch n := l.rng.IntN(40); {
	case n < 2:
		require.NoError(t, l.db.Flush(bg))
		l.ledger.allSafe()
	case n < 4:
		require.NoError(t, l.db.Checkpoint(bg))
		l.ledger.allSafe()
	case n < 8:
		time.Sleep(time.Duration(1+l.rng.IntN(150)) * time.Millisecond)
	case n < 10:
		l.status(r)
	case n < 12:
		_, err := l.db.Prune(bg, nil)
		require.NoError(t, err)
		l.ledger.allSafe()
	case n < 14:
		synctest.Wait()
		l.ledger.learn(t, l.db, id)
		require.NoError(t, l.db.DeleteRun(bg, id))
		l.ledger.drop(id, l.opts.Durability)
		l.live = remove(l.live, id)
	default:
		l.write(r)
	}
}

func remove(list []run.ID, id run.ID) []run.ID {
	var out []run.ID
	for _, other := range list {
		if other != id {
			out = append(out, other)
		}
	}
	return out
}

func (l *life) begin() {
	id, err := run.NewID()
	require.NoError(l.t, err)
	info := run.Info{Meta: run.Meta{ID: id, Name: fmt.Sprint("run ", len(l.live)), Tags: map[string]string{"n": fmt.Sprint(l.rng.IntN(9))}}}
	if l.rng.IntN(6) == 0 {
		ns := run.Namespace{Tenant: "t", App: "a", Agent: id.String()}
		info = run.Info{Meta: run.Meta{ID: ns.SpaceID(), Namespace: ns}, Space: true}
		_, err = l.db.Space(bg, ns)
	} else {
		_, err = l.db.BeginRun(bg, info.Meta)
	}
	require.NoError(l.t, err)
	info.Status, info.Created, info.FirstVersion = run.Active, nowMilli(), 1
	l.ledger.begun(info, l.opts.Durability)
	l.live = append(l.live, info.ID)
}

// status changes a run's status, where that can be.
func (l *life) status(r *inmem.Run) {
	to := []run.Status{run.Paused, run.Active, run.Completed, run.Failed, run.Archived}[l.rng.IntN(5)]
	before, err := r.Info()
	require.NoError(l.t, err)
	switch to {
	case run.Paused:
		err = r.Pause(bg)
	case run.Active:
		err = r.Resume(bg)
	case run.Archived:
		err = r.Archive(bg)
	default:
		err = r.End(bg, to)
	}
	after, ierr := r.Info()
	require.NoError(l.t, ierr)
	if err != nil {
		require.Equal(l.t, before, after)
		return
	}
	want := *before
	want.Status, want.LastVersion = to, before.LastVersion+1
	if to.Ended() && want.Ended == 0 {
		want.Ended = nowMilli()
	}
	require.Equal(l.t, &want, after)
	l.ledger.acked(r.ID(), want.LastVersion, l.opts.Durability, op.Op{Kind: op.Put, Tag: op.RunMetadata, Value: want.AppendRecord(nil)})
}

// write does a put, a conditional put, a delete or a batch.
func (l *life) write(r *inmem.Run) {
	t, store := l.t, r.KV()
	mode := []inmem.Durability{op.Default, op.Default, inmem.Strict, inmem.Batched, inmem.Async}[l.rng.IntN(5)]
	key := fmt.Sprint("key ", l.rng.IntN(12))
	opts := []kv.WriteOption{kv.Durability(mode)}
	var o op.Op
	var version uint64
	var err error
	info, ierr := r.Info()
	require.NoError(t, ierr)
	switch n := l.rng.IntN(12); {
	case n < 2:
		l.vector(r, mode, key)
		return
	case n < 7:
		o = l.put(key)
		if o.Deadline != 0 {
			opts = append(opts, kv.TTL(time.Duration(o.Deadline-nowMilli())*time.Millisecond))
		}
		version, err = store.Put(bg, key, o.Value, opts...)
	case n < 8:
		o = l.put(key)
		o.Deadline = 0
		expected := info.LastVersion * uint64(l.rng.IntN(2))
		version, err = store.PutIf(bg, key, o.Value, expected, opts...)
	case n < 10:
		o = op.Op{Kind: op.Delete, Tag: op.KV, Key: key}
		_, err = store.Delete(bg, key, opts...)
		version = info.LastVersion + 1
	default:
		l.batch(r, mode, opts)
		return
	}
	if err != nil {
		l.refused(r, info, err)
		return
	}
	require.Equal(t, info.LastVersion+1, version)
	l.ledger.acked(r.ID(), version, l.mode(mode), o)
}

func (l *life) put(key string) op.Op {
	o := op.Op{Kind: op.Put, Tag: op.KV, Key: key, Value: make([]byte, 1+l.rng.IntN(400))}
	for i := range o.Value {
		o.Value[i] = byte(l.rng.Uint32())
	}
	if l.rng.IntN(3) == 0 {
		o.Deadline = nowMilli() + 1 + l.rng.Int64N(200)
	}
	return o
}

// batch writes puts only, so that what it does is known beforehand.
func (l *life) batch(r *inmem.Run, mode inmem.Durability, opts []kv.WriteOption) {
	var b kv.Batch
	var ops []op.Op
	info, err := r.Info()
	require.NoError(l.t, err)
	for range 1 + l.rng.IntN(8) {
		o := l.put(fmt.Sprint("key ", l.rng.IntN(12)))
		o.Deadline = 0
		b.Put(o.Key, o.Value)
		ops = append(ops, o)
	}
	version, err := r.KV().Write(bg, &b, opts...)
	if err != nil {
		l.refused(r, info, err)
		return
	}
	l.ledger.acked(r.ID(), version, l.mode(mode), ops...)
}

// refused wants a good reason for a refusal, and that nothing happened.
func (l *life) refused(r *inmem.Run, before *run.Info, err error) {
	switch {
	case before.Status != run.Active:
		require.ErrorIs(l.t, err, inmem.ErrRunNotActive)
	default:
		if !isAny(err, inmem.ErrWrongVersion, inmem.ErrNotFound) {
			require.NoError(l.t, err)
		}
	}
	after, err := r.Info()
	require.NoError(l.t, err)
	require.Equal(l.t, before.LastVersion, after.LastVersion)
}

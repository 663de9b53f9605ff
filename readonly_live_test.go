package inmem_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// busy is a store with goroutines that write to it.
type busy struct {
	*store
	mu       sync.Mutex
	acked    map[run.ID]uint64      // as Strict or Batched; a reader must not show less
	deleting map[run.ID]bool        // a delete was asked for
	lives    map[run.ID][]op.Commit // the histories of runs, as far as they were learned
	looks    []look
	turns    [4]chan struct{} // closed when a round of the readers begins: the writers wait for it
}

// look is what a reader saw of a run.
type look struct {
	id      run.ID
	version uint64
	digest  inmem.Digest
}

func newBusy(s *store) *busy {
	b := &busy{store: s, acked: map[run.ID]uint64{}, deleting: map[run.ID]bool{}, lives: map[run.ID][]op.Commit{}}
	for i := range b.turns {
		b.turns[i] = make(chan struct{})
	}
	return b
}

// ack notes what was acknowledged.
func (b *busy) ack(id run.ID, version uint64, mode inmem.Durability) {
	if mode == op.Default {
		mode = b.Durability()
	}
	if mode != inmem.Async {
		b.mu.Lock()
		b.acked[id] = version
		b.mu.Unlock()
	}
}

// writer works on runs of its own: it begins, ends and deletes them, puts,
// deletes, lets keys expire, in all modes.
func (b *busy) writer(rng *rand.Rand, commits int) error {
	var mine []*inmem.Run
	for n := range commits {
		<-b.turns[n*len(b.turns)/commits]
		mode := []inmem.Durability{op.Default, inmem.Strict, inmem.Batched, inmem.Async}[rng.IntN(4)]
		if len(mine) < 2 || n%97 == 0 {
			r, err := b.BeginRun(ctx, run.Meta{Name: fmt.Sprint("run ", n)})
			if err != nil {
				return err
			}
			b.ack(r.ID(), 1, op.Default)
			mine = append(mine, r)
		}
		at := rng.IntN(len(mine))
		r := mine[at]
		k := key(rng.IntN(25))
		version, err := uint64(0), error(nil)
		switch rng.IntN(9) {
		case 0:
			if _, err = r.KV().Delete(ctx, k, kv.Durability(mode)); errors.Is(err, inmem.ErrNotFound) {
				err = nil
			}
		case 1, 2:
			version, err = r.KV().Put(ctx, k, big(rng.IntN(300)), kv.Durability(mode), kv.TTL(time.Duration(1+rng.IntN(30))*time.Millisecond))
		case 3:
			var batch kv.Batch
			for range 1 + rng.IntN(5) {
				batch.Put(key(rng.IntN(25)), big(rng.IntN(90)))
			}
			batch.Delete(k)
			version, err = r.KV().Write(ctx, &batch, kv.Durability(mode))
		default:
			version, err = r.KV().Put(ctx, k, fmt.Append(nil, n), kv.Durability(mode))
		}
		if err == nil && version != 0 {
			b.ack(r.ID(), version, mode)
		}
		if err == nil && n%120 == 119 {
			err = b.leave(r, n%240 == 119)
			mine = append(mine[:at], mine[at+1:]...)
		}
		if err == nil && n%150 == 149 {
			err = errors.Join(b.DB.Checkpoint(ctx), b.Flush(ctx))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leave ends a run or deletes it.
func (b *busy) leave(r *inmem.Run, drop bool) error {
	if !drop {
		return r.End(ctx, run.Completed)
	}
	life := historyOf(b.t, b.DB, r.ID())
	b.mu.Lock()
	b.lives[r.ID()] = life // but for keys that still expire
	b.deleting[r.ID()] = true
	b.mu.Unlock()
	return b.DeleteRun(ctx, r.ID())
}

// see opens the store, wherever it is, and holds each run against its own
// history and against what was acknowledged before. The function it returns
// looks again.
func (b *busy) see(t *testing.T, dir string) (again func(*testing.T)) {
	b.mu.Lock()
	promised := maps.Clone(b.acked)
	b.mu.Unlock()
	opts := inmem.Options{FS: watched{b.fs, t, dir}}
	db, err := inmem.OpenReadOnly(dir, &opts)
	require.NoError(t, err)
	return b.compare(t, db, promised)
}

func (b *busy) compare(t *testing.T, db *inmem.DB, promised map[run.ID]uint64) (again func(*testing.T)) {
	b.mu.Lock()
	deleting := maps.Clone(b.deleting)
	b.mu.Unlock()
	seen := map[run.ID]look{}
	for info, err := range db.Runs(ctx, run.Filter{Spaces: true}) {
		require.NoError(t, err)
		id := info.ID
		digest, version, err := runOf(t, db, id).Digest()
		require.NoError(t, err)
		require.GreaterOrEqual(t, version, promised[id], "run %v", id)
		require.Equal(t, version, info.LastVersion)
		life := historyOf(t, db, id)
		require.Len(t, life, int(version), "run %v", id)
		require.Equal(t, newState(life).digest(), digest, "run %v at version %d", id, version)
		seen[id] = look{id, version, digest}
	}
	for id := range promised {
		if _, ok := seen[id]; !ok {
			require.True(t, deleting[id], "run %v is not there", id)
		}
	}
	b.mu.Lock()
	b.looks = append(b.looks, slices.Collect(maps.Values(seen))...)
	b.mu.Unlock()
	return func(t *testing.T) {
		n := 0
		for info, err := range db.Runs(ctx, run.Filter{Spaces: true}) {
			require.NoError(t, err)
			digest, version, err := runOf(t, db, info.ID).Digest()
			require.NoError(t, err)
			require.Equal(t, seen[info.ID], look{info.ID, version, digest}, "it changed")
			require.Len(t, historyOf(t, db, info.ID), int(version))
			n++
		}
		require.Len(t, seen, n)
		require.NoError(t, db.Close())
	}
}

func runOf(t *testing.T, db *inmem.DB, id run.ID) *inmem.Run {
	t.Helper()
	r, err := db.Run(id)
	require.NoError(t, err)
	return r
}

// learn takes the histories of the runs that are left for the truth, and holds
// everything that was ever seen against them.
func (b *busy) learn(t *testing.T) {
	for info, err := range b.Runs(ctx, run.Filter{Spaces: true}) {
		require.NoError(t, err)
		b.lives[info.ID] = historyOf(t, b.DB, info.ID)
	}
	digests := map[run.ID][]inmem.Digest{}
	for id, life := range b.lives {
		s := newState(nil)
		for _, c := range life {
			s.apply(c)
			digests[id] = append(digests[id], s.digest())
		}
	}
	compared := 0
	for _, l := range b.looks {
		require.Contains(t, digests, l.id, "nobody began this run")
		if list := digests[l.id]; int(l.version) <= len(list) {
			compared++
			require.Equal(t, list[l.version-1], l.digest, "run %v at version %d", l.id, l.version)
			continue
		}
		require.True(t, b.deleting[l.id], "run %v never had a version %d", l.id, l.version)
	}
	require.Greater(t, compared, len(b.looks)/2)
}

// TestReadersOfABusyStore reads, checks and copies a store while goroutines
// write to it.
func TestReadersOfABusyStore(t *testing.T) {
	commits := 60 * len(crashSeeds(t, 12))
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async} {
		for name, open := range map[string]func(testing.TB, ...func(*inmem.Options)) *store{"memory": newStore, "disk": newOSStore} {
			t.Run(fmt.Sprintf("%v on %s", mode, name), func(t *testing.T) {
				b := newBusy(open(t, func(o *inmem.Options) {
					o.PruneInterval = -1 // else the history of deleted runs goes under their readers
					o.Durability, o.SegmentSize, o.CheckpointBytes, o.Now = mode, 8<<10, 24<<10, time.Now
				}))
				b.wall.moved.Store(true) // keys expire by themselves
				b.while(t, commits)
				b.learn(t)
			})
		}
	}
}

// while reads as long as writers write.
func (b *busy) while(t *testing.T, commits int) {
	var writers sync.WaitGroup
	for i := range 4 {
		rng := dice(uint64(i))
		writers.Go(func() { assert.NoError(t, b.writer(rng, commits)) })
	}
	done := make(chan struct{})
	go func() { defer close(done); writers.Wait() }()
	opts := inmem.Options{FS: watched{b.fs, t, b.dir}}
	follower, err := inmem.OpenReadOnly(b.dir, &opts)
	require.NoError(t, err)
	rounds := 0
	for running := true; running; rounds++ {
		select {
		case <-done:
			running = false
		default:
		}
		if rounds < len(b.turns) {
			close(b.turns[rounds])
		}
		first, second := b.see(t, b.dir), b.see(t, b.dir)
		checked, err := recovery.Check(watched{b.fs, t, b.dir}, b.dir)
		require.NoError(t, err)
		require.Empty(t, checked.Problems)
		require.Contains(t, checked.Holder, "process ")
		if rounds%3 == 0 {
			b.copy(t, fmt.Sprint(b.dir, "-copy-", rounds))
		}
		first(t)
		second(t)
		b.follow(t, follower)
	}
	require.NoError(t, follower.Close())
	<-done
	t.Logf("%d rounds, %d looks at runs", rounds, len(b.looks))
	soon(t, "all keys with a deadline expire", func() bool { return b.Metrics().Deadlines == 0 })
}

// follow brings a reader up to date and holds it against what was acknowledged
// before.
func (b *busy) follow(t *testing.T, db *inmem.DB) {
	b.mu.Lock()
	promised := maps.Clone(b.acked)
	b.mu.Unlock()
	require.NoError(t, db.Refresh(ctx))
	b.compare(t, db, promised)
}

// copy makes a copy, looks at it, and goes on with it.
func (b *busy) copy(t *testing.T, to string) {
	b.mu.Lock()
	promised := maps.Clone(b.acked)
	b.mu.Unlock()
	_, err := recovery.Backup(ctx, watched{b.fs, t, b.dir}, b.dir, to, "a test")
	require.NoError(t, err)
	opts := inmem.Options{FS: watched{b.fs, t, to}}
	db, err := inmem.OpenReadOnly(to, &opts)
	require.NoError(t, err)
	again := b.compare(t, db, promised)
	opts.FS = b.fs
	copied, err := inmem.Open(to, &opts)
	require.NoError(t, err)
	r, err := copied.BeginRun(ctx, run.Meta{Name: "goes on"})
	require.NoError(t, err)
	for i := range 50 {
		put(t, r, key(i), string(big(200)))
	}
	require.NoError(t, copied.Checkpoint(ctx))
	require.NoError(t, copied.Close())
	again(t)
	checked, err := recovery.Check(b.fs, to)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
}

// others is what is told of a process that writes to a store.
type others struct {
	*ledger
	mu    sync.Mutex
	tried map[run.ID]note // the last of each run; at most one is in flight
	seen  []map[run.ID][]op.Commit
	told  int
}

// listen enters what the process tells, until it is dead: one note for each that
// is allowed, so that the process, which waits for its notes to be read, does
// not write faster than a reader reads.
func (o *others) listen(lines *bufio.Scanner, allowed <-chan struct{}, heard chan<- struct{}) {
	defer close(heard)
	for {
		<-allowed
		var n note
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &n) != nil {
			return
		}
		o.mu.Lock()
		if n.What == "try" {
			o.tried[n.Run] = n
		} else {
			o.enter(o.tried[n.Run])
		}
		o.told++
		o.mu.Unlock()
	}
}

// look opens the store in dir for reading: each run is a prefix of what the
// process wrote, at least as long as what it was told before.
func (o *others) look(t *testing.T, dir, holder string) (again func()) {
	o.mu.Lock()
	promised := o.promises().kill
	o.mu.Unlock()
	opts := inmem.Options{FS: watched{vfs.OS, t, dir}, Now: scriptClock}
	db, err := inmem.OpenReadOnly(dir, &opts)
	require.NoError(t, err)
	return o.compareTo(t, db, promised, holder)
}

func (o *others) compareTo(t *testing.T, db *inmem.DB, promised map[run.ID]uint64, holder string) (again func()) {
	require.Contains(t, db.Recovery().Holder, holder)
	seen := map[run.ID][]op.Commit{}
	digests := map[run.ID]inmem.Digest{}
	for actor := range loopActors {
		id := loopRun(actor)
		r, err := db.Run(id)
		if errors.Is(err, inmem.ErrRunNotFound) {
			require.Zero(t, promised[id])
			continue
		}
		require.NoError(t, err)
		seen[id] = historyOf(t, db, id)
		require.GreaterOrEqual(t, len(seen[id]), int(promised[id]))
		var version uint64
		digests[id], version, err = r.Digest()
		require.NoError(t, err)
		require.Len(t, seen[id], int(version))
		require.Equal(t, newState(seen[id]).digest(), digests[id])
	}
	o.seen = append(o.seen, seen)
	return func() {
		for id, digest := range digests {
			now, version, err := runOf(t, db, id).Digest()
			require.NoError(t, err)
			require.Equal(t, digest, now)
			require.Len(t, historyOf(t, db, id), int(version))
		}
		require.NoError(t, db.Close())
	}
}

// TestReadersOfAnotherProcess reads, checks and copies a store that another
// process writes to, kills that process, reads what it left, and lets another
// one go on.
func TestReadersOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	o := &others{ledger: scriptLedger()}
	for round := range max(2, len(crashSeeds(t, 12))/4) {
		o.tried, o.seen, o.told = map[run.ID]note{}, nil, 0
		cmd, lines := startChild(t, "writers", dirEnv+"="+dir, roundEnv+"="+strconv.Itoa(round))
		pid := fmt.Sprint("process ", cmd.Process.Pid)
		allowed, heard := make(chan struct{}, 100_000), make(chan struct{})
		go o.listen(lines, allowed, heard)
		for n := range 6 {
			for range 300 {
				allowed <- struct{}{}
			}
			soon(t, "the process writes", func() bool {
				o.mu.Lock()
				defer o.mu.Unlock()
				return o.told > n*300
			})
			again := o.look(t, dir, pid)
			checked, err := inmem.Check(dir)
			require.NoError(t, err)
			require.Empty(t, checked.Problems)
			require.Contains(t, checked.Holder, pid)
			if n%3 == 0 {
				o.copy(t, dir, filepath.Join(t.TempDir(), "copy"))
			}
			again()
		}
		require.NoError(t, cmd.Process.Kill())
		close(allowed) // all that is left
		<-heard
		require.Error(t, cmd.Wait())

		before := filesOf(t, vfs.OS, dir)
		o.look(t, dir, "")()
		require.Equal(t, before, filesOf(t, vfs.OS, dir))
		killed := o.seen[len(o.seen)-1]
		for _, seen := range o.seen {
			for id, list := range seen {
				require.LessOrEqual(t, len(list), len(killed[id]), "what a reader saw outlives a kill")
			}
		}
		lost := o.survivors(t, dir, o.tried)
		for _, seen := range o.seen {
			for id, list := range seen {
				for v := range list {
					require.True(t, sameCommit(list[v], o.runs[id].history[v]), "run %v, version %d", id, v+1)
				}
			}
		}
		t.Logf("%d looks at %d notes; the kill took %d commits, Async all", len(o.seen), o.told, lost)
	}
}

// copy makes a copy of what the other process writes to, and goes on with it.
func (o *others) copy(t *testing.T, dir, to string) {
	o.mu.Lock()
	promised := o.promises().kill
	o.mu.Unlock()
	_, err := inmem.Backup(ctx, dir, to)
	require.NoError(t, err)
	opts := inmem.Options{FS: watched{vfs.OS, t, to}, Now: scriptClock}
	db, err := inmem.OpenReadOnly(to, &opts)
	require.NoError(t, err)
	again := o.compareTo(t, db, promised, "")
	opts = loopOptions()
	opts.Shards = 0
	copied, err := inmem.Open(to, &opts)
	require.NoError(t, err)
	for actor := range loopActors {
		if r, err := copied.Run(loopRun(actor)); err == nil {
			put(t, r, "more", "v")
		}
	}
	require.NoError(t, copied.Close())
	again()
	checked, err := inmem.Check(to)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
}

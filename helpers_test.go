package inmem_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

var ctx = context.Background()

// wall is a wall clock that stands still until a test moves it.
type wall struct {
	ms    atomic.Int64
	moved atomic.Bool
}

const epoch = 1_700_000_000_000 // some day, Unix milliseconds

func (w *wall) Now() time.Time { return time.UnixMilli(w.ms.Load()) }

// move moves the clock, backwards too.
func (w *wall) move(d time.Duration) {
	w.moved.Store(true)
	w.ms.Add(d.Milliseconds())
}

// store is a database under test. Every test of a database ends with its full
// check, without asking for it.
type store struct {
	t    testing.TB
	mem  *vfs.Mem // nil where the disk is the operating system's
	fs   vfs.FS
	dir  string
	opts inmem.Options
	wall *wall
	*inmem.DB
	ended bool
}

// newStore opens a new store on a memory disk with a clock that stands still.
func newStore(t testing.TB, change ...func(*inmem.Options)) *store {
	t.Helper()
	return openStore(t, vfs.NewMem(), "/data/store", change...)
}

// newOSStore opens a new store on the real disk.
func newOSStore(t testing.TB, change ...func(*inmem.Options)) *store {
	t.Helper()
	return openStore(t, vfs.OS, t.TempDir(), change...)
}

func openStore(t testing.TB, fs vfs.FS, dir string, change ...func(*inmem.Options)) *store {
	t.Helper()
	s := &store{t: t, fs: fs, dir: dir, wall: &wall{}}
	s.mem, _ = fs.(*vfs.Mem)
	s.wall.ms.Store(epoch)
	s.opts = inmem.Options{FS: fs, Shards: 3, Now: s.wall.Now}
	for _, c := range change {
		c(&s.opts)
	}
	s.open()
	t.Cleanup(s.end)
	return s
}

func (s *store) open() {
	s.t.Helper()
	db, err := inmem.Open(s.dir, &s.opts)
	require.NoError(s.t, err)
	s.DB, s.ended = db, false
}

// abandon keeps end from a check: the test left the store unfit for one.
func (s *store) abandon() {
	if !s.ended {
		_ = s.Close() // what it returns is for the test to look at
	}
	s.ended = true
}

// end is the full check: what was there is there after a clean close, a check
// of all files and a reopening.
func (s *store) end() {
	s.t.Helper()
	if s.ended || s.t.Failed() {
		s.abandon()
		return
	}
	s.reopen()
	require.NoError(s.t, s.Close())
	s.ended = true
}

// reopen closes the store, checks its files, opens it and compares.
func (s *store) reopen() {
	s.t.Helper()
	before := s.pictures()
	require.NoError(s.t, s.Close())
	s.sound()
	s.open()
	s.same(before)
}

// sound checks the files of the closed store.
func (s *store) sound() {
	s.t.Helper()
	checked, err := recovery.Check(s.fs, s.dir)
	require.NoError(s.t, err)
	require.Empty(s.t, checked.Problems)
}

// picture is all that can be seen of a run.
type picture struct {
	Info   run.Info
	Digest inmem.Digest
	Items  []kv.Item
}

func (s *store) pictures() map[run.ID]picture {
	s.t.Helper()
	all := map[run.ID]picture{}
	for info, err := range s.Runs(ctx, run.Filter{Spaces: true}) {
		require.NoError(s.t, err)
		r, err := s.Run(info.ID)
		require.NoError(s.t, err)
		p := picture{Info: *info, Items: list(s.t, r, "")}
		p.Digest, _, err = r.Digest()
		require.NoError(s.t, err)
		if s.wall.moved.Load() {
			// Keys may be removed between one look and the next.
			p.Digest, p.Info.LastVersion = inmem.Digest{}, 0
		}
		all[info.ID] = p
	}
	return all
}

func (s *store) same(before map[run.ID]picture) {
	s.t.Helper()
	after := s.pictures()
	require.Len(s.t, after, len(before))
	for id, p := range before {
		require.Equal(s.t, p, after[id], "run %v", id)
	}
}

func (s *store) begin(metas ...run.Meta) *inmem.Run {
	s.t.Helper()
	r, err := s.BeginRun(ctx, append(metas, run.Meta{})[0])
	require.NoError(s.t, err)
	return r
}

func (s *store) run(id run.ID) *inmem.Run {
	s.t.Helper()
	r, err := s.Run(id)
	require.NoError(s.t, err)
	return r
}

func put(t testing.TB, r *inmem.Run, key, value string, opts ...kv.WriteOption) uint64 {
	t.Helper()
	v, err := r.KV().Put(ctx, key, []byte(value), opts...)
	require.NoError(t, err)
	return v
}

// get returns the value of a key, or "-" where there is none.
func get(t testing.TB, r *inmem.Run, key string) string {
	t.Helper()
	v, err := r.KV().Get(ctx, key)
	if err != nil {
		require.ErrorIs(t, err, inmem.ErrNotFound)
		return "-"
	}
	return string(v)
}

func list(t testing.TB, r *inmem.Run, prefix string, opts ...kv.ListOption) []kv.Item {
	t.Helper()
	var items []kv.Item
	for it, err := range r.KV().List(ctx, prefix, opts...) {
		require.NoError(t, err)
		items = append(items, it)
	}
	return items
}

func keys(items []kv.Item) []string {
	out := []string{}
	for _, it := range items {
		out = append(out, it.Key)
	}
	return out
}

func history(t testing.TB, r *inmem.Run, from uint64) []*inmem.Commit {
	t.Helper()
	var all []*inmem.Commit
	for c, err := range r.History(ctx, from) {
		require.NoError(t, err)
		all = append(all, c)
	}
	return all
}

// patience is how often soon and ends look, a millisecond apart. They count
// looks, not time: a machine that was asleep gets its turns all the same.
const patience = 20_000

// soon waits for what happens in the background.
func soon(t testing.TB, what string, is func() bool) {
	t.Helper()
	for range patience {
		if is() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("it never came: %s", what)
}

// healthy fails the test where the store has stopped.
func (s *store) healthy() {
	s.t.Helper()
	require.NoError(s.t, s.Flush(ctx))
}

// ends fails the test unless fn returns: a call that hangs would hang the test.
func ends(t testing.TB, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	for range patience {
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatalf("%s: it hangs", what)
}

// slowAndAlone skips a test that takes long and has one goroutine at work at a
// time, where only the race detector is to be asked and time is short.
func slowAndAlone(t testing.TB) {
	t.Helper()
	if raceEnabled && testing.Short() {
		t.Skip("nothing here runs at the same time: leave -short or -race out")
	}
}

// everyCall makes one call of every kind and returns the errors by name.
func (s *store) everyCall(r *inmem.Run) map[string]error {
	errs := map[string]error{}
	face := r.KV()
	_, errs["Put"] = face.Put(ctx, "k", nil)
	_, errs["PutIf"] = face.PutIf(ctx, "k", nil, 0)
	_, errs["Delete"] = face.Delete(ctx, "k")
	_, errs["Get"] = face.Get(ctx, "k")
	_, errs["GetItem"] = face.GetItem(ctx, "k")
	_, errs["Exists"] = face.Exists(ctx, "k")
	var b kv.Batch
	b.Put("k", nil)
	_, errs["Write"] = face.Write(ctx, &b)
	for _, err := range face.List(ctx, "") {
		errs["List"] = err
	}
	for _, err := range face.Range(ctx, "", "") {
		errs["Range"] = err
	}
	for _, err := range r.History(ctx, 0) {
		errs["History"] = err
		break
	}
	_, errs["Info"] = r.Info()
	_, _, errs["Digest"] = r.Digest()
	errs["Pause"], errs["Resume"] = r.Pause(ctx), r.Resume(ctx)
	errs["End"], errs["Archive"] = r.End(ctx, run.Completed), r.Archive(ctx)
	return errs
}

// everyDBCall is everyCall for the methods of DB.
func (s *store) everyDBCall(r *inmem.Run) map[string]error {
	errs := map[string]error{}
	_, errs["BeginRun"] = s.BeginRun(ctx, run.Meta{})
	_, errs["Space"] = s.Space(ctx, run.Namespace{App: "some"})
	_, errs["Run"] = s.Run(r.ID())
	errs["DeleteRun"] = s.DeleteRun(ctx, r.ID())
	for _, err := range s.Runs(ctx, run.Filter{}) {
		errs["Runs"] = err
		break
	}
	errs["Flush"], errs["Checkpoint"] = s.Flush(ctx), s.DB.Checkpoint(ctx)
	return errs
}

func requireAll(t testing.TB, errs map[string]error, want error) {
	t.Helper()
	for name, err := range errs {
		assert.ErrorIs(t, err, want, name)
	}
}

// big is a value of n bytes that is not all the same.
func big(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func key(i int) string { return fmt.Sprintf("key-%05d", i) }

// powerLoss is a disk after a power cut that takes whatever was not synced.
func powerLoss(m *vfs.Mem) *vfs.Mem {
	return m.CrashWith(rand.New(rand.NewPCG(1, 2)), vfs.DropAll)
}

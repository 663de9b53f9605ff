package inmem_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// readOnly opens the store for reading beside whoever has it, on a disk that
// does not let it write.
func (s *store) readOnly(change ...func(*inmem.Options)) *store {
	s.t.Helper()
	ro := &store{t: s.t, mem: s.mem, fs: watched{s.fs, s.t, s.dir}, dir: s.dir, wall: &wall{}, ended: true}
	ro.wall.ms.Store(s.wall.ms.Load())
	ro.opts = inmem.Options{FS: ro.fs, Now: ro.wall.Now}
	for _, c := range change {
		c(&ro.opts)
	}
	db, err := inmem.OpenReadOnly(s.dir, &ro.opts)
	require.NoError(s.t, err)
	ro.DB = db
	s.t.Cleanup(func() { require.NoError(s.t, db.Close()) })
	return ro
}

// TestReadOnlyShowsTheStore: everything that can be seen, of runs of every kind.
func TestReadOnlyShowsTheStore(t *testing.T) {
	for name, s := range map[string]*store{"memory": newStore(t), "disk": newOSStore(t)} {
		t.Run(name, func(t *testing.T) {
			s.everyKind()
			before := s.pictures()
			ro := s.readOnly()
			ro.same(before)
			assert.Contains(t, ro.Recovery().Holder, fmt.Sprint("process ", os.Getpid()))
			assert.Empty(t, ro.Recovery().Orphans, "somebody works on them")
			assert.Equal(t, s.dir, ro.DataDir())
			assert.Len(t, ro.Metrics().Shards, 3)
			assert.Zero(t, ro.Metrics().Deadlines)
			for id := range before {
				require.Equal(t, history(t, s.run(id), 0), history(t, ro.run(id), 0))
				require.Equal(t, history(t, s.run(id), 3), history(t, ro.run(id), 3))
			}

			// What comes later is not seen, neither by look nor by history.
			put(t, s.run(s.space().ID()), "later", "v")
			for id := range before {
				if info, err := s.run(id).Info(); assert.NoError(t, err) && info.Status == run.Active {
					put(t, s.run(id), "later", "v")
				}
			}
			require.NoError(t, s.Checkpoint(ctx))
			ro.same(before)
			newer := s.readOnly()
			newer.same(s.pictures())
			require.NoError(t, s.Close())
			ro.same(before)
			s.open()
			s.everyKind()
			ro.same(before)

			events := make(chan inmem.Event, 10)
			closed := s.readOnly(func(o *inmem.Options) { o.OnEvent = func(e inmem.Event) { events <- e } })
			closed.same(s.pictures())
			assert.IsType(t, inmem.Recovered{}, <-events)
		})
	}
}

// everyKind lets there be runs in every status, spaces, deleted runs, values
// with deadlines, batches, in the checkpoint and after it.
func (s *store) everyKind() {
	t := s.t
	t.Helper()
	for round := range 2 {
		for i := range 6 {
			r := s.begin(run.Meta{Name: fmt.Sprint("run ", i), Tags: map[string]string{"n": fmt.Sprint(i)}})
			for k := range 4 + i {
				put(t, r, key(k), fmt.Sprint("value ", i, k))
			}
			put(t, r, "ttl", "v", kv.TTL(time.Hour))
			_, err := r.KV().Delete(ctx, key(1))
			require.NoError(t, err)
			switch i {
			case 1:
				require.NoError(t, r.End(ctx, run.Completed))
			case 2:
				require.NoError(t, r.Pause(ctx))
			case 3:
				require.NoError(t, r.Archive(ctx))
			case 4:
				require.NoError(t, s.DeleteRun(ctx, r.ID()))
			}
		}
		put(t, s.space(), fmt.Sprint("known ", round), "v")
		if round == 0 {
			require.NoError(t, s.Checkpoint(ctx))
		}
	}
}

func (s *store) space() *inmem.Run {
	s.t.Helper()
	r, err := s.Space(ctx, run.Namespace{Tenant: "acme", App: "some"})
	require.NoError(s.t, err)
	return r
}

// TestReadOnlyRefusesWrites: every call that writes is refused, and every one
// that reads is not.
func TestReadOnlyRefusesWrites(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	space := s.space().ID()
	ro := s.readOnly()
	before := ro.pictures()
	reads := map[string]bool{
		"Get": true, "GetItem": true, "Exists": true, "List": true, "Range": true, "History": true, "Info": true, "Digest": true,
		"Run": true, "Runs": true,
	}
	face := ro.run(r.ID())
	calls := ro.everyCall(face)
	for name, err := range ro.everyDBCall(face) {
		calls[name] = err
	}
	require.Greater(t, len(calls), 20)
	for name, err := range calls {
		if reads[name] {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorIs(t, err, inmem.ErrReadOnly, name)
		}
	}
	var b kv.Batch
	b.PutIf("k", []byte("w"), 2)
	b.Delete("k")
	_, err := face.KV().Write(ctx, &b, kv.Durability(inmem.Async))
	assert.ErrorIs(t, err, inmem.ErrReadOnly)
	_, err = face.KV().Put(ctx, "new", nil, kv.TTL(time.Second))
	assert.ErrorIs(t, err, inmem.ErrReadOnly)
	_, err = face.KV().Delete(ctx, "none")
	assert.ErrorIs(t, err, inmem.ErrReadOnly)
	_, err = ro.BeginRun(ctx, run.Meta{ID: r.ID()})
	assert.ErrorIs(t, err, inmem.ErrReadOnly)
	assert.ErrorIs(t, ro.DeleteRun(ctx, space), inmem.ErrReadOnly)

	// What is wrong with a call is said all the same.
	_, err = face.KV().Put(ctx, "", nil)
	assert.ErrorIs(t, err, inmem.ErrKeyEmpty)
	assert.ErrorIs(t, face.End(ctx, run.Active), inmem.ErrTransition)
	_, err = ro.Run(run.ID{1})
	assert.ErrorIs(t, err, inmem.ErrRunNotFound)

	old, err := ro.Space(ctx, run.Namespace{Tenant: "acme", App: "some"})
	require.NoError(t, err, "a space that exists")
	assert.Equal(t, space, old.ID())
	ro.same(before)
}

func TestReadOnlyAfterClose(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	ro := s.readOnly()
	face := ro.run(r.ID())
	require.NoError(t, ro.Close())
	require.NoError(t, ro.Close(), "twice")
	requireAll(t, ro.everyCall(face), inmem.ErrClosed)
	requireAll(t, ro.everyDBCall(face), inmem.ErrClosed)
	_, err := ro.Backup(ctx, "/copy")
	require.ErrorIs(t, err, inmem.ErrClosed)
	assert.NotNil(t, ro.Metrics())
	assert.NotNil(t, ro.Recovery())
	s.healthy()
}

// TestReadOnlyDeadlines: a deadline is judged by the reader's clock, at each
// look. That removes nothing: the version and the digest stay.
func TestReadOnlyDeadlines(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "short", "v", kv.TTL(time.Second))
	put(t, r, "long", "v", kv.TTL(time.Minute))
	put(t, r, "ever", "v")
	ro := s.readOnly()
	late := s.readOnly(func(o *inmem.Options) { o.Now = func() time.Time { return time.UnixMilli(epoch).Add(time.Hour) } })
	face := ro.run(r.ID())
	digest, version, err := face.Digest()
	require.NoError(t, err)
	for _, step := range []struct {
		at   time.Duration
		want []string
	}{
		{0, []string{"ever", "long", "short"}},
		{999 * time.Millisecond, []string{"ever", "long", "short"}},
		{time.Second, []string{"ever", "long"}},
		{0, []string{"ever", "long"}}, // the clock does not run backwards
		{time.Minute, []string{"ever"}},
	} {
		ro.wall.ms.Store(epoch + step.at.Milliseconds())
		require.Equal(t, step.want, keys(list(t, face, "")), step.at)
		for _, k := range []string{"short", "long", "ever"} {
			there, err := face.KV().Exists(ctx, k)
			require.NoError(t, err)
			require.Equal(t, there, get(t, face, k) == "v")
			require.Contains(t, append(step.want, "-"), map[bool]string{true: k, false: "-"}[there])
		}
		d, v, err := face.Digest()
		require.NoError(t, err)
		require.Equal(t, digest, d)
		require.Equal(t, version, v)
	}
	require.Equal(t, []string{"ever"}, keys(list(t, late.run(r.ID()), "")))
	require.Equal(t, []string{"ever", "long", "short"}, keys(list(t, r, "")))
}

// TestReadOnlyClockOfTheStore: a reader's wall clock that is behind does not
// bring back what the store has seen expire.
func TestReadOnlyClockOfTheStore(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v", kv.TTL(time.Second))
	s.wall.ms.Add(2000) // no deadline is waited for by this clock
	other := s.begin()  // seen at that time
	require.Equal(t, "-", get(t, r, "k"))
	ro := s.readOnly(func(o *inmem.Options) { o.Now = func() time.Time { return time.UnixMilli(epoch) } })
	require.Equal(t, "-", get(t, ro.run(r.ID()), "k"))
	_ = other
	s.wall.moved.Store(true)
}

// TestReadOnlyWhereThereIsNone has nothing made where there is no store.
func TestReadOnlyWhereThereIsNone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	for path, want := range map[string]error{
		dir: inmem.ErrNoStore, filepath.Join(dir, "none", "here"): inmem.ErrNoStore,
		file: inmem.ErrNotDirectory, filepath.Join(file, "below"): inmem.ErrNotDirectory,
	} {
		_, err := inmem.OpenReadOnly(path, nil)
		assert.ErrorIs(t, err, want, path)
		_, err = inmem.Check(path)
		assert.ErrorIs(t, err, want, path)
		_, err = inmem.Backup(ctx, path, filepath.Join(dir, "copy"))
		assert.ErrorIs(t, err, want, path)
	}
	_, err := inmem.OpenReadOnly(dir, &inmem.Options{SegmentSize: 1})
	assert.ErrorIs(t, err, inmem.ErrInvalidOption)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

// TestReadOnlyRefusesDamage: the same error as Open gives.
func TestReadOnlyRefusesDamage(t *testing.T) {
	s := newStore(t)
	put(t, s.begin(), "k", "v")
	require.NoError(t, s.Close())
	refused := 0
	for name, b := range filesOf(t, s.fs, s.dir) {
		for bit := int64(3); bit < int64(len(b))*8; bit += 97 {
			disk := s.mem.Clone()
			require.NoError(t, disk.Flip(name, bit))
			opts := inmem.Options{FS: disk, Now: s.wall.Now}
			ro, roErr := inmem.OpenReadOnly(s.dir, &opts)
			db, err := inmem.Open(s.dir, &opts)
			if err == nil {
				require.NoError(t, roErr)
				require.NoError(t, errors.Join(ro.Close(), db.Close()))
				continue
			}
			refused++
			require.EqualError(t, roErr, err.Error())
			var a, b *inmem.CorruptError
			if errors.As(err, &a) {
				require.ErrorAs(t, roErr, &b)
				require.Equal(t, a, b)
			}
		}
	}
	require.Greater(t, refused, 10)
	s.open()
}

// TestReadOnlyOfAKilledStore reads what a kill and a power cut leave: a torn
// tail is not shown, and not touched.
func TestReadOnlyOfAKilledStore(t *testing.T) {
	torn := 0
	for _, seed := range crashSeeds(t, 40) {
		s := newStore(t, func(o *inmem.Options) { o.SegmentSize = 4 << 10; o.BatchInterval = time.Hour })
		r := s.begin()
		for i := range 30 {
			put(t, r, key(i), string(big(10*i)), kv.Durability([]inmem.Durability{inmem.Batched, inmem.Strict}[i/25%2]))
		}
		for i := range 5 {
			put(t, r, key(i), "again")
		}
		disk := s.mem.Crash(dice(seed))
		before := filesOf(t, disk, s.dir)
		ro := openReadOnlyOn(t, s, disk)
		after := filesOf(t, disk, s.dir)
		require.Equal(t, before, after)
		got, verdict := ro.pictures(), ro.Recovery().Verdict
		if verdict == recovery.Torn {
			torn++
		}
		// Open finds the same.
		left := openStore(t, disk, s.dir)
		require.Equal(t, verdict, left.Recovery().Verdict, "seed %d", seed)
		left.same(got)
		ro.same(got)
		left.end()
		ro.same(got)
	}
	t.Log(torn, "torn tails")
}

func openReadOnlyOn(t *testing.T, s *store, disk *vfs.Mem) *store {
	t.Helper()
	other := &store{t: t, mem: disk, fs: disk, dir: s.dir, wall: s.wall}
	return other.readOnly()
}

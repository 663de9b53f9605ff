package recovery

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/ttl"
	"inmem/vfs"
	"inmem/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bg = context.Background()

const (
	testDir  = "data/store"
	testTime = int64(1_800_000_000_000)
)

// config opens small segments, with nothing going on by itself.
func config(fsys vfs.FS) Config {
	return Config{
		FS: fsys, Dir: testDir, DefaultShards: 2, Holder: "a test",
		Wall: func() time.Time { return time.UnixMilli(testTime) }, Health: shard.NewHealth(func(error) {}),
		Log: func(int) wal.Options { return wal.Options{SegmentSize: 700, Interval: time.Hour} },
	}
}

// engine is a store at work, as package inmem puts it together.
type engine struct {
	st     *Store
	shards []*shard.Shard
}

func start(t testing.TB, cfg Config) *engine {
	t.Helper()
	e, err := tryStart(cfg)
	require.NoError(t, err)
	return e
}

func tryStart(cfg Config) (*engine, error) {
	st, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	e := &engine{st: st}
	for _, c := range st.Shards {
		c.Durability, c.CheckpointBytes = op.Strict, -1
		c.Track, c.Forget = func([]ttl.Change) {}, func(run.ID) {}
		c.OnCheckpoint = func(shard.CheckpointDone) {}
		e.shards = append(e.shards, shard.New(c))
	}
	return e, nil
}

// runID is the ID of the n-th run of a test.
func runID(n int) run.ID { return run.Namespace{Tenant: "test"}.DeriveID(fmt.Sprint(n)) }

func (e *engine) shard(id run.ID) *shard.Shard { return e.shards[shard.Place(id, len(e.shards))] }

func (e *engine) begin(id run.ID) error {
	_, err := e.shard(id).Begin(bg, &run.Info{Meta: run.Meta{ID: id}}, op.Default)
	return err
}

func (e *engine) put(id run.ID, key, value string) error {
	_, err := e.shard(id).Commit(bg, id, &op.Request{Writes: []op.Write{{Kind: op.Put, Tag: op.KV, Key: key, Value: []byte(value)}}})
	return err
}

func (e *engine) checkpoint() error {
	for _, s := range e.shards {
		if err := s.Checkpoint(bg); err != nil {
			return err
		}
	}
	return nil
}

// work is a life with all that recovery has to deal with: runs that end, that
// are deleted, several segments, two checkpoints and a log after them. It stops
// at the first error.
func (e *engine) work() error {
	for _, step := range []func() error{
		func() error { return e.fill(0, 6, 4) },
		e.checkpoint,
		func() error { return e.fill(6, 8, 5) },
		func() error { return e.shard(runID(1)).Drop(bg, runID(1), op.Default) },
		func() error { return e.shard(runID(2)).SetStatus(bg, runID(2), run.Completed, op.Expect{}, op.Default) },
		e.checkpoint,
		func() error { return e.put(runID(3), "late", "value") },
		func() error { return e.fill(8, 10, 3) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) fill(from, to, puts int) error {
	for n := from; n < to; n++ {
		if err := e.begin(runID(n)); err != nil {
			return err
		}
		for k := range puts {
			if err := e.put(runID(n), fmt.Sprint("key ", k), strings.Repeat("v", 30+k)); err != nil {
				return err
			}
		}
	}
	return nil
}

// loaded returns the newest version of a run, from disk where it is not in memory.
func loaded(s *shard.Shard, h *shard.Handle) *shard.Snapshot {
	snap, err := s.Load(h)
	if err != nil {
		panic(err)
	}
	return snap
}

// digests returns the fingerprints of all runs.
func (e *engine) digests() map[run.ID]op.Digest {
	all := map[run.ID]op.Digest{}
	for _, s := range e.shards {
		s.Runs().Scan(&run.Filter{Spaces: true}, func(info *run.Info) bool {
			h, err := s.Find(info.ID)
			if err == nil {
				all[info.ID] = loaded(s, h).Digest()
			}
			return true
		})
	}
	return all
}

// stop ends as package inmem does: the manifest learns where the logs end.
func (e *engine) stop() error {
	last := make([]uint64, len(e.shards))
	var err error
	for i, s := range e.shards {
		var serr error
		if last[i], serr = s.Close(); err == nil {
			err = serr
		}
	}
	if err == nil {
		err = e.st.Manifest.Update(func(m *checkpoint.Manifest) {
			for i := range m.Shards {
				m.Shards[i].Synced = last[i]
			}
		})
	}
	if lerr := e.st.Lock.Close(); err == nil {
		err = lerr
	}
	return err
}

// closed is a disk with a store that was closed, and its digests.
func closed(t testing.TB) (*vfs.Mem, map[run.ID]op.Digest) {
	t.Helper()
	disk := vfs.NewMem()
	e := start(t, config(disk))
	require.NoError(t, e.work())
	want := e.digests()
	require.NoError(t, e.stop())
	return disk, want
}

// killed is what a killed process leaves of the same store.
func killed(t testing.TB) (*vfs.Mem, map[run.ID]op.Digest) {
	t.Helper()
	disk := vfs.NewMem()
	e := start(t, config(disk))
	require.NoError(t, e.work())
	left := disk.Clone()
	want := e.digests()
	require.NoError(t, e.stop())
	return left, want
}

// requireStore wants the store on the disk to open with these runs, to end
// well, to be sound, and to open again with the same.
func requireStore(t testing.TB, disk *vfs.Mem, want map[run.ID]op.Digest, what string) *Report {
	t.Helper()
	e := start(t, config(disk))
	require.Equal(t, want, e.digests(), what)
	report := e.st.Report
	require.NoError(t, e.stop(), what)
	checked, err := Check(disk, testDir)
	require.NoError(t, err, what)
	require.Empty(t, checked.Problems, what)
	e = start(t, config(disk))
	require.Equal(t, want, e.digests(), what)
	require.Equal(t, Clean, e.st.Report.Verdict, what)
	require.NoError(t, e.stop(), what)
	return report
}

// contents is all files of a disk but the lock.
func contents(t testing.TB, disk *vfs.Mem) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range disk.Files() {
		if filepath.Base(name) == lockName {
			continue
		}
		b, err := disk.ReadFile(name)
		require.NoError(t, err)
		all[name] = b
	}
	return all
}

// pick returns the files of shard 0 with a suffix, in order.
func pick(t testing.TB, disk *vfs.Mem, suffix string) []string {
	t.Helper()
	var list []string
	for _, name := range disk.Files() {
		if strings.HasPrefix(name, Dir(testDir, 0)+"/") && strings.HasSuffix(name, suffix) {
			list = append(list, name)
		}
	}
	require.NotEmpty(t, list)
	return list
}

// edit changes a file of the disk.
func edit(t testing.TB, disk *vfs.Mem, name string, change func(b []byte) []byte) {
	t.Helper()
	b, err := disk.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, disk.WriteFile(name, change(b)))
}

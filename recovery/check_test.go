package recovery

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

func TestCheckSound(t *testing.T) {
	disk, want := closed(t)
	before, ops := contents(t, disk), disk.Ops()
	checked, err := Check(disk, testDir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	require.Len(t, checked.Shards, 2)
	var sum ShardChecked
	for _, s := range checked.Shards {
		sum.Runs += s.Runs
		sum.Keys += s.Keys
		sum.Commits += s.Commits
		sum.Images += s.Images
		sum.Compared += s.Compared
		sum.LogBytes += s.LogBytes
		require.Zero(t, s.TornBytes)
	}
	// 10 runs of which one was deleted; the last two came after the checkpoint.
	require.Equal(t, len(want), sum.Runs)
	require.Equal(t, 7, sum.Images)
	require.Equal(t, 7, sum.Compared)
	require.Equal(t, uint64(6*5+2*6+2+1+2*4), sum.Commits)
	require.Equal(t, 5*5+2*6+1+2*4, sum.Keys)
	require.Positive(t, sum.LogBytes)
	require.Equal(t, before, contents(t, disk))
	require.Equal(t, ops, disk.Ops(), "Check did more than read")
}

func TestCheckTorn(t *testing.T) {
	f := fixtures["a bad frame in the last segment, otherwise"](t)
	before := contents(t, f.disk)
	checked, err := Check(f.disk, testDir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	torn := checked.Shards[0].TornBytes
	require.Positive(t, torn)
	require.Equal(t, before, contents(t, f.disk))
	report := requireStore(t, f.disk, f.want, "torn")
	require.Equal(t, torn, report.Shards[0].TornBytes)
}

// TestCheckFindsEverything has damage in both shards, in log and checkpoint.
func TestCheckFindsEverything(t *testing.T) {
	disk, _ := closed(t)
	bad := map[string]bool{pick(t, disk, ".wal")[0]: true, pick(t, disk, ".ckpt")[0]: true}
	other := Dir(testDir, 1)
	for _, name := range disk.Files() {
		if len(name) > len(other) && name[:len(other)] == other && name[len(name)-4:] == ".wal" {
			bad[name] = true
			break
		}
	}
	require.Len(t, bad, 3)
	for name := range bad {
		require.NoError(t, disk.Flip(name, 8*100))
	}
	checked, err := Check(disk, testDir)
	require.NoError(t, err)
	require.Len(t, checked.Problems, 3)
	for _, problem := range checked.Problems {
		var corrupt *op.CorruptError
		require.ErrorAs(t, problem, &corrupt)
		require.Contains(t, bad, corrupt.File)
	}
}

// TestCheckOldSegments has damage that Open passes over, in a segment that a
// checkpoint covers.
func TestCheckOldSegments(t *testing.T) {
	disk, want := closed(t)
	name := pick(t, disk, ".wal")[0]
	require.NoError(t, disk.Flip(name, 8*100))
	checked, err := Check(disk, testDir)
	require.NoError(t, err)
	var corrupt *op.CorruptError
	require.ErrorAs(t, errors.Join(checked.Problems...), &corrupt)
	require.Equal(t, name, corrupt.File)
	e := start(t, config(disk))
	require.Equal(t, want, e.digests())
	require.NoError(t, e.stop())
}

func TestCheckRefuses(t *testing.T) {
	disk, _ := closed(t)
	_, err := Check(disk, "elsewhere")
	require.ErrorIs(t, err, op.ErrNoStore)
	_, err = Check(disk, "data")
	require.ErrorIs(t, err, op.ErrNoStore)
	_, err = Check(disk, manifestPath)
	require.ErrorIs(t, err, op.ErrNotDirectory)

	st, err := Open(config(disk))
	require.NoError(t, err)
	checked, err := Check(disk, testDir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	require.Equal(t, "a test", checked.Holder)
	var locked *vfs.LockedError
	_, err = Open(config(disk))
	require.ErrorAs(t, err, &locked)
	require.NoError(t, st.abandon())

	f := fixtures["no manifest, shard directories with logs that were never written to"](t)
	_, err = Check(f.disk, testDir)
	require.ErrorIs(t, err, op.ErrNoStore)
}

// imageOnly writes a checkpoint by hand that does not say what the log says.
func imageOnly(t *testing.T, items map[string]op.Item, lie func(e *checkpoint.Entry)) *vfs.Mem {
	t.Helper()
	disk, _ := closed(t)
	m, err := checkpoint.ReadManifest(disk, testDir)
	require.NoError(t, err)
	sequence := m.Shards[0].Synced
	w, err := checkpoint.NewWriter(disk, Dir(testDir, 0), m.Store, 0, sequence, testTime)
	require.NoError(t, err)
	id := runID(4242)
	info := &run.Info{Meta: run.Meta{ID: id}, Status: run.Active, FirstVersion: 1}
	e := &checkpoint.Entry{Run: id, Version: 1, Time: testTime, FirstSeq: 1, LastSeq: 1, Info: info.AppendRecord(nil)}
	require.NoError(t, w.Image(e, func(yield func(string, op.Item) bool) {
		for key, it := range items {
			if !yield(key, it) {
				return
			}
		}
	}))
	lie(e)
	require.NoError(t, w.Finish(func(yield func(*checkpoint.Entry) bool) { yield(e) }, func(func(run.ID) bool) {}))
	require.NoError(t, checkpoint.NewManifestFile(disk, testDir, m).Update(func(m *checkpoint.Manifest) {
		m.Shards[0].Checkpoint = sequence
	}))
	return disk
}

func TestCheckComparesWithTheLog(t *testing.T) {
	items := map[string]op.Item{op.MapKey(op.KV, "key"): {Value: []byte("value"), Version: 1}}
	for name, test := range map[string]struct {
		lie    func(e *checkpoint.Entry)
		reason string
		open   bool // Open finds nothing …
		use    bool // … but who uses the run does
	}{
		"another number of runs":   {func(*checkpoint.Entry) {}, "runs, the log", true, false},
		"another digest":           {func(e *checkpoint.Entry) { e.Digest[3]++ }, "does not have the digest the index says", true, false},
		"another number of keys":   {func(e *checkpoint.Entry) { e.Keys++ }, "keys, the index says", true, true},
		"a record nobody can read": {func(e *checkpoint.Entry) { e.Info = []byte{1, 2} }, "malformed run record", false, false},
		"another record":           {func(*checkpoint.Entry) {}, "another record", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			disk := imageOnly(t, items, test.lie)
			before := contents(t, disk)
			checked, err := Check(disk, testDir)
			require.NoError(t, err)
			require.ErrorContains(t, errors.Join(checked.Problems...), test.reason)
			if test.use {
				e := start(t, config(disk))
				s := e.shards[0]
				h, err := s.Find(runID(4242))
				require.NoError(t, err)
				_, err = s.Load(h)
				require.ErrorIs(t, err, op.ErrCorrupt)
				require.ErrorContains(t, err, test.reason)
				require.NoError(t, e.stop())
			}
			if test.open {
				return
			}
			_, err = Open(config(disk))
			require.ErrorIs(t, err, op.ErrCorrupt)
			require.ErrorContains(t, err, test.reason)
			require.Equal(t, before, contents(t, disk))
		})
	}
}

// TestCheckFindsAnotherImage changes an image in a way that every checksum
// agrees with; only the replay of the log knows better.
func TestCheckFindsAnotherImage(t *testing.T) {
	disk := vfs.NewMem()
	cfg := config(disk)
	cfg.Shards = 1
	e := start(t, cfg)
	require.NoError(t, e.begin(runID(1)))
	require.NoError(t, e.put(runID(1), "key", "the truth"))
	require.NoError(t, e.stop())
	m, err := checkpoint.ReadManifest(disk, testDir)
	require.NoError(t, err)
	sequence := m.Shards[0].Synced
	w, err := checkpoint.NewWriter(disk, Dir(testDir, 0), m.Store, 0, sequence, testTime)
	require.NoError(t, err)
	info := &run.Info{Meta: run.Meta{ID: runID(1)}, Status: run.Active, Created: testTime, FirstVersion: 1}
	entry := &checkpoint.Entry{Run: runID(1), Version: 2, Time: testTime, FirstSeq: 1, LastSeq: 2, Info: info.AppendRecord(nil)}
	require.NoError(t, w.Image(entry, func(yield func(string, op.Item) bool) {
		yield(op.MapKey(op.KV, "key"), op.Item{Value: []byte("a lie"), Version: 2})
	}))
	require.NoError(t, w.Finish(func(yield func(*checkpoint.Entry) bool) { yield(entry) }, func(func(run.ID) bool) {}))
	require.NoError(t, checkpoint.NewManifestFile(disk, testDir, m).Update(func(m *checkpoint.Manifest) {
		m.Shards[0].Checkpoint = sequence
	}))
	checked, err := Check(disk, testDir)
	require.NoError(t, err)
	require.ErrorContains(t, errors.Join(checked.Problems...), "differs from a replay of the log")
}

// prunedStore is a store whose log begins behind its checkpoint, as retention
// would leave it.
func prunedStore(t *testing.T) (*vfs.Mem, map[run.ID]op.Digest) {
	t.Helper()
	disk := vfs.NewMem()
	cfg := config(disk)
	cfg.Shards = 1
	e := start(t, cfg)
	require.NoError(t, e.fill(0, 5, 4))
	require.NoError(t, e.checkpoint())
	require.NoError(t, e.fill(5, 8, 4))
	want := e.digests()
	require.NoError(t, e.stop())
	m, err := checkpoint.ReadManifest(disk, testDir)
	require.NoError(t, err)
	// The newest segment that begins within the checkpoint becomes the first.
	list := pick(t, disk, ".wal")
	for len(list) > 1 && firstOf(t, list[1]) <= m.Shards[0].Checkpoint+1 {
		require.NoError(t, disk.Remove(list[0]))
		list = list[1:]
	}
	first := firstOf(t, list[0])
	require.Greater(t, first, uint64(1))
	require.NoError(t, checkpoint.NewManifestFile(disk, testDir, m).Update(func(m *checkpoint.Manifest) {
		m.Shards[0].First = first
	}))
	return disk, want
}

// firstOf reads the sequence of a segment's first frame out of its name.
func firstOf(t *testing.T, name string) (first uint64) {
	t.Helper()
	_, err := fmt.Sscanf(filepath.Base(name), "%x.wal", &first)
	require.NoError(t, err)
	return first
}

func TestPrunedLog(t *testing.T) {
	disk, want := prunedStore(t)
	checked, err := Check(disk, testDir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	require.Zero(t, checked.Shards[0].Compared, "there is nothing to compare with")
	requireStore(t, disk, want, "pruned")

	m, err := checkpoint.ReadManifest(disk, testDir)
	require.NoError(t, err)
	require.NoError(t, checkpoint.NewManifestFile(disk, testDir, m).Update(func(m *checkpoint.Manifest) {
		m.Shards[0].Checkpoint = 0
	}))
	checked, err = Check(disk, testDir)
	require.NoError(t, err)
	require.ErrorContains(t, errors.Join(checked.Problems...), "there is no checkpoint")
	_, err = Open(config(disk))
	require.ErrorIs(t, err, op.ErrCorrupt)
}

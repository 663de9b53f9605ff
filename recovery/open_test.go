package recovery

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
	"inmem/wal"
)

// TestShardsInParallel lets the first read of a shard wait for the first read
// of another: one after the other they would wait for ever.
func TestShardsInParallel(t *testing.T) {
	disk, want := closed(t)
	var mu sync.Mutex
	reading := map[string]bool{}
	both := make(chan struct{})
	disk.SetReadFault(func(o vfs.Op) error {
		if filepath.Base(o.Name) == manifestName {
			return nil
		}
		mu.Lock()
		reading[filepath.Dir(o.Name)] = true
		if len(reading) == 2 {
			select {
			case <-both:
			default:
				close(both)
			}
		}
		mu.Unlock()
		select {
		case <-both:
			return nil
		case <-time.After(20 * time.Second):
			return errors.New("nobody reads the other shard")
		}
	})
	st, err := Open(config(disk))
	disk.SetReadFault(nil)
	require.NoError(t, err)
	require.NoError(t, st.abandon())
	requireStore(t, disk, want, "after the test of parallelism")
}

// TestManyShards has more shards than are read at once, two of them damaged:
// the first is named, every time, and not one file of the others is touched.
func TestManyShards(t *testing.T) {
	disk := vfs.NewMem()
	cfg := config(disk)
	cfg.Shards = 40
	e := start(t, cfg)
	require.NoError(t, e.fill(0, 120, 1))
	want := e.digests()
	left := disk.Clone() // all shards want a mending
	require.NoError(t, e.stop())
	requireStore(t, left.Clone(), want, "forty shards")
	for _, i := range []int{31, 17} {
		edit(t, left, segment(t, left, i), func(b []byte) []byte {
			b[70] ^= 1
			return b
		})
	}
	f := fixture{disk: left, file: segment(t, left, 17)}
	for range 5 {
		f.refused(t, config(left), Row{})
	}
}

// segment returns the first segment of a shard, which must have commits.
func segment(t *testing.T, disk *vfs.Mem, i int) string {
	t.Helper()
	list, err := disk.ReadDir(Dir(testDir, i))
	require.NoError(t, err)
	require.NotEmpty(t, list)
	return filepath.Join(Dir(testDir, i), list[0].Name())
}

func TestOpenRefusesWhatIsNoDirectory(t *testing.T) {
	disk := vfs.NewMem()
	require.NoError(t, disk.WriteFile("data", []byte("a file")))
	_, err := Open(config(disk)) // data/store
	require.ErrorIs(t, err, op.ErrNotDirectory)
	cfg := config(disk)
	cfg.Dir = "data"
	_, err = Open(cfg)
	require.ErrorIs(t, err, op.ErrNotDirectory)
	_, err = Check(disk, "data")
	require.ErrorIs(t, err, op.ErrNotDirectory)
}

// blind is a disk on which some directories cannot be looked into.
type blind struct {
	*vfs.Mem
	err  error
	dirs map[string]bool
}

func (b blind) SyncDir(dir string) error {
	if b.dirs[dir] {
		return &fs.PathError{Op: "open", Path: dir, Err: b.err}
	}
	return b.Mem.SyncDir(dir)
}

func (b blind) Stat(name string) (fs.FileInfo, error) {
	if b.dirs[name] {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: b.err}
	}
	return b.Mem.Stat(name)
}

func (b blind) ReadDir(name string) ([]fs.DirEntry, error) {
	if b.dirs[name] {
		return nil, &fs.PathError{Op: "open", Path: name, Err: b.err}
	}
	return b.Mem.ReadDir(name)
}

// TestDirectoriesAbove creates a store far down: all new names are durable, and
// directories that are beyond our reach are left to those who made them.
func TestDirectoriesAbove(t *testing.T) {
	disk := vfs.NewMem()
	cfg := config(blind{disk, syscall.EACCES, map[string]bool{"/": true, "/a": true}})
	cfg.Dir = "/a/b/c/store"
	require.NoError(t, disk.MkdirAll("/a", 0o755))
	require.NoError(t, disk.SyncDir("/"))
	require.NoError(t, disk.MkdirAll("/a/b", 0o755))
	require.NoError(t, disk.SyncDir("/a"))
	e := start(t, cfg)
	require.NoError(t, e.begin(runID(1)))
	want := e.digests()
	cfg.FS = disk.CrashWith(rand.New(rand.NewPCG(1, 1)), vfs.DropAll)
	require.NoError(t, e.stop())
	e = start(t, cfg)
	require.Equal(t, want, e.digests())
	require.NoError(t, e.stop())

	cfg.FS, cfg.Dir = blind{vfs.NewMem(), syscall.EIO, map[string]bool{"/": true}}, "/store"
	_, err := Open(cfg)
	require.ErrorIs(t, err, syscall.EIO)
}

// TestUnreadableDirectories has what the system refuses told as it is.
func TestUnreadableDirectories(t *testing.T) {
	disk, _ := closed(t)
	for _, dir := range []string{testDir, Dir(testDir, 1)} {
		cfg := config(blind{disk, syscall.EIO, map[string]bool{dir: true}})
		_, err := Open(cfg)
		require.ErrorIs(t, err, syscall.EIO)
		require.NotErrorIs(t, err, op.ErrCorrupt)
		checked, err := Check(cfg.FS, testDir)
		if err == nil {
			err = errors.Join(checked.Problems...)
		}
		require.ErrorIs(t, err, syscall.EIO)
	}
	require.NoError(t, disk.Remove(manifestPath))
	cfg := config(blind{disk, syscall.EIO, map[string]bool{Dir(testDir, 0): true}})
	_, err := Open(cfg)
	require.ErrorIs(t, err, syscall.EIO)
}

// TestClockNeverRunsBackwards opens with a wall clock that was set back behind
// what the log, a seal or a checkpoint saw.
func TestClockNeverRunsBackwards(t *testing.T) {
	const later = testTime + 5000
	for name, live := range map[string]func(e *engine) error{
		"commit":     func(e *engine) error { return e.begin(runID(1)) },
		"checkpoint": func(e *engine) error { return errors.Join(e.begin(runID(1)), e.checkpoint()) },
	} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			require.NoError(t, start(t, config(disk)).stop())
			cfg := config(disk)
			cfg.Wall = func() time.Time { return time.UnixMilli(later) }
			e := start(t, cfg)
			require.NoError(t, live(e))
			killed := disk.Clone()
			want := e.digests()
			require.NoError(t, e.stop())
			for _, left := range []*vfs.Mem{killed, disk} {
				e := start(t, config(left))
				require.Equal(t, later, e.st.Clock.Now())
				require.NoError(t, e.stop())
				requireStore(t, left, want, "later")
			}
		})
	}
}

// TestDeletedStaysDeleted begins a run again that was deleted, before and after
// the checkpoint that knows it.
func TestDeletedStaysDeleted(t *testing.T) {
	disk, want := closed(t)
	for range 2 {
		e := start(t, config(disk))
		require.ErrorIs(t, e.begin(runID(1)), run.ErrDeleted)
		require.ErrorIs(t, e.begin(runID(3)), run.ErrExists)
		require.NoError(t, e.put(runID(3), "more", "to checkpoint"))
		require.NoError(t, e.checkpoint())
		want = e.digests()
		require.NoError(t, e.stop())
	}
	requireStore(t, disk, want, "twice")
}

// TestReport looks at what Open says of a store that was killed.
func TestReport(t *testing.T) {
	disk, want := killed(t)
	e := start(t, config(disk))
	r := e.st.Report
	require.Equal(t, Interrupted, r.Verdict)
	var orphans []run.ID
	for n := range 10 {
		if n != 1 && n != 2 { // deleted, completed
			orphans = append(orphans, runID(n))
		}
	}
	require.ElementsMatch(t, orphans, r.Orphans)
	var images, runs, keys int
	var commits uint64
	for _, s := range r.Shards {
		require.Positive(t, s.Checkpoint)
		require.Empty(t, s.TornFile)
		images, runs, keys, commits = images+s.Images, runs+s.Runs, keys+s.Keys, commits+s.Commits
	}
	require.Equal(t, 7, images)
	require.Equal(t, len(want), runs)
	require.Equal(t, uint64(1+2*4), commits, "what came after the checkpoints")
	require.Equal(t, 5*5+2*6+1+2*4, keys)
	require.NoError(t, e.stop())
	requireStore(t, disk, want, "killed")
}

// TestOptionsOfTheLog are asked for each shard, and get clock and health.
func TestOptionsOfTheLog(t *testing.T) {
	cfg := config(vfs.NewMem())
	var mu sync.Mutex
	asked := map[int]int{}
	cfg.Shards = 3
	cfg.Log = func(shard int) wal.Options {
		mu.Lock()
		defer mu.Unlock()
		asked[shard]++
		return wal.Options{Interval: time.Hour}
	}
	e := start(t, cfg)
	require.Equal(t, map[int]int{0: 1, 1: 1, 2: 1}, asked)
	require.NoError(t, e.stop())
}

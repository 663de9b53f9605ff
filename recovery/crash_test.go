package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

var errKilled = errors.New("the process was killed")

// seedOf returns the seed of the random crashes: INMEM_SEED, or a new one.
func seedOf(t *testing.T) uint64 {
	seed := rand.Uint64N(1 << 32)
	if s := os.Getenv("INMEM_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 0, 64)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with INMEM_SEED=%d", seed)
		}
	})
	return seed
}

// killAt lets every operation from the n-th from now on fail: to the disk the
// process is gone. What it did and did not sync may still be lost.
func killAt(disk *vfs.Mem, n int) (reached func() bool) {
	base := disk.Ops()
	var killed atomic.Bool
	disk.SetFault(func(o vfs.Op) error {
		if o.Index < base+n {
			return nil
		}
		killed.Store(true)
		return errKilled
	})
	return func() bool {
		disk.SetFault(nil)
		return killed.Load()
	}
}

// inTurn lets a function see each operation, one after the other: shards touch
// the disk at the same time.
func inTurn(see func(vfs.Op) error) func(vfs.Op) error {
	var mu sync.Mutex
	return func(o vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		return see(o)
	}
}

// TestKilledThenPowerCut kills a whole life of a store before each of its
// operations, opens what is left, and then cuts the power: what the second
// opening showed, and what was acknowledged to it, must be there. So recovery
// has to sync what it finds, whoever should have.
func TestKilledThenPowerCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(seedOf(t), 1))
	n := 1
	for ; ; n++ {
		disk := vfs.NewMem()
		reached := killAt(disk, n)
		if e, err := tryStart(config(disk)); err == nil {
			_ = e.work() // ends where the process was killed
			_ = e.stop()
		}
		if !reached() {
			break
		}
		what := fmt.Sprintf("killed before operation %d", n)
		thenPowerCut(t, disk, rng, what)
	}
	t.Logf("%d kills, each followed by power cuts", n-1)
	require.Greater(t, n, 150)
}

func thenPowerCut(t *testing.T, disk *vfs.Mem, rng *rand.Rand, what string) {
	t.Helper()
	e := start(t, config(disk))
	id := runID(100)
	require.NoError(t, e.begin(id), what)
	require.NoError(t, e.put(id, "key", "acknowledged"), what)
	want := e.digests()
	for i := range 4 {
		left := disk.CrashWith(rng, vfs.DropAll)
		if i > 0 {
			left = disk.Crash(rng)
		}
		requireStore(t, left, want, what)
	}
	require.NoError(t, e.stop())
	requireStore(t, disk, want, what)
}

// TestCrashInCreation cuts the power before each operation of creating a store.
func TestCrashInCreation(t *testing.T) {
	rng := rand.New(rand.NewPCG(seedOf(t), 2))
	var crashes []*vfs.Mem
	disk := vfs.NewMem()
	disk.SetFault(inTurn(func(vfs.Op) error {
		for range 40 {
			crashes = append(crashes, disk.Crash(rng))
		}
		crashes = append(crashes, disk.Clone(), disk.CrashWith(rng, vfs.DropAll))
		return nil
	}))
	e := start(t, config(disk))
	require.Equal(t, Created, e.st.Report.Verdict)
	disk.SetFault(nil)
	require.NoError(t, e.stop())
	verdicts := map[Verdict]int{}
	for i, left := range crashes {
		verdicts[requireStore(t, left, map[run.ID]op.Digest{}, fmt.Sprint("crash ", i)).Verdict]++
	}
	t.Log(len(crashes), "crashes:", verdicts)
	require.Positive(t, verdicts[Created])
	require.Positive(t, verdicts[Recreated])
	require.Zero(t, verdicts[Torn])
}

// wounded are stores whose recovery has something to do.
func wounded(t *testing.T) map[string]func() (*vfs.Mem, map[run.ID]op.Digest) {
	spoilt := func(row string) func() (*vfs.Mem, map[run.ID]op.Digest) {
		return func() (*vfs.Mem, map[run.ID]op.Digest) {
			f := fixtures[row](t)
			return f.disk, f.want
		}
	}
	return map[string]func() (*vfs.Mem, map[run.ID]op.Digest){
		"torn":        spoilt("a bad frame in the last segment, otherwise"),
		"interrupted": spoilt("no bad frame, and the last frame is no seal"),
		"clean":       spoilt("no bad frame, and the last frame is a seal, or there is none"),
		"unfinished":  spoilt("no manifest, shard directories with logs that were never written to"),
		"segments without index, files that are nobody's": func() (*vfs.Mem, map[run.ID]op.Digest) {
			disk, want := killed(t)
			edit(t, disk, pick(t, disk, ".wal")[0], func(b []byte) []byte { return b[:len(b)-10] })
			for _, name := range []string{"00000000000000aa.ckpt", "00000000000000ab.ckpt.tmp", "00000000000000ff.wal.tmp"} {
				require.NoError(t, disk.WriteFile(Dir(testDir, 0)+"/"+name, []byte("half")))
			}
			return disk, want
		},
	}
}

// TestCrashInRecovery cuts the power, or kills, before each operation of a
// recovery, and recovers again: the same.
func TestCrashInRecovery(t *testing.T) {
	rng := rand.New(rand.NewPCG(seedOf(t), 3))
	for name, make := range wounded(t) {
		t.Run(name, func(t *testing.T) {
			original, want := make()
			disk := original.Clone()
			var crashes []*vfs.Mem
			disk.SetFault(inTurn(func(vfs.Op) error {
				crashes = append(crashes, disk.Clone(), disk.Crash(rng), disk.Crash(rng), disk.CrashWith(rng, vfs.DropAll))
				return nil
			}))
			st, err := Open(config(disk))
			require.NoError(t, err)
			disk.SetFault(nil)
			require.NoError(t, st.abandon())
			for i, left := range crashes {
				requireStore(t, left, want, fmt.Sprint("crash ", i))
			}
			ops := len(crashes) / 4
			for n := 1; n <= ops; n++ {
				disk := original.Clone()
				reached := killAt(disk, n)
				_, err := Open(config(disk))
				require.ErrorIs(t, err, errKilled)
				require.True(t, reached())
				requireStore(t, disk, want, fmt.Sprint("killed at ", n))
			}
			t.Logf("%d operations, %d crashes", ops, len(crashes)+ops)
			require.Positive(t, ops)
		})
	}
}

// counting counts the files that are open.
type counting struct {
	vfs.FS
	open atomic.Int64
}

func (c *counting) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &counted{File: f, on: c}, nil
}

type counted struct {
	vfs.File
	on *counting
}

func (f *counted) Close() error {
	f.on.open.Add(-1)
	return f.File.Close()
}

// TestFailureAtEveryOperation lets each operation and each read of an opening
// fail once: an error that says so, no lock left behind, and the next opening
// works.
func TestFailureAtEveryOperation(t *testing.T) {
	stores := wounded(t)
	stores["new"] = func() (*vfs.Mem, map[run.ID]op.Digest) { return vfs.NewMem(), map[run.ID]op.Digest{} }
	for name, make := range stores {
		t.Run(name, func(t *testing.T) {
			original, want := make()
			fails := func(set func(*vfs.Mem, func(vfs.Op) error)) (n int) {
				for n = 1; ; n++ {
					disk := original.Clone()
					count, failed := 0, vfs.Op{}
					set(disk, inTurn(func(o vfs.Op) error {
						if count++; count == n {
							failed = o
							return syscall.EIO
						}
						return nil
					}))
					handles := &counting{FS: disk}
					st, err := Open(config(handles))
					set(disk, nil)
					if count < n {
						require.NoError(t, err)
						require.NoError(t, st.abandon())
						require.Zero(t, handles.open.Load())
						return n - 1
					}
					require.Zero(t, handles.open.Load(), "%v: files were left open", failed)
					require.ErrorIs(t, err, syscall.EIO, "%v", failed)
					require.NotErrorIs(t, err, op.ErrCorrupt, "%v", failed)
					require.NotErrorIs(t, err, op.ErrDiskFull, "%v", failed)
					requireStore(t, disk, want, failed.String())
				}
			}
			ops := fails((*vfs.Mem).SetFault)
			reads := fails((*vfs.Mem).SetReadFault)
			t.Logf("%d operations and %d reads failed", ops, reads)
			require.Positive(t, ops)
		})
	}
}

// TestNoSpaceAtEveryOperation is the same with a disk that is full.
func TestNoSpaceAtEveryOperation(t *testing.T) {
	stores := wounded(t)
	stores["new"] = func() (*vfs.Mem, map[run.ID]op.Digest) { return vfs.NewMem(), map[run.ID]op.Digest{} }
	for name, make := range stores {
		t.Run(name, func(t *testing.T) {
			original, want := make()
			for n, more := 1, true; more; n++ {
				disk := original.Clone()
				count := 0
				disk.SetFault(inTurn(func(o vfs.Op) error {
					switch o.Kind {
					case vfs.Create, vfs.Write, vfs.Allocate, vfs.Mkdir, vfs.Rename:
						if count++; count == n {
							return syscall.ENOSPC
						}
					}
					return nil
				}))
				st, err := Open(config(disk))
				disk.SetFault(nil)
				more = count >= n
				if err != nil {
					require.ErrorIs(t, err, op.ErrDiskFull)
					require.ErrorIs(t, err, syscall.ENOSPC)
				} else {
					// A segment's index is a help that may wait.
					require.NoError(t, st.abandon())
				}
				requireStore(t, disk, want, fmt.Sprint("operation ", n))
			}
		})
	}
	t.Run("for good", func(t *testing.T) {
		disk := vfs.NewMem()
		disk.SetCapacity(64)
		_, err := Open(config(disk))
		require.ErrorIs(t, err, op.ErrDiskFull)
		disk.SetCapacity(0)
		requireStore(t, disk, map[run.ID]op.Digest{}, "space again")
	})
}

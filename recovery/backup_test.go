package recovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

const copyDir = "data/copy"

func backup(disk vfs.FS) (*Checked, error) { return Backup(bg, disk, testDir, copyDir, "a backup") }

// restored is the disk on which the copy has taken the place of the original.
func restored(t testing.TB, disk *vfs.Mem) *vfs.Mem {
	t.Helper()
	disk = disk.Clone()
	if _, err := disk.Stat(testDir); err == nil {
		require.NoError(t, disk.Rename(testDir, "data/original"))
	}
	require.NoError(t, disk.Rename(copyDir, testDir))
	return disk
}

// below returns the files of a directory, its lock too.
func below(t testing.TB, disk *vfs.Mem, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range disk.Files() {
		if strings.HasPrefix(name, dir+"/") {
			b, err := disk.ReadFile(name)
			require.NoError(t, err)
			files[name] = string(b)
		}
	}
	return files
}

// noMarker wants nothing in a finished copy that says it is not.
func noMarker(t testing.TB, disk *vfs.Mem) {
	t.Helper()
	require.NotContains(t, disk.Files(), marker(copyDir))
}

// TestBackupWhileTheStoreLives copies a store while it is created, written to,
// checkpointed, closed and opened again. Each copy is the store at a moment, and
// goes on.
func TestBackupWhileTheStoreLives(t *testing.T) {
	tl := wholeLife(t, 2)
	copies := 0
	tl.journeys(t, 800, func(v *traveller, from int) error {
		checked, err := backup(v)
		if errors.Is(err, op.ErrNoStore) && len(tl.moments[from].acked) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		copies++
		noMarker(t, v.Mem)
		require.Empty(t, checked.Problems)
		require.Empty(t, checked.Holder)
		disk := restored(t, v.Mem)
		st, err := OpenReadOnly(config(disk))
		if err != nil {
			return err
		}
		e := reader(st)
		if err := errors.Join(e.histories(), tl.seen(from, v.now, e.versions(), e.digests())); err != nil {
			return err
		}
		if copies%4 == 0 {
			want := e.digests()
			requireStore(t, disk, want, "a copy")
			e = start(t, config(disk))
			require.NoError(t, e.work2())
			require.NoError(t, e.stop())
			again, err := Check(disk, testDir)
			require.NoError(t, err)
			return errors.Join(again.Problems...)
		}
		return nil
	})
	t.Log(copies, "copies")
	require.Positive(t, copies)
}

// TestBackupOfEveryRow copies what a crash or damage left. A copy has what Open
// would have found; what Open refuses is not copied.
func TestBackupOfEveryRow(t *testing.T) {
	for _, row := range Rows {
		t.Run(row.Finding, func(t *testing.T) {
			f := fixtures[row.Finding](t)
			before := below(t, f.disk, testDir)
			st, openErr := Open(config(f.disk.Clone()))
			if openErr == nil {
				require.NoError(t, st.abandon())
			}
			_, err := backup(f.disk)
			require.Equal(t, before, below(t, f.disk, testDir), "the source was changed")
			switch {
			case row.Verdict == Created || row.Verdict == Recreated:
				require.ErrorIs(t, err, op.ErrNoStore)
			case row.Verdict == Refused && f.shards == 0:
				require.Error(t, err)
				require.Equal(t, errors.Is(openErr, op.ErrCorrupt), errors.Is(err, op.ErrCorrupt))
				require.Equal(t, errors.Is(openErr, op.ErrUnsupported), errors.Is(err, op.ErrUnsupported))
				unfinished(t, f.disk, nil, row.Finding)
			default:
				require.NoError(t, err)
				noMarker(t, f.disk)
				copied := restored(t, f.disk)
				st, err = OpenReadOnly(config(copied))
				require.NoError(t, err)
				require.Zero(t, st.Report.Shards[0].TornBytes, "a torn tail is not copied")
				if f.want == nil {
					f.want = reader(st).digests()
				}
				requireStore(t, copied, f.want, "the copy")
				requireStore(t, f.disk, f.want, "the original")
			}
		})
	}
}

// unfinished wants what an unfinished copy left to be no store: refused, or, if
// want is not nil, whole. Nothing but an empty directory may become a new store.
func unfinished(t testing.TB, disk *vfs.Mem, want map[run.ID]op.Digest, what string) (whole bool) {
	t.Helper()
	disk = disk.Clone()
	disk.SetCapacity(0)
	empty := true
	for name, b := range below(t, disk, copyDir) {
		empty = empty && (b == "" && name != marker(copyDir) || strings.HasSuffix(name, "/"+lockName))
	}
	cfg := config(disk)
	cfg.Dir = copyDir
	e, err := tryStart(cfg)
	if err != nil {
		require.ErrorIs(t, err, op.ErrCorrupt, what)
		require.False(t, empty, what)
		return false
	}
	got := e.digests()
	require.NoError(t, e.stop())
	if empty {
		require.Empty(t, got, what)
		return false
	}
	require.NotNil(t, want, "%s: it opens", what)
	require.Equal(t, want, got, what)
	checked, err := Check(disk, copyDir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems, what)
	return true
}

// TestBackupFindsDamage flips bits all over a store. What Check finds in the
// source a copy finds as well, and is not completed.
func TestBackupFindsDamage(t *testing.T) {
	original, want := closed(t)
	found, bits := 0, 0
	for name, b := range below(t, original, testDir) {
		for bit := int64(0); bit < int64(len(b))*8; bit += 211 {
			disk := original.Clone()
			require.NoError(t, disk.Flip(name, bit))
			checked, checkErr := Check(disk, testDir)
			require.NoError(t, checkErr)
			_, err := backup(disk)
			bits++
			if len(checked.Problems) == 0 { // the lock, and files that nobody needs
				require.NoError(t, err, "%s, bit %d", name, bit)
				continue
			}
			found++
			require.Error(t, err, "%s, bit %d: %v", name, bit, checked.Problems)
			require.True(t, errors.Is(err, op.ErrCorrupt) || errors.Is(err, op.ErrUnsupported), "%v", err)
			unfinished(t, disk, nil, fmt.Sprintf("%s, bit %d", name, bit))
		}
	}
	t.Logf("%d bits flipped, %d found", bits, found)
	require.Greater(t, found, 100)
	require.Greater(t, found, bits*4/5, "but for the lock, stale images and footers")
	requireStore(t, original, want, "the original")
}

// TestBackupTarget has copies go where there is something, or nothing yet.
func TestBackupTarget(t *testing.T) {
	original, want := closed(t)
	ok := func(t *testing.T, disk *vfs.Mem, to string) {
		t.Helper()
		source := below(t, disk, testDir)
		_, err := Backup(bg, disk, testDir, to, "us")
		require.NoError(t, err)
		for name, b := range source {
			now, err := disk.ReadFile(name)
			require.NoError(t, err)
			require.Equal(t, b, string(now))
		}
		cfg := config(disk.CrashWith(rand.New(rand.NewPCG(1, 1)), vfs.DropAll))
		for _, cfg.Dir = range []string{to, testDir} {
			e := start(t, cfg)
			require.Equal(t, want, e.digests())
			require.NoError(t, e.stop())
		}
	}
	t.Run("far away", func(t *testing.T) { ok(t, original.Clone(), "/a/b/c/copy") })
	t.Run("here", func(t *testing.T) { ok(t, original.Clone(), "copy") })
	t.Run("an empty directory", func(t *testing.T) {
		disk := original.Clone()
		require.NoError(t, disk.MkdirAll(copyDir, 0o755))
		ok(t, disk, copyDir)
	})
	t.Run("a lock that nobody holds", func(t *testing.T) {
		disk := original.Clone()
		require.NoError(t, disk.WriteFile(copyDir+"/"+lockName, []byte("someone")))
		ok(t, disk, copyDir)
	})
	t.Run("inside the source", func(t *testing.T) {
		for _, to := range []string{testDir + "/copy", Dir(testDir, 0) + "/copy", Dir(testDir, 7)} {
			ok(t, original.Clone(), to)
		}
	})
	for name, test := range map[string]struct {
		to    string
		make  func(disk *vfs.Mem) error
		error error
	}{
		"not empty":           {copyDir, func(d *vfs.Mem) error { return d.WriteFile(copyDir+"/holiday.jpg", []byte("!")) }, op.ErrNotEmpty},
		"an empty subdir":     {copyDir, func(d *vfs.Mem) error { return d.MkdirAll(copyDir+"/sub", 0o755) }, op.ErrNotEmpty},
		"the source":          {testDir, nil, op.ErrNotEmpty},
		"a shard":             {Dir(testDir, 1), nil, op.ErrNotEmpty},
		"above the source":    {"data", nil, op.ErrNotEmpty},
		"another copy":        {copyDir, func(d *vfs.Mem) error { _, err := backup(d); return err }, op.ErrNotEmpty},
		"a file":              {manifestPath, nil, op.ErrNotDirectory},
		"below a file":        {manifestPath + "/x", nil, op.ErrNotDirectory},
		"held by another one": {copyDir, hold, vfs.ErrLocked},
	} {
		t.Run(name, func(t *testing.T) {
			disk := original.Clone()
			if test.make != nil {
				require.NoError(t, test.make(disk))
			}
			before, ops := below(t, disk, "data"), disk.Ops()
			_, err := Backup(bg, disk, testDir, test.to, "us")
			require.ErrorIs(t, err, test.error)
			require.Equal(t, before, below(t, disk, "data"))
			require.Equal(t, ops, disk.Ops())
		})
	}
	t.Run("the source, which is open", func(t *testing.T) {
		disk := original.Clone()
		e := start(t, config(disk))
		_, err := Backup(bg, disk, testDir, testDir, "us")
		require.ErrorIs(t, err, op.ErrNotEmpty)
		require.NoError(t, e.stop())
		requireStore(t, disk, want, "still")
	})
}

func hold(disk *vfs.Mem) error {
	if err := disk.MkdirAll(copyDir, 0o755); err != nil {
		return err
	}
	_, err := disk.Lock(copyDir+"/"+lockName, "another one")
	return err
}

// atEach lets the n-th operation fail, for every n, until there are no more. set
// is where operations are seen: those that change something, or reads.
func atEach(t *testing.T, original *vfs.Mem, set func(*vfs.Mem, func(vfs.Op) error), fail error, after func(disk *vfs.Mem, o vfs.Op, err error)) (n int) {
	t.Helper()
	for n = 1; ; n++ {
		disk := original.Clone()
		count, failed := 0, vfs.Op{}
		set(disk, inTurn(func(o vfs.Op) error {
			if count++; count == n {
				failed = o
				return fail
			}
			return nil
		}))
		handles := &counting{FS: disk}
		_, err := backup(handles)
		set(disk, nil)
		require.Zero(t, handles.open.Load(), "%v: files were left open", failed)
		if count < n {
			require.NoError(t, err)
			return n - 1
		}
		after(disk, failed, err)
	}
}

// TestBackupFailsAtEveryOperation: an error that says so, no store in the
// target, nothing changed in the source, no lock left behind.
func TestBackupFailsAtEveryOperation(t *testing.T) {
	original, want := killed(t)
	source := below(t, original, testDir)
	for name, test := range map[string]struct {
		set  func(*vfs.Mem, func(vfs.Op) error)
		fail error
	}{
		"operations": {(*vfs.Mem).SetFault, syscall.EIO},
		"reads":      {(*vfs.Mem).SetReadFault, syscall.EIO},
		"disk full":  {(*vfs.Mem).SetFault, syscall.ENOSPC},
	} {
		t.Run(name, func(t *testing.T) {
			whole := 0
			n := atEach(t, original, test.set, test.fail, func(disk *vfs.Mem, o vfs.Op, err error) {
				require.ErrorIs(t, err, test.fail, "%v", o)
				require.NotErrorIs(t, err, op.ErrCorrupt, "%v", o)
				require.Equal(t, test.fail == syscall.ENOSPC, errors.Is(err, op.ErrDiskFull), "%v", o)
				require.Equal(t, source, below(t, disk, testDir), "%v", o)
				if unfinished(t, disk, want, o.String()) {
					whole++
				}
				clearTarget(t, disk)
				_, err = backup(disk)
				require.NoError(t, err, "%v", o)
				requireStore(t, restored(t, disk), want, o.String())
			})
			t.Logf("%d failures, after %d of which the copy was whole", n, whole)
			require.Greater(t, n, 30)
			require.LessOrEqual(t, whole, 2, "the sync of the manifest's name, and the removal of the marker")
		})
	}
}

// clearTarget removes a copy, which must be unlocked.
func clearTarget(t testing.TB, disk *vfs.Mem) {
	t.Helper()
	_, locked, err := disk.Locked(copyDir + "/" + lockName)
	require.NoError(t, err)
	require.False(t, locked, "the target is still locked")
	for name := range below(t, disk, copyDir) {
		require.NoError(t, disk.Remove(name))
	}
	for _, dir := range []string{Dir(copyDir, 0), Dir(copyDir, 1), copyDir} {
		if _, err := disk.Stat(dir); err == nil {
			require.NoError(t, disk.Remove(dir))
		}
	}
}

// TestBackupOnAFullDisk has room for a part of the copy only.
func TestBackupOnAFullDisk(t *testing.T) {
	original, want := closed(t)
	var used int64
	for _, b := range below(t, original, testDir) {
		used += int64(len(b))
	}
	full := 0
	for room := int64(0); ; room += 97 {
		disk := original.Clone()
		disk.SetCapacity(used + room)
		_, err := backup(disk)
		if err == nil {
			disk.SetCapacity(0)
			requireStore(t, restored(t, disk), want, "at last there was room")
			break
		}
		full++
		require.ErrorIs(t, err, op.ErrDiskFull)
		require.ErrorIs(t, err, syscall.ENOSPC)
		unfinished(t, disk, nil, fmt.Sprint("room for ", room))
	}
	require.Greater(t, full, 30)
}

// countdown is a context that ends when it was asked n times.
type countdown struct {
	context.Context
	mu   sync.Mutex
	left int
}

func (c *countdown) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestBackupIsCancelled ends the context at every moment it is looked at, also
// while the store changes all the time.
func TestBackupIsCancelled(t *testing.T) {
	disk, want := killed(t)
	source := below(t, disk, testDir)
	n := 0
	for ; ; n++ {
		disk := disk.Clone()
		_, err := Backup(&countdown{Context: bg, left: n}, disk, testDir, copyDir, "us")
		require.Equal(t, source, below(t, disk, testDir))
		if err == nil {
			requireStore(t, restored(t, disk), want, "not cancelled")
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		unfinished(t, disk, nil, fmt.Sprint("cancelled at look ", n))
		clearTarget(t, disk)
	}
	require.Greater(t, n, 10)

	tl := wholeLife(t, 1)
	for n := range 12 {
		v := &traveller{Mem: vfs.NewMem(), moments: tl.moments, now: len(tl.moments) / 3}
		v.jump = func(_, now int) int { return min(now+3, len(tl.moments)-1) }
		ctx := &countdown{Context: bg, left: n}
		_, err := Backup(ctx, v, testDir, copyDir, "us")
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, -1, ctx.left, "it went on after it was cancelled")
		}
	}
}

// TestCrashInBackup cuts the power, or kills, before each operation of a backup:
// what is in the target is refused or whole, and the source is as it was.
func TestCrashInBackup(t *testing.T) {
	rng := rand.New(rand.NewPCG(seedOf(t), 8))
	original, want := closed(t)
	source := below(t, original, testDir)
	verdicts := map[bool]int{}
	check := func(left *vfs.Mem, what string) {
		require.Equal(t, source, below(t, left, testDir), what)
		verdicts[unfinished(t, left, want, what)]++
	}
	disk := original.Clone()
	losses := rounds(t, 24)
	disk.SetFault(inTurn(func(o vfs.Op) error {
		check(disk.Clone(), "killed before "+o.String())
		check(disk.CrashWith(rng, vfs.DropAll), "power cut before "+o.String())
		for range losses {
			check(disk.Crash(rng), "power cut before "+o.String())
		}
		return nil
	}))
	_, err := backup(disk)
	require.NoError(t, err)
	disk.SetFault(nil)
	t.Logf("%d unfinished, %d whole", verdicts[false], verdicts[true])
	require.Positive(t, verdicts[true])
	for i := range 2 * losses {
		left := disk.CrashWith(rng, vfs.DropAll)
		if i > 0 {
			left = disk.Crash(rng)
		}
		require.True(t, unfinished(t, left, want, "a copy that was acknowledged"))
	}
}

// TestBackupIsTheSameStore: the copy has the store's identity and clock, and
// knows how far its logs reach.
func TestBackupIsTheSameStore(t *testing.T) {
	disk, _ := killed(t)
	_, err := backup(disk)
	require.NoError(t, err)
	from, err := checkpoint.ReadManifest(disk, testDir)
	require.NoError(t, err)
	to, err := checkpoint.ReadManifest(disk, copyDir)
	require.NoError(t, err)
	require.Equal(t, from.Store, to.Store)
	require.Equal(t, from.Created, to.Created)
	require.GreaterOrEqual(t, to.Time, from.Time)
	for i := range from.Shards {
		require.Equal(t, from.Shards[i].Checkpoint, to.Shards[i].Checkpoint)
		require.Greater(t, to.Shards[i].Synced, from.Shards[i].Synced)
	}
	// Whoever cuts the copy short is found out.
	copied := restored(t, disk)
	list := pick(t, copied, ".wal")
	edit(t, copied, list[len(list)-1], func(b []byte) []byte { return b[:len(b)-8] })
	_, err = Open(config(copied))
	require.ErrorIs(t, err, op.ErrCorrupt)
}

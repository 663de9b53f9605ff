package inmem_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"inmem"
)

// Flags of the shutdown: what the file system's own journal has in memory is
// written, or is not.
const (
	logFlush   = 1
	noLogFlush = 2
)

// goingDown is FS_IOC_SHUTDOWN, which is also EXT4_IOC_SHUTDOWN and
// XFS_IOC_GOINGDOWN: from now on nothing of the file system gets to its device.
const goingDown = 0x8004587d

const powerEnv = "INMEM_POWER" // cycles for each file system and flag

// powerDisk is a file system in an image file. What a power cut leaves is what
// the file system had handed to its device; that a device may lose what it was
// handed and not told to flush is left to vfs.Mem.
type powerDisk struct {
	t       *testing.T
	kind    string // as mount calls it
	options string // of mount
	device  string
	dir     string
	mounted bool
}

// tool finds a program that may be where only root looks.
func tool(name string) string {
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}

func newPowerDisk(t *testing.T, kind, options string, megabytes int64) *powerDisk {
	t.Helper()
	mkfs, losetup := tool("mkfs."+kind), tool("losetup")
	switch {
	case os.Geteuid() != 0:
		t.Skip("mounting an image needs root: run the test as root")
	case mkfs == "":
		t.Skipf("there is no mkfs.%s: install e2fsprogs, xfsprogs", kind)
	case losetup == "":
		t.Skip("there is no losetup: install util-linux, or mount on Debian")
	}
	base := t.TempDir()
	image := filepath.Join(base, "image")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, megabytes<<20))
	out, err := exec.Command(mkfs, "-q", image).CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command(losetup, "--find", "--show", image).Output()
	if err != nil {
		t.Skipf("no loop device (%v): load the module loop, allow devices in the container", err)
	}
	d := &powerDisk{t: t, kind: kind, options: options, device: strings.TrimSpace(string(out)), dir: filepath.Join(base, "mnt")}
	t.Cleanup(func() {
		d.letGo()
		out, err := exec.Command(losetup, "--detach", d.device).CombinedOutput()
		assert.NoError(t, err, string(out))
	})
	require.NoError(t, os.Mkdir(d.dir, 0o700))
	if err := unix.Mount(d.device, d.dir, kind, 0, options); err != nil {
		t.Skipf("mounting %s: %v: allow mounts in the container, load the module %s", kind, err, kind)
	}
	d.mounted = true
	return d
}

// letGo unmounts whatever happened before.
func (d *powerDisk) letGo() {
	if !d.mounted {
		return
	}
	if d.unmount() != nil {
		assert.NoError(d.t, unix.Unmount(d.dir, unix.MNT_DETACH))
	}
	d.mounted = false
}

// unmount has patience: for a moment, a process that another test starts has
// all the open files of this one, and those keep a disk busy.
func (d *powerDisk) unmount() (err error) {
	for range 1000 {
		if err = unix.Unmount(d.dir, 0); err != unix.EBUSY {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

func (d *powerDisk) cut(flag int) {
	d.t.Helper()
	f, err := os.Open(d.dir)
	require.NoError(d.t, err)
	var disk, dir unix.Stat_t
	require.NoError(d.t, unix.Stat(d.device, &disk))
	require.NoError(d.t, unix.Fstat(int(f.Fd()), &dir))
	require.Equal(d.t, disk.Rdev, dir.Dev, "the power of another file system must not be cut")
	err = unix.IoctlSetPointerInt(int(f.Fd()), goingDown, flag)
	require.NoError(d.t, f.Close())
	require.NoError(d.t, err, "%s cannot be shut down", d.kind)
}

// again is the power coming back. A journal is enough for it: a file system
// that has to be repaired first is a failure.
func (d *powerDisk) again() {
	d.t.Helper()
	require.NoError(d.t, d.unmount())
	d.mounted = false
	require.NoError(d.t, unix.Mount(d.device, d.dir, d.kind, 0, d.options))
	d.mounted = true
}

// losesData fails the test if a power cut takes nothing: then none of the
// others would show anything.
func (d *powerDisk) losesData() {
	d.t.Helper()
	want := bytes.Repeat([]byte("unsynced"), 4<<10)
	for i := range 5 {
		path := filepath.Join(d.dir, fmt.Sprint("control ", i))
		require.NoError(d.t, os.WriteFile(path, want, 0o600))
		d.cut(noLogFlush)
		d.again()
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			return
		}
	}
	d.t.Fatal("nothing that was not synced is lost: this is no power cut")
}

// powerCycles cuts the power of one file system again and again.
type powerCycles struct {
	*powerDisk
	flag   int
	rng    *rand.Rand
	store  string
	ledger *powerLedger

	acked, lost, torn int
	oldest            time.Duration
}

// TestPowerCut cuts the power of real file systems under a process that writes,
// at a random moment, again and again on the same store, and holds what is left
// against what that process was told.
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("not with -short")
	}
	cycles := uint64(15)
	if n, ok := envNumber(t, powerEnv); ok {
		cycles = n
	}
	for _, disk := range []struct {
		name, kind, options string
		megabytes           int64
	}{
		{"ext4", "ext4", "", 128},
		{"ext4 noauto_da_alloc", "ext4", "noauto_da_alloc", 128},
		{"xfs", "xfs", "", 320}, // the least that mkfs.xfs takes is 300
	} {
		t.Run(disk.name, func(t *testing.T) {
			t.Parallel() // mostly they wait for syncs
			d := newPowerDisk(t, disk.kind, disk.options, disk.megabytes)
			d.losesData()
			// After a failure the disk may still be in use.
			_ = t.Run("journal lost", func(t *testing.T) { d.cycles(t, noLogFlush, int(cycles)) }) &&
				t.Run("journal flushed", func(t *testing.T) { d.cycles(t, logFlush, int(cycles)) })
		})
	}
}

func (d *powerDisk) cycles(t *testing.T, flag, n int) {
	seed := rand.Uint64N(1 << 32)
	if s, ok := envNumber(t, seedEnv); ok {
		seed = s
	}
	disk := *d
	disk.t = t // whose failure it is
	defer func() { d.mounted = disk.mounted }()
	defer func() {
		if t.Failed() {
			t.Logf("%s=%d repeats the writes, if not the moment", seedEnv, seed)
		}
	}()
	c := &powerCycles{powerDisk: &disk, flag: flag, rng: rand.New(rand.NewPCG(seed, 8))}
	begun := time.Now()
	for i := range n {
		if i%25 == 0 {
			if i > 0 {
				require.NoError(t, os.RemoveAll(c.store))
			}
			c.store = filepath.Join(d.dir, fmt.Sprintf("store %d.%d", flag, i), "made", "by Open")
			c.ledger = newPowerLedger()
		}
		c.cycle(i)
	}
	t.Logf("%d cycles of %v, %d with a torn tail; %d commits acknowledged before a cut, %d of them lost, the oldest of these after %v",
		n, time.Since(begun)/time.Duration(max(n, 1)), c.torn, c.acked, c.lost, c.oldest)
}

// cycle is one life of a process that writes, and the power cut that ends it.
func (c *powerCycles) cycle(i int) {
	t, l := c.t, c.ledger
	paced := i%15 == 14
	opts := powerOptions(paced)
	c.write(i, paced)
	c.again()
	l.settleMaybe(t)
	if i%3 == 1 {
		c.recoverAndCut()
	}
	report, got := l.verify(t, c.store, opts, l.promised.power)
	require.LessOrEqual(t, l.lost(got, l.promised, powerShards), opts.BatchCommits, "more Batched commits of a shard are lost than may be unsynced")
	for _, s := range report.Shards {
		if s.TornBytes > 0 {
			c.torn++
			break
		}
	}
	lost, oldest := l.goOn(got)
	c.acked, c.lost, l.acked = c.acked+l.acked, c.lost+lost, 0
	c.oldest = max(c.oldest, oldest)
}

// write lets a child write until the power is cut, and kills it.
func (c *powerCycles) write(i int, paced bool) {
	t, l := c.t, c.ledger
	l.cycle()
	env := []string{dirEnv + "=" + c.store, seedOfChildEnv + "=" + strconv.FormatUint(c.rng.Uint64(), 10)}
	begun, delay := l.opened, time.Duration(c.rng.Int64N(int64(30*time.Millisecond)))
	switch {
	case paced: // long enough that the interval is over for some commits
		env = append(env, paceEnv+"=1")
		delay += powerOptions(paced).BatchInterval + powerAllowance + 60*time.Millisecond
	case i%5 == 0: // while the store is created, or recovered
		begun, delay = l.opening, delay/4
	}
	cmd, lines := startChild(t, "power", env...)
	defer func() { _ = cmd.Process.Kill() }() // if not before, after a failure
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			var n powerNote
			if json.Unmarshal(lines.Bytes(), &n) != nil {
				return // a line that the kill cut short
			}
			l.take(n)
		}
	}()
	select {
	case <-begun:
		time.Sleep(delay)
	case <-read: // the child failed, which settleMaybe tells
	}
	l.promise()
	c.cut(c.flag)
	require.NoError(t, cmd.Process.Kill())
	<-read
	require.Error(t, cmd.Wait())
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signal() == syscall.SIGKILL, "the child ended by itself")
}

// recoverAndCut recovers and cuts the power once more: what recovery showed
// must not vanish.
func (c *powerCycles) recoverAndCut() {
	t, l := c.t, c.ledger
	opts := powerOptions(false)
	db, err := inmem.Open(c.store, &opts)
	require.NoError(t, err)
	got := l.compare(t, db, l.promised.power)
	c.cut(c.flag)
	_ = db.Close() // it may find the disk gone, or have nothing to write
	c.again()
	for id, n := range got.kept {
		l.promised.power[id] = uint64(n)
	}
}

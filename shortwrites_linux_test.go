package inmem_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// limited is the environment of a child in which files may have so many bytes
// from a call on, until the store is closed.
func limited(call, bytes int) []string {
	return []string{limitAtEnv + "=" + strconv.Itoa(call), limitEnv + "=" + strconv.Itoa(bytes)}
}

// TestShortWrites cuts writes of a process short, by the system's bound on the
// size of files: the part below the bound is written, the rest fails.
func TestShortWrites(t *testing.T) {
	slowAndAlone(t)
	torn, failed := 0, 0
	one := func(seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 12))
		call, bytes := 1+rng.IntN(240), 1+rng.IntN(4<<10)
		defer func() {
			if t.Failed() {
				t.Logf("%d bytes from call %d on; repeat with %s=%d", bytes, call, seedEnv, seed)
			}
		}()
		l := newFaultLedger(t, "EFBIG")
		l.tears = true
		dir := filepath.Join(t.TempDir(), "store")
		killed := runFaults(t, exec.Command(os.Args[0]), l.take, append(faultEnv(dir, "bsa", l.clock), limited(call, bytes)...)...)
		require.False(t, killed)
		require.LessOrEqual(t, l.incidents, 1, "it goes on when the bound is gone")
		l.finish(dir)
		torn, failed = torn+l.torn, failed+l.incidents
	}
	seeds := crashSeeds(t, 25)
	for _, seed := range seeds {
		one(seed)
	}
	for more := 0; torn == 0 && len(seeds) > 1; more++ { // one that is repeated need not tear anything
		require.Less(t, more, 100, "no write of a log was cut short: the test shows nothing")
		one(crashSeeds(t, 1)[0])
	}
	t.Logf("%d processes: %d torn tails, %d failures", len(seeds), torn, failed)
}

// TestFullFileSystem lets a store fill up a file system that is really full.
func TestFullFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root: run the test as root")
	}
	dir, seeds := t.TempDir(), crashSeeds(t, 15)
	refused, acked := 0, 0
	for _, seed := range seeds {
		size := 4 << 10 * (1 + rand.New(rand.NewPCG(seed, 14)).IntN(40))
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
			t.Skipf("mounting a tmpfs: %v: allow mounts in the container", err)
		}
		l := fillUp(t, dir, size)
		refused, acked = refused+l.incidents, acked+l.acked
	}
	t.Logf("%d processes: %d calls were refused, %d commits acknowledged", len(seeds), refused, acked)
	require.True(t, refused > 0 || len(seeds) < 10, "no disk was full: the test shows nothing")
}

// fillUp lets a child work on a disk that has not the space, then gives it the
// space.
func fillUp(t *testing.T, mount string, size int) *faultLedger {
	t.Helper()
	defer func() {
		assert.NoError(t, unix.Unmount(mount, unix.MNT_DETACH))
		if t.Failed() {
			t.Logf("on a disk of %d bytes", size)
		}
	}()
	dir := filepath.Join(mount, "store")
	l := newFaultLedger(t, "ENOSPC")
	l.tears = true // a part may have space
	require.False(t, runFaults(t, exec.Command(os.Args[0]), l.take, faultEnv(dir, "bsa", l.clock)...))
	require.NoError(t, unix.Mount("", mount, "", unix.MS_REMOUNT, "size=64m"))
	l.finish(dir)
	return l
}

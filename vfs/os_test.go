package vfs

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startHolder starts a process that holds the lock; the function it returns
// kills it.
func startHolder(t *testing.T, name string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdLockEnv+"="+name)
	_, err := cmd.StdinPipe() // held open for as long as the process lives
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)
	return func() {
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
	}
}

func TestLockBetweenProcesses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	kill := startHolder(t, name)
	_, err := OS.Lock(name, "me")
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	assert.Equal(t, "the other  process", locked.Holder)
	holder, held, err := OS.Locked(name)
	require.NoError(t, err)
	assert.True(t, held)
	assert.Equal(t, "the other  process", holder)

	kill()
	_, held, err = OS.Locked(name)
	require.NoError(t, err)
	assert.False(t, held, "the lock dies with its process, though the file stays")
	l, err := OS.Lock(name, "me")
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// One file is one lock, by whatever path it is reached.
func TestLockBySymlink(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	l, err := OS.Lock(filepath.Join(dir, "real", "LOCK"), "me")
	require.NoError(t, err)
	_, err = OS.Lock(filepath.Join(dir, "link", "LOCK"), "me too")
	assert.ErrorIs(t, err, ErrLocked)
	assert.ErrorContains(t, err, "locked by me")
	_, held, err := OS.Locked(filepath.Join(dir, "link", "LOCK"))
	require.NoError(t, err)
	assert.True(t, held)
	require.NoError(t, l.Close())
}

// A probe holds a shared lock for a moment; Lock waits that long.
func TestLockOutwaitsProbe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	probe := flock.New(name)
	got, err := probe.TryRLock()
	require.NoError(t, err)
	require.True(t, got)
	time.AfterFunc(time.Millisecond, func() { assert.NoError(t, probe.Close()) })
	l, err := OS.Lock(name, "me")
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestLockedChangesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "LOCK")
	require.NoError(t, os.WriteFile(name, []byte("last holder"), 0o400))
	_, held, err := OS.Locked(name)
	require.NoError(t, err)
	assert.False(t, held)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, "last holder", string(data))

	_, _, err = OS.Locked(filepath.Join(name, "below a file"))
	assert.ErrorIs(t, err, syscall.ENOTDIR)
}

func TestCleanHolder(t *testing.T) {
	assert.Equal(t, unknownHolder, cleanHolder(""))
	assert.Equal(t, unknownHolder, cleanHolder(" \n\x00"))
	assert.Equal(t, "a b", cleanHolder("a\nb\xff"))
	assert.Equal(t, "größe", cleanHolder("größe"))
	assert.Len(t, cleanHolder(strings.Repeat("x", 1000)), maxHolder)
	assert.Equal(t, unknownHolder, readHolder(filepath.Join(t.TempDir(), "none")))
}

func TestAllocateByWriting(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "a"))
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("text"), 1<<20-2) // over the edge of a buffer
	require.NoError(t, err)
	require.NoError(t, allocateByWriting(f, 10, 3<<20))
	data, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	want := make([]byte, 3<<20+10)
	copy(want[1<<20-2:], "text")
	assert.True(t, string(want) == string(data))
	require.NoError(t, f.Close())
	assert.ErrorIs(t, allocateByWriting(f, 0, 1), fs.ErrClosed)

	r, err := os.Open(f.Name())
	require.NoError(t, err)
	defer r.Close()
	assert.Error(t, allocateByWriting(r, 0, 1))
}

func TestIsNoSpace(t *testing.T) {
	assert.True(t, IsNoSpace(fmt.Errorf("x: %w", &fs.PathError{Op: "write", Path: "a", Err: syscall.ENOSPC})))
	assert.True(t, IsNoSpace(syscall.EDQUOT))
	assert.False(t, IsNoSpace(syscall.EIO))
	assert.False(t, IsNoSpace(nil))
}

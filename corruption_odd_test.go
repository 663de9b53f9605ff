package inmem_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/vfs"
)

// onDisk puts a copy of the store on the real disk.
func (p *patient) onDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	pour(t, p.disk, dir)
	return dir
}

// turnedAway wants a store on the real disk to be refused by Open and by Check
// with an error about a file, and to be left as it is.
func (p *patient) turnedAway(t *testing.T, dir, path string, is ...error) {
	t.Helper()
	opts := p.opts
	opts.FS = vfs.OS
	checked, err := inmem.Check(dir)
	require.NoError(t, err)
	require.NotEmpty(t, checked.Problems)
	_, err = inmem.Open(dir, &opts)
	for _, err := range []error{err, checked.Problems[0]} {
		require.True(t, isAny(err, is...), "%v", err)
		require.ErrorContains(t, err, path)
	}
}

// TestCorruptionDirectories has a directory where each file should be, empty or
// not, and a file where each directory should be.
func TestCorruptionDirectories(t *testing.T) {
	p := newStory(t, 2, inmem.Batched).patient(closedStore)
	for _, name := range p.names() {
		for _, content := range []string{"", "something"} {
			dir := p.onDisk(t)
			path := filepath.Join(dir, strings.TrimPrefix(name, storeDir))
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o755))
			if content != "" {
				require.NoError(t, os.WriteFile(filepath.Join(path, content), nil, 0o600))
			}
			before := filesOf(t, vfs.OS, dir)
			p.turnedAway(t, dir, path, inmem.ErrCorrupt)
			require.Equal(t, before, filesOf(t, vfs.OS, dir))
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.True(t, info.IsDir(), "it was replaced")
		}
	}
	for i := range p.shards {
		dir := p.onDisk(t)
		require.NoError(t, os.RemoveAll(recovery.Dir(dir, i)))
		require.NoError(t, os.WriteFile(recovery.Dir(dir, i), []byte("x"), 0o600))
		before := filesOf(t, vfs.OS, dir)
		p.turnedAway(t, dir, recovery.Dir(dir, i), inmem.ErrCorrupt)
		require.Equal(t, before, filesOf(t, vfs.OS, dir))
	}
}

// TestCorruptionDirectoriesAside has directories under names that no file of
// the store has: they are nobody's.
func TestCorruptionDirectoriesAside(t *testing.T) {
	p := newStory(t, 1, inmem.Batched).patient(closedStore)
	for _, name := range []string{"shard-0000/00000000000000ff.ckpt", "shard-0000/00000000000000ff.ckpt.tmp", "shard-0000/00000000000000ff.wal.tmp", "shard-0001", "aside"} {
		dir := p.onDisk(t)
		path := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(path, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(path, "x"), nil, 0o600))
		checked, err := inmem.Check(dir)
		require.NoError(t, err)
		require.Empty(t, checked.Problems, name)
		opts := p.opts
		opts.FS = vfs.OS
		db, err := inmem.Open(dir, &opts)
		require.NoError(t, err, name)
		p.contents(t, db, p.kept(), nil, name)
		require.NoError(t, db.Close())
		require.FileExists(t, filepath.Join(path, "x"))
	}
}

// TestCorruptionUnreadable takes the permission to read away, of each file.
func TestCorruptionUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything: run the test as another user")
	}
	p := newStory(t, 2, inmem.Batched).patient(closedStore)
	for _, name := range p.names() {
		dir := p.onDisk(t)
		before := filesOf(t, vfs.OS, dir)
		path := filepath.Join(dir, strings.TrimPrefix(name, storeDir))
		require.NoError(t, os.Chmod(path, 0))
		p.turnedAway(t, dir, path, fs.ErrPermission)
		require.NoError(t, os.Chmod(path, 0o600))
		require.Equal(t, before, filesOf(t, vfs.OS, dir))
	}
}

// TestCorruptionReadError has a disk that cannot read a file any more. That is
// no verdict over what is in it: the error is the disk's, and nothing is changed.
func TestCorruptionReadError(t *testing.T) {
	p := newStory(t, 2, inmem.Batched).patient(batchedStore)
	for _, name := range p.names() {
		disk := p.disk.Clone()
		disk.SetReadFault(func(o vfs.Op) error {
			if o.Name == name {
				return fmt.Errorf("%s: %w", name, syscall.EIO)
			}
			return nil
		})
		checked, err := recovery.Check(disk, storeDir)
		require.NoError(t, err)
		_, err = p.open(t, disk, p.files, name)
		for _, err := range []error{err, errors.Join(checked.Problems...)} {
			require.ErrorIs(t, err, syscall.EIO)
			require.NotErrorIs(t, err, inmem.ErrCorrupt)
			require.ErrorContains(t, err, name)
		}
		disk.SetReadFault(nil)
		require.True(t, equalFiles(p.files, filesOf(t, disk, storeDir)), "a refused store was changed")
		p.hold(t, disk, "read again")
	}
}

// TestCorruptionOtherShardCount has the manifest of a store with another number
// of shards, and asks for the number that there were.
func TestCorruptionOtherShardCount(t *testing.T) {
	p := newStory(t, 2, inmem.Batched).patient(closedStore)
	for _, shards := range []int{1, 3} {
		other := newStory(t, shards, inmem.Batched).patient(closedStore)
		disk := p.damaged(t, manifestFile, other.files[manifestFile])
		before := filesOf(t, disk, storeDir)
		_, err := p.open(t, disk, before, "another number of shards")
		var count *inmem.ShardCountError
		require.ErrorAs(t, err, &count)
		require.Equal(t, inmem.ShardCountError{Stored: shards, Wanted: 2}, *count)
		require.Equal(t, before, filesOf(t, disk, storeDir))
		checked, err := recovery.Check(disk, storeDir)
		require.NoError(t, err)
		require.ErrorIs(t, errors.Join(checked.Problems...), inmem.ErrCorrupt)
	}
}

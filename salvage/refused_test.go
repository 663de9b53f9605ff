package salvage_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/salvage"
	"inmem/vfs"
)

// What cannot be done is refused before anything is touched.
func TestRefused(t *testing.T) {
	l := fullLife(t)
	salvaged := func(from, to string) error {
		cfg := config(l.disk)
		cfg.From, cfg.To = from, to
		_, err := salvage.Store(bg, cfg)
		return err
	}
	require.NoError(t, l.disk.WriteFile("some/file", []byte("x")))
	require.NoError(t, l.disk.MkdirAll("empty", 0o755))
	before := files(t, l.disk, "")
	require.ErrorIs(t, salvaged("nowhere", to), op.ErrNoStore)
	require.ErrorIs(t, salvaged("empty", to), op.ErrNoStore)
	require.ErrorIs(t, salvaged("some", to), op.ErrNoStore)
	require.ErrorIs(t, salvaged("some/file", to), op.ErrNotDirectory)
	require.ErrorIs(t, salvaged(from, "some"), op.ErrNotEmpty)
	require.ErrorIs(t, salvaged(from, "some/file"), op.ErrNotDirectory)
	for _, inside := range []string{from, "/" + from, from + "/", from + "/x", from + "/shard-0000/x/y", from + "/../store"} {
		require.ErrorIs(t, salvaged(from, inside), op.ErrInvalidOption, inside)
	}
	require.Equal(t, before, files(t, l.disk, ""))

	source, err := l.disk.Lock(from+"/LOCK", "somebody")
	require.NoError(t, err)
	var locked *vfs.LockedError
	require.ErrorAs(t, salvaged(from, to), &locked)
	require.Equal(t, "somebody", locked.Holder)
	require.NoError(t, source.Close())
	require.NoError(t, l.disk.MkdirAll(to, 0o755))
	target, err := l.disk.Lock(to+"/LOCK", "somebody")
	require.NoError(t, err)
	require.ErrorIs(t, salvaged(from, to), vfs.ErrLocked)
	require.NoError(t, target.Close())
	require.NoError(t, salvaged(from, to), "a lock file is nothing")
}

// On a real disk a link does not hide that one directory is inside the other.
func TestInsideByALink(t *testing.T) {
	dir := t.TempDir()
	db, err := inmem.Open(filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	if err := os.Symlink(filepath.Join(dir, "store", "shard-0000"), filepath.Join(dir, "link")); err != nil {
		t.Skip("no symbolic links here: ", err)
	}
	cfg := config(vfs.OS)
	cfg.From, cfg.To = filepath.Join(dir, "store"), filepath.Join(dir, "link", "new")
	_, err = salvage.Store(bg, cfg)
	require.ErrorIs(t, err, op.ErrInvalidOption)
	cfg.To = filepath.Join(dir, "store2", "new")
	report, err := salvage.Store(bg, cfg)
	require.NoError(t, err)
	require.True(t, report.Complete())
}

func TestCancelled(t *testing.T) {
	l := fullLife(t)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err := salvage.Store(ctx, config(l.disk))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, files(t, l.disk, to+"/shard-0000"))

	// Large enough for the reading of a segment to notice.
	edit(t, l.disk, pick(t, l.disk, 0, ".wal")[0], func(b []byte) []byte { return append(b, make([]byte, 3<<20)...) })
	_, err = salvage.Store(ctx, config(l.disk))
	require.ErrorIs(t, err, context.Canceled)
}

package salvage

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/vfs"
)

// The source refuses whatever would change it.
func TestSourceIsReadOnly(t *testing.T) {
	disk := vfs.NewMem()
	require.NoError(t, disk.WriteFile("dir/file", []byte("contents")))
	s := newSource(disk)
	ops := disk.Ops()
	for _, flag := range []int{os.O_RDWR, os.O_WRONLY, os.O_CREATE, os.O_RDONLY | os.O_TRUNC} {
		_, err := s.OpenFile("dir/file", flag, 0o600)
		require.ErrorIs(t, err, errReadOnly)
	}
	_, err := s.Lock("dir/LOCK", "a test")
	require.ErrorIs(t, err, errReadOnly)
	f, err := s.OpenFile("dir/file", os.O_RDONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("x"), 0)
	for _, err := range []error{
		err, s.Remove("dir/file"), s.Rename("dir/file", "x"), s.MkdirAll("x", 0o755), s.SyncDir("dir"),
		f.Truncate(0), f.Allocate(0, 1), f.Sync(),
	} {
		require.ErrorIs(t, err, errReadOnly)
	}
	require.NoError(t, f.Close())
	_, err = f.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, os.ErrClosed)
	require.Equal(t, ops, disk.Ops())
	_, err = s.OpenFile("dir", os.O_RDONLY, 0)
	require.ErrorContains(t, err, "not a regular file")
	_, err = s.OpenFile("nowhere", os.O_RDONLY, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// What cannot be read reads as zeros, in sectors, and nothing around it.
func TestPatience(t *testing.T) {
	const size = 5*sectorSize + 100
	disk := vfs.NewMem()
	whole := make([]byte, size)
	for i := range whole {
		whole[i] = byte(i%251) + 1
	}
	require.NoError(t, disk.WriteFile("file", whole))
	worn := errors.New("worn out")
	bad := map[int64]bool{1: true, 2: true, 4: true}
	disk.SetReadFault(func(o vfs.Op) error {
		for sector := o.Offset / sectorSize; sector*sectorSize < o.Offset+int64(o.Size); sector++ {
			if bad[sector] {
				return worn
			}
		}
		return nil
	})
	s := newSource(disk)
	f, err := s.OpenFile("file", os.O_RDONLY, 0)
	require.NoError(t, err)
	for _, part := range [][2]int{{0, size}, {10, 100}, {sectorSize - 1, sectorSize + 1}, {5000, 5001}, {3 * sectorSize, size}} {
		want := append([]byte(nil), whole[part[0]:part[1]]...)
		for i := range want {
			if bad[int64(part[0]+i)/sectorSize] {
				want[i] = 0
			}
		}
		got := make([]byte, len(want))
		n, err := f.ReadAt(got, int64(part[0]))
		require.NoError(t, err)
		require.Equal(t, len(want), n)
		require.Equal(t, want, got)
	}
	n, err := f.ReadAt(make([]byte, 2*sectorSize), 4*sectorSize)
	require.Equal(t, io.EOF, err)
	require.Equal(t, sectorSize+100, n)
	require.NoError(t, f.Close())
	reason := "it cannot be read: worn out"
	require.Equal(t, []Damage{
		{File: "file", Offset: sectorSize, Length: 2 * sectorSize, Reason: reason},
		{File: "file", Offset: 4 * sectorSize, Length: sectorSize, Reason: reason},
	}, s.damage())
}

package checkpoint

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

func noneUnopened(path string, err error) error { return errors.Join(errors.New(path), err) }

func TestSurveyFiles(t *testing.T) {
	disk := newDisk(t)
	require.NoError(t, write(disk, 7, samples()))
	b, err := disk.ReadFile(Name(dir, 7))
	require.NoError(t, err)
	put := func(name string, change func(b []byte) []byte) {
		require.NoError(t, disk.WriteFile(filepath.Join(dir, name), change(append([]byte(nil), b...))))
	}
	same := func(b []byte) []byte { return b }
	put("0000000000000009.ckpt", func(b []byte) []byte { b[20] ^= 1; return b })
	put("copy.ckpt", same)
	put("short.ckpt", func(b []byte) []byte { return b[:63] })
	put("zeros.ckpt", func(b []byte) []byte { clear(b); return b })
	put("0000000000000003.ckpt.tmp", same)
	put("0000000000000003.wal", same)
	require.NoError(t, disk.MkdirAll(filepath.Join(dir, "dir.ckpt"), 0o755))

	list, err := SurveyFiles(disk, dir, noneUnopened)
	require.NoError(t, err)
	head := Header{Store: store, Shard: shard, Sequence: 7, Time: timeOf(7)}
	damaged := head
	damaged.Store[4] ^= 1
	size := int64(len(b))
	require.Equal(t, []Survey{
		{Path: Name(dir, 7), Named: 7, Size: size, Header: head},
		{Path: Name(dir, 9), Named: 9, Size: size, Header: damaged, Flaw: "the checkpoint header's checksum does not match"},
		{Path: filepath.Join(dir, "copy.ckpt"), Size: size, Header: head},
		{Path: filepath.Join(dir, "short.ckpt"), Size: 63, Flaw: "the file ends too early"},
		{Path: filepath.Join(dir, "zeros.ckpt"), Size: size, Flaw: "not a checkpoint: the magic does not match"},
	}, list)

	_, err = SurveyFiles(disk, "nowhere", noneUnopened)
	require.Error(t, err)
	disk.SetReadFault(func(vfs.Op) error { return errors.New("broken") })
	_, err = SurveyFiles(disk, dir, noneUnopened)
	require.ErrorContains(t, err, "broken")
}

func TestSurveyOfANewerFormat(t *testing.T) {
	disk := newDisk(t)
	require.NoError(t, write(disk, 7, samples()))
	b, err := disk.ReadFile(Name(dir, 7))
	require.NoError(t, err)
	binary.LittleEndian.PutUint32(b[8:], FileVersion+1)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	path := filepath.Join(dir, "some.ckpt")
	require.NoError(t, disk.WriteFile(path, b))
	_, err = SurveyFiles(disk, dir, noneUnopened)
	var unsupported *op.UnsupportedError
	require.ErrorAs(t, err, &unsupported)
	require.Equal(t, path, unsupported.File)
}

// unopenable is a disk on which one file cannot be opened.
type unopenable struct {
	vfs.FS
	name string
}

func (u unopenable) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	if name == u.name {
		return nil, os.ErrPermission
	}
	return u.FS.OpenFile(name, flag, perm)
}

func TestSurveyWithoutAFile(t *testing.T) {
	disk := newDisk(t)
	require.NoError(t, write(disk, 7, samples()))
	require.NoError(t, write(disk, 8, samples()))
	fsys := unopenable{disk, Name(dir, 7)}
	_, err := SurveyFiles(fsys, dir, noneUnopened)
	require.ErrorIs(t, err, os.ErrPermission)
	list, err := SurveyFiles(fsys, dir, func(path string, err error) error {
		require.Equal(t, Name(dir, 7), path)
		require.ErrorIs(t, err, os.ErrPermission)
		return nil
	})
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// TestRestored: a file that lost its header or its name is read as if it had them.
func TestRestored(t *testing.T) {
	disk := newDisk(t)
	want := samples()
	gone := []run.ID{id(9)}
	require.NoError(t, write(disk, 7, want, gone...))
	b, err := disk.ReadFile(Name(dir, 7))
	require.NoError(t, err)
	head := Header{Store: store, Shard: shard, Sequence: 7, Time: 99}
	for name, path := range map[string]string{"under its name": Name(dir, 7), "under another": filepath.Join(dir, "x")} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, disk.Remove(Name(dir, 7)))
			clear(b[:fileHeader])
			require.NoError(t, disk.WriteFile(path, b))
			restored := NewRestored(disk)
			files := OpenFiles(restored, dir, store, shard)
			_, err := files.Index(7)
			require.ErrorIs(t, err, op.ErrCorrupt)
			restored.Add(path, head)
			x, err := files.Index(7)
			require.NoError(t, err)
			require.Equal(t, int64(99), x.Time)
			require.Equal(t, gone, x.Deleted)
			for i := range x.Entries {
				var digest op.Digester
				require.NoError(t, files.Image(&x.Entries[i], func(key []byte, it op.Item) { digest.Add(string(key), it) }))
				require.Equal(t, want[i].digest(), digest.Sum(x.Entries[i].Version))
			}
			require.NoError(t, files.Close())
			require.NoError(t, disk.WriteFile(Name(dir, 7), b)) // for the next
		})
	}
	restored := NewRestored(disk)
	restored.Add(filepath.Join(dir, "nowhere"), head)
	_, err = OpenFiles(restored, dir, store, shard).Index(7)
	require.Error(t, err)
}

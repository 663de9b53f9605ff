package checkpoint

import (
	"io/fs"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/run"
)

func TestSize(t *testing.T) {
	m, images := newDisk(t), larger()
	w, err := NewWriter(m, dir, store, shard, 7, 0)
	require.NoError(t, err)
	assert.EqualValues(t, 7, w.sequence)
	assert.EqualValues(t, fileHeader, w.Size())
	last := w.Size()
	for _, im := range images {
		require.NoError(t, w.Image(&im.entry, im.all()))
		require.Equal(t, last+im.entry.Location.Length, w.Size(), "written or not yet")
		last = w.Size()
	}
	require.NoError(t, w.Finish(entries(images), slices.Values([]run.ID(nil))))
	info, err := m.Stat(path(7))
	require.NoError(t, err)
	assert.Equal(t, info.Size(), w.Size())

	files := OpenFiles(m, dir, store, shard)
	size, err := files.Size(7)
	require.NoError(t, err)
	assert.Equal(t, info.Size(), size)
	_, err = files.Size(8)
	requireCorrupt(t, err, Name(dir, 8), 0)
	assert.Equal(t, Name(dir, 7), files.Name(&images[0].entry))
	require.NoError(t, files.Close())
}

func TestAny(t *testing.T) {
	for name, want := range map[string]bool{
		"MANIFEST": false, "1.ckpt": false, "0000000000000001.ckpt": true, "0000000000000001.ckpt.tmp": true,
	} {
		m := newDisk(t)
		require.NoError(t, m.WriteFile(dir+"/"+name, nil))
		got, err := Any(m, dir)
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
	}
	_, err := Any(newDisk(t), "elsewhere")
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

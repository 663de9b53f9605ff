package vfs

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const contentLimit = 4 * pageSize

var contentOffset = rapid.Int64Range(0, contentLimit)

// contentModel checks that a content behaves as a slice of bytes, that its room
// is what was written or allocated, and that its snapshots do not change.
type contentModel struct {
	content
	want   []byte
	room   [contentLimit]bool
	copies []content
	wants  []string
}

func (c *contentModel) extend(end int64) {
	if more := end - int64(len(c.want)); more > 0 {
		c.want = append(c.want, make([]byte, more)...)
	}
}

func (c *contentModel) reserve(start, end int64) {
	for i := start; i < end; i++ {
		c.room[i] = true
	}
}

func (c *contentModel) doWrite(t *rapid.T) {
	off := rapid.Int64Range(0, contentLimit-1).Draw(t, "off")
	n := rapid.Int64Range(1, contentLimit-off).Draw(t, "n")
	data := bytes.Repeat([]byte{rapid.Byte().Draw(t, "data")}, int(n))
	c.write(data, off)
	c.extend(off + n)
	copy(c.want[off:], data)
	c.reserve(off, off+n)
}

func (c *contentModel) doResize(t *rapid.T) {
	size := contentOffset.Draw(t, "size")
	c.resize(size)
	c.extend(size)
	c.want = c.want[:size:size]
	clear(c.room[size:])
}

func (c *contentModel) doAllocate(t *rapid.T) {
	off := rapid.Int64Range(0, contentLimit-1).Draw(t, "off")
	n := rapid.Int64Range(1, contentLimit-off).Draw(t, "n")
	c.allocate(off, n)
	c.extend(off + n)
	c.reserve(off, off+n)
}

func (c *contentModel) doSnapshot(*rapid.T) {
	c.copies = append(c.copies, c.snapshot())
	c.wants = append(c.wants, string(c.want))
}

func (c *contentModel) check(t *rapid.T) {
	require.True(t, bytes.Equal(c.want, c.bytes()))
	for i := range c.copies {
		require.True(t, c.wants[i] == string(c.copies[i].bytes()))
	}
	start, end := contentOffset.Draw(t, "start"), contentOffset.Draw(t, "end")
	start, end = min(start, end), max(start, end)
	var total, missing int64
	for i, has := range c.room {
		if has {
			total++
		} else if start <= int64(i) && int64(i) < end {
			missing++
		}
	}
	require.Equal(t, total, c.allocated.total())
	require.Equal(t, missing, c.allocated.missing(start, end))
	for i := 1; i < len(c.allocated); i++ {
		require.Less(t, c.allocated[i-1].end, c.allocated[i].start)
	}
}

func TestContentModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c contentModel
		t.Repeat(map[string]func(*rapid.T){
			"write":    c.doWrite,
			"resize":   c.doResize,
			"allocate": c.doAllocate,
			"snapshot": c.doSnapshot,
			"":         c.check,
		})
	})
}

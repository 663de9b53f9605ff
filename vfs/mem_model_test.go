package vfs

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const modelFile = 3000 // bytes of a file in the crash model, of which 8 are its identity

// modelled is a file in the crash model: what its contents may be after a crash.
type modelled struct {
	id     uint64
	live   []byte
	synced []byte
	loose  []bool // written since the last sync
	anchor string // the name it is sure to have; "" = none is sure
}

// crashModel checks the promises of Crash: synced bytes stay, a name that was
// synced and not touched since stays, a file has at most one name, and a file
// whose name was synced and that nobody removed has one.
type crashModel struct {
	mem    *Mem
	byName map[string]*modelled // what the process sees
	safe   map[uint64]*modelled // had a synced name, and was not removed since
	next   uint64
	seed   uint64
}

var modelNames = rapid.SampledFrom([]string{"d/a", "d/b", "d/c", "e/a", "e/b"})

func (c *crashModel) create(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	if c.byName[name] != nil {
		return
	}
	c.next++
	f := &modelled{id: c.next, live: make([]byte, modelFile), loose: make([]bool, modelFile)}
	binary.BigEndian.PutUint64(f.live, f.id)
	h := memOpen(t, c.mem, name)
	_, err := h.WriteAt(f.live, 0)
	require.NoError(t, err)
	require.NoError(t, h.Sync())
	require.NoError(t, h.Close())
	f.synced = slices.Clone(f.live)
	c.byName[name] = f
}

func (c *crashModel) write(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	f := c.byName[name]
	if f == nil {
		return
	}
	off := rapid.IntRange(8, modelFile-1).Draw(t, "off")
	n := rapid.IntRange(1, modelFile-off).Draw(t, "n")
	data := bytes.Repeat([]byte{rapid.Byte().Draw(t, "data")}, n)
	h := memOpen(t, c.mem, name)
	_, err := h.WriteAt(data, int64(off))
	require.NoError(t, err)
	require.NoError(t, h.Close())
	copy(f.live[off:], data)
	for i := range data {
		f.loose[off+i] = true
	}
}

func (c *crashModel) sync(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	f := c.byName[name]
	if f == nil {
		return
	}
	h := memOpen(t, c.mem, name)
	require.NoError(t, h.Sync())
	require.NoError(t, h.Close())
	f.synced = slices.Clone(f.live)
	clear(f.loose)
}

func (c *crashModel) rename(t *rapid.T) {
	from, to := modelNames.Draw(t, "from"), modelNames.Draw(t, "to")
	f := c.byName[from]
	if f == nil || from == to {
		return
	}
	require.NoError(t, c.mem.Rename(from, to))
	c.forget(to)
	delete(c.byName, from)
	c.byName[to] = f
	f.anchor = ""
}

func (c *crashModel) remove(t *rapid.T) {
	name := modelNames.Draw(t, "name")
	if c.byName[name] == nil {
		return
	}
	require.NoError(t, c.mem.Remove(name))
	c.forget(name)
}

func (c *crashModel) forget(name string) {
	if f := c.byName[name]; f != nil {
		delete(c.safe, f.id)
		delete(c.byName, name)
	}
}

func (c *crashModel) syncDir(t *rapid.T) {
	dir := rapid.SampledFrom([]string{"d", "e"}).Draw(t, "dir")
	require.NoError(t, c.mem.SyncDir(dir))
	for name, f := range c.byName {
		if strings.HasPrefix(name, dir+"/") {
			f.anchor = name
			c.safe[f.id] = f
		}
	}
}

// check crashes and compares.
func (c *crashModel) check(t *rapid.T) {
	c.seed++
	disk := c.mem.Crash(seeded(c.seed))
	nameOf := map[uint64]string{}
	known := map[uint64]*modelled{}
	for _, f := range c.byName {
		known[f.id] = f
	}
	for _, name := range disk.Files() {
		data, err := disk.ReadFile(name)
		require.NoError(t, err)
		require.Len(t, data, modelFile, "the size was synced")
		id := binary.BigEndian.Uint64(data)
		require.Empty(t, nameOf[id], "file %d has two names", id)
		nameOf[id] = name
		if f := known[id]; f != nil {
			for i, b := range data {
				if b != f.synced[i] && !f.loose[i] {
					t.Fatalf("file %d: synced byte %d changed", id, i)
				}
			}
		}
	}
	for id, f := range c.safe {
		require.NotEmpty(t, nameOf[id], "file %d is lost", id)
		if f.anchor != "" {
			require.Equal(t, f.anchor, nameOf[id])
		}
	}
	require.Equal(t, tree(c.mem), tree(c.mem.Clone()))
	require.Equal(t, tree(c.mem), tree(c.mem.CrashWith(seeded(c.seed), KeepAll)))
}

func TestCrashModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMem()
		require.NoError(t, m.MkdirAll("d", 0o755))
		require.NoError(t, m.MkdirAll("e", 0o755))
		require.NoError(t, m.SyncDir("/"))
		c := &crashModel{mem: m, byName: map[string]*modelled{}, safe: map[uint64]*modelled{}}
		t.Repeat(map[string]func(*rapid.T){
			"create":  c.create,
			"write":   c.write,
			"sync":    c.sync,
			"rename":  c.rename,
			"remove":  c.remove,
			"syncDir": c.syncDir,
			"":        c.check,
		})
	})
}

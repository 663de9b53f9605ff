package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
)

// damagedStore is a store whose files a test spoils, one after another.
type damagedStore struct {
	t     *testing.T
	dir   string
	files map[string][]byte // as they were, by name
}

// newDamagedStore makes a store with several segments and two checkpoint files
// that count.
func newDamagedStore(t *testing.T) *damagedStore {
	t.Helper()
	d := &damagedStore{t: t, dir: filepath.Join(t.TempDir(), "store"), files: map[string][]byte{}}
	db, err := inmem.Open(d.dir, &inmem.Options{Shards: 1, SegmentSize: 4 << 10, CheckpointBytes: -1})
	require.NoError(t, err)
	ctx := context.Background()
	for _, name := range []string{"first", "second"} {
		r, err := db.BeginRun(ctx, run.Meta{Name: name})
		require.NoError(t, err)
		for i := range 15 {
			_, err := r.KV().Put(ctx, fmt.Sprint("key ", i), bytes.Repeat([]byte(name), 50))
			require.NoError(t, err)
		}
		require.NoError(t, db.Checkpoint(ctx))
	}
	r, err := db.BeginRun(ctx, run.Meta{Name: "third"})
	require.NoError(t, err)
	_, err = r.KV().Put(ctx, "key", nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	kinds := map[string]int{}
	for _, f := range filesOf(d.dir) {
		if f.kind == "lock" {
			continue
		}
		kinds[f.kind]++
		d.files[f.name], err = os.ReadFile(filepath.Join(d.dir, f.name))
		require.NoError(t, err)
	}
	require.Equal(t, 2, kinds["checkpoint"])
	require.GreaterOrEqual(t, kinds["segment"], 3)
	return d
}

// check runs the command on the store with a file that holds something else, or
// is gone, and puts the file back. Damage must be told with the file's name, or
// that of another where a file is only missed.
func (d *damagedStore) check(what, name string, b []byte, damaged bool, named ...string) {
	t := d.t
	t.Helper()
	path := filepath.Join(d.dir, name)
	if b == nil {
		require.NoError(t, os.Remove(path))
	} else {
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
	code, text := d.run()
	jsonCode, out := d.run("--json")
	require.Equal(t, code, jsonCode, what)
	var found struct {
		Sound    bool
		Problems []problem
	}
	require.NoError(t, json.Unmarshal([]byte(out), &found), what)
	require.Equal(t, !damaged, found.Sound, "%s: %s", what, text)
	if damaged {
		require.Equal(t, exitDamaged, code, "%s: %s", what, text)
		file := filepath.Join(d.dir, append(named, name)[0])
		require.Equal(t, file, found.Problems[0].File, what)
		require.NotNil(t, found.Problems[0].Offset, what)
		require.Contains(t, text, fmt.Sprintf("damaged: %s at offset %d: ", file, *found.Problems[0].Offset), what)
	} else {
		require.Equal(t, exitOK, code, "%s: %s", what, text)
	}
	require.NoError(t, os.WriteFile(path, d.files[name], 0o600))
}

// run is the command, in this process.
func (d *damagedStore) run(args ...string) (code int, out string) {
	d.t.Helper()
	var stdout, stderr bytes.Buffer
	code = execute(append([]string{"check", "--dir", d.dir}, args...), strings.NewReader(""), &stdout, &stderr)
	require.Empty(d.t, stderr.String())
	return code, stdout.String()
}

// needless says where in a file the bytes begin that nobody needs: the footer
// of an older segment, which is derived.
func (d *damagedStore) needless(name string) (from int) {
	b := d.files[name]
	if list := d.like(".wal"); slices.Contains(list[:len(list)-1], name) {
		return len(b) - 48
	}
	return len(b)
}

// like returns the files with an extension, in order.
func (d *damagedStore) like(ext string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		if filepath.Ext(name) == ext {
			list = append(list, name)
		}
	}
	return list
}

// TestCheckFindsDamage spoils each file of a store in many places and ways.
func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	d := newDamagedStore(t)
	code, text := d.run()
	require.Equal(t, exitOK, code, text)
	step := 127
	if testing.Short() {
		step = 1009
	}
	for name, b := range d.files {
		for i := 0; i < len(b); i += step {
			bad := bytes.Clone(b)
			bad[i] ^= 0x10
			d.check(fmt.Sprintf("%s, byte %d", name, i), name, bad, i < d.needless(name))
			d.check(fmt.Sprintf("%s, cut at %d", name, i), name, b[:i], i < d.framesEnd(name))
		}
		for other := range d.files {
			if other != name {
				d.check(other+" as "+name, name, d.files[other], true)
			}
		}
	}
	segments := d.like(".wal")
	d.check("first segment missing", segments[0], nil, true, segments[1])
	for i, name := range segments[1:] {
		d.check(name+" missing", name, nil, true, segments[i])
	}
	for _, name := range append(d.like(".ckpt"), "MANIFEST") {
		d.check(name+" missing", name, nil, true)
	}
}

// framesEnd is where a file may be cut without loss: behind the frames of an
// older segment the index follows, which is derived.
func (d *damagedStore) framesEnd(name string) int {
	from := d.needless(name)
	if filepath.Ext(name) == ".wal" && from < len(d.files[name]) {
		return int(binary.LittleEndian.Uint64(d.files[name][from+8:]))
	}
	return from
}

package inmem_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

var update = flag.Bool("update", false, "write the golden stores of today's format anew")

// goldenFormat is the format that today's program writes. A new one gets a
// directory of its own; the older ones stay, and must open for ever.
const goldenFormat = "v1"

// golden is what a stored directory must open as.
type golden struct {
	Verdict recovery.Verdict
	Shards  []goldenShard
	Runs    map[run.ID]goldenRun
	Deleted []run.ID
}

type goldenShard struct {
	Verdict               recovery.Verdict
	Checkpoint, Commits   uint64
	Images, Runs, Keys    int
	TornOffset, TornBytes int64
}

type goldenRun struct {
	Version uint64
	Digest  string
	Info    *run.Info
	Keys    []string
}

func goldenID(name string) run.ID { return run.Namespace{Tenant: "golden"}.DeriveID(name) }

func goldenOptions(fsys vfs.FS) inmem.Options {
	return idle(inmem.Options{Shards: 2, SegmentSize: 4 << 10, CheckpointBytes: -1, FS: fsys, Now: scriptClock})
}

// TestGolden opens the stores of every format there ever was.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	stores, err := filepath.Glob("testdata/golden/*/*.json")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(stores), 2)
	for _, path := range stores {
		t.Run(path, func(t *testing.T) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			var want golden
			require.NoError(t, json.Unmarshal(b, &want))
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(strings.TrimSuffix(path, ".json"))))
			checked, err := inmem.Check(dir)
			require.NoError(t, err)
			require.Empty(t, checked.Problems)
			require.Equal(t, want, openGolden(t, dir))

			// Opened and closed by today's program it is the same, but clean.
			again := openGolden(t, dir)
			require.Equal(t, recovery.Clean, again.Verdict)
			require.Equal(t, want.Runs, again.Runs)
			checked, err = inmem.Check(dir)
			require.NoError(t, err)
			require.Empty(t, checked.Problems)
		})
	}
}

// openGolden opens a store, closes it, and returns what it is.
func openGolden(t *testing.T, dir string) golden {
	t.Helper()
	opts := goldenOptions(vfs.OS)
	opts.Shards = 0
	db, err := inmem.Open(dir, &opts)
	require.NoError(t, err)
	g := golden{Verdict: db.Recovery().Verdict, Runs: map[run.ID]goldenRun{}}
	for _, s := range db.Recovery().Shards {
		g.Shards = append(g.Shards, goldenShard{s.Verdict, s.Checkpoint, s.Commits, s.Images, s.Runs, s.Keys, s.TornOffset, s.TornBytes})
	}
	for info, err := range db.Runs(bg, run.Filter{Spaces: true}) {
		require.NoError(t, err)
		r, err := db.Run(info.ID)
		require.NoError(t, err)
		digest, version, err := r.Digest()
		require.NoError(t, err)
		gr := goldenRun{Version: version, Digest: digest.String(), Info: info}
		for it, err := range r.KV().List(bg, "") {
			require.NoError(t, err)
			gr.Keys = append(gr.Keys, it.Key)
		}
		g.Runs[info.ID] = gr
	}
	for _, name := range []string{"gone", "gone too"} {
		require.ErrorIs(t, db.DeleteRun(bg, goldenID(name)), inmem.ErrRunDeleted)
		g.Deleted = append(g.Deleted, goldenID(name))
	}
	require.NoError(t, db.Close())
	return g
}

// writeGolden writes the stores of today's format, and what they open as.
func writeGolden(t *testing.T) {
	base := filepath.Join("testdata", "golden", goldenFormat)
	for _, name := range []string{"closed", "crashed"} {
		disk := vfs.NewMem()
		opts := goldenOptions(disk)
		db, err := inmem.Open(storeDir, &opts)
		require.NoError(t, err)
		goldenLife(t, db)
		left := disk.Clone()
		require.NoError(t, db.Close())
		if name == "closed" {
			left = disk
		} else {
			cutLastFrame(t, left)
		}
		dir := filepath.Join(base, name)
		require.NoError(t, os.RemoveAll(dir))
		pour(t, left, dir)
		require.NoError(t, os.Remove(filepath.Join(dir, "LOCK")))
		temp := t.TempDir()
		require.NoError(t, os.CopyFS(temp, os.DirFS(dir)))
		b, err := json.MarshalIndent(openGolden(t, temp), "", "\t")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(dir+".json", append(b, '\n'), 0o644))
	}
}

// cutLastFrame takes the end of the last frame of one shard away, as a power loss
// does, and the space reserved behind it, which would only be zeros to store.
func cutLastFrame(t *testing.T, disk *vfs.Mem) {
	t.Helper()
	for i, name := range segmentsOf(disk) {
		b, err := disk.ReadFile(name)
		require.NoError(t, err)
		at := framesOf(b)
		end := at[len(at)-1]
		if i == 1 {
			end -= 24
		}
		require.NoError(t, disk.WriteFile(name, b[:end]))
	}
}

// segmentsOf returns the newest segment of each shard.
func segmentsOf(disk *vfs.Mem) []string {
	newest := map[string]string{}
	var shards []string
	for _, name := range disk.Files() {
		if strings.HasSuffix(name, ".wal") {
			if dir := filepath.Dir(name); newest[dir] == "" {
				shards = append(shards, dir)
			}
			newest[filepath.Dir(name)] = name
		}
	}
	for i, dir := range shards {
		shards[i] = newest[dir]
	}
	return shards
}

// goldenLife has something of everything that is stored.
func goldenLife(t *testing.T, db *inmem.DB) {
	t.Helper()
	begin := func(meta run.Meta) *inmem.Run {
		r, err := db.BeginRun(bg, meta)
		require.NoError(t, err)
		return r
	}
	put := func(r *inmem.Run, key, value string, opts ...kv.WriteOption) {
		_, err := r.KV().Put(bg, key, []byte(value), opts...)
		require.NoError(t, err)
	}
	ns := run.Namespace{Tenant: "golden", App: "app", Agent: "agent"}
	space, err := db.Space(bg, ns)
	require.NoError(t, err)
	put(space, "memory", "kept")
	parent := begin(run.Meta{ID: goldenID("parent"), Name: "parent", Namespace: ns, Tags: map[string]string{"a": "1", "b": ""}})
	child := begin(run.Meta{ID: goldenID("child"), Parent: parent.ID()})
	gone := begin(run.Meta{ID: goldenID("gone")})
	for i := range 8 {
		put(parent, "key "+string(rune('a'+i)), strings.Repeat("x", 110*i))
		put(child, "over and over", strings.Repeat("y", 110*i))
	}
	require.NoError(t, db.DeleteRun(bg, gone.ID()))
	require.NoError(t, db.Checkpoint(bg))
	put(parent, "deadline", "far away", kv.TTL(1e6*1e9*3600))
	_, err = parent.KV().Delete(bg, "key b")
	require.NoError(t, err)
	var b kv.Batch
	b.Put("batch 1", []byte{0, 0xff})
	b.Delete("over and over")
	_, err = child.KV().Write(bg, &b, kv.Durability(op.Strict))
	require.NoError(t, err)
	require.NoError(t, child.End(bg, run.Completed))
	require.NoError(t, db.DeleteRun(bg, begin(run.Meta{ID: goldenID("gone too")}).ID()))
	for i := range 6 { // so that each shard's log ends with a commit
		put(begin(run.Meta{ID: goldenID("last " + string(rune('a'+i)))}), "k", "v")
	}
}

package recovery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
	"inmem/wal"
)

const manifestPath = testDir + "/" + manifestName

// fixture is a disk that belongs to a row of the decision table.
type fixture struct {
	disk   *vfs.Mem
	shards int    // Config.Shards
	file   string // that the refusal names; "" = none
	want   map[run.ID]op.Digest
}

// fixtures has one for each row, by the row's finding.
var fixtures = map[string]func(t *testing.T) fixture{
	"no manifest, and no shard directory": func(*testing.T) fixture {
		return fixture{disk: vfs.NewMem(), want: map[run.ID]op.Digest{}}
	},
	"no manifest, shard directories with logs that were never written to": func(t *testing.T) fixture {
		disk := vfs.NewMem()
		require.NoError(t, start(t, config(disk)).stop())
		require.NoError(t, disk.Remove(manifestPath))
		return fixture{disk: disk, want: map[run.ID]op.Digest{}}
	},
	"no manifest, a log that was written to, or a checkpoint": func(t *testing.T) fixture {
		disk, _ := closed(t)
		require.NoError(t, disk.Remove(manifestPath))
		return fixture{disk: disk, file: manifestPath}
	},
	"a manifest that is damaged": func(t *testing.T) fixture {
		disk, _ := closed(t)
		require.NoError(t, disk.Flip(manifestPath, 333))
		return fixture{disk: disk, file: manifestPath}
	},
	"a manifest, segment or checkpoint of a newer format": func(t *testing.T) fixture {
		disk, _ := closed(t)
		name := pick(t, disk, ".wal")[0]
		edit(t, disk, name, newer)
		return fixture{disk: disk, file: name}
	},
	"a manifest with another number of shards than asked for": func(t *testing.T) fixture {
		disk, _ := closed(t)
		return fixture{disk: disk, shards: 3}
	},
	"a checkpoint that the manifest names is missing, or its index damaged": func(t *testing.T) fixture {
		disk, _ := closed(t)
		list := pick(t, disk, ".ckpt")
		require.NoError(t, disk.Remove(list[len(list)-1]))
		return fixture{disk: disk, file: list[len(list)-1]}
	},
	"a segment is missing, foreign or has a bad header": func(t *testing.T) fixture {
		disk, _ := closed(t)
		name := pick(t, disk, ".wal")[1]
		require.NoError(t, disk.Flip(name, 8*17))
		return fixture{disk: disk, file: name}
	},
	"a bad frame in a segment that has a successor": func(t *testing.T) fixture {
		disk, _ := closed(t)
		forgetCheckpoints(t, disk)
		name := pick(t, disk, ".wal")[0]
		require.NoError(t, disk.Flip(name, 8*130))
		return fixture{disk: disk, file: name}
	},
	"a bad frame in the last segment, which the manifest or a later frame knows to have been synced": func(t *testing.T) fixture {
		disk, _ := killed(t)
		list := pick(t, disk, ".wal")
		name := list[len(list)-1]
		require.NoError(t, disk.Flip(name, 8*110))
		return fixture{disk: disk, file: name}
	},
	"the log ends before what the manifest knows to have been synced": func(t *testing.T) fixture {
		disk, _ := closed(t)
		list := pick(t, disk, ".wal")
		name := list[len(list)-1]
		edit(t, disk, name, func(b []byte) []byte { return b[:len(b)-40] })
		return fixture{disk: disk, file: name}
	},
	"a commit that does not follow from those before": func(t *testing.T) fixture {
		disk, name := appendFrames(t, func(l *wal.Log) {
			c := op.Commit{Run: runID(0), Version: 77, Time: testTime, Ops: []op.Op{{Kind: op.Drop}}}
			l.End(op.AppendCommit(l.Begin(), &c))
		})
		return fixture{disk: disk, file: name}
	},
	"a bad frame in the last segment, otherwise": func(t *testing.T) fixture {
		disk, want := killed(t)
		list := pick(t, disk, ".wal")
		edit(t, disk, list[len(list)-1], func(b []byte) []byte {
			return append(bytes.TrimRight(b, "\x00"), "\x00\x00\x00\x00\x00\x00\x00\x00half a frame"...)
		})
		return fixture{disk: disk, want: want}
	},
	"no bad frame, and the last frame is no seal": func(t *testing.T) fixture {
		disk, want := killed(t)
		return fixture{disk: disk, want: want}
	},
	"no bad frame, and the last frame is a seal, or there is none": func(t *testing.T) fixture {
		disk, want := closed(t)
		return fixture{disk: disk, want: want}
	},
}

// newer gives a file the format of a later program.
func newer(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[8:], 99)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// forgetCheckpoints lets the manifest name none, so that the whole log counts.
func forgetCheckpoints(t testing.TB, disk *vfs.Mem) {
	t.Helper()
	m, err := checkpoint.ReadManifest(disk, testDir)
	require.NoError(t, err)
	require.NoError(t, checkpoint.NewManifestFile(disk, testDir, m).Update(func(m *checkpoint.Manifest) {
		for i := range m.Shards {
			m.Shards[i].Checkpoint = 0
		}
	}))
}

// appendFrames writes frames to the log of shard 0 of a closed store, behind
// the shard's back, and returns the segment they are in.
func appendFrames(t *testing.T, write func(l *wal.Log)) (*vfs.Mem, string) {
	t.Helper()
	disk, _ := closed(t)
	st, err := Open(config(disk))
	require.NoError(t, err)
	l := st.Shards[0].Log
	require.NoError(t, l.Reserve(1))
	write(l)
	require.NoError(t, l.Commit(op.Strict))
	require.NoError(t, st.abandon())
	list := pick(t, disk, ".wal")
	return disk, list[len(list)-1]
}

// TestEveryRowIsReached holds the table against what Open does.
func TestEveryRowIsReached(t *testing.T) {
	require.Len(t, fixtures, len(Rows))
	for _, row := range Rows {
		t.Run(row.Finding, func(t *testing.T) {
			require.Contains(t, fixtures, row.Finding)
			f := fixtures[row.Finding](t)
			cfg := config(f.disk)
			cfg.Shards = f.shards
			if row.Verdict == Refused {
				f.refused(t, cfg, row)
				return
			}
			e := start(t, cfg)
			require.Equal(t, row.Verdict, e.st.Report.Verdict)
			require.Equal(t, f.want, e.digests())
			require.NoError(t, e.stop())
			requireStore(t, f.disk, f.want, row.Finding)
		})
	}
}

// refused wants the fixture to be refused twice in the same words, and left as
// it is.
func (f *fixture) refused(t *testing.T, cfg Config, row Row) {
	before := contents(t, f.disk)
	_, err := Open(cfg)
	require.Error(t, err)
	var corrupt *op.CorruptError
	var unsupported *op.UnsupportedError
	var count *op.ShardCountError
	switch {
	case errors.As(err, &count):
		require.Equal(t, op.ShardCountError{Stored: 2, Wanted: f.shards}, *count)
	case errors.As(err, &unsupported):
		require.Equal(t, f.file, unsupported.File)
		require.NotErrorIs(t, err, op.ErrCorrupt)
		require.Equal(t, "unsupported, not damaged", row.Action)
	default:
		require.ErrorAs(t, err, &corrupt)
		require.Equal(t, f.file, corrupt.File)
	}
	_, again := Open(cfg)
	require.EqualError(t, again, err.Error())
	require.Equal(t, before, contents(t, f.disk), "a refusal changed something")
	if f.shards != 0 {
		return // nothing is wrong with the store
	}
	checked, err := Check(f.disk, testDir)
	require.NoError(t, err)
	require.NotEmpty(t, checked.Problems)
	require.Equal(t, before, contents(t, f.disk), "Check changed something")
}

// TestRowsOnTheirOwn looks at findings that share a row with others.
func TestRowsOnTheirOwn(t *testing.T) {
	last := func(disk *vfs.Mem, suffix string) string {
		list := pick(t, disk, suffix)
		return list[len(list)-1]
	}
	for name, spoil := range map[string]func(disk *vfs.Mem) string{
		"a newer manifest": func(disk *vfs.Mem) string {
			edit(t, disk, manifestPath, func(b []byte) []byte {
				binary.LittleEndian.PutUint32(b[8:], 2)
				return binary.LittleEndian.AppendUint32(b[:len(b)-4], crc32.Checksum(b[:len(b)-4], crc32.MakeTable(crc32.Castagnoli)))
			})
			return manifestPath
		},
		"a newer checkpoint": func(disk *vfs.Mem) string {
			edit(t, disk, last(disk, ".ckpt"), newer)
			return last(disk, ".ckpt")
		},
		"no manifest, a checkpoint only": func(disk *vfs.Mem) string {
			for _, name := range disk.Files() {
				if filepath.Ext(name) == ".wal" {
					require.NoError(t, disk.Remove(name))
				}
			}
			require.NoError(t, disk.Remove(manifestPath))
			return manifestPath
		},
		"the index of a checkpoint is damaged": func(disk *vfs.Mem) string {
			size, err := disk.Stat(last(disk, ".ckpt"))
			require.NoError(t, err)
			require.NoError(t, disk.Flip(last(disk, ".ckpt"), 8*(size.Size()-50)))
			return last(disk, ".ckpt")
		},
		"a file with images is cut short": func(disk *vfs.Mem) string {
			edit(t, disk, last(disk, ".ckpt"), func(b []byte) []byte { return b[:100] })
			return last(disk, ".ckpt")
		},
		"the last segment is missing": func(disk *vfs.Mem) string {
			name := last(disk, ".wal")
			require.NoError(t, disk.Remove(name))
			return last(disk, ".wal")
		},
		"all segments are missing": func(disk *vfs.Mem) string {
			name := pick(t, disk, ".wal")[0]
			for _, name := range pick(t, disk, ".wal") {
				require.NoError(t, disk.Remove(name))
			}
			return name
		},
		"the first segment is missing": func(disk *vfs.Mem) string {
			list := pick(t, disk, ".wal")
			require.NoError(t, disk.Remove(list[0]))
			return list[1]
		},
		"a shard's directory is missing": func(disk *vfs.Mem) string {
			for _, name := range disk.Files() {
				if filepath.Dir(name) == Dir(testDir, 0) {
					require.NoError(t, disk.Remove(name))
				}
			}
			require.NoError(t, disk.Remove(Dir(testDir, 0)))
			forgetCheckpoints(t, disk)
			return Dir(testDir, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			disk, _ := closed(t)
			f := fixture{disk: disk, file: spoil(disk)}
			f.refused(t, config(disk), Row{Action: "unsupported, not damaged"})
		})
	}
}

// TestSweepRemovesNothingEarly has an unused shard before one with data: as
// long as the store may be one that lost its manifest, nothing goes.
func TestSweepRemovesNothingEarly(t *testing.T) {
	disk := vfs.NewMem()
	e := start(t, config(disk))
	n := 0
	for e.shard(runID(n)) == e.shards[0] {
		n++
	}
	require.NoError(t, e.begin(runID(n))) // shard 1 has data, shard 0 has none
	want := e.digests()
	require.NoError(t, e.stop())
	manifest, err := disk.ReadFile(manifestPath)
	require.NoError(t, err)
	require.NoError(t, disk.Remove(manifestPath))
	f := fixture{disk: disk, file: manifestPath}
	f.refused(t, config(disk), Row{})
	require.NoError(t, disk.WriteFile(manifestPath, manifest))
	requireStore(t, disk, want, "the manifest put back")
}

// TestRecreatedSmaller creates a store over an unfinished one that was to have
// more shards, beside a directory that is not the store's.
func TestRecreatedSmaller(t *testing.T) {
	disk := vfs.NewMem()
	cfg := config(disk)
	cfg.Shards = 5
	require.NoError(t, start(t, cfg).stop())
	require.NoError(t, disk.Remove(manifestPath))
	require.NoError(t, disk.WriteFile(testDir+"/shard-0004/note.txt", []byte("not the store's")))
	e := start(t, config(disk))
	require.Equal(t, Recreated, e.st.Report.Verdict)
	require.Len(t, e.shards, 2)
	require.NoError(t, e.stop())
	for _, name := range []string{"shard-0002", "shard-0003"} {
		_, err := disk.Stat(testDir + "/" + name)
		require.Error(t, err, name)
	}
	b, err := disk.ReadFile(testDir + "/shard-0004/note.txt")
	require.NoError(t, err)
	require.Equal(t, "not the store's", string(b))
}

package inmem_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// victim is a store on the real disk, to be damaged.
type victim struct {
	t      *testing.T
	dir    string
	opts   inmem.Options
	ledger *ledger
	at     []int // offsets of the frames in the first segment, and of their end
}

// The ways a store may have ended.
const (
	closedStore  = "closed"                 // its end is sealed, and the manifest knows it
	strictStore  = "killed, all synced"     // each frame knows all before it to be synced, and nothing knows the last one
	batchedStore = "killed, nothing synced" // no frame knows anything
)

var endings = []string{closedStore, strictStore, batchedStore}

const victimCommits = 12

// victimMaster is a disk with the store of an ending.
func victimMaster(t *testing.T, ending string, opts inmem.Options, do func(s *script)) (*vfs.Mem, *ledger) {
	t.Helper()
	if ending == strictStore {
		opts.Durability = inmem.Strict
	}
	disk := vfs.NewMem()
	l := scriptLedger()
	db := runScenario(scenario{opts: opts, do: do}, storeDir, disk, l.take)
	left := disk.Clone()
	require.NoError(t, db.Close())
	if ending == closedStore {
		left = disk
	}
	l.settle(t)
	return left, l
}

// newVictim puts the store of an ending on the real disk.
func newVictim(t *testing.T, ending string) *victim {
	t.Helper()
	opts := idle(inmem.Options{Shards: 1, SegmentSize: 4 << 10, CheckpointBytes: -1})
	disk, l := victimMaster(t, ending, opts, func(s *script) {
		r := s.begin()
		for i := range victimCommits - 1 {
			s.put(r, fmt.Sprint("key ", i), strings.Repeat("v", 20+i), op.Default)
		}
	})
	v := &victim{t: t, dir: t.TempDir(), opts: opts, ledger: l}
	v.opts.Now = scriptClock
	pour(t, disk, v.dir)
	v.at = framesOf(v.read(v.segment()))
	return v
}

// pour writes the files of a memory disk's store to the real one.
func pour(t testing.TB, disk *vfs.Mem, dir string) {
	t.Helper()
	for _, name := range disk.Files() {
		b, err := disk.ReadFile(name)
		require.NoError(t, err)
		path := filepath.Join(dir, strings.TrimPrefix(name, storeDir+"/"))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, b, 0o644))
	}
}

// framesOf walks a segment by the lengths of its frames.
func framesOf(b []byte) (at []int) {
	off := 64
	for off+32 <= len(b) {
		n := int(binary.LittleEndian.Uint32(b[off+4:]))
		if n == 0 {
			break
		}
		at = append(at, off)
		off += (32 + n + 7) &^ 7
	}
	return append(at, off)
}

func (v *victim) segment() string {
	return filepath.Join(recovery.Dir(v.dir, 0), fmt.Sprintf("%016x.wal", 1))
}

func (v *victim) read(path string) []byte {
	b, err := os.ReadFile(path)
	require.NoError(v.t, err)
	return b
}

func (v *victim) write(path string, b []byte) { require.NoError(v.t, os.WriteFile(path, b, 0o644)) }

// reseal makes the checksum of the frame at off right again.
func reseal(b []byte, off int) {
	n := (32 + int(binary.LittleEndian.Uint32(b[off+4:])) + 7) &^ 7
	binary.LittleEndian.PutUint32(b[off:], crc32.Checksum(b[off+4:off+n], crc32.MakeTable(crc32.Castagnoli)))
}

// damaged wants the store to be refused with file and offset (-1 = any), with
// nothing changed, and Check to find the same.
func (v *victim) damaged(file string, offset int64) {
	v.t.Helper()
	before := filesOf(v.t, vfs.OS, v.dir)
	checked, err := inmem.Check(v.dir)
	require.NoError(v.t, err)
	require.NotEmpty(v.t, checked.Problems)
	require.ErrorIs(v.t, errors.Join(checked.Problems...), inmem.ErrCorrupt)
	_, err = inmem.Open(v.dir, &v.opts)
	var corrupt *inmem.CorruptError
	require.ErrorAs(v.t, err, &corrupt)
	require.ErrorIs(v.t, err, inmem.ErrCorrupt)
	require.Equal(v.t, file, corrupt.File)
	if offset >= 0 {
		require.Equal(v.t, offset, corrupt.Offset)
	}
	require.ErrorContains(v.t, err, file)
	require.Equal(v.t, before, filesOf(v.t, vfs.OS, v.dir), "a refused store was changed")
}

// torn wants the store to be cut at an offset, and n commits to be left.
func (v *victim) torn(offset, n int) {
	v.t.Helper()
	report, got := v.ledger.verify(v.t, v.dir, v.os(), nil)
	id := v.ledger.order[0]
	require.Equal(v.t, n, got.kept[id])
	require.Equal(v.t, recovery.Torn, report.Verdict)
	s := report.Shards[0]
	require.Equal(v.t, v.segment(), s.TornFile)
	require.Equal(v.t, int64(offset), s.TornOffset)
}

// whole wants nothing to be missing.
func (v *victim) whole() *inmem.RecoveryReport {
	v.t.Helper()
	all := map[run.ID]uint64{}
	for id, e := range v.ledger.runs {
		all[id] = e.last
	}
	report, _ := v.ledger.verify(v.t, v.dir, v.os(), all)
	return report
}

func (v *victim) os() inmem.Options {
	opts := v.opts
	opts.FS = vfs.OS
	return opts
}

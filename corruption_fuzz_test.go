package inmem_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
	"inmem/wal"
)

// goldenPatient is a store of format 1 as it was closed, or as a kill might have
// left it: without the frame that a power cut tore.
func goldenPatient(t testing.TB, name string) *patient {
	t.Helper()
	disk, base := vfs.NewMem(), filepath.Join("testdata", "golden", goldenFormat, name)
	l := scriptLedger()
	require.NoError(t, filepath.WalkDir(base, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return disk.WriteFile(storeDir+strings.TrimPrefix(path, base), b)
	}))
	for _, path := range disk.Files() {
		if filepath.Ext(path) != ".wal" {
			continue
		}
		d, err := wal.ReadSegment(disk, path, func(f wal.Frame) error { return l.logged(f) })
		require.NoError(t, err)
		if d.Flaw != "" {
			b, err := disk.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, disk.WriteFile(path, b[:d.End]))
		}
	}
	return newPatient(t, disk, l, goldenOptions(nil))
}

// logged enters a commit that is in a log, for stores that nobody saw at work.
func (l *ledger) logged(f wal.Frame) error {
	if f.Kind != wal.Record {
		return nil
	}
	c, err := op.DecodeCommit(bytes.Clone(f.Payload))
	if err != nil {
		return err
	}
	if l.runs[c.Run] == nil {
		l.runs[c.Run] = &entry{info: run.Info{Meta: run.Meta{ID: c.Run}}}
	}
	l.runs[c.Run].history = append(l.runs[c.Run].history, c)
	return nil
}

// patches overwrites parts of files as the fuzzer says: file 1, offset 2,
// length 1, bytes; again and again.
func (p *patient) patches(in []byte) map[string][]byte {
	bad, names := map[string][]byte{}, p.names()
	for len(in) > 4 {
		name := names[int(in[0])%len(names)]
		if bad[name] == nil {
			bad[name] = bytes.Clone(p.files[name])
		}
		at := int(binary.LittleEndian.Uint16(in[1:])) % len(bad[name])
		n := min(int(in[3]), len(in)-4)
		copy(bad[name][at:], in[4:4+n])
		in = in[4+n:]
	}
	return bad
}

// patch is a triple that patches understands.
func (p *patient) patch(name string, at int64, b ...byte) []byte {
	for i, known := range p.names() {
		if known == name {
			return append([]byte{byte(i), byte(at), byte(at >> 8), byte(len(b))}, b...)
		}
	}
	panic(name)
}

// FuzzStore overwrites parts of the files of a small store. With sealed all
// checksums are made right afterwards, so that what is in the files is looked
// at: then nobody can say what is right, but a store is opened or refused.
func FuzzStore(f *testing.F) {
	stores := []*patient{goldenPatient(f, "closed"), goldenPatient(f, "crashed")}
	for i, p := range stores {
		f.Add(i == 1, false, []byte{})
		f.Add(i == 1, false, p.patch(manifestFile, 20, 1))
		for _, name := range p.names() {
			f.Add(i == 1, false, p.patch(name, 100, 0xff, 0xff))
			f.Add(i == 1, true, p.patch(name, 70, 0xff, 0xff))
		}
	}
	f.Fuzz(func(t *testing.T, crashed, sealed bool, in []byte) {
		p := stores[0]
		if crashed {
			p = stores[1]
		}
		disk, bad := p.disk.Clone(), p.patches(in)
		if !sealed {
			p.hold(t, disk, "patched", p.damage(t, disk, bad)...)
			return
		}
		for name, b := range bad {
			p.seal(name, b)
		}
		p.damage(t, disk, bad)
		p.openedOrRefused(t, disk)
	})
}

// seal makes the checksums of a file right that are where they were.
func (p *patient) seal(name string, b []byte) {
	sum := func(at, from, to int64) {
		binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[from:to], crc32.MakeTable(crc32.Castagnoli)))
	}
	size := int64(len(b))
	switch s, images := p.segments[name], p.images[name]; {
	case s != nil:
		sum(60, 0, 60)
		for _, f := range s.frames {
			sum(f.from, f.from+4, f.to)
		}
		if s.indexed {
			sum(size-8, s.end, size-segmentFooter)
			sum(size-4, size-segmentFooter, size-4)
		}
	case images != nil:
		sum(60, 0, 60)
		for _, list := range [][]span{images.live, images.index} {
			for _, block := range list {
				sum(block.from, block.from+4, block.to)
			}
		}
		sum(size-4, size-imagesFooter, size-4)
	default:
		sum(size-4, 0, size-4)
	}
}

// openedOrRefused wants one or the other, Check to know of it, and a store that
// was opened to be closed well, and opened again the same.
func (p *patient) openedOrRefused(t *testing.T, disk *vfs.Mem) {
	before := filesOf(t, disk, storeDir)
	checked, err := recovery.Check(disk, storeDir)
	require.NoError(t, err)
	p.opts.Shards = 0
	db, err := p.open(t, disk, before, "sealed")
	if err != nil {
		require.True(t, isAny(err, inmem.ErrCorrupt, inmem.ErrUnsupported), "%v", err)
		require.NotEmpty(t, checked.Problems, "Open says %v, but Check found nothing", err)
		require.True(t, isAny(errors.Join(checked.Problems...), inmem.ErrCorrupt, inmem.ErrUnsupported), "Check says %v, Open %v", checked.Problems, err)
		require.True(t, equalFiles(before, filesOf(t, disk, storeDir)), "a refused store was changed")
		return
	}
	was := lasting(t, db)
	require.NoError(t, db.Close())
	opts := p.opts
	opts.FS = disk
	db, err = inmem.Open(storeDir, &opts)
	require.NoError(t, err)
	require.Equal(t, was, lasting(t, db))
	require.NoError(t, db.Close())
}

// lasting returns what is in a store and will not expire: what does may do so
// at any moment, if the store's clock was patched.
func lasting(t *testing.T, db *inmem.DB) map[run.ID][]kv.Item {
	all := map[run.ID][]kv.Item{}
	for info, err := range db.Runs(bg, run.Filter{Spaces: true}) {
		require.NoError(t, err)
		r, err := db.Run(info.ID)
		require.NoError(t, err)
		all[info.ID] = slices.DeleteFunc(list(t, r, ""), func(it kv.Item) bool { return !it.Deadline.IsZero() })
	}
	return all
}

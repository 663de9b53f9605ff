package checkpoint

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// largeImage is a run with large values, some of which compress, between others.
func largeImage(n byte, values int, version uint64) *image {
	rng := rand.NewChaCha8([32]byte{n})
	im := &image{entry: Entry{Run: id(n), Version: version, FirstSeq: 1, LastSeq: 9, Info: []byte("info")}}
	for i := range values {
		value := make([]byte, op.Large+i)
		if i%2 == 0 {
			rng.Read(value)
		}
		im.items = append(im.items,
			item{fmt.Sprintf("\x01%03d", i), op.Item{Value: value, Version: uint64(i + 1), Deadline: int64(i)}},
			kv(fmt.Sprintf("%03d.", i), "small", 3, 0))
	}
	return im
}

// apart writes a checkpoint of images with their large values apart, those that are
// known before where they are, of images that were moved from other files, and of
// others as they are.
type apart struct {
	t      *testing.T
	fsys   vfs.FS
	files  *Files
	packed bool
}

func (a *apart) write(sequence uint64, fill func(w *Writer) []*image) int64 {
	a.t.Helper()
	w, err := NewWriter(a.fsys, dir, store, shard, sequence, timeOf(sequence))
	require.NoError(a.t, err)
	if a.packed {
		require.NoError(a.t, w.Compress())
	}
	images := fill(w)
	require.NoError(a.t, w.Finish(entries(images), slices.Values([]run.ID(nil))))
	return w.Size()
}

func (a *apart) image(w *Writer, im *image, last *Entry) {
	a.t.Helper()
	large, err := a.files.Large(last, im.all())
	require.NoError(a.t, err)
	require.NoError(a.t, w.ImageApart(&im.entry, im.all(), large, nil))
}

func (a *apart) version(sequence uint64) uint32 {
	b, err := vfs.ReadFile(a.fsys, path(sequence), 1<<30)
	require.NoError(a.t, err)
	return binary.LittleEndian.Uint32(b[8:])
}

// TestLargeValuesAreWrittenOnce: the next image refers to them where they are, in
// whatever file; what moves takes them along; and all is read as it was.
func TestLargeValuesAreWrittenOnce(t *testing.T) {
	for _, packed := range []bool{false, true} {
		m := newDisk(t)
		files := OpenFiles(m, dir, store, shard)
		defer func() { require.NoError(t, files.Close()) }()
		a := &apart{t, m, files, packed}
		im, other := largeImage(1, 6, 100), largeImage(2, 2, 50)
		least := int64(4 * op.Large) // what does not compress
		size := a.write(5, func(w *Writer) []*image {
			a.image(w, im, nil)
			a.image(w, other, nil)
			return []*image{im, other}
		})
		require.Greater(t, size, least)
		check(t, m, 5, []*image{im, other})
		require.EqualValues(t, FileVersion, a.version(5))

		// The next image has one value more, one less, and one with another version.
		first := im.entry
		im.entry.Version = 101
		im.items = im.items[2:]
		im.items[2].Version = 101
		im.items = append(im.items, kv("zzz", string(make([]byte, 2*op.Large)), 101, 0))
		size = a.write(6, func(w *Writer) []*image {
			a.image(w, im, &first)
			return []*image{im, other}
		})
		require.Less(t, size, int64(op.Large+3*op.Large+8192))
		check(t, m, 6, []*image{im, other})
		require.Len(t, im.entry.Values, 2)
		require.EqualValues(t, 5, im.entry.Values[0].File)

		// What lies in the first file moves, the rest stays.
		for _, e := range []*Entry{&im.entry, &other.entry} {
			require.Contains(t, slices.Collect(filesOf(e)), uint64(5))
		}
		a.write(7, func(w *Writer) []*image {
			for _, im := range []*image{im, other} {
				require.NoError(t, w.Move(&im.entry, files, map[uint64]bool{5: true}))
			}
			return []*image{im, other}
		})
		require.NoError(t, files.Close())
		require.NoError(t, Clean(m, dir, map[uint64]bool{6: true, 7: true}))
		check(t, m, 7, []*image{im, other})
		require.Equal(t, []uint64{7}, slices.Compact(slices.Collect(filesOf(&other.entry))))
		require.Equal(t, []uint64{7, 6, 7}, slices.Collect(filesOf(&im.entry)))

		// A copy is whole by itself.
		a.write(8, func(w *Writer) []*image {
			require.NoError(t, w.Copy(&im.entry, files))
			return []*image{im}
		})
		require.NoError(t, files.Close())
		require.NoError(t, Clean(m, dir, map[uint64]bool{8: true}))
		check(t, m, 8, []*image{im})
		require.NoError(t, files.Verify(8))

		// Without large values the format is what it was.
		small := samples()
		a.write(9, func(w *Writer) []*image {
			for _, im := range small {
				require.NoError(t, w.Image(&im.entry, im.all()))
			}
			return small
		})
		require.EqualValues(t, map[bool]int{false: FormatVersion, true: packedVersion}[packed], a.version(9))
	}
}

func filesOf(e *Entry) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for file := range e.Held {
			if !yield(file) {
				return
			}
		}
	}
}

// TestLargeValuesDamaged: damage of a large value is found where it is, also where
// its block is whole and another one.
func TestLargeValuesDamaged(t *testing.T) {
	m := newDisk(t)
	im := largeImage(1, 4, 9)
	for i := range im.items { // of one size, so that one can stand for another
		if len(im.items[i].Value) > op.Large {
			im.items[i].Value = im.items[i].Value[:op.Large]
		}
	}
	files := OpenFiles(m, dir, store, shard)
	a := &apart{t, m, files, false}
	a.write(5, func(w *Writer) []*image { a.image(w, im, nil); return []*image{im} })
	values, err := files.values(&im.entry)
	require.NoError(t, err)
	require.Len(t, values, 4)
	require.NoError(t, files.Close())
	whole, err := vfs.ReadFile(m, path(5), 1<<30)
	require.NoError(t, err)
	var at []Location
	for _, r := range values {
		at = append(at, r.at)
	}
	read := func(change func(b []byte)) error {
		b := bytes.Clone(whole)
		change(b)
		disk := newDisk(t)
		require.NoError(t, vfs.WriteFileAtomic(disk, path(5), b))
		_, _, err := read(disk, dir, 5)
		return err
	}
	require.NoError(t, read(func([]byte) {}))
	for _, loc := range at {
		for _, off := range []int64{0, 4, 7, 8, 9000, loc.Length - 1} {
			err := read(func(b []byte) { b[loc.Offset+off] ^= 1 })
			requireCorrupt(t, err, path(5), len(whole))
			require.ErrorContains(t, err, fmt.Sprint(loc.Offset), "where the block begins")
		}
	}
	err = read(func(b []byte) {
		x, y := at[0], at[1]
		one := bytes.Clone(b[x.Offset : x.Offset+x.Length])
		copy(b[x.Offset:], b[y.Offset:y.Offset+y.Length])
		copy(b[y.Offset:], one)
	})
	require.ErrorContains(t, err, "not the one")
	requireCorrupt(t, err, path(5), len(whole))

	// An index that says other files than the image.
	e := im.entry
	e.Values = []Holding{{5, e.Values[0].Bytes - 1}}
	err = files.Image(&e, func([]byte, op.Item) {})
	requireCorrupt(t, err, path(5), len(whole))
	e.Values = []Holding{{5, int64(len(whole))}}
	requireCorrupt(t, files.Within(&e), path(5), len(whole))
	e.Values = []Holding{{4, 100}}
	requireCorrupt(t, files.Within(&e), path(4), len(whole))
	require.NoError(t, files.Within(&im.entry))
	require.NoError(t, files.Close())
}

// TestLargeValuesSurvivePowerLoss crashes at every operation of a checkpoint that
// refers to values in an earlier one.
func TestLargeValuesSurvivePowerLoss(t *testing.T) {
	for at := 1; ; at++ {
		m := newDisk(t)
		files := OpenFiles(m, dir, store, shard)
		a := &apart{t, m, files, false}
		im := largeImage(1, 3, 9)
		a.write(5, func(w *Writer) []*image { a.image(w, im, nil); return []*image{im} })
		old := *im
		crashed := crashAt(m, m.Ops()+at, rand.New(rand.NewPCG(1, uint64(at))))
		next := *im
		next.items = append(slices.Clone(im.items), kv("zz", string(make([]byte, op.Large)), 10, 0))
		large, err := files.Large(&im.entry, next.all())
		require.NoError(t, err)
		err = func() error {
			w, err := NewWriter(m, dir, store, shard, 9, timeOf(9))
			if err != nil {
				return err
			}
			if err := w.ImageApart(&next.entry, next.all(), large, nil); err != nil {
				require.Error(t, w.ImageApart(&next.entry, next.all(), large, nil), "it stays failed")
				return err
			}
			return w.Finish(entries([]*image{&next}), slices.Values([]run.ID(nil)))
		}()
		require.NoError(t, files.Close())
		left := crashed()
		check(t, left, 5, []*image{&old})
		if slices.Contains(left.Files(), path(9)) {
			check(t, left, 9, []*image{&next})
		}
		if err == nil {
			require.Contains(t, left.Files(), path(9))
			require.Greater(t, at, 6)
			return
		}
	}
}

// FuzzStored decodes any bytes as items of an image, and what entries say of files
// with large values. What decodes is written back byte for byte.
func FuzzStored(f *testing.F) {
	it := op.Item{Version: 3, Deadline: 1}
	f.Add(appendRef(nil, "\x01key", it, &ref{Location{7, 64, 70_000}, 69_000, op.Part{Low: 1, High: 2}}))
	f.Add(appendItem(nil, "\x01key", op.Item{Value: []byte("value"), Version: 300}))
	f.Add(appendHoldings(nil, []Holding{{5, 1}, {9, 70_000}}))
	f.Add([]byte{0, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newFields(b)
		var again []byte
		for d.Len() > 0 {
			key, it, r := d.stored()
			if r.size > 0 {
				again = appendRef(again, string(key), it, &r)
			} else {
				again = appendItem(again, string(key), it)
			}
		}
		if d.Err() == nil {
			require.True(t, bytes.Equal(b, again))
		}
		d = newFields(b)
		list := d.holdings()
		if d.Err() == nil {
			require.True(t, bytes.Equal(b[:len(b)-d.Len()], appendHoldings(nil, list)))
		}
	})
}

package checkpoint

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// smallFile is a checkpoint of a kilobyte or less, as bytes.
func smallFile(t testing.TB) []byte {
	m := newDisk(t)
	require.NoError(t, write(m, 9, samples(), id(8)))
	b, err := m.ReadFile(path(9))
	require.NoError(t, err)
	return b
}

// readFile reads b as the checkpoint 9.
func readFile(t require.TestingT, b []byte) (*Index, []*image, error) {
	m := newDisk(t)
	require.NoError(t, m.WriteFile(path(9), b))
	return read(m, dir, 9)
}

func TestEveryBitFlipIsFound(t *testing.T) {
	good := smallFile(t)
	_, _, err := readFile(t, good)
	require.NoError(t, err)
	for bit := range len(good) * 8 {
		b := slices.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		_, _, err := readFile(t, b)
		requireCorrupt(t, err, Name(dir, 9), len(b), "bit %d", bit)
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	good := smallFile(t)
	for n := range good {
		_, _, err := readFile(t, good[:n])
		requireCorrupt(t, err, Name(dir, 9), len(good), "the first %d bytes", n)
	}
	_, _, err := readFile(t, append(slices.Clone(good), 0))
	requireCorrupt(t, err, Name(dir, 9), len(good)+1, "a byte more")
	for gap := 1; gap < len(good); gap++ { // a part is missing in the middle
		_, _, err := readFile(t, append(slices.Clone(good[:gap]), good[gap+1:]...))
		requireCorrupt(t, err, Name(dir, 9), len(good), "without byte %d", gap)
	}
}

// TestDamageInAnOlderFile: the index is fine, and the error names the file that
// is not.
func TestDamageInAnOlderFile(t *testing.T) {
	m, images := newDisk(t), samples()
	require.NoError(t, write(m, 1, images))
	w, err := NewWriter(m, dir, store, shard, 2, timeOf(2))
	require.NoError(t, err)
	require.NoError(t, w.Finish(entries(images), slices.Values([]run.ID(nil))))
	check(t, m, 2, images)
	loc := images[0].entry.Location
	for bit := loc.Offset * 8; bit < (loc.Offset+loc.Length)*8; bit++ {
		require.NoError(t, m.Flip(path(1), bit))
		_, _, err := read(m, dir, 2)
		requireCorrupt(t, err, Name(dir, 1), 1000, "bit %d", bit)
		require.NoError(t, m.Flip(path(1), bit))
	}
	require.NoError(t, m.Remove(path(1)))
	_, _, err = read(m, dir, 2)
	requireCorrupt(t, err, Name(dir, 1), 0)
	assert.ErrorContains(t, err, "missing")
}

func TestFilesOfOthersAreRefused(t *testing.T) {
	m := newDisk(t)
	require.NoError(t, write(m, 9, samples()))
	b, err := m.ReadFile(path(9))
	require.NoError(t, err)
	require.NoError(t, m.WriteFile(path(8), b))
	other := store
	other[7] ^= 1
	for name, c := range map[string]struct {
		store    [16]byte
		shard    uint32
		sequence uint64
		says     string
	}{
		"of another store":   {other, shard, 9, "another store"},
		"of another shard":   {store, shard + 1, 9, "another store or shard"},
		"under another name": {store, shard, 8, "name and its header disagree"},
	} {
		files := OpenFiles(m, dir, c.store, c.shard)
		_, err := files.Index(c.sequence)
		requireCorrupt(t, err, Name(dir, c.sequence), len(b), name)
		require.ErrorContains(t, err, c.says)
		require.NoError(t, files.Close())
	}
}

func TestReadErrorsAreNotDamage(t *testing.T) {
	m, images := newDisk(t), samples()
	require.NoError(t, write(m, 9, images))
	reads := 0
	m.SetReadFault(func(vfs.Op) error { reads++; return nil })
	_, _, err := read(m, dir, 9)
	require.NoError(t, err)
	for fail := range reads {
		n := 0
		m.SetReadFault(func(vfs.Op) error {
			if n++; n == fail+1 {
				return syscall.EIO
			}
			return nil
		})
		_, _, err := read(m, dir, 9)
		require.ErrorIs(t, err, syscall.EIO, "read %d", fail)
		require.NotErrorIs(t, err, op.ErrCorrupt, "read %d", fail)
		require.ErrorContains(t, err, filepath.Base(Name(dir, 9)))
	}
	m.SetReadFault(nil)

	b := &brittle{FS: m, size: syscall.EIO}
	files := OpenFiles(b, dir, store, shard)
	_, err = files.Index(9)
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, files.Image(&images[0].entry, nil), syscall.EIO)
	require.NoError(t, files.Close())
	require.NoError(t, m.Remove(path(9)))
	require.NoError(t, m.MkdirAll(path(9), 0o755))
	_, err = files.Index(9)
	require.ErrorIs(t, err, syscall.EISDIR)
	require.NotErrorIs(t, err, op.ErrCorrupt)
}

// block is a body with a header whose checksum is right.
func block(body ...[]byte) []byte {
	b := slices.Concat(append([][]byte{make([]byte, blockHeader)}, body...)...)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-blockHeader))
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// craft is a file with checksums that are right, whatever the parts say.
func craft(image, index []byte, runs uint64, dead uint32) []byte {
	h := header{store: store, shard: shard, sequence: 9, time: timeOf(9)}
	ft := footer{index: int64(fileHeader + len(image)), runs: runs, dead: dead}
	return slices.Concat(h.encode(), image, index, ft.encode())
}

func sealHeader(b []byte) {
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
}

func sealFooter(b []byte) {
	b = b[len(b)-footerSize:]
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
}

func TestFormatOfTheHeader(t *testing.T) {
	good := smallFile(t)
	newer := slices.Clone(good)
	binary.LittleEndian.PutUint32(newer[8:], FileVersion+1)
	sealHeader(newer)
	_, _, err := readFile(t, newer)
	var unsupported *op.UnsupportedError
	require.ErrorAs(t, err, &unsupported)
	assert.Equal(t, &op.UnsupportedError{File: Name(dir, 9), Version: FileVersion + 1, Known: FileVersion}, unsupported)
	assert.NotErrorIs(t, err, op.ErrCorrupt)

	zero := slices.Clone(good)
	binary.LittleEndian.PutUint32(zero[8:], 0)
	sealHeader(zero)
	_, _, err = readFile(t, zero)
	requireCorrupt(t, err, Name(dir, 9), len(zero))
}

// TestImagesThatNobodyWrote have checksums that are right and contents that are
// not: a bug of another program, or of this one.
func TestImagesThatNobodyWrote(t *testing.T) {
	it := func(key string, version uint64, deadline int64) []byte {
		return appendItem(nil, key, op.Item{Value: []byte("v"), Version: version, Deadline: deadline})
	}
	a, b := it("\x01a", 1, 0), it("\x01b", 1, 0)
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	tooLong := block(a)
	binary.LittleEndian.PutUint32(tooLong[4:], uint32(len(a)+1))
	lies := block(a)
	binary.LittleEndian.PutUint32(lies[4:], math.MaxUint32)
	largest := block(a)
	binary.LittleEndian.PutUint32(largest[4:], maxBlock)
	good := slices.Concat(block(a), block(b))
	for name, c := range map[string]struct {
		image []byte
		keys  uint64
		shift int64 // of the entry's length
		says  func(*Entry)
	}{
		"good":                        {image: good, keys: 2},
		"good, in one block":          {image: block(a, b), keys: 2},
		"more keys of a tag":          {image: good, keys: 2, says: func(e *Entry) { e.Counts[op.KV] = 3 }},
		"fewer keys of a tag":         {image: good, keys: 2, says: func(e *Entry) { e.Counts[op.KV] = 1 }},
		"a deadline that is not":      {image: good, keys: 2, says: func(e *Entry) { e.Deadlines, e.Earliest = 1, 5 }},
		"a deadline without a time":   {image: good, keys: 2, says: func(e *Entry) { e.Deadlines = 1 }},
		"another earliest deadline":   {image: block(it("\x01a", 1, 7)), keys: 1, says: func(e *Entry) { e.Deadlines, e.Earliest = 1, 6 }},
		"a key too few":               {image: good, keys: 1},
		"a key too many":              {image: good, keys: 3},
		"2^64-1 keys":                 {image: good, keys: math.MaxUint64},
		"no key":                      {image: block(it("", 1, 0)), keys: 1},
		"tag 0":                       {image: block(it("\x00a", 1, 0)), keys: 1},
		"tag 7":                       {image: block(it("\x07a", 1, 0)), keys: 1},
		"version 0":                   {image: block(it("\x01a", 0, 0)), keys: 1},
		"negative deadline":           {image: block(it("\x01a", 1, -1)), keys: 1},
		"deadline on an event":        {image: block(it("\x02a", 1, 1)), keys: 1},
		"out of order":                {image: block(b, a), keys: 2},
		"out of order between blocks": {image: slices.Concat(block(b), block(a)), keys: 2},
		"a key twice":                 {image: slices.Concat(block(a), block(a)), keys: 2},
		"half an item":                {image: block(a, b[:len(b)-1]), keys: 2},
		"half an item, then the rest": {image: slices.Concat(block(a[:3]), block(a[3:])), keys: 1},
		"a huge key":                  {image: block(huge, []byte("\x01a")), keys: 1},
		"a huge value":                {image: block([]byte("\x02\x01a"), huge, []byte("v")), keys: 1},
		"a number not shortest":       {image: block(a[:len(a)-1], []byte{0x80, 0}), keys: 1},
		"an empty block":              {image: slices.Concat(block(), block(a)), keys: 1},
		"a block longer than the rest": {
			image: tooLong, keys: 1,
		},
		"a block of 4 GiB":              {image: lies, keys: 1},
		"the largest block":             {image: largest, keys: 1},
		"the image ends in a header":    {image: good, keys: 2, shift: -int64(len(b)) - 1},
		"the image ends in a block":     {image: good, keys: 2, shift: -1},
		"the image ends before a block": {image: good, keys: 2, shift: -int64(len(block(b)))},
		"the image goes on":             {image: good, keys: 2, shift: 1},
		"the image goes beyond the end": {image: good, keys: 2, shift: 1 << 20},
		"2^63-1 bytes":                  {image: good, keys: 2, shift: math.MaxInt64 - int64(len(good))},
	} {
		t.Run(name, func(t *testing.T) {
			e := Entry{Run: id(1), Version: 1, Keys: c.keys, Location: Location{File: 9, Offset: fileHeader, Length: int64(len(c.image)) + c.shift}}
			e.Counts[op.KV] = int32(min(c.keys, 3))
			if c.says != nil {
				c.says(&e)
			}
			file := craft(c.image, block(appendEntry(nil, &e)), 1, 0)
			var err error
			n := allocated(func() { _, _, err = readFile(t, file) })
			assert.Less(t, n, uint64(1<<20), "bytes allocated")
			if strings.HasPrefix(name, "good") {
				require.NoError(t, err)
				return
			}
			requireCorrupt(t, err, Name(dir, 9), len(file))
		})
	}
}

func TestIndexesThatNobodyWrote(t *testing.T) {
	e := func(n byte, change func(*Entry)) []byte {
		e := Entry{Run: id(n), Version: 1, Location: Location{File: 9, Offset: fileHeader}}
		if change != nil {
			change(&e)
		}
		return appendEntry(nil, &e)
	}
	d := func(n byte) []byte { x := id(n); return x[:] }
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	one := e(1, nil)
	for name, c := range map[string]struct {
		index []byte
		runs  uint64
		dead  uint32
	}{
		"good":                      {block(one, e(2, nil), d(1), d(2)), 2, 2},
		"good, in blocks":           {slices.Concat(block(one), block(e(2, nil)), block(d(1)), block(d(2))), 2, 2},
		"no such runs":              {nil, 1, 0},
		"2^64-1 runs":               {block(one), math.MaxUint64, 0},
		"no such deleted runs":      {block(one), 1, 1},
		"2^32-1 deleted runs":       {block(one), 1, math.MaxUint32},
		"a deleted run more":        {block(one, d(1)), 1, 0},
		"runs read as deleted ones": {block(one, one), 1, 0},
		"run zero":                  {block(e(1, func(e *Entry) { e.Run = run.ID{} })), 1, 0},
		"out of order":              {block(e(2, nil), one), 2, 0},
		"out of order, in blocks":   {slices.Concat(block(e(2, nil)), block(one)), 2, 0},
		"a run twice":               {block(one, one), 2, 0},
		"deleted out of order":      {block(d(2), d(1)), 0, 2},
		"deleted twice":             {slices.Concat(block(d(2)), block(d(2))), 0, 2},
		"deleted zero":              {block(make([]byte, 16)), 0, 1},
		"half a deleted run":        {block(d(1)[:15]), 0, 1},
		"half an entry":             {block(one[:len(one)-1]), 1, 0},
		"time after the end":        {block(e(1, func(e *Entry) { e.Time = -1 })), 1, 0},
		"negative offset":           {block(e(1, func(e *Entry) { e.Location.Offset = -1 })), 1, 0},
		"negative length":           {block(e(1, func(e *Entry) { e.Location.Length = -1 })), 1, 0},
		"image in the header":       {block(e(1, func(e *Entry) { e.Location.Offset = fileHeader - 1 })), 1, 0},
		"image beyond the end":      {block(e(1, func(e *Entry) { e.Location.Offset = math.MaxInt64 })), 1, 0},
		"image in a newer file":     {block(e(1, func(e *Entry) { e.Location.File = 10 })), 1, 0},
		"a huge info":               {block(one[:len(one)-1], huge), 1, 0},
		"not shortest":              {block(one[:len(one)-1], []byte{0x80, 0}), 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			file := craft(nil, c.index, c.runs, c.dead)
			var err error
			n := allocated(func() { _, _, err = readFile(t, file) })
			assert.Less(t, n, uint64(1<<20), "bytes allocated")
			if strings.HasPrefix(name, "good") {
				require.NoError(t, err)
				return
			}
			requireCorrupt(t, err, Name(dir, 9), len(file))
		})
	}
}

func TestImageElsewhere(t *testing.T) {
	m := newDisk(t)
	require.NoError(t, write(m, 9, samples()))
	files := OpenFiles(m, dir, store, shard)
	for _, loc := range []Location{
		{File: 9, Offset: -1}, {File: 9, Offset: fileHeader, Length: -1}, {File: 9, Offset: math.MaxInt64, Length: math.MaxInt64},
		{File: 9, Offset: math.MinInt64, Length: math.MaxInt64}, {File: 9, Offset: 1, Length: 20}, {File: 8}, {},
	} {
		err := files.Image(&Entry{Location: loc}, func([]byte, op.Item) { t.Error("an item out of nowhere") })
		requireCorrupt(t, err, Name(dir, loc.File), math.MaxInt)
	}
	require.NoError(t, files.Close())
}

func TestFooterThatNobodyWrote(t *testing.T) {
	good := smallFile(t)
	at := len(good) - footerSize
	for _, index := range []int64{0, fileHeader - 1, fileHeader, fileHeader + 1, int64(at) - 1, int64(at) + 1, math.MaxInt64, -1, math.MinInt64} {
		b := slices.Clone(good)
		binary.LittleEndian.PutUint64(b[at+8:], uint64(index))
		sealFooter(b)
		_, _, err := readFile(t, b)
		requireCorrupt(t, err, Name(dir, 9), len(b), "index at %d", index)
	}
	b := slices.Clone(good)
	copy(b[at:], "inmemFIN")
	sealFooter(b)
	_, _, err := readFile(t, b)
	requireCorrupt(t, err, Name(dir, 9), len(b))
	b = slices.Clone(good)
	copy(b, "inmemCKQ")
	sealHeader(b)
	_, _, err = readFile(t, b)
	requireCorrupt(t, err, Name(dir, 9), len(b))
}

// allocated is the number of bytes that fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzManifest(f *testing.F) {
	good := sampleManifest().encode()
	f.Add(good, false)
	f.Add(good[:len(good)-1], true)
	f.Add((&Manifest{Shards: slices.Repeat([]Shard{{First: 1}}, 5)}).encode(), true)
	f.Add([]byte(manifestMagic), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal {
			b = sealManifest(b)
		}
		m, err := decodeManifest("m", b)
		switch {
		case err == nil:
			require.NoError(t, m.check())
			require.Equal(t, b, m.encode())
		case !unsupported(err):
			requireCorrupt(t, err, "m", len(b))
		}
	})
}

func unsupported(err error) bool {
	_, ok := err.(*op.UnsupportedError)
	return ok
}

// FuzzFile reads any bytes as a checkpoint. With seal the checksums and the
// header are made right first, so that the fuzzer comes past them.
func FuzzFile(f *testing.F) {
	good := smallFile(f)
	f.Add(good, false)
	f.Add(good, true)
	f.Add(good[:100], true)
	f.Add(craft(block([]byte("\x02\x01a\x01v\x01\x00")), block(appendEntry(nil, &Entry{Run: id(1)})), 1, 0), true)
	f.Add(craft(nil, nil, math.MaxUint64, math.MaxUint32), true)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal {
			b = sealFile(b)
		}
		x, images, err := readFile(t, b)
		if err != nil {
			if !unsupported(err) {
				require.ErrorIs(t, err, op.ErrCorrupt)
			}
			return
		}
		var order ascending
		for _, im := range images {
			require.True(t, order.live(im.entry.Run))
			require.EqualValues(t, len(im.items), im.entry.Keys)
			last := ""
			for _, it := range im.items {
				require.Greater(t, it.key, last)
				require.True(t, validItem(op.Tag(it.key[0]), it.Item))
				last = it.key
			}
		}
		for _, id := range x.Deleted {
			require.True(t, order.dead(id))
		}
	})
}

// sealFile gives b the header of checkpoint 9 and makes its checksums right.
func sealFile(b []byte) []byte {
	if len(b) < fileHeader+footerSize {
		return b
	}
	b = bytes.Clone(b)
	copy(b, (&header{store: store, shard: shard, sequence: 9}).encode())
	copy(b[len(b)-footerSize:], footerMagic)
	sealFooter(b)
	for rest := b[fileHeader : len(b)-footerSize]; len(rest) >= blockHeader; {
		n := uint64(binary.LittleEndian.Uint32(rest[4:]))
		if n > uint64(len(rest)-blockHeader) {
			break
		}
		binary.LittleEndian.PutUint32(rest, crc32.Checksum(rest[4:blockHeader+n], castagnoli))
		rest = rest[blockHeader+n:]
	}
	return b
}

// FuzzBodies decodes any bytes as the body of a block. One state has one
// encoding: what decodes is written back byte for byte.
func FuzzBodies(f *testing.F) {
	e := samples()[0].entry
	f.Add(appendEntry(nil, &e))
	f.Add(appendItem(nil, "\x01key", op.Item{Value: []byte("value"), Version: 300, Deadline: math.MaxInt64}))
	f.Add(binary.AppendUvarint(nil, math.MaxUint64))
	f.Add([]byte{0x80, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newFields(b)
		var again []byte
		for d.Len() > 0 {
			e := d.entry(FormatVersion)
			again = appendEntry(again, &e)
		}
		if d.Err() == nil {
			require.Equal(t, len(b), len(again))
			require.True(t, bytes.Equal(b, again))
		}
		for d = newFields(b); d.Len() > 0; {
			e := d.entry(1)
			require.True(t, e.Bare())
		}
		d, again = newFields(b), nil
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
	})
}

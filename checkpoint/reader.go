package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// Index is a checkpoint as read: all its runs, and where their images are.
type Index struct {
	Sequence uint64 // the log up to here is covered
	Time     int64  // Unix milliseconds
	Entries  []Entry
	Deleted  []run.ID
}

// Find returns the entry of a run, or nil.
func (x *Index) Find(id run.ID) *Entry {
	i, found := slices.BinarySearchFunc(x.Entries, id, func(e Entry, id run.ID) int { return e.Run.Compare(id) })
	if !found {
		return nil
	}
	return &x.Entries[i]
}

// readFull reads b at off. A file that ends before is damaged.
func readFull(f vfs.File, b []byte, off int64) (int, error) {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return n, nil
	}
	if err == io.EOF {
		return n, &op.CorruptError{File: f.Name(), Offset: off + int64(n), Reason: "the file ends too early"}
	}
	return n, fmt.Errorf("reading %s at %d: %w", f.Name(), off, err)
}

// Files reads the images of a shard. One goroutine uses it at a time. It keeps
// the files open that it has read from.
type Files struct {
	fsys  vfs.FS
	dir   string
	store [16]byte
	shard uint32
	open  map[uint64]vfs.File
	sizes map[uint64]int64 // those that Within has asked for
	buf   []byte
	unpacker
}

// OpenFiles returns a reader of the checkpoint files in dir.
func OpenFiles(fsys vfs.FS, dir string, store [16]byte, shard uint32) *Files {
	return &Files{fsys: fsys, dir: dir, store: store, shard: shard, open: map[uint64]vfs.File{}, sizes: map[uint64]int64{}}
}

// Close closes the files; the next use opens them again. Space of removed files
// is free only then.
func (fs *Files) Close() error {
	var err error
	for n, f := range fs.open {
		err = errors.Join(err, f.Close())
		delete(fs.open, n)
	}
	if fs.zstd != nil {
		fs.zstd.Close()
		fs.zstd = nil
	}
	return err
}

// file returns the open checkpoint file, its header checked.
func (fs *Files) file(sequence uint64) (vfs.File, error) {
	if f := fs.open[sequence]; f != nil {
		return f, nil
	}
	name := Name(fs.dir, sequence)
	f, err := fs.fsys.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &op.CorruptError{File: name, Reason: "the checkpoint is missing"}
	}
	if err != nil {
		return nil, err
	}
	if _, err := readHeader(f, fs.store, fs.shard); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	fs.open[sequence] = f
	return f, nil
}

// leastEntry is less than any entry takes in an index, in bytes.
const leastEntry = 40

// Index reads the index of the checkpoint that covers the log up to sequence.
func (fs *Files) Index(sequence uint64) (*Index, error) {
	var entries []Entry
	x, err := fs.index(sequence, func(e *Entry, runs uint64) {
		if entries == nil {
			entries = make([]Entry, 0, runs)
		}
		entries = append(entries, *e)
	})
	if err != nil {
		return nil, err
	}
	x.Entries = entries
	return x, nil
}

// index hands the entries of an index to fn, and how many there are at most, and
// returns the rest.
func (fs *Files) index(sequence uint64, fn func(e *Entry, runs uint64)) (*Index, error) {
	f, err := fs.file(sequence)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(f, fs.store, fs.shard)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	ft, err := readFooter(f, size)
	if err != nil {
		return nil, err
	}
	x := &Index{Sequence: h.sequence, Time: h.time}
	if ft.apart {
		h.format = FileVersion // whatever a header says that was lost
	}
	end := size - footerSize
	// The footer is not trusted with more than the index has room for.
	most, runs := min(ft.runs, uint64(end-ft.index)/leastEntry), uint64(0)
	var order ascending
	err = fs.blocks(Location{File: sequence, Offset: ft.index, Length: end - ft.index}, func(body []byte) error {
		d := newFields(bytes.Clone(body)) // entries keep slices of it
		for d.Len() > 0 {
			if runs < ft.runs {
				e := d.entry(h.format)
				if ft.apart {
					e.Values = d.holdings()
				}
				if d.Err() == nil && (!order.live(e.Run) || e.newest() > sequence) {
					d.Fail("an entry out of order, or with an image in a newer file")
				}
				runs++
				fn(&e, most)
				continue
			}
			id := d.id()
			if d.Err() == nil && !order.dead(id) {
				d.Fail("a deleted run out of order")
			}
			x.Deleted = append(x.Deleted, id)
		}
		return d.Err()
	})
	if err != nil {
		return nil, err
	}
	if runs != ft.runs || len(x.Deleted) != int(ft.dead) {
		return nil, &op.CorruptError{File: f.Name(), Offset: end + 16, Reason: "the index does not hold as many runs as the footer says"}
	}
	return x, nil
}

// Verify reads all of a checkpoint file, what no newer index needs any more
// included.
func (fs *Files) Verify(sequence uint64) error {
	if _, err := fs.Index(sequence); err != nil {
		return err
	}
	f, err := fs.file(sequence)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	ft, err := readFooter(f, size)
	if err != nil {
		return err
	}
	images := Location{File: sequence, Offset: fileHeader, Length: ft.index - fileHeader}
	return fs.blocks(images, func([]byte) error { return nil })
}

// Image hands the items of a run to fn, in order, and holds them against the
// entry; a bare one it completes. Key and value are fn's to keep only as copies.
func (fs *Files) Image(e *Entry, fn func(mapKey []byte, it op.Item)) error {
	var sum summary
	list := values{}
	var digest op.Digester
	err := fs.stored(e, func(key []byte, it op.Item, r *ref) error {
		if r.size > 0 {
			list[r.part] = r
			if err := fs.whole(&digest, key, &it, r); err != nil {
				return err
			}
		}
		sum.add(key[0], it)
		fn(key, it)
		return nil
	})
	if err != nil {
		return err
	}
	if !slices.Equal(list.holdings(), e.Values) {
		return &op.CorruptError{File: Name(fs.dir, e.Location.File), Offset: e.Location.Offset,
			Reason: "the image refers to other large values than the index says"}
	}
	if sum.keys != e.Keys {
		return &op.CorruptError{File: Name(fs.dir, e.Location.File), Offset: e.Location.Offset,
			Reason: fmt.Sprintf("the image has %d keys, the index says %d", sum.keys, e.Keys)}
	}
	if e.bare {
		e.take(&sum)
	} else if sum != (summary{e.Keys, e.Deadlines, e.Earliest, e.Counts}) {
		return &op.CorruptError{File: Name(fs.dir, e.Location.File), Offset: e.Location.Offset,
			Reason: "the image has other deadlines, or keys of other tags, than the index says"}
	}
	return nil
}

// ascending holds the order of an index: of its runs, then of the deleted ones.
type ascending struct {
	run, deleted run.ID
}

func (a *ascending) live(id run.ID) bool {
	ok := id.Compare(a.run) > 0
	a.run = id
	return ok
}

func (a *ascending) dead(id run.ID) bool {
	ok := id.Compare(a.deleted) > 0
	a.deleted = id
	return ok
}

// within makes sure that the place lies in its file, which has a size.
func (loc Location) within(name string, size int64) error {
	if loc.Offset < fileHeader || loc.Length < 0 || loc.Offset > size-loc.Length {
		return &op.CorruptError{File: name, Offset: min(max(loc.Offset, 0), size), Reason: "an image lies outside its file"}
	}
	return nil
}

// blocks hands the bodies of the blocks at loc to fn, each checked. An
// errMalformed of fn is damage at that block.
func (fs *Files) blocks(loc Location, fn func(body []byte) error) error {
	defer func() {
		if cap(fs.buf) > writeChunk { // a single large value is not worth keeping room for
			fs.buf = nil
		}
	}()
	f, err := fs.file(loc.File)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	corrupt := func(off int64, reason string) error {
		return &op.CorruptError{File: f.Name(), Offset: off, Reason: reason}
	}
	if err := loc.within(f.Name(), size); err != nil {
		return err
	}
	end := loc.Offset + loc.Length
	var head [blockHeader]byte
	for off := loc.Offset; off < end; {
		if end-off < blockHeader {
			return corrupt(off, "a block longer than its image")
		}
		if _, err := readFull(f, head[:], off); err != nil {
			return err
		}
		length := binary.LittleEndian.Uint32(head[4:])
		n := int64(length &^ packedBlock)
		if n == 0 || n > maxBlock || off+blockHeader+n > end {
			return corrupt(off, "a block longer than its image, or empty")
		}
		if int64(cap(fs.buf)) < 4+n {
			fs.buf = make([]byte, 4+n)
		}
		b := fs.buf[:4+n]
		if _, err := readFull(f, b, off+4); err != nil {
			return err
		}
		if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(head[:]) {
			return corrupt(off, "a block whose checksum does not match")
		}
		body, err := b[4:], error(nil)
		if length&packedBlock != 0 {
			body, err = fs.unpack(body)
		}
		if err == nil {
			err = fn(body)
		}
		switch {
		case errors.Is(err, errMalformed):
			return corrupt(off, err.Error())
		case err != nil:
			return err
		}
		off += blockHeader + n
	}
	return nil
}

// Clean removes the checkpoint files in dir that keep does not name: what a
// crash left half-made, and what no run's image is in any more. It leaves all
// else alone. A removal that a crash undoes is for the next Clean.
func Clean(fsys vfs.FS, dir string, keep map[uint64]bool) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		sequence, unfinished, ok := parseName(e.Name())
		if !ok || e.IsDir() || (keep[sequence] && !unfinished) {
			continue
		}
		if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

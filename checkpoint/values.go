package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"maps"
	"slices"

	"inmem/op"
)

// A large value (op.Large) of a run lies in a block of its own, outside the images,
// which is written once: every image of the run refers to it, in format 4, by an
// item with a key length of 0 in front:
//
//	0 | key length uvarint | key, with its tag | value length uvarint |
//	file, offset, length of the block, uvarints | part of the digest 16 |
//	version uvarint | deadline uvarint
//
// The body of the block is the value. An entry says in which files there are such
// blocks of the run, and how many bytes of each, so that nobody needs to read the
// image to know which files are needed.

// ref is where a large value lies, and what it is.
type ref struct {
	at   Location // of its block
	size uint64   // of the value, in bytes
	part op.Part
}

// Holding is how many bytes of a file a run needs.
type Holding struct {
	File  uint64
	Bytes int64
}

// Held yields the files that the image of a run needs, and how many bytes of each;
// a file may come twice.
func (e *Entry) Held(yield func(file uint64, bytes int64) bool) {
	if !yield(e.Location.File, e.Location.Length) {
		return
	}
	for _, h := range e.Values {
		if !yield(h.File, h.Bytes) {
			return
		}
	}
}

// Size is how many bytes a run takes in checkpoints.
func (e *Entry) Size() (n int64) {
	for _, bytes := range e.Held {
		n += bytes
	}
	return n
}

// values are the large values that an image refers to, by what they are.
type values map[op.Part]*ref

// holdings adds up where values lie.
func (v values) holdings() []Holding {
	if len(v) == 0 {
		return nil
	}
	byFile := map[uint64]int64{}
	for _, r := range v {
		byFile[r.at.File] += r.at.Length
	}
	var list []Holding
	for _, file := range slices.Sorted(maps.Keys(byFile)) {
		list = append(list, Holding{file, byFile[file]})
	}
	return list
}

func appendRef(b []byte, mapKey string, it op.Item, r *ref) []byte {
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(len(mapKey)))
	b = append(b, mapKey...)
	for _, v := range [...]uint64{r.size, r.at.File, uint64(r.at.Offset), uint64(r.at.Length)} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.LittleEndian.AppendUint64(b, r.part.Low)
	b = binary.LittleEndian.AppendUint64(b, r.part.High)
	b = binary.AppendUvarint(b, it.Version)
	return binary.AppendUvarint(b, uint64(it.Deadline))
}

// stored reads an item as it lies in an image: one with a ref has no value.
func (d *fields) stored() (mapKey []byte, it op.Item, r ref) {
	mapKey = d.Bytes()
	if len(mapKey) > 0 || d.Err() != nil {
		it.Value = d.Bytes()
	} else {
		mapKey = d.Bytes()
		r.size = d.Uvarint()
		r.at = Location{File: d.Uvarint(), Offset: d.Int(), Length: d.Int()}
		if part := d.Take(16); part != nil {
			r.part = op.Part{Low: binary.LittleEndian.Uint64(part), High: binary.LittleEndian.Uint64(part[8:])}
		}
		if d.Err() == nil && (r.size == 0 || r.size > maxItem || r.at.Length <= blockHeader) {
			d.Fail("a large value of a size that none has")
		}
	}
	it.Version = d.Uvarint()
	it.Deadline = d.Int()
	if d.Err() == nil && (len(mapKey) == 0 || !validItem(op.Tag(mapKey[0]), it)) {
		d.Fail("an item that no run can hold")
	}
	return mapKey, it, r
}

// appendHoldings is what format 4 has of an entry more than format 3.
func appendHoldings(b []byte, list []Holding) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, h := range list {
		b = binary.AppendUvarint(b, h.File)
		b = binary.AppendUvarint(b, uint64(h.Bytes))
	}
	return b
}

func (d *fields) holdings() (list []Holding) {
	var last uint64
	for n := d.Uvarint(); n > 0 && d.Err() == nil; n-- {
		h := Holding{File: d.Uvarint(), Bytes: d.Int()}
		if d.Err() == nil && (h.Bytes == 0 || len(list) > 0 && h.File <= last) {
			d.Fail("large values of no bytes, or files out of order")
		}
		last = h.File
		list = append(list, h)
	}
	return list
}

// newest is the newest file that an entry's image needs.
func (e *Entry) newest() (file uint64) {
	for f := range e.Held {
		file = max(file, f)
	}
	return file
}

// Large are the large values of a run that is going to be written, and where those
// lie that its last image refers to.
type Large struct {
	refs   map[string]*ref // by key
	values values
	bytes  map[op.Part][]byte // of those that are not on disk, or have to be written again
}

// Large looks at the items of a run, of which last is the last image; nil = there
// is none. What cannot be read of that one has to be written again. The Large keeps
// the values.
func (fs *Files) Large(last *Entry, items iter.Seq2[string, op.Item]) (*Large, error) {
	l := &Large{refs: map[string]*ref{}, values: values{}, bytes: map[op.Part][]byte{}}
	var known values
	if last != nil {
		var err error
		if known, err = fs.values(last); err != nil && !errors.Is(err, op.ErrCorrupt) {
			return nil, err
		}
	}
	var digest op.Digester
	for key, it := range items {
		if len(it.Value) < op.Large {
			continue
		}
		part := digest.Part(key, it)
		r := known[part]
		if r == nil {
			r = &ref{size: uint64(len(it.Value)), part: part}
		}
		l.refs[key], l.values[part], l.bytes[part] = r, r, it.Value
	}
	return l, nil
}

// Held yields the files that values lie in by now, and how many bytes of each.
func (l *Large) Held(yield func(file uint64, bytes int64) bool) {
	for _, h := range l.values.holdings() {
		if h.File != 0 && !yield(h.File, h.Bytes) {
			return
		}
	}
}

// ImageApart is Image with the large values in blocks of their own: those that are
// on disk stay where they are, but for those in the files of anew, which are written
// again.
func (w *Writer) ImageApart(e *Entry, items iter.Seq2[string, op.Item], l *Large, anew map[uint64]bool) error {
	if w.err != nil {
		return w.err
	}
	for part, r := range l.values {
		if r.at.File != 0 && !anew[r.at.File] {
			continue
		}
		var err error
		if r.at, err = w.value(l.bytes[part]); err != nil {
			return err
		}
	}
	return w.image(e, items, l.refs, l.values.holdings())
}

// value writes a block with a large value, without copying it.
func (w *Writer) value(v []byte) (at Location, err error) {
	body, length := v, uint32(len(v))
	if w.zstd != nil {
		if packed := appendPacked(nil, w.zstd, v); packed != nil {
			body, length = packed, uint32(len(packed))|packedBlock
		}
	}
	start := w.off + int64(len(w.buf))
	var head [blockHeader]byte
	binary.LittleEndian.PutUint32(head[4:], length)
	sum := crc32.Update(crc32.Checksum(head[4:], castagnoli), castagnoli, body)
	binary.LittleEndian.PutUint32(head[:], sum)
	w.buf = append(w.buf, head[:]...)
	if err := w.write(); err != nil {
		return at, err
	}
	n, err := w.file.WriteAt(body, w.off)
	w.off += int64(n)
	return w.since(start), w.fail(err)
}

// values returns the large values that the image of e refers to. It reads the image
// and none of them.
func (fs *Files) values(e *Entry) (values, error) {
	if len(e.Values) == 0 {
		return nil, nil
	}
	list := values{}
	err := fs.stored(e, func(_ []byte, _ op.Item, r *ref) error {
		if r.size > 0 {
			list[r.part] = r
		}
		return nil
	})
	return list, err
}

// large reads a large value. It is the caller's.
func (fs *Files) large(r *ref) (value []byte, err error) {
	buf, body := fs.buf, fs.body // whoever reads the image is at work in them
	fs.buf, fs.body = nil, nil
	defer func() { fs.buf, fs.body = buf, body }()
	err = fs.blocks(r.at, func(body []byte) error {
		if value != nil || uint64(len(body)) != r.size {
			return fmt.Errorf("%w: not the large value that an image refers to", errMalformed)
		}
		value = body
		return nil
	})
	return value, err
}

// whole reads the value that an item refers to, and makes sure that it is the one.
func (fs *Files) whole(d *op.Digester, key []byte, it *op.Item, r *ref) (err error) {
	if it.Value, err = fs.large(r); err != nil {
		return err
	}
	if d.Part(string(key), *it) != r.part {
		return &op.CorruptError{File: Name(fs.dir, r.at.File), Offset: r.at.Offset,
			Reason: "a large value that is not the one that an image refers to"}
	}
	return nil
}

// Move writes what of a run lies in one of the files again into this one, and lets e
// point to it; nil stands for all files. After an error e is as it was; if it was one
// of reading, the writer can go on without the image.
func (w *Writer) Move(e *Entry, files *Files, from map[uint64]bool) error {
	if w.err != nil {
		return w.err
	}
	if len(e.Values) == 0 {
		return w.copyBlocks(e, files)
	}
	list, err := files.values(e)
	if err != nil {
		return err
	}
	moved := false
	for _, r := range list {
		if from != nil && !from[r.at.File] {
			continue
		}
		v, err := files.large(r)
		if err != nil {
			return err
		}
		if r.at, err = w.value(v); err != nil {
			return err
		}
		moved = true
	}
	if !moved {
		return w.copyBlocks(e, files)
	}
	return w.refer(e, files, list)
}

// refer writes an image again, with large values where they lie now.
func (w *Writer) refer(e *Entry, files *Files, list values) error {
	start := w.off + int64(len(w.buf))
	err := files.stored(e, func(key []byte, it op.Item, r *ref) error {
		if r.size == 0 {
			return w.put(appendItem(w.block(), string(key), it))
		}
		return w.put(appendRef(w.block(), string(key), it, list[r.part]))
	})
	if err := errors.Join(err, w.close()); err != nil {
		return err
	}
	e.Location, e.Values = w.since(start), list.holdings()
	return nil
}

// stored hands the items of an image to fn as they lie in it, in order.
func (fs *Files) stored(e *Entry, fn func(mapKey []byte, it op.Item, r *ref) error) error {
	var previous []byte
	return fs.blocks(e.Location, func(body []byte) error {
		d := newFields(body)
		for d.Len() > 0 {
			key, it, r := d.stored()
			if d.Err() == nil && bytes.Compare(key, previous) <= 0 {
				d.Fail("a key out of order")
			}
			if d.Err() != nil {
				return d.Err()
			}
			previous = key
			if err := fn(key, it, &r); err != nil {
				return err
			}
		}
		previous = bytes.Clone(previous) // the next block takes its place
		return nil
	})
}

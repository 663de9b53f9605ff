package indexfile

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// A file, little endian:
//
//	 0  8  magic "inmemVEC"
//	 8  4  format version
//	12  2  length of the collection's name, 1 or more
//	14  2  zero
//	16 16  store
//	32 16  run
//	48  …  the collection's name
//	    …  the index
//	    4  CRC-32C of all before
const (
	magic       = "inmemVEC"
	version     = 1
	headerSize  = 48
	trailerSize = 4
	// step is how many bytes are read or written at a time.
	step = 256 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what a file says of itself.
type header struct {
	store      [16]byte
	run        run.ID
	collection string
	body       int64 // bytes of the index
}

func (h *header) size() int64 { return headerSize + int64(len(h.collection)) }

func (h *header) append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(h.collection)))
	b = append(b, 0, 0)
	b = append(append(b, h.store[:]...), h.run[:]...)
	return append(b, h.collection...)
}

// write writes and syncs a file, and returns its size.
func (f *Files) write(path string, id run.ID, collection string, write func(io.Writer) error) (size int64, err error) {
	file, err := f.cfg.FS.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = cmp.Or(err, file.Close()) }()
	w := &writer{file: file, sum: crc32.New(castagnoli), buf: make([]byte, 0, step)}
	h := header{store: f.cfg.Store, run: id, collection: collection}
	if _, err = w.Write(h.append(nil)); err == nil {
		err = write(w)
	}
	if err == nil {
		_, err = w.Write(binary.LittleEndian.AppendUint32(nil, w.sum.Sum32()))
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = file.Sync()
	}
	return w.off, err
}

// writer writes a file from its beginning.
type writer struct {
	file vfs.File
	sum  hash.Hash32
	off  int64 // of what is in buf
	buf  []byte
}

func (w *writer) Write(b []byte) (int, error) {
	w.sum.Write(b)
	for rest := b; len(rest) > 0; {
		n := copy(w.buf[len(w.buf):cap(w.buf)], rest)
		w.buf, rest = w.buf[:len(w.buf)+n], rest[n:]
		if len(w.buf) == cap(w.buf) {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func (w *writer) flush() error {
	n, err := w.file.WriteAt(w.buf, w.off)
	w.off += int64(n)
	w.buf = w.buf[:0]
	return err
}

// verify reads a whole file, and returns what it says of itself once its checksum is
// right. Errors: *op.CorruptError, *op.UnsupportedError, and those of the disk.
func verify(file vfs.File) (*header, error) {
	corrupt := func(reason string, args ...any) error {
		return &op.CorruptError{File: file.Name(), Reason: fmt.Sprintf(reason, args...)}
	}
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	if size < headerSize+trailerSize {
		return nil, corrupt("%d bytes are no index", size)
	}
	r := io.NewSectionReader(file, 0, size)
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if string(b[:8]) != magic {
		return nil, corrupt("no index")
	}
	if v := le.Uint32(b[8:]); v > version {
		return nil, &op.UnsupportedError{File: file.Name(), Version: v, Known: version}
	}
	h := &header{store: [16]byte(b[16:]), run: run.ID(b[32:])}
	name := make([]byte, le.Uint16(b[12:]))
	if h.body = size - headerSize - int64(len(name)) - trailerSize; h.body < 0 || len(name) == 0 || le.Uint32(b[8:]) != version {
		return nil, corrupt("header")
	}
	if _, err := io.ReadFull(r, name); err != nil {
		return nil, err
	}
	h.collection = string(name)
	sum := crc32.New(castagnoli)
	sum.Write(b)
	sum.Write(name)
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, io.LimitReader(r, h.body), make([]byte, step)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(r, b[:trailerSize]); err != nil {
		return nil, err
	}
	if got, want := sum.Sum32(), le.Uint32(b); got != want {
		return nil, corrupt("its checksum is %08x instead of %08x", got, want)
	}
	return h, nil
}

// Checked is a file that Check has read.
type Checked struct {
	File       string // its path
	Bytes      int64
	Run        run.ID
	Collection string // "" where the file does not say, for its damage
	// Err says what is wrong with it: a *op.CorruptError, a *op.UnsupportedError or
	// the disk's. It is no harm: the index is made anew where it is wanted.
	Err error
}

// Check reads the files of a store, which may be open, and verifies their checksums.
// It changes nothing.
func Check(fsys vfs.FS, dir string, store [16]byte) []Checked {
	dir = Dir(dir)
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return []Checked{{File: dir, Err: err}}
	}
	var list []Checked
	for _, e := range entries {
		id, unfinished, ok := parseName(e.Name())
		if !ok || unfinished {
			continue
		}
		c := Checked{File: filepath.Join(dir, e.Name()), Run: id}
		if c.read(fsys, store); !errors.Is(c.Err, fs.ErrNotExist) { // it was replaced, or removed
			list = append(list, c)
		}
	}
	return list
}

func (c *Checked) read(fsys vfs.FS, store [16]byte) {
	file, err := fsys.OpenFile(c.File, os.O_RDONLY, 0)
	if err != nil {
		c.Err = err
		return
	}
	defer func() { c.Err = cmp.Or(c.Err, file.Close()) }()
	c.Bytes, _ = file.Size() // or the next call fails
	h, err := verify(file)
	switch {
	case err != nil:
		c.Err = err
	case h.store != store || filepath.Base(c.File) != nameOf(h.run, h.collection):
		c.Err = &op.CorruptError{File: c.File, Reason: "the index of another collection"}
	default:
		c.Collection = h.collection
	}
}

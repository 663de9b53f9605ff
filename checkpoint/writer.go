package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// Writer writes one checkpoint file. It counts for nothing before Finish and
// before the manifest names it. After an error of Image or Finish there is
// nothing left to do with it but Abort.
type Writer struct {
	fsys     vfs.FS
	path     string
	file     vfs.File
	sequence uint64
	off      int64  // where buf goes
	buf      []byte // complete blocks, and the open one from open on
	open     int    // start of the open block in buf; -1 = none
	err      error  // the first one, or errDone; nothing is written after it
	zstd     *zstd.Encoder
	header   header
}

var errDone = errors.New("checkpoint: the writer is finished or aborted")

const writeChunk = 1 << 20

// NewWriter begins the checkpoint of a shard that covers its log up to sequence.
// A checkpoint of that sequence must not be in use: Finish replaces it.
func NewWriter(fsys vfs.FS, dir string, store [16]byte, shard uint32, sequence uint64, now int64) (*Writer, error) {
	w := &Writer{fsys: fsys, path: Name(dir, sequence), sequence: sequence, open: -1}
	f, err := fsys.OpenFile(w.path+tmpSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w.file = f
	w.header = header{format: FormatVersion, store: store, shard: shard, sequence: sequence, time: now}
	w.buf = append(w.buf, w.header.encode()...)
	return w, nil
}

// Compress lets the writer compress blocks. It comes before anything is written.
func (w *Writer) Compress() error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return w.fail(err)
	}
	w.zstd, w.header.format = enc, packedVersion
	return nil
}

// block returns the buffer to append to, in an open block.
func (w *Writer) block() []byte {
	if w.open < 0 {
		w.open = len(w.buf)
		w.buf = append(w.buf, make([]byte, blockHeader)...)
	}
	return w.buf
}

// put takes the buffer back, and closes the block once it is large enough.
func (w *Writer) put(b []byte) error {
	w.buf = b
	if len(b)-w.open < blockTarget {
		return nil
	}
	return w.close()
}

// close completes the open block and writes when there is enough to write.
func (w *Writer) close() error {
	if w.open < 0 {
		return nil
	}
	b := w.buf[w.open:]
	length := uint32(len(b) - blockHeader)
	if w.zstd != nil {
		if packed := appendPacked(nil, w.zstd, b[blockHeader:]); packed != nil {
			b = append(b[:blockHeader], packed...)
			w.buf = w.buf[:w.open+len(b)]
			length = uint32(len(packed)) | packedBlock
		}
	}
	w.open = -1
	binary.LittleEndian.PutUint32(b[4:], length)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	if len(w.buf) < writeChunk {
		return nil
	}
	return w.write()
}

func (w *Writer) write() error {
	n, err := w.file.WriteAt(w.buf, w.off)
	w.off += int64(n)
	w.buf = w.buf[:0]
	return w.fail(err)
}

// fail keeps the first error. What was written up to it is of no use.
func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return err
}

// Image writes the items of a run, which must be in order, and completes the
// entry with the image's location, what it says of the keys, and its digest.
// After an error the entry is as it was.
func (w *Writer) Image(e *Entry, items iter.Seq2[string, op.Item]) error {
	if w.err != nil {
		return w.err
	}
	return w.image(e, items, nil, nil)
}

// image is Image, with the values apart that are in refs, by key, and in files.
func (w *Writer) image(e *Entry, items iter.Seq2[string, op.Item], refs map[string]*ref, values []Holding) error {
	start := w.off + int64(len(w.buf))
	var digest op.Digester
	var sum summary
	var previous string
	for key, it := range items {
		switch {
		case key <= previous: // an empty one too
			return w.fail(fmt.Errorf("checkpoint: run %v: key %q after %q", e.Run, key, previous))
		case !validItem(op.Tag(key[0]), it):
			return w.fail(fmt.Errorf("checkpoint: run %v: key %q has no valid item", e.Run, key))
		case len(key)+len(it.Value) > maxItem:
			return w.fail(fmt.Errorf("checkpoint: run %v: the item of key %.100q is too large", e.Run, key))
		}
		previous = key
		sum.add(key[0], it)
		var b []byte
		if r := refs[key]; r != nil {
			digest.AddPart(r.part)
			b = appendRef(w.block(), key, it, r)
		} else {
			digest.Add(key, it)
			b = appendItem(w.block(), key, it)
		}
		if err := w.put(b); err != nil {
			return err
		}
	}
	if err := w.close(); err != nil {
		return err
	}
	e.take(&sum)
	e.Digest = digest.Sum(e.Version)
	e.Location, e.Values = w.since(start), values
	return nil
}

// since is the location of what was written from start on.
func (w *Writer) since(start int64) Location {
	return Location{File: w.sequence, Offset: start, Length: w.off + int64(len(w.buf)) - start}
}

// Copy writes the image of e, which is in an older file, and the large values that
// it refers to, again into this one, and lets e point to it. After an error e is as
// it was; if it was one of reading the older file, the writer can go on without the
// image.
func (w *Writer) Copy(e *Entry, files *Files) error { return w.Move(e, files, nil) }

// copyBlocks copies an image as it is.
func (w *Writer) copyBlocks(e *Entry, files *Files) error {
	start := w.off + int64(len(w.buf))
	err := files.blocks(e.Location, func(body []byte) error {
		w.buf = append(w.block(), body...)
		return w.close()
	})
	if err == nil {
		e.Location = w.since(start)
	}
	return err
}

// Finish writes the index and makes the file durable under its name. Entries
// and deleted runs must be in order of run, each run's entry once. A *FinalError means that the store
// must stop; after another error the checkpoint has merely not come about.
func (w *Writer) Finish(entries iter.Seq[*Entry], deleted iter.Seq[run.ID]) error {
	if w.err != nil {
		return w.err
	}
	if err := w.index(entries, deleted); err != nil {
		return err
	}
	w.err = errDone
	f := w.file
	w.file = nil
	return install(w.fsys, f, w.path+tmpSuffix, w.path)
}

// index writes the index and the footer.
func (w *Writer) index(entries iter.Seq[*Entry], deleted iter.Seq[run.ID]) error {
	ft := footer{index: w.off + int64(len(w.buf))}
	for e := range entries {
		if len(e.Values) > 0 {
			ft.apart, w.header.format = true, FileVersion
			break
		}
	}
	var order ascending
	for e := range entries {
		if !order.live(e.Run) || e.newest() > w.sequence {
			return w.fail(fmt.Errorf("checkpoint: run %v is out of order, or its image in a newer file", e.Run))
		}
		if e.bare {
			return w.fail(fmt.Errorf("checkpoint: run %v: what format 1 did not say is not known", e.Run))
		}
		ft.runs++
		b := appendEntry(w.block(), e)
		if ft.apart {
			b = appendHoldings(b, e.Values)
		}
		if err := w.put(b); err != nil {
			return err
		}
	}
	for id := range deleted {
		if id == order.deleted && ft.dead > 0 {
			continue // twice is once
		}
		if !order.dead(id) {
			return w.fail(fmt.Errorf("checkpoint: deleted run %v is out of order", id))
		}
		ft.dead++
		if err := w.put(append(w.block(), id[:]...)); err != nil {
			return err
		}
	}
	if err := w.close(); err != nil {
		return err
	}
	w.buf = append(w.buf, ft.encode()...)
	if err := w.write(); err != nil || w.header.format == FormatVersion {
		return err
	}
	_, err := w.file.WriteAt(w.header.encode(), 0) // it is known only now what there is
	return w.fail(err)
}

// Abort gives the unfinished file up. After Finish came as far as the sync it
// does nothing: what a *FinalError leaves is for Clean, when the store is opened.
func (w *Writer) Abort() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.file.Close(), w.fsys.Remove(w.path+tmpSuffix))
	w.file, w.err = nil, errDone
	return err
}

// install makes a written file durable, contents and name, and closes it in any
// case. Its errors are *FinalError.
func install(fsys vfs.FS, f vfs.File, tmp, name string) error {
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err == nil {
		err = fsys.SyncDir(filepath.Dir(name))
	}
	if err != nil {
		return &FinalError{err}
	}
	return nil
}

// FinalError is a failure after which nobody knows what the disk holds: of a
// sync, a close or a rename. The store must stop.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return fmt.Sprintf("checkpoint: %v", e.Err) }

func (e *FinalError) Unwrap() error { return e.Err }

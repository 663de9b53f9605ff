package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"inmem/vfs"
)

// Compaction says how segments are compacted.
type Compaction struct {
	// Keep says what becomes of a record or a base: its kind and payload as they
	// are to be, or 0 where it is not kept. A payload is the caller's to change, if
	// it begins with the stream; it is used before Keep is called again.
	Keep func(Frame) (Kind, []byte, error)
	Zstd bool // pack the records
	Now  int64
}

// FinalError is a failure after which nobody knows what the disk holds: of a
// sync, a close or a rename. The store must stop.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return fmt.Sprintf("wal: %v", e.Err) }

func (e *FinalError) Unwrap() error { return e.Err }

// Compact replaces sealed segments that follow one another by one that has what
// is kept of them, and returns it. The frames keep their sequences. The new
// segment takes the place and the name of the first; the others are removed, or,
// after a crash, by the next Open, which finds that the first covers them. What
// else has them open reads on what was there.
//
// A *FinalError means that the store must stop. After any other error nothing has
// changed, but that files may be left that are covered.
func Compact(fsys vfs.FS, id Identity, segments []Sealed, c Compaction) (out Sealed, err error) {
	first, last := segments[0], segments[len(segments)-1]
	w := &compactor{Compaction: c, salt: rand.Uint32()}
	if c.Zstd {
		if w.packer, err = newPacker(); err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, w.packer.zstd.Close()) }()
	}
	tmp := first.Path + temporary
	if w.f, err = fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return out, diskFull(err)
	}
	w.buf = append(w.buf, encodeHeader(compactedFormat, id, first.First, w.salt, c.Now)...)
	for i := 0; i < len(segments) && err == nil; i++ {
		err = w.take(fsys, segments[i].Path, id)
	}
	if err == nil {
		err = w.finish(last.Last)
	}
	if err != nil {
		return out, errors.Join(diskFull(err), w.f.Close(), fsys.Remove(tmp))
	}
	err = errors.Join(w.f.Sync(), w.f.Close())
	if err == nil {
		err = fsys.Rename(tmp, first.Path)
	}
	if err == nil {
		err = fsys.SyncDir(filepath.Dir(first.Path))
	}
	if err != nil {
		return out, &FinalError{err}
	}
	out = Sealed{Path: first.Path, First: first.First, Last: last.Last, Size: w.off, Compacted: true}
	for _, s := range segments[1:] {
		if err := fsys.Remove(s.Path); err != nil {
			return out, err
		}
	}
	return out, nil
}

// compactor writes a compacted segment.
type compactor struct {
	Compaction
	f        vfs.File
	salt     uint32
	buf      []byte
	off      int64 // where buf goes
	unsynced int64
	entries  []entry
	packer   *packer
	packed   [][streamSize]byte // the streams of what is in packer
}

// take reads a segment and keeps of it what is kept.
func (w *compactor) take(fsys vfs.FS, path string, id Identity) (err error) {
	s, err := openSealed(fsys, path, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.f.Close()) }()
	return s.frames(func(f Frame) error {
		kind, payload, err := w.Keep(f)
		if err != nil || kind == 0 {
			return err
		}
		if len(payload) < streamSize || len(payload) > MaxPayload || kind != Record && kind != Base {
			return fmt.Errorf("wal: a frame of kind %d and %d bytes is to be kept", kind, len(payload))
		}
		f.Kind, f.Payload = kind, payload
		if w.packer == nil {
			w.entries = append(w.entries, entry{[streamSize]byte(payload), w.end()})
			return w.frame(kind, f.Sequence, func(b []byte) []byte { return append(b, payload...) })
		}
		w.packer.add(&f)
		w.packed = append(w.packed, [streamSize]byte(payload))
		if len(w.packer.raw) < packTarget {
			return nil
		}
		return w.pack()
	})
}

func (w *compactor) end() int64 { return w.off + int64(len(w.buf)) }

// frame writes one frame.
func (w *compactor) frame(kind Kind, sequence uint64, payload func([]byte) []byte) error {
	start := len(w.buf)
	var space [frameHeader]byte
	w.buf = payload(append(w.buf, space[:]...))
	w.buf = sealFrame(w.buf, start, kind, w.salt, sequence, 0)
	if len(w.buf) < readAhead {
		return nil
	}
	return w.write()
}

// pack writes what is in the packer.
func (w *compactor) pack() error {
	if w.packer.count == 0 {
		return nil
	}
	payload, ok := w.packer.appendTo(nil)
	if ok {
		for _, stream := range w.packed {
			w.entries = append(w.entries, entry{stream, w.end()})
		}
		w.packed = w.packed[:0]
		return w.frame(Packed, w.packer.first, func(b []byte) []byte { return append(b, payload...) })
	}
	return w.unpacked()
}

// unpacked writes what is in the packer as it is: compressing it was of no use.
func (w *compactor) unpacked() error {
	p := w.packer
	err := records(Frame{Sequence: p.first}, p.raw, p.count, func(f Frame) error {
		w.entries = append(w.entries, entry{[streamSize]byte(f.Payload), w.end()})
		return w.frame(f.Kind, f.Sequence, func(b []byte) []byte { return append(b, f.Payload...) })
	})
	p.reset()
	w.packed = w.packed[:0]
	return err
}

func (w *compactor) write() error {
	n, err := w.f.WriteAt(w.buf, w.off)
	w.off += int64(n)
	w.buf = w.buf[:0]
	if w.unsynced += int64(n); err != nil || w.unsynced < syncAfter {
		return err
	}
	w.unsynced = 0
	if err := w.f.Sync(); err != nil {
		return &FinalError{err}
	}
	return nil
}

// syncAfter is how much is written at most between two syncs, so that none of
// them holds up the log's own for long.
const syncAfter = 8 << 20

// finish writes the rest, the index and the footer. They need no sync in
// between: the file has no name yet.
func (w *compactor) finish(last uint64) error {
	if w.packer != nil {
		if err := w.pack(); err != nil {
			return err
		}
	}
	index, foot := encodeIndex(w.entries, w.end(), last, w.salt)
	w.buf = append(append(w.buf, index...), foot...)
	return w.write()
}

// Trim removes segments from the beginning of the log, all of whose sequences
// are below first, which the manifest says already. After an error the next Open
// removes what is left.
func Trim(fsys vfs.FS, segments []Sealed, first uint64) error {
	for _, s := range segments {
		if s.Last >= first {
			continue
		}
		if err := fsys.Remove(s.Path); err != nil {
			return err
		}
	}
	return nil
}

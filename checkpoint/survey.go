package checkpoint

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"inmem/op"
	"inmem/vfs"
)

// Header is what the beginning of a checkpoint file says.
type Header struct {
	Store    [16]byte
	Shard    uint32
	Sequence uint64 // the log up to here is covered
	Time     int64  // Unix milliseconds
}

// Survey is a file that looks like a checkpoint.
type Survey struct {
	Path  string
	Named uint64 // the sequence that the file is named after; 0 = it has another name
	Size  int64
	// Header is what stands in the file. Where Flaw says what is wrong with it,
	// it is not to be believed.
	Header
	Flaw string
}

// SurveyFiles reads the headers of the checkpoint files in dir, whatever their
// names. A header that is damaged is no error; one of a newer format is a
// *op.UnsupportedError. What cannot be opened is handed to unopened, which
// returns nil to go on without it.
func SurveyFiles(fsys vfs.FS, dir string, unopened func(path string, err error) error) ([]Survey, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Survey
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
		if err != nil {
			if err := unopened(path, err); err != nil {
				return nil, err
			}
			continue
		}
		s, err := surveyHeader(f, path)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func surveyHeader(f vfs.File, path string) (s Survey, err error) {
	s = Survey{Path: path}
	if n, unfinished, ok := parseName(filepath.Base(path)); ok && !unfinished {
		s.Named = n
	}
	if s.Size, err = f.Size(); err != nil {
		return s, err
	}
	b := make([]byte, fileHeader)
	if s.Size >= fileHeader {
		if _, err := readFull(f, b, 0); err != nil {
			return s, err
		}
	}
	s.Header = Header{
		Shard: binary.LittleEndian.Uint32(b[12:]), Store: [16]byte(b[16:32]),
		Sequence: binary.LittleEndian.Uint64(b[32:]), Time: int64(binary.LittleEndian.Uint64(b[40:])),
	}
	// A file by itself has nothing to be compared with: its own word is taken.
	named := &restoredFile{File: f, name: Name(filepath.Dir(path), s.Sequence)}
	_, err = readHeader(named, s.Store, s.Shard)
	var corrupt *op.CorruptError
	if errors.As(err, &corrupt) {
		s.Flaw, err = corrupt.Reason, nil
	}
	var unsupported *op.UnsupportedError
	if errors.As(err, &unsupported) {
		unsupported.File = path
	}
	return s, err
}

// Restored is a disk on which some checkpoint files have the name and the
// header that they should have, though they do not have them any more.
type Restored struct {
	vfs.FS
	files map[string]restoredFile
}

// NewRestored returns fsys, on which nothing is restored yet.
func NewRestored(fsys vfs.FS) *Restored {
	return &Restored{FS: fsys, files: map[string]restoredFile{}}
}

// Add lets the file at path be found in its directory as the checkpoint with
// the header h.
func (r *Restored) Add(path string, h Header) {
	head := header{store: h.Store, shard: h.Shard, sequence: h.Sequence, time: h.Time}
	r.files[Name(filepath.Dir(path), h.Sequence)] = restoredFile{name: path, head: head.encode()}
}

// OpenFile implements vfs.FS.
func (r *Restored) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	restored, ok := r.files[name]
	if !ok {
		return r.FS.OpenFile(name, flag, perm)
	}
	f, err := r.FS.OpenFile(restored.name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &restoredFile{File: f, name: name, head: restored.head}, nil
}

// restoredFile is a file under another name, and with other bytes at its
// beginning.
type restoredFile struct {
	vfs.File
	name string
	head []byte
}

func (f *restoredFile) Name() string { return f.name }

func (f *restoredFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	if off < int64(len(f.head)) {
		copy(b[:n], f.head[off:])
	}
	return n, err
}

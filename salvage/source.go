package salvage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"inmem/vfs"
)

// errReadOnly is what the source answers to whoever wants to change it.
var errReadOnly = errors.New("salvage: the source is only read")

// sectorSize is the piece in which a part of a file is read that cannot be read
// as a whole.
const sectorSize = 4096

// source is the disk that is salvaged from. It writes nothing, whoever asks,
// and what the device cannot read any more it reads as zeros, which no checksum
// takes for data.
type source struct {
	vfs.FS
	unreadable map[string]map[int64]error // by file and offset of the sector
	gone       map[string]bool            // files that cannot be opened
}

func newSource(fsys vfs.FS) *source {
	return &source{FS: fsys, unreadable: map[string]map[int64]error{}, gone: map[string]bool{}}
}

// OpenFile opens a regular file for reading.
func (s *source) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag != os.O_RDONLY {
		return nil, errReadOnly
	}
	if s.gone[name] { // it was reported, and is as good as missing
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	info, err := s.FS.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &patient{File: f, source: s}, nil
}

func (s *source) Remove(string) error                    { return errReadOnly }
func (s *source) Rename(string, string) error            { return errReadOnly }
func (s *source) MkdirAll(string, fs.FileMode) error     { return errReadOnly }
func (s *source) SyncDir(string) error                   { return errReadOnly }
func (s *source) Lock(string, string) (io.Closer, error) { return nil, errReadOnly }

// damage returns what could not be read, sectors that follow one another together.
func (s *source) damage() []Damage {
	var list []Damage
	for _, name := range slices.Sorted(maps.Keys(s.unreadable)) {
		sectors := s.unreadable[name]
		for _, off := range slices.Sorted(maps.Keys(sectors)) {
			if n := len(list) - 1; n >= 0 && list[n].File == name && list[n].Offset+list[n].Length == off {
				list[n].Length += sectorSize
				continue
			}
			list = append(list, Damage{File: name, Offset: off, Length: sectorSize,
				Reason: fmt.Sprintf("it cannot be read: %v", sectors[off])})
		}
	}
	return list
}

// patient is a file that goes on reading behind what cannot be read.
type patient struct {
	vfs.File
	source *source
}

func (f *patient) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	if err == nil || err == io.EOF || errors.Is(err, fs.ErrClosed) {
		return n, err
	}
	for n = 0; n < len(b); {
		at := off + int64(n)
		sector := at - at%sectorSize
		part := b[n:min(len(b), n+int(sector+sectorSize-at))]
		got, err := f.File.ReadAt(part, at)
		switch {
		case err == io.EOF:
			return n + got, err
		case err != nil:
			f.note(sector, err)
			clear(part)
		}
		n += len(part)
	}
	return n, nil
}

func (f *patient) note(sector int64, err error) {
	if f.source.unreadable[f.Name()] == nil {
		f.source.unreadable[f.Name()] = map[int64]error{}
	}
	f.source.unreadable[f.Name()][sector] = err
}

func (f *patient) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (f *patient) Truncate(int64) error               { return errReadOnly }
func (f *patient) Allocate(int64, int64) error        { return errReadOnly }
func (f *patient) Sync() error                        { return errReadOnly }

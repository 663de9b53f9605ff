package checkpoint

import (
	"inmem/op"
	"inmem/vfs"
)

// Size is how many bytes the file has so far.
func (w *Writer) Size() int64 { return w.off + int64(len(w.buf)) }

// Size returns the size of a checkpoint file, in bytes.
func (fs *Files) Size(sequence uint64) (int64, error) {
	f, err := fs.file(sequence)
	if err != nil {
		return 0, err
	}
	return f.Size()
}

// Within makes sure that the files with the image of e are there, and go as far
// as it does: what can be known without reading it.
func (fs *Files) Within(e *Entry) error {
	size, err := fs.sizeOnce(e.Location.File)
	if err != nil {
		return err
	}
	if err := e.Location.within(Name(fs.dir, e.Location.File), size); err != nil {
		return err
	}
	for _, h := range e.Values {
		size, err := fs.sizeOnce(h.File)
		if err != nil {
			return err
		}
		if h.Bytes > size-fileHeader {
			return &op.CorruptError{File: Name(fs.dir, h.File), Offset: size, Reason: "shorter than the large values that are in it"}
		}
	}
	return nil
}

func (fs *Files) sizeOnce(file uint64) (int64, error) {
	if size, known := fs.sizes[file]; known {
		return size, nil
	}
	size, err := fs.Size(file)
	if err == nil {
		fs.sizes[file] = size
	}
	return size, err
}

// Name returns the file that holds the image of e.
func (fs *Files) Name(e *Entry) string { return Name(fs.dir, e.Location.File) }

// Any reports whether dir has a checkpoint, finished or not.
func Any(fsys vfs.FS, dir string) (bool, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if _, _, ok := parseName(e.Name()); ok {
			return true, nil
		}
	}
	return false, nil
}

package checkpoint

import "inmem/vfs"

// Sequence is the sequence of the log the checkpoint covers, and its name.
func (w *Writer) Sequence() uint64 { return w.sequence }

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

// Within makes sure that the file with the image of e is there, and goes as far
// as the image: what can be known without reading it.
func (fs *Files) Within(e *Entry) error {
	size, known := fs.sizes[e.Location.File]
	if !known {
		var err error
		if size, err = fs.Size(e.Location.File); err != nil {
			return err
		}
		fs.sizes[e.Location.File] = size
	}
	return e.Location.within(Name(fs.dir, e.Location.File), size)
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

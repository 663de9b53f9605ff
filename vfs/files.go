package vfs

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// tmpSuffix marks a file that is being written. One that is found after a crash
// was never finished.
const tmpSuffix = ".tmp"

// WriteFileAtomic makes data the contents of the file name, durably: after a
// crash the file has its old contents or the new ones, never a part. It writes
// name.tmp, syncs it, renames it, and syncs the directory, in that order. After
// an error the file has either contents; only a failure before the rename is
// sure to have left the old ones.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + tmpSuffix
	err := writeSynced(fsys, tmp, data)
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		// Best effort: the next call overwrites what is left, and the caller
		// needs the first error, not this one.
		_ = fsys.Remove(tmp)
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// writeSynced writes a whole file, from its start, and syncs its contents.
func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// TooLargeError says that a file is larger than the reader was ready for.
type TooLargeError struct {
	Name string
	Size int64 // bytes
	Max  int64 // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("read %s: %d bytes, more than the limit of %d", e.Name, e.Size, e.Max)
}

// ReadFile reads a whole file of at most max bytes. A larger one is refused with
// a *TooLargeError before anything is allocated for it.
func ReadFile(fsys FS, name string, max int64) (data []byte, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			data, err = nil, cerr
		}
	}()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > max {
		return nil, &TooLargeError{Name: name, Size: size, Max: max}
	}
	data = make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), data); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}

package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// copyTree copies the files of a store. Holes stay holes: a store may have
// reserved far more than it has written.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		switch target := filepath.Join(to, rel); {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case entry.Type().IsRegular():
			return copyFile(name, target)
		}
		return nil // a socket of a server that was killed
	})
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		begin, end := data(in, at, info.Size())
		if _, err := out.Seek(begin, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(out, io.NewSectionReader(in, begin, end-begin)); err != nil {
			return err
		}
		at = end
	}
	return out.Sync() // no opening is to pay for it
}

// data returns the next piece of a file that is no hole; an empty one at the end.
func data(f *os.File, at, size int64) (begin, end int64) {
	const seekData, seekHole = 3, 4 // of Linux
	if runtime.GOOS != "linux" {
		return at, size
	}
	begin, err := f.Seek(at, seekData)
	if errors.Is(err, syscall.ENXIO) {
		return size, size
	}
	if err != nil { // the file system knows no holes
		return at, size
	}
	if end, err = f.Seek(begin, seekHole); err != nil {
		end = size
	}
	return begin, min(end, size)
}

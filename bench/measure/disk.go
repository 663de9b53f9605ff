package measure

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// Disk returns how many bytes the files in a directory occupy on the device,
// which is less than their sizes where they have holes.
func Disk(dir string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return gone(err)
		}
		info, err := entry.Info()
		if err == nil {
			total += occupied(info)
		}
		return gone(err)
	})
	return total, err
}

// gone forgives files that a store removed meanwhile.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

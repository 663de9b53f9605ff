//go:build !linux

package measure

import "os"

// Not every system has fdatasync.
func datasync(f *os.File) error { return f.Sync() }

//go:build !linux

package vfs

import "os"

// datasync syncs everything: only Linux tells data from metadata reliably.
func datasync(f *os.File) error { return f.Sync() }

func allocate(f *os.File, off, n int64) error { return allocateByWriting(f, off, n) }

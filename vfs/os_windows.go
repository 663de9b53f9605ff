package vfs

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// noSpace lists the system's errors that mean a full disk. Windows itself never
// returns the first two; Mem does.
var noSpace = []error{
	syscall.ENOSPC, syscall.EDQUOT,
	windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED,
}

// syncDir does nothing: Windows refuses to flush a directory's handle, and NTFS
// journals names by itself.
func syncDir(string) error { return nil }

//go:build unix

package child

import (
	"os"

	"golang.org/x/sys/unix"
)

// OpenLedger opens a ledger, or makes it. It is memory that belongs to a file: the
// kernel keeps it when the process is killed.
func OpenLedger(file string) (*Ledger, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the mapping stays
	if err := f.Truncate(ledgerSize); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, ledgerSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return newLedger(memory, func() error { return os.NewSyscallError("munmap", unix.Munmap(memory)) }), nil
}

package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
)

// The methods here are aids to a test: they are neither counted nor refused by
// fault functions, and space does not bound them.

// ReadFile returns a file's contents as the process sees them.
func (m *Mem) ReadFile(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.fileAt(name)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return n.file.live.bytes(), nil
}

// WriteFile makes data a file's contents, durable at once with all names that
// lead to it. Directories that are missing are made.
func (m *Mem) WriteFile(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.writeFile(clean(name), data); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

func (m *Mem) writeFile(p string, data []byte) error {
	above, _ := split(p)
	if err := m.mkdirAll(above, 0o755); err != nil {
		return err
	}
	at, n, err := m.locate(p)
	switch {
	case err != nil:
		return err
	case n == nil:
		n = newFile(0o644)
		n.file.users++
		m.change(nameOp{{at, n}})
	case n.dir != nil:
		return syscall.EISDIR
	}
	m.truncate(n.file, 0)
	m.write(n.file, data, 0)
	n.file.sync()

	path := map[place]bool{}
	dir := m.root
	for name := range components(p) {
		path[place{dir.dir, name}] = true
		dir = dir.dir.live[name]
	}
	m.settle(func(at place) bool { return path[at] })
	return nil
}

// Files returns the paths of all files, sorted, from the root and without the
// first slash.
func (m *Mem) Files() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var files []string
	var walk func(d *directory, prefix string)
	walk = func(d *directory, prefix string) {
		for name, n := range sorted(d.live) {
			if n.dir != nil {
				walk(n.dir, prefix+name+"/")
			} else {
				files = append(files, prefix+name)
			}
		}
	}
	walk(m.root.dir, "")
	slices.Sort(files) // "a-b" comes before "a/b", the directory "a" before "a-b"
	return files
}

// Flip inverts one bit of a file, as rot on the disk does: durably, and unseen
// by those who sync. Bits count from the first byte's lowest.
func (m *Mem) Flip(name string, bit int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.fileAt(name)
	if err == nil && !n.file.live.flip(bit) {
		err = fmt.Errorf("bit %d: %w", bit, errPastEnd)
	}
	if err != nil {
		return &fs.PathError{Op: "flip", Path: name, Err: err}
	}
	if n.file.synced != nil {
		n.file.synced.flip(bit)
	}
	return nil
}

var errPastEnd = errors.New("past the end of the file")

func (m *Mem) fileAt(name string) (*node, error) {
	n, err := m.lookup(clean(name))
	if err == nil && n.dir != nil {
		err = syscall.EISDIR
	}
	return n, err
}

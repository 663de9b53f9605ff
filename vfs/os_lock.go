package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/gofrs/flock"
)

// maxHolder bounds what is read of a lock file's text.
const maxHolder = 256

// A probe of another process holds a shared lock for a moment. Lock tries again
// for longer than that, so as not to take a probe for a holder.
const (
	lockTries = 10
	lockPause = 5 * time.Millisecond
)

// heldHere is who in this process has which lock, by real path. The system's own
// locks do not name their holder, and on some systems do not keep a process from
// locking twice.
var heldHere = struct {
	sync.Mutex
	byPath map[string]string
}{byPath: map[string]string{}}

func (osFS) Lock(name, holder string) (io.Closer, error) {
	heldHere.Lock()
	defer heldHere.Unlock()
	path, err := lockFile(name)
	if err != nil {
		return nil, err
	}
	if by, held := heldHere.byPath[path]; held {
		return nil, &LockedError{Name: name, Holder: by}
	}
	lock := flock.New(path, flock.SetFlag(os.O_RDWR))
	got, err := lock.TryLock()
	for try := 1; try < lockTries && err == nil && !got; try++ {
		time.Sleep(lockPause)
		got, err = lock.TryLock()
	}
	if err != nil {
		return nil, err
	}
	if !got {
		return nil, &LockedError{Name: name, Holder: readHolder(path)}
	}
	writeHolder(path, holder)
	heldHere.byPath[path] = cleanHolder(holder)
	return &osLock{path: path, lock: lock}, nil
}

func (osFS) Locked(name string) (holder string, locked bool, err error) {
	heldHere.Lock()
	defer heldHere.Unlock()
	path, err := realPath(name)
	if err == nil {
		if by, held := heldHere.byPath[path]; held {
			return by, true, nil
		}
		lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
		var free bool
		if free, err = lock.TryRLock(); err == nil {
			if !free {
				return readHolder(path), true, nil
			}
			return "", false, lock.Close()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return "", false, err
}

// osLock is a lock that is held until Close.
type osLock struct {
	path string
	lock *flock.Flock
	once sync.Once
	err  error
}

func (l *osLock) Close() error {
	l.once.Do(func() {
		heldHere.Lock()
		defer heldHere.Unlock()
		delete(heldHere.byPath, l.path)
		l.err = l.lock.Close()
	})
	return l.err
}

// lockFile makes sure that the lock file exists and returns its real path.
func lockFile(name string) (string, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return realPath(name)
}

// realPath is the one path of a file, by whatever path it was named.
func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// writeHolder leaves word of the holder. It has no error: the lock is held with
// or without it, and a full disk must not keep a store from being opened.
func writeHolder(path, holder string) {
	_ = os.WriteFile(path, []byte(holder), 0o600)
}

// readHolder reads what the holder of another process's lock says about itself.
// On Windows that is unknown, since the lock forbids reading too.
func readHolder(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return unknownHolder
	}
	defer f.Close()
	text := make([]byte, maxHolder)
	n, _ := io.ReadFull(f, text) // a shorter text is the usual case
	return cleanHolder(string(text[:n]))
}

// cleanHolder makes a holder's text fit for an error message: bounded, in one
// line, printable.
func cleanHolder(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar:
			return -1
		case unicode.IsPrint(r):
			return r
		}
		return ' '
	}, text[:min(len(text), maxHolder)])
	if text = strings.TrimSpace(text); text == "" {
		return unknownHolder
	}
	return text
}

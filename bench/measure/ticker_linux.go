package measure

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ticker is a timer of the kernel: those of the Go runtime wake an idle process
// up to a millisecond late, more than most operations take.
type ticker struct{ file *os.File }

func newTicker(d time.Duration) (*ticker, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	every := unix.NsecToTimespec(int64(d))
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("timerfd_settime", err)
	}
	// Not blocking, and so waited for by the runtime without a thread.
	return &ticker{os.NewFile(uintptr(fd), "timer")}, nil
}

// wait returns when at least one tick has come since the last call.
func (t *ticker) wait() error {
	var count [8]byte
	_, err := t.file.Read(count[:])
	return err
}

func (t *ticker) stop() { t.file.Close() }

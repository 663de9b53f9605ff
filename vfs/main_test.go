package vfs

import (
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// holdLockEnv makes the test binary a process that holds a lock, for the tests
// of locking between processes.
const holdLockEnv = "INMEM_VFS_HOLD_LOCK"

func TestMain(m *testing.M) {
	if name := os.Getenv(holdLockEnv); name != "" {
		holdLock(name)
		return
	}
	goleak.VerifyTestMain(m)
}

// holdLock takes the lock, says so, and holds it until its input ends.
func holdLock(name string) {
	_, err := OS.Lock(name, "the other\x1b process\n")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

package inmem_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// children are the programs that this binary becomes when INMEM_TEST_CHILD
// names one: a test that kills a process needs a process to kill.
var children = map[string]func(){}

func TestMain(m *testing.M) {
	if name := os.Getenv("INMEM_TEST_CHILD"); name != "" {
		child, ok := children[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "no child %q\n", name)
			os.Exit(2)
		}
		child()
		return
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintf(os.Stderr, "goleak: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

//go:build !linux

package inmem_test

import "testing"

func TestPowerCut(t *testing.T) {
	t.Skip("cutting the power of a file system needs Linux, and root")
}

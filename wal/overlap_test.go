package wal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSuccessorBeginsTooEarly has a segment that goes on beyond the beginning of
// its successor, as a file of another copy of the store may make it. Nothing of
// it may be cut off.
func TestSuccessorBeginsTooEarly(t *testing.T) {
	for name, r := range map[string]*raw{"indexed": witnessed(4).index(), "not indexed": witnessed(4)} {
		t.Run(name, func(t *testing.T) {
			mem := segmentOn(t, r.b)
			require.NoError(t, mem.WriteFile(segmentPath(logDir, 4), newRaw(4).witnessed().b))
			for _, scan := range []scanFunc{Scan, Verify} {
				_, _, err := readBy(scan, mem, logDir, Bounds{First: 1})
				requireCorrupt(t, err, segmentPath(logDir, 1), at(3))
			}
			require.NoError(t, mem.Remove(segmentPath(logDir, 4)))
			require.NoError(t, mem.WriteFile(segmentPath(logDir, 5), newRaw(5).witnessed().b))
			_, _, err := read(mem, Bounds{First: 1})
			require.NoError(t, err)
		})
	}
}

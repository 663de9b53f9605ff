package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDiffing measures on the smallest scale that the comparison of two runs has
// its place in the report; with -v it prints the figure.
func TestDiffing(t *testing.T) {
	cfg, err := parse([]string{"-rounds", "3", "-cell", "50ms", "-dir", t.TempDir()})
	require.NoError(t, err)
	table := newTable(cfg)
	require.NoError(t, diffing(cfg, table))
	var out bytes.Buffer
	require.NoError(t, table.write(&out))
	require.Contains(t, out.String(), "| diff of two runs of 1000 keys of 256 B, 100 changed, ms | ")
	t.Log(out.String())
}

package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBench runs the whole harness on a tiny data set: every cell does its
// work without an error and has its place in the report.
func TestBench(t *testing.T) {
	cfg, err := parse([]string{"-keys", "2000", "-runs", "10", "-value", "32", "-cell", "5ms", "-rounds", "2", "-dir", t.TempDir()})
	require.NoError(t, err)
	cfg.reopen = []int{500, 2000}
	cfg.sizes = sizes{view: 100, commits: 40, query: 200, rate: 2000, replay: 20}
	var out bytes.Buffer
	require.NoError(t, bench(cfg, &out))
	for _, want := range []string{
		"2000 keys in 10 runs, values of 32 B, 2 rounds of 5ms",
		"| put strict | ", "| put batched | ", "| put async | ", "| get | ", "| 50/50 | ", "| scan of 100 | ",
		"| reopen, 500 commits in the log, ms | ", "| reopen, 2000 commits in the checkpoint, ms | ",
		"| memory: bytes of heap a key | ",
		"| transaction of 2 reads and 2 writes / put, strict, 16 callers | ", "| event / put, batched, 1 callers | ",
		"| view of a run, 10 keys, ns | ", "| view of a run, 100 keys, ns | ",
		"| version of a run of 40 commits, ms | ", "| query by tag, 100 of 200 runs, ms | ",
		"| verify of a run of 20 events, ms | ", "| export, compressed, of a run of 20 events, ms | ", "| import of a run of 20 events, ms | ",
		"| replay of a run of 20 events, in a log 100 times as long, ms | ", "| replay of a run of 20 events, log of 100 / log of 1 | ",
		"| replay of a run of 20 events, commits 100 apart / 1 apart | ",
		"| diff of two runs of 1000 keys of 256 B, 100 changed, ms | ",
		"| watch at 2000 commits/s: from the call, p99, µs | ",
	} {
		require.Contains(t, out.String(), want)
	}
	require.NotContains(t, out.String(), "–  |", "an empty cell")
}

func TestOnly(t *testing.T) {
	cfg, err := parse([]string{"-keys", "1000", "-runs", "10", "-cell", "1ms", "-rounds", "1", "-only", "get", "-dir", t.TempDir()})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, bench(cfg, &out))
	require.Contains(t, out.String(), "| get | ")
	require.NotContains(t, out.String(), "put")
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{{"-runs", "0"}, {"-keys", "5", "-runs", "6"}, {"-rounds", "0"}} {
		_, err := parse(args)
		require.Error(t, err, args)
	}
}

func TestSummary(t *testing.T) {
	require.Equal(t, "–", summary(nil))
	require.Equal(t, "1.50", summary([]float64{1.5}))
	require.Equal(t, "20k (10k – 1.00M)", summary([]float64{1e6, 20_000, 10_000}))
	require.Equal(t, "2.00", short(2))
	require.Equal(t, "9500", short(9500))
	require.Equal(t, 3*time.Second, func() time.Duration { cfg, _ := parse(nil); return cfg.cell }())
}

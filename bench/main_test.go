package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/bench/child"
	"inmem/bench/measure"
	"inmem/bench/report"
	"inmem/bench/store"
	"inmem/bench/stores"
	"inmem/bench/workload"
)

// The test program is its own child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == child.Argument {
		serve(kinds())
		return
	}
	if taskAsked(os.Args) {
		return
	}
	goleak.VerifyTestMain(m)
}

// kinds are few stores: all of them have tests of their own.
func kinds() []store.Kind {
	missing := stores.Bbolt()
	missing.Name, missing.Missing = "missing", func() string { return "nobody has it" }
	return []store.Kind{stores.Inmem(), stores.Bbolt(), stores.Btree(), failing(), missing}
}

// failing is a store whose scans fail.
func failing() store.Kind {
	k := stores.Btree()
	k.Name = "failing"
	open := k.Open
	k.Open = func(dir string, class store.Class) (store.Store, error) {
		st, err := open(dir, class)
		if filepath.Base(dir) == "failing-volatile" { // it passes its check
			st = badScan{st}
		}
		return st, err
	}
	return k
}

type badScan struct{ store.Store }

func (badScan) Scan(int, string, int, func(string, []byte) bool) error {
	return errors.New("a scan that fails")
}

func tiny(t *testing.T, args ...string) *config {
	out := t.TempDir()
	args = append([]string{
		"-keys", "1000", "-runs", "10", "-cell", "5ms", "-rounds", "2", "-seed", "1",
		"-out", out, "-dir", t.TempDir(), "-agents", "",
	}, args...)
	cfg, err := parse(args, io.Discard)
	require.NoError(t, err)
	return cfg
}

// A whole run of tiny cells has a figure for everything. With -short it has fewer
// cells: those whose callers never wait, of which there are many, keep the
// harness waiting.
func TestWholeRun(t *testing.T) {
	const rounds = 1 // TestOnlyWhatWasAskedFor has more
	only := ""
	if testing.Short() {
		only = "^put .*, 1$|^get .* at |scan|transaction|YCSB D|agents|floors|memory|reopening|cold|many|larger|history|disk|background|curves"
	}
	cfg := tiny(t, "-rounds", strconv.Itoa(rounds), "-only", only)
	require.NoError(t, run(t.Context(), cfg, kinds(), io.Discard))
	r, err := report.ReadFile(filepath.Join(cfg.out, "results.json"))
	require.NoError(t, err)
	assert.False(t, r.Partial)
	assert.Empty(t, r.Problems)
	assert.Len(t, r.Cells, len(slices.DeleteFunc(workload.Cells(), func(c workload.Cell) bool { return !cfg.wants(c.ID()) })))
	for _, c := range r.Cells {
		want := 2 // inmem and bbolt
		if c.Class == store.Batched {
			want = 4 // and two that are not durable
		}
		assert.Len(t, c.Scores, want, c.ID)
		for _, s := range c.Scores {
			if s.Store == "failing" && (c.Name == workload.Scan || c.Name == workload.Agents || c.Name == "YCSB E") {
				assert.Contains(t, s.Err, "a scan that fails")
				continue
			}
			if s.Store == "failing" && c.Name == workload.Transaction {
				assert.True(t, s.Unsupported)
				continue
			}
			require.Empty(t, s.Err, "%s of %s", c.ID, s.Store)
			require.Len(t, s.Rounds, rounds, "%s of %s", c.ID, s.Store)
			for _, round := range s.Rounds {
				assert.Positive(t, round.Rate(), "%s of %s", c.ID, s.Store)
				assert.Positive(t, round.Latency.Count())
			}
		}
	}
	checkFigures(t, r)
	assert.Len(t, r.Curves, 6)
	for _, c := range r.Curves {
		assert.GreaterOrEqual(t, len(c.Points), 2, c.Name+" "+c.Over)
		for _, p := range c.Points {
			assert.Len(t, p.Values, rounds)
		}
	}
	text, err := os.ReadFile(filepath.Join(cfg.out, "RESULTS.md"))
	require.NoError(t, err)
	for _, want := range []string{"nobody has it", "a scan that fails", "failed[^", "synthetic"} {
		assert.Contains(t, string(text), want)
	}
	for _, m := range regexp.MustCompile(`\]\((.*\.svg)\)`).FindAllStringSubmatch(string(text), -1) {
		assert.FileExists(t, filepath.Join(cfg.out, m[1]))
	}
	left, err := os.ReadDir(cfg.dir)
	require.NoError(t, err)
	assert.Empty(t, left, "no store is left behind")

	again, err := parse([]string{"-render", cfg.json, "-out", t.TempDir()}, io.Discard)
	require.NoError(t, err)
	require.NoError(t, run(t.Context(), again, nil, io.Discard))
	rendered, err := os.ReadFile(filepath.Join(again.out, "RESULTS.md"))
	require.NoError(t, err)
	assert.Equal(t, string(text), string(rendered))
}

// checkFigures wants those beside the cells.
func checkFigures(t *testing.T, r *report.Results) {
	count := map[string]int{}
	for _, f := range r.Figures {
		require.Empty(t, f.Err, f.Name)
		require.NotEmpty(t, f.Values, f.Name)
		count[f.Section]++
		if f.Section == report.Lost {
			assert.Equal(t, make([]float64, r.Config.Rounds), f.Values, f.Name)
		} else if f.Unit != "" { // and no count of what may not have happened
			assert.Positive(t, f.Values[0], f.Name)
		}
	}
	assert.Equal(t, map[string]int{
		report.Floors: len(measure.Floors()),
		report.Memory: 4 + 2*(4*2+2), // before; twice: two figures of four stores, and two disks
		report.Disk:   2 * (2 + 4),   // while inmem and bbolt are overwritten, and afterwards
		report.Behind: len(behindModes) * 5,
		report.Reopen: 3 * (2 + 4), // ready, loaded, all read: closed, killed, the latter in two classes
		report.Lost:   4,
		report.Cold:   2 * 5, // opening and loading, closed and killed
		report.Many:   9,
		report.Large:  2 * 3, // with a budget and without
		report.Rest:   3 * 5,
	}, count)
}

func TestOnlyWhatWasAskedFor(t *testing.T) {
	cfg := tiny(t, "-only", "^get batched, 16$", "-stores", "inmem,btree", "-cpuprofile", filepath.Join(t.TempDir(), "p"))
	require.NoError(t, run(t.Context(), cfg, kinds(), io.Discard))
	r, err := report.ReadFile(cfg.json)
	require.NoError(t, err)
	require.Len(t, r.Cells, 1)
	require.Len(t, r.Cells[0].Scores, 2)
	for _, s := range r.Cells[0].Scores {
		assert.Len(t, s.Rounds, 2)
	}
	assert.Empty(t, r.Figures)
	assert.Empty(t, r.Curves)
	profiles, err := os.ReadDir(cfg.profile)
	require.NoError(t, err)
	assert.Len(t, profiles, 4)

	cfg.stores = []string{"nobody"}
	assert.ErrorContains(t, run(t.Context(), cfg, kinds(), io.Discard), "nobody")
}

// interrupt ends a run when it says something.
type interrupt struct {
	at   string
	stop context.CancelFunc
}

func (i interrupt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), i.at) {
		i.stop()
	}
	return len(b), nil
}

// A run that is interrupted reports what it has, and leaves nothing behind.
func TestInterrupted(t *testing.T) {
	moments := []string{"round 2 of 2: get batched, 1:", "checked and loaded", "SIGKILL", "overwriting all", "disk growth: over", "background work", "curves"}
	if testing.Short() {
		moments = moments[:3]
	}
	for _, at := range moments {
		cfg := tiny(t, "-only", "^get batched, 1$|memory|curves|reopening|disk|background", "-stores", "inmem,btree")
		ctx, stop := context.WithCancel(t.Context())
		require.NoError(t, run(ctx, cfg, kinds(), interrupt{at, stop}), at)
		require.Error(t, ctx.Err(), at)
		r, err := report.ReadFile(cfg.json)
		require.NoError(t, err)
		assert.True(t, r.Partial, at)
		if strings.HasPrefix(at, "round") {
			require.NotEmpty(t, r.Cells)
			assert.NotEmpty(t, r.Cells[0].Scores[0].Rounds)
		}
		left, err := os.ReadDir(cfg.dir)
		require.NoError(t, err)
		assert.Empty(t, left)
	}
}

func TestFlags(t *testing.T) {
	cfg, err := parse([]string{"-quick"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, 100_000, cfg.Keys)
	assert.Equal(t, 1, cfg.rounds)
	assert.Equal(t, 300*time.Millisecond, cfg.cell)
	assert.Equal(t, filepath.Join("results", "results.json"), cfg.json)
	cfg, err = parse(nil, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, 1_000_000, cfg.Keys)
	assert.NotZero(t, cfg.seed)
	for _, bad := range [][]string{{"-only", "("}, {"-keys", "10"}, {"x"}, {"-rounds", "-1"}, {"-nothing"}} {
		_, err := parse(bad, io.Discard)
		assert.Error(t, err, bad)
	}
}

// How long a run takes is told from what it will do.
func TestEstimate(t *testing.T) {
	expect := func(args ...string) time.Duration {
		b, err := newBench(tiny(t, args...), stores.All(), t.TempDir(), io.Discard)
		require.NoError(t, err)
		return b.estimate()
	}
	quick, err := parse([]string{"-quick"}, io.Discard)
	require.NoError(t, err)
	b, err := newBench(quick, stores.All(), t.TempDir(), io.Discard)
	require.NoError(t, err)
	assert.Less(t, b.estimate(), 2*time.Minute)
	full, err := parse(nil, io.Discard)
	require.NoError(t, err)
	b, err = newBench(full, stores.All(), t.TempDir(), io.Discard)
	require.NoError(t, err)
	assert.Less(t, b.estimate(), 50*time.Minute)
	assert.Zero(t, expect("-only", "nothing at all"))
	assert.Less(t, expect("-only", "get"), expect())
}

func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.MkdirAll(filepath.Join(from, "a", "b"), 0o755))
	want := []byte(strings.Repeat("x", 100_000))
	file := filepath.Join(from, "a", "b", "file")
	require.NoError(t, os.WriteFile(file, want, 0o640))
	require.NoError(t, os.Truncate(file, 1<<30)) // a hole
	require.NoError(t, os.WriteFile(filepath.Join(from, "empty"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(from, "plain"), want[:5000], 0o644))
	require.NoError(t, copyTree(from, to))

	plain, err := os.ReadFile(filepath.Join(to, "plain"))
	require.NoError(t, err)
	assert.Equal(t, want[:5000], plain)
	copied := filepath.Join(to, "a", "b", "file")
	info, err := os.Stat(copied)
	require.NoError(t, err)
	assert.EqualValues(t, 1<<30, info.Size())
	f, err := os.Open(copied)
	require.NoError(t, err)
	got := make([]byte, len(want)+1)
	_, err = f.ReadAt(got, 0)
	require.NoError(t, errors.Join(err, f.Close()))
	assert.Equal(t, append(want, 0), got)
	assert.FileExists(t, filepath.Join(to, "empty"))
	if runtime.GOOS == "linux" {
		bytes, err := measure.Disk(to)
		require.NoError(t, err)
		assert.Less(t, bytes, int64(10<<20), "the hole is not written")
	}
	assert.EqualValues(t, 0o640, info.Mode().Perm())
	assert.Error(t, copyTree(from, to), "nothing is overwritten")
}

package report

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/bench/measure"
	"inmem/bench/store"
	"inmem/bench/workload"
)

var update = flag.Bool("update", false, "write the golden file anew")

// example has something of everything.
func example() *Results {
	r := &Results{
		Environment: measure.Environment{
			Date: "2026-01-02T03:04:05Z", Go: "go1.26.0", OS: "linux/amd64", Kernel: "6.1", CPU: "Fast 1",
			CPUs: 2, Memory: 8e9, FileSystem: "ext4 on /dev/x", Commit: "abc", Flags: "-quick", Seed: 7,
		},
		Config: Config{Size: workload.Size{Keys: 1_000_000, Runs: 1000, Value: 256}, Rounds: 3, Seconds: 0.3},
		Stores: []Store{
			{Name: "inmem", Classes: []string{"strict", "batched"}, Notes: []string{"strict: as it is", "batched: as it is"}},
			{Name: "bbolt", Version: "v1.5.0", Classes: []string{"strict", "batched"}, Notes: []string{"batched: NoSync"}},
			{Name: "pebble", Version: "v2.1.7", Classes: []string{"batched"}},
			{Name: "Redis", Missing: "redis-server is not in PATH", Classes: []string{"batched"}},
			{Name: "map", Classes: []string{"volatile"}},
		},
		Seconds: 95, Transcripts: "100 recorded agents, 1329 turns",
	}
	rounds := func(rates ...uint64) []*measure.Result {
		var list []*measure.Result
		for _, ops := range rates {
			h := measure.NewHistogram()
			for i := range 2000 {
				h.Record(time.Duration(i+1) * time.Microsecond)
			}
			list = append(list, &measure.Result{
				Ops: ops, Elapsed: time.Second, CPU: time.Second, GC: 50 * time.Millisecond,
				Allocs: 2 * ops, Bytes: 100 * ops, Service: h, Latency: h,
			})
		}
		return list
	}
	put := workload.Cell{Name: workload.Put, Class: store.Batched, Callers: 16}
	r.Score(put, "bbolt", store.Batched).Rounds = rounds(20_000, 30_000, 10_000)
	r.Score(put, "inmem", store.Batched).Rounds = rounds(600_000, 800_000, 700_000)
	r.Score(put, "pebble", store.Batched).Rounds = rounds(300_000, 350_000, 320_000)
	r.Score(put, "map", store.Volatile).Rounds = rounds(1_000_000, 1_100_000, 900_000)
	txn := workload.Cell{Name: workload.Transaction, Class: store.Batched, Callers: 16}
	r.Score(txn, "inmem", store.Batched).Rounds = rounds(1000)
	r.Score(txn, "bbolt", store.Batched).Err = "the disk\nis full | really"
	r.Score(txn, "pebble", store.Batched).Unsupported = true
	fixed := workload.Cell{Name: workload.Put, Class: store.Batched, Callers: 16, Rate: 20_000}
	r.Score(fixed, "inmem", store.Batched).Rounds = rounds(20_000)
	late := rounds(15_000)
	late[0].Late = 5000
	r.Score(fixed, "bbolt", store.Batched).Rounds = late
	r.Figure(Floors, "a sync", "µs", "", 0).Values = []float64{90, 88, 95}
	r.Figure(Memory, "memory", "MB", "inmem", store.Batched).Values = []float64{420}
	r.Figure(Memory, "memory", "MB", "map", store.Volatile).Values = []float64{466}
	r.Figure(Reopen, "1000 commits, SIGKILL: ready", "ms", "bbolt", store.Batched).Err = "the disk is full"
	r.Figure(Lost, "1000 commits, SIGKILL: lost", "commits", "inmem", store.Strict).Values = []float64{0, 0, 0}
	for i, keys := range []float64{1e6, 1e4, 1e5} { // in any order
		r.Point("get", "keys, in 1000 runs", keys).Values = []float64{float64(500 + i)}
		r.Point("put", "keys, in 1000 runs", keys).Values = []float64{float64(1500 + i)}
	}
	r.Problems = []string{"10 keys in 1 runs: too few"}
	return r
}

func TestMarkdown(t *testing.T) {
	const golden = "testdata/RESULTS.md"
	r := example()
	got := r.Markdown(r.Pictures())
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "if it should be so: go test ./report -update")

	r.Partial = true
	assert.Contains(t, r.Markdown(nil), "interrupted")
}

func TestResultsAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	r := example()
	require.NoError(t, r.WriteFile(file))
	back, err := ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, r.Markdown(r.Pictures()), back.Markdown(back.Pictures()))
	_, err = ReadFile(file + "-missing")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestRatio(t *testing.T) {
	r := example()
	ratio, best := r.Cells[0].ratio()
	assert.InDelta(t, 700.0/320, ratio, 1e-9, "the best durable peer by the medians, not the map")
	assert.Equal(t, "pebble", best)
	ratio, best = r.Cells[1].ratio()
	assert.True(t, math.IsNaN(ratio), "a peer that failed is no peer")
	assert.Empty(t, best)
}

func TestPictures(t *testing.T) {
	dir := t.TempDir()
	r := example()
	list := r.Pictures()
	require.Len(t, list, 4) // puts, transactions, latency, keys
	require.NoError(t, Draw(dir, list))
	for _, p := range list {
		f, err := os.Open(filepath.Join(dir, p.File))
		require.NoError(t, err)
		var text strings.Builder
		d := xml.NewDecoder(f)
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, p.File)
			if c, ok := token.(xml.CharData); ok {
				text.Write(c)
			}
		}
		require.NoError(t, f.Close())
		assert.Contains(t, text.String(), p.Title)
		name := Ours
		if p.kind == curves {
			name = workload.Put
		}
		assert.Contains(t, text.String(), name, p.File)
	}
}

func TestFormat(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.123: "0.12", 9.999: "10.0", 12.34: "12.3", 99.96: "100", 123.4: "123", 9994: "9994", 12_345: "12.3k",
		123_456: "123k", 1_234_567: "1.23M", 999_600: "1.00M", math.NaN(): "–", math.Inf(1): "–",
	} {
		assert.Equal(t, want, short(v))
	}
	for d, want := range map[time.Duration]string{0: "0 ns", 1500: "1.50 µs", 2 * time.Millisecond: "2 ms", 90 * time.Second: "90 s"} {
		assert.Equal(t, want, duration(d))
	}
	assert.Equal(t, "2 (1–3)", spread(measure.Summarize([]float64{1, 2, 3})))
	assert.Equal(t, "2", spread(measure.Summarize([]float64{2, 2})))
	assert.Equal(t, "–", spread(measure.Summarize(nil)))
}

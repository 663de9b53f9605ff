package alone

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem"
)

// size is how large the stores are that hold what a question is asked about.
type size struct {
	keys, runs int   // of the data set: 16 B and 256 B
	view       []int // keys of the run to view
	past       int   // commits of the run whose past is asked for
	query      int   // runs to choose from
	history    []int // commits of the run to fork
	replay     int   // events of the run to replay
	grown      int   // how many times as long the log then gets
	watch      int   // commits a second
	reopen     []int // commits
}

var sizes = map[string]size{
	"small": {keys: 100_000, runs: 1000, view: []int{10, 1000, 100_000}, past: 1000, query: 10_000,
		history: []int{1000, 10_000}, replay: 1000, grown: 100, watch: 50_000, reopen: []int{10_000, 100_000}},
	"large": {keys: 1_000_000, runs: 1000, view: []int{10, 1000, 100_000}, past: 1000, query: 100_000,
		history: []int{1000, 100_000}, replay: 1000, grown: 100, watch: 50_000, reopen: []int{10_000, 1_000_000}},
	"tiny": {keys: 1000, runs: 10, view: []int{10, 100}, past: 60, query: 200,
		history: []int{20, 100}, replay: 20, grown: 10, watch: 2000, reopen: []int{100, 500}},
}

const valueSize = 256

var (
	sizeName = flag.String("size", "small", "of the stores: small, large, or tiny, which measures nothing")
	shards   = flag.Int("shards", 0, "Options.Shards of the stores")
	window   = flag.Int("window", 0, "Options.BatchCommits of the stores")
)

// sized returns the size that was asked for.
func sized() size { return sizes[*sizeName] }

func TestMain(m *testing.M) {
	flag.Parse()
	if _, ok := sizes[*sizeName]; !ok {
		fmt.Fprintf(os.Stderr, "-size=%s: there are %s\n", *sizeName, slices.Sorted(maps.Keys(sizes)))
		os.Exit(2)
	}
	if flag.Lookup("test.bench").Value.String() != "" {
		// benchstat does not compare what differs in such a line.
		fmt.Printf("stores: %s, %d shards, window %d (0: the default)\n", *sizeName, *shards, *window)
	}
	goleak.VerifyTestMain(m)
}

var modes = []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async}

// Each benchmark does its work once, on stores that are tiny.
func TestBenchmarks(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	list, err := exec.Command(program, "-test.list=^Benchmark").Output()
	require.NoError(t, err)
	names := strings.Fields(string(list))
	require.NotEmpty(t, names)
	out, err := exec.Command(program, "-test.run=^$", "-test.bench=.", "-test.benchtime=1x", "-size=tiny", "-shards=2", "-window=100").CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "stores: tiny, 2 shards, window 100 ")

	// The name, the number of operations, and pairs of a figure and its unit.
	lines := regexp.MustCompile(`(?m)^(Benchmark\w+)\S*\s+1\t(.*\S)$`).FindAllStringSubmatch(string(out), -1)
	seen, units := map[string]int{}, map[string]bool{}
	for _, line := range lines {
		seen[line[1]]++
		fields := strings.Fields(line[2])
		for i := 1; i < len(fields); i += 2 {
			units[fields[i]] = true
		}
	}
	for _, name := range names {
		assert.Positive(t, seen[name], "%s: %s", name, out)
	}
	for _, unit := range []string{"ns/op", "allocs/op", "call-p99-ns", "ack-p50-ns", "commits/s", "heap-B/key", "heap/data"} {
		assert.True(t, units[unit], "nothing is told in %s", unit)
	}
	assert.Equal(t, len(modes)*len(allCallers), seen["BenchmarkPut"])
}

func TestSizeIsKnown(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	out, err := exec.Command(program, "-test.run=^$", "-size=huge").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "[large small tiny]")
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/bench/report"
	"inmem/bench/store"
)

// The program as it is built measures with itself as its child, and knows the
// versions of what it was built with; that of a test does not.
func TestBuilt(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program: not with -short")
	}
	program := filepath.Join(t.TempDir(), "bench")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	dir := t.TempDir()
	args := []string{"-only", "^get batched, 1$", "-stores", "inmem,pebble,SQLite,Redis,xsync.Map,btree,bbolt,badger,buntdb,map",
		"-keys", "1000", "-runs", "10", "-cell", "1ms", "-rounds", "1", "-out", dir, "-dir", t.TempDir()}
	out, err = exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, string(out))
	r, err := report.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	require.Len(t, r.Cells, 1)
	for _, s := range r.Cells[0].Scores {
		assert.Empty(t, s.Err, s.Store)
		assert.Len(t, s.Rounds, 1, s.Store)
		assert.NotEqual(t, store.Strict, s.Class)
	}

	required, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	modules := map[string]string{
		"pebble": "github.com/cockroachdb/pebble/v2", "badger": "github.com/dgraph-io/badger/v4", "bbolt": "go.etcd.io/bbolt",
		"buntdb": "github.com/tidwall/buntdb", "SQLite": "github.com/mattn/go-sqlite3", "Redis": "github.com/redis/rueidis",
		"xsync.Map": "github.com/puzpuzpuz/xsync/v4", "btree": "github.com/tidwall/btree",
	}
	require.Len(t, r.Stores, len(modules)+2)
	for _, s := range r.Stores {
		module := modules[s.Name]
		if module == "" || s.Missing != "" { // of this repository, or of no module
			continue
		}
		version := regexp.MustCompile(regexp.QuoteMeta(module) + ` (v\S+)`).FindSubmatch(required)
		require.NotNil(t, version, module)
		assert.Contains(t, s.Version, string(version[1]), s.Name)
		if s.Name == "SQLite" || s.Name == "Redis" { // the version of the engine, then that of its module
			assert.Regexp(t, `^\d+\.\d+\.\d+ \(`, s.Version)
		}
	}
}

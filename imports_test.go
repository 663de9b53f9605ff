package inmem_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// layers says which packages of the module each package may import, and why no
// others. Imports point down only.
var layers = map[string]struct {
	may []string
	why string
}{
	"field":      {nil, "reads fields, knows no format"},
	"run":        {[]string{"field"}, "data about runs, below everything that stores them"},
	"vfs":        {nil, "the disk knows nothing of what is stored on it"},
	"actor":      {nil, "mailboxes know nothing of the messages"},
	"op":         {[]string{"field", "run"}, "the vocabulary is data only"},
	"codec":      {nil, "knows values and bytes, no face"},
	"kv":         {[]string{"codec", "op"}, "faces own nothing and never import each other: they work over whatever op.Run they get"},
	"event":      {[]string{"codec", "field", "op", "retry"}, "a face, like kv"},
	"state":      {[]string{"codec", "field", "op", "retry"}, "a face, like kv"},
	"trace":      {[]string{"field", "op", "retry"}, "a face, like kv"},
	"diff":       {[]string{"event", "kv", "run", "state", "trace", "vector"}, "compares what the faces return; reads no store and no disk"},
	"query":      {[]string{"event", "field", "kv", "op", "run", "state", "trace", "vector"}, "looks through what the faces return; which runs there are it is told; a cursor is fields"},
	"step":       {[]string{"field", "op"}, "the records of steps, over whatever op.Run they are in; it executes nothing"},
	"transfer":   {[]string{"op", "run"}, "the file of an exported run: commits and what a run is, no store"},
	"replaytest": {[]string{"inmem", "run", "transfer", "vfs"}, "for tests of agents: above the face, like a program"},
	"retry":      {[]string{"op"}, "knows which errors mean that somebody was first, and nothing else"},
	"ordered":    {[]string{"op"}, "one run's map knows items, not runs"},
	"ttl":        {[]string{"actor", "run"}, "the clock's list never touches the state of shards"},
	"wal":        {[]string{"field", "op", "vfs"}, "records are opaque to the log; op gives it errors and modes"},
	"checkpoint": {[]string{"field", "op", "run", "vfs"}, "images know items and runs, not live state and not the log"},
	"retention":  {[]string{"run"}, "decides by what is known of runs; removes nothing itself"},
	"shard":      {[]string{"actor", "checkpoint", "op", "ordered", "retention", "run", "ttl", "vfs", "wal"}, "owners know nothing of faces, of recovery or of other shards"},
	"recovery":   {[]string{"checkpoint", "op", "run", "shard", "vector/indexfile", "vfs", "wal"}, "recovery decides before anything is at work: no actors, no timers"},
	"salvage":    {[]string{"checkpoint", "op", "recovery", "run", "shard", "vfs", "wal"}, "salvage reads files and writes files: of what is live it knows where a run is placed, and the clock"},

	"vector/distance": {nil, "arithmetic on slices; knows neither what a vector means nor where it is"},
	"vector/hnsw":     {[]string{"vector/distance"}, "a graph over numbered vectors that somebody else keeps; no run, no commit, no disk"},

	"vector":           {[]string{"field", "op", "retry", "vector/matrix"}, "a face, like kv; what its searches keep is matrix's"},
	"vector/embed":     {nil, "texts and vectors; no store"},
	"vector/indexfile": {[]string{"op", "run", "vfs"}, "bytes that belong to a run and a name; no index, no search"},
	"vector/matrix":    {[]string{"op", "run", "vector/distance", "vector/hnsw"}, "made from views, and dropped at any time; knows no stored form"},

	".": {[]string{"checkpoint", "diff", "event", "kv", "op", "query", "recovery", "retention", "retry", "run", "salvage", "shard", "state", "step", "trace", "transfer", "ttl", "vector", "vector/indexfile", "vector/matrix", "vfs", "wal"}, "the face wires; nothing of the command or the benchmarks"},
}

func TestImportsPointDown(t *testing.T) {
	for dir := range packages(t) {
		if strings.HasPrefix(dir, "cmd") || strings.HasPrefix(dir, "examples") {
			continue // the top: it may use whatever it needs
		}
		layer, known := layers[dir]
		require.True(t, known, "package %s has no place in the layers: give it one, with a reason", dir)
		for _, path := range imports(t, dir) {
			name, ours := strings.CutPrefix(path, "inmem/")
			if !ours && path != "inmem" {
				continue
			}
			require.Contains(t, layer.may, name, "%s imports %s: %s", dir, path, layer.why)
		}
	}
}

// TestPackagesSayWhatTheyAre: each package has a comment, and those that are
// not the public face say that they carry no compatibility promise.
func TestPackagesSayWhatTheyAre(t *testing.T) {
	public := []string{".", "run", "codec", "diff", "event", "kv", "query", "replaytest", "state", "trace", "vector", "vector/embed"}
	for dir, files := range packages(t) {
		var comments []string
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly|parser.ParseComments)
			require.NoError(t, err)
			if f.Doc != nil {
				comments = append(comments, f.Doc.Text())
			}
		}
		require.Len(t, comments, 1, "package %s has one package comment", dir)
		if !slices.Contains(public, dir) && !strings.HasPrefix(dir, "cmd") && !strings.HasPrefix(dir, "examples") {
			require.Contains(t, strings.Join(strings.Fields(comments[0]), " "), "no compatibility promise", "package %s", dir)
		}
	}
}

// packages returns the module's directories with the Go files in them, tests
// and nested modules left out.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	dirs := map[string][]string{}
	require.NoError(t, filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if nested := err == nil && path != "."; nested || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			dirs[filepath.Dir(path)] = append(dirs[filepath.Dir(path)], path)
		}
		return nil
	}))
	require.Contains(t, dirs, "shard")
	return dirs
}

// imports returns what the package in dir imports, tests left out.
func imports(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	for _, name := range packages(t)[dir] {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			list = append(list, path)
		}
	}
	return list
}

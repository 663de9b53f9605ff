package inmem_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

// The store that docs/format.md takes apart byte by byte. It may be written
// anew only together with that text, for a format that nobody has yet.
var writeFormatStore = flag.Bool("docs.store", false, "write the store of docs/format.md anew")

var (
	formatStore = filepath.Join("testdata", "format-v3")
	formatRun   = run.ID{0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0x70, 0, 0x80, 15: 0x01}
	formatFork  = run.ID{0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, 0x70, 0, 0x80, 15: 0x02}
	formatTime  = time.UnixMilli(1_700_000_000_000)
)

const (
	formatDigest     = "0db86283eaa0d94a1488d1242d741cdf"
	formatForkDigest = "dee7ab05a873f9bcf4246c2264b6f396"
)

func formatOptions() *inmem.Options {
	return &inmem.Options{
		Shards: 1, CheckpointBytes: -1, BatchInterval: time.Hour, // no seal but that of Close
		Now: func() time.Time { return formatTime },
	}
}

// writeFormat does what docs/format.md says was done.
func writeFormat(t *testing.T, dir string, opts *inmem.Options) {
	ctx := context.Background()
	db, err := inmem.Open(dir, opts)
	require.NoError(t, err)
	r, err := db.BeginRun(ctx, run.Meta{
		ID: formatRun, Name: "demo", Tags: map[string]string{"env": "test"},
		Namespace: run.Namespace{Tenant: "acme", App: "support", Agent: "triage"},
	})
	require.NoError(t, err)
	_, err = r.KV().Put(ctx, "plan", []byte("call back"))
	require.NoError(t, err)
	require.NoError(t, db.Checkpoint(ctx))
	_, err = r.KV().Put(ctx, "hold", []byte("line 2"), kv.TTL(time.Minute))
	require.NoError(t, err)
	_, err = db.Fork(ctx, formatRun, 2, run.Meta{ID: formatFork})
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

func TestFormatExample(t *testing.T) {
	if *writeFormatStore {
		require.NoError(t, os.RemoveAll(formatStore))
		writeFormat(t, formatStore, formatOptions())
		require.NoError(t, os.Remove(filepath.Join(formatStore, "LOCK")))
	}
	drawn := hexBlocks(t, filepath.Join("docs", "format.md"))
	files := filesIn(t, formatStore)
	require.Len(t, drawn, len(files), "every file of the store is taken apart, and nothing else")
	for name, want := range files {
		require.Equal(t, hex.Dump(want), hex.Dump(drawn[name]), name)
	}
}

// TestFormatStoreOpens: what the formats were when they were drawn is still read,
// and gone on with.
func TestFormatStoreOpens(t *testing.T) {
	for _, name := range []string{"format-v1", "format-v2", "format-v3"} {
		t.Run(name, func(t *testing.T) { requireFormatOpens(t, filepath.Join("testdata", name)) })
	}
}

func requireFormatOpens(t *testing.T, store string) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(store)))
	checked, err := inmem.Check(dir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
	require.Equal(t, 1, checked.Shards[0].Compared)

	opts := formatOptions()
	opts.Shards = 0
	db, err := inmem.Open(dir, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.EqualValues(t, "clean", db.Recovery().Verdict)
	r, err := db.Run(formatRun)
	require.NoError(t, err)
	digest, version, err := r.Digest()
	require.NoError(t, err)
	require.EqualValues(t, 3, version)
	require.Equal(t, formatDigest, digest.String())
	it, err := r.KV().GetItem(context.Background(), "hold")
	require.NoError(t, err)
	require.Equal(t, kv.Item{Key: "hold", Value: []byte("line 2"), Version: 3, Deadline: formatTime.Add(time.Minute)}, it)

	fork, err := db.Run(formatFork)
	if filepath.Base(store) == "format-v1" {
		require.ErrorIs(t, err, inmem.ErrRunNotFound)
		fork, err = db.Fork(context.Background(), formatRun, 2, run.Meta{ID: formatFork})
	}
	require.NoError(t, err)
	digest, version, err = fork.Digest()
	require.NoError(t, err)
	require.EqualValues(t, 2, version)
	require.Equal(t, formatForkDigest, digest.String())
}

// TestFormatIsStillWritten: the same calls write files of the same names and
// sizes. The bytes differ, by the store's ID, the salt and what depends on them.
func TestFormatIsStillWritten(t *testing.T) {
	mem := vfs.NewMem()
	opts := formatOptions()
	opts.FS = mem
	writeFormat(t, "s", opts)
	sizes := map[string]int{}
	for _, name := range mem.Files() {
		b, err := mem.ReadFile(name)
		require.NoError(t, err)
		sizes[strings.TrimPrefix(name, "s/")] = len(b)
	}
	delete(sizes, "LOCK")
	want := map[string]int{}
	for name, b := range filesIn(t, formatStore) {
		want[name] = len(b)
	}
	require.Equal(t, want, sizes)
}

// filesIn returns the contents of all files below dir, by path within it.
func filesIn(t *testing.T, dir string) map[string][]byte {
	files := map[string][]byte{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)], err = os.ReadFile(path)
		return err
	}))
	return files
}

// hexLine is an offset, bytes, and behind two spaces what they mean.
var hexLine = regexp.MustCompile(`^([0-9a-f]{4})  ([0-9a-f]{2}(?: ?[0-9a-f]{2})*)(?:  .*)?$`)

// hexBlocks returns the bytes of the blocks that begin with "```hex NAME".
func hexBlocks(t *testing.T, file string) map[string][]byte {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	blocks := map[string][]byte{}
	name := ""
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		line := sc.Text()
		switch rest, begins := strings.CutPrefix(line, "```hex "); {
		case begins:
			name = rest
		case line == "```":
			name = ""
		case name != "":
			m := hexLine.FindStringSubmatch(line)
			require.NotNil(t, m, "%s: not a line of bytes: %q", name, line)
			at, err := strconv.ParseInt(m[1], 16, 64)
			require.NoError(t, err)
			require.EqualValues(t, len(blocks[name]), at, "%s: a gap before %q", name, line)
			b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
			require.NoError(t, err)
			blocks[name] = append(blocks[name], b...)
		}
	}
	return blocks
}

// TestReadmeExample: what the README shows is what Example does.
func TestReadmeExample(t *testing.T) {
	source, err := os.ReadFile("example_readme_test.go")
	require.NoError(t, err)
	_, body, found := strings.Cut(string(source), "\nfunc Example() {\n")
	require.True(t, found)
	body, _, found = strings.Cut(body, "\n\t// Output:")
	require.True(t, found)
	body = strings.TrimPrefix(strings.ReplaceAll("\n"+body, "\n\t", "\n"), "\n")

	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, shown, found := strings.Cut(string(readme), "<!-- example_readme_test.go -->\n```go\n")
	require.True(t, found)
	shown, _, found = strings.Cut(shown, "\n```\n")
	require.True(t, found)
	require.Equal(t, body, shown)
}

// named is how the documents name a test: package.Test.
var named = regexp.MustCompile("`([a-z/]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`")

// TestDocumentsNameTestsThatExist: a proof that is gone proves nothing.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	sources := map[string]string{}
	for _, doc := range []string{"docs/guarantees.md", "docs/architecture.md", "docs/format.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.FromSlash(doc))
		require.NoError(t, err)
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			pkg, test := m[1], m[2]
			if _, ok := sources[pkg]; !ok {
				sources[pkg] = testsOf(t, pkg)
			}
			if !strings.Contains(sources[pkg], "\nfunc "+test+"(") {
				t.Errorf("%s names %s.%s, which does not exist", doc, pkg, test)
			}
		}
	}
	require.NotEmpty(t, sources)
}

func testsOf(t *testing.T, pkg string) string {
	dir := pkg
	if pkg == "inmem" {
		dir = "."
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all.WriteString("\n")
		all.Write(text)
	}
	return all.String()
}

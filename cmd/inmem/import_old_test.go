package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/run"
)

// oldImport imports a file as it was done before there were events: each
// message under a key of its own, up to the given number of a run's messages.
func oldImport(t *testing.T, dir string, file []byte, upTo func(i, n int) int) {
	t.Helper()
	ctx := context.Background()
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	for i, rec := range linesOf(t, file) {
		r, err := db.BeginRun(ctx, rec.meta)
		require.NoError(t, err)
		n := upTo(i, len(rec.messages))
		for m := range n {
			_, err := r.KV().PutIf(ctx, messageKey(m+1), rec.messages[m], 0)
			require.NoError(t, err)
		}
		if n == len(rec.messages) {
			require.NoError(t, r.End(ctx, run.Completed))
		}
	}
	require.NoError(t, db.Close())
}

// requireOld wants the runs of a file in the store, in the older layout alone.
func requireOld(t *testing.T, dir string, file []byte) {
	t.Helper()
	ctx := context.Background()
	db, err := inmem.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, rec := range linesOf(t, file) {
		r, err := db.Run(rec.meta.ID)
		require.NoError(t, err)
		info, err := r.Info()
		require.NoError(t, err)
		require.Equal(t, run.Completed, info.Status)
		require.Equal(t, uint64(len(rec.messages))+2, info.LastVersion)
		n := 0
		for it, err := range r.KV().List(ctx, "") {
			require.NoError(t, err)
			require.Equal(t, messageKey(n+1), it.Key)
			require.Equal(t, string(rec.messages[n]), string(it.Value))
			n++
		}
		require.Len(t, rec.messages, n)
		counts, err := r.Counts()
		require.NoError(t, err)
		require.Zero(t, counts[inmem.TagEvent]+counts[inmem.TagStateMachine]+counts[inmem.TagTrace], "nothing is there twice")
	}
}

// TestImportOverOlderImports: what an older version has imported, wholly or in
// part, is recognised, goes on as it began, and is never stored a second time.
func TestImportOverOlderImports(t *testing.T) {
	t.Parallel()
	file := recordedRuns(t)
	lines := bytes.SplitAfter(file, []byte("\n"))[:40]
	old, rest, both := bytes.Join(lines[:20], nil), bytes.Join(lines[20:], nil), bytes.Join(lines, nil)
	dir := filepath.Join(t.TempDir(), "store")
	oldImport(t, dir, old, func(i, n int) int {
		if i%2 == 0 {
			return n
		}
		return 1 + i%(n-1) // it was interrupted
	})
	path := filepath.Join(t.TempDir(), "old.jsonl")
	require.NoError(t, os.WriteFile(path, old, 0o644))
	out := inmemCommand(t, "import", "--dir", dir, "--json", path)
	require.Contains(t, out, `{"new":0,"continued":10,"unchanged":10,"conflicting":0,`)
	requireOld(t, dir, old)

	// The others come as events, into the same store.
	require.NoError(t, os.WriteFile(path, both, 0o644))
	out = inmemCommand(t, "import", "--dir", dir, "--json", path)
	require.Contains(t, out, `{"new":20,"continued":0,"unchanged":20,"conflicting":0,`)
	requireOld(t, dir, old)
	messages := 0
	for _, rec := range linesOf(t, rest) {
		messages += len(rec.messages)
	}
	requireStored(t, dir, rest, messages)
	out = inmemCommand(t, "import", "--dir", dir, "--json", path)
	require.JSONEq(t, `{"new":0,"continued":0,"unchanged":40,"conflicting":0,"messages":0,"bad_lines":0}`, out)

	// Both can be read.
	first, last := linesOf(t, old)[0], linesOf(t, rest)[0]
	require.Contains(t, inmemCommand(t, "run", "show", "--dir", dir, first.meta.ID.String()), "messages/00000001")
	require.Contains(t, inmemCommand(t, "run", "show", "--dir", dir, last.meta.ID.String()), "in 1 stream")
	require.Contains(t, inmemCommand(t, "check", "--dir", dir), "sound")
}

// TestImportOverADifferentOlderImport: a run of the older layout that has other
// messages is left alone.
func TestImportOverADifferentOlderImport(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	const stored = `{"name":"a","messages":[{"role":"user"},{"role":"assistant"}]}` + "\n"
	oldImport(t, dir, []byte(stored), func(_, n int) int { return n })
	path := filepath.Join(t.TempDir(), "new.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(`{"name":"a","messages":[{"role":"user"},{"role":"tool"}]}`+"\n"), 0o644))
	var out, errOut bytes.Buffer
	require.Equal(t, exitBadInput, execute([]string{"import", "--dir", dir, path}, bytes.NewReader(nil), &out, &errOut))
	require.Contains(t, errOut.String(), "messages/00000002 is not what the file has")
	requireOld(t, dir, []byte(stored))
}

// TestImportWhereThereAreOtherEvents leaves a run alone whose main stream is
// somebody else's.
func TestImportWhereThereAreOtherEvents(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "store")
	line := []byte(`{"name":"a","messages":[{"role":"user"}]}` + "\n")
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	r, err := db.BeginRun(ctx, linesOf(t, line)[0].meta)
	require.NoError(t, err)
	_, err = r.Events().Append(ctx, event.Main, event.New{Type: "message.user", ID: "x", Payload: []byte(`{"role":"user"}`)})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	var out, errOut bytes.Buffer
	require.Equal(t, exitBadInput, execute([]string{"import", "--dir", dir, "-"}, bytes.NewReader(line), &out, &errOut))
	require.Contains(t, errOut.String(), "event 1 is not what the file has")
}

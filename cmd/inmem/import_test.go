package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/run"
	"inmem/trace"
)

// recorded is 100 recorded runs of a real agent, beside the module.
const recorded = "../../../shared/data/airline-agent.jsonl"

func recordedRuns(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(recorded)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is not there: the test needs the recorded runs", recorded)
	}
	require.NoError(t, err)
	return b
}

// inmemCommand runs the command in a process of its own.
func inmemCommand(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("inmem", args...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	require.NoError(t, err, "%v: %s", args, errOut.String())
	return string(out)
}

// linesOf parses a file of runs without this package's reader.
func linesOf(t *testing.T, file []byte) []*record {
	t.Helper()
	var list []*record
	for line := range bytes.Lines(file) {
		var r struct {
			Name      string
			Namespace run.Namespace
			Tags      map[string]string
			Messages  []json.RawMessage
		}
		require.NoError(t, json.Unmarshal(line, &r))
		list = append(list, &record{
			meta:     run.Meta{ID: r.Namespace.DeriveID(r.Name), Name: r.Name, Namespace: r.Namespace, Tags: r.Tags},
			messages: r.Messages,
		})
	}
	return list
}

// requireStored wants exactly these runs' messages in the store, in order, byte
// for byte as they stand in the file.
func requireStored(t *testing.T, dir string, file []byte, want int) {
	t.Helper()
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	messages, rest := 0, file
	for _, rec := range linesOf(t, file) {
		r, err := db.Run(rec.meta.ID)
		require.NoError(t, err)
		info, err := r.Info()
		require.NoError(t, err)
		require.Equal(t, rec.meta, info.Meta)
		require.Equal(t, run.Completed, info.Status)
		require.Equal(t, uint64(len(rec.messages))+2, info.LastVersion, "one commit a message, one for each end")
		n, found := 0, false
		for e, err := range r.Events().Read(context.Background(), event.Main) {
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(n+1), e.ID)
			require.Equal(t, uint64(n+2), e.Version)
			_, rest, found = bytes.Cut(rest, e.Payload)
			require.True(t, found, "not as it stands in the file")
			require.Equal(t, string(rec.messages[n]), string(e.Payload))
			n++
		}
		require.Len(t, rec.messages, n)
		require.NoError(t, r.Events().Verify(context.Background(), event.Main))
		requireSpansAndCounters(t, r, rec.messages)
		messages += n
	}
	require.Equal(t, want, messages)
}

// requireSpansAndCounters wants of a run what its messages give: a span for each
// call, begun with the call's message and ended with its result's, and counters
// that came with the last message. It reads the messages in its own way.
func requireSpansAndCounters(t *testing.T, r *inmem.Run, messages []json.RawMessage) {
	t.Helper()
	ctx := context.Background()
	type span struct {
		name, id, input, output string
		answered                bool
		version                 uint64
	}
	var want []*span
	sum := counters{Roles: map[string]int{}}
	for i, raw := range messages {
		var m struct {
			Role, Content string
			Tool_calls    []struct {
				ID       string
				Function struct{ Name, Arguments string }
			}
			Tool_call_id string
		}
		require.NoError(t, json.Unmarshal(raw, &m))
		version := uint64(i) + 2
		sum.Messages++
		sum.Roles[m.Role]++
		for _, c := range m.Tool_calls {
			sum.ToolCalls++
			want = append(want, &span{name: c.Function.Name, id: c.ID, input: c.Function.Arguments, version: version})
		}
		if m.Tool_call_id == "" {
			continue
		}
		sum.ToolResults++
		for _, s := range want {
			if s.id == m.Tool_call_id && !s.answered {
				s.answered, s.output, s.version = true, m.Content, version
				break
			}
		}
	}
	n := 0
	for have, err := range r.Trace().List(ctx, trace.Filter{}) {
		require.NoError(t, err)
		require.Less(t, n, len(want))
		w := want[n]
		require.Equal(t, *w, span{
			have.Name, have.Attributes[trace.AttrToolCallID], string(have.Input), string(have.Output),
			have.Status == trace.OK, have.Version,
		})
		require.Equal(t, trace.ToolCall, have.Kind)
		require.Equal(t, w.name, have.Attributes[trace.AttrToolName])
		n++
	}
	require.Len(t, want, n)
	if len(messages) == 0 {
		return
	}
	cell, err := r.State().Get(ctx, countersCell)
	require.NoError(t, err)
	require.Equal(t, uint64(len(messages))+1, cell.Version)
	var have counters
	require.NoError(t, json.Unmarshal(cell.Data, &have))
	require.Equal(t, sum, have)
}

func TestImportOfRecordedRuns(t *testing.T) {
	t.Parallel()
	file := recordedRuns(t)
	dir := filepath.Join(t.TempDir(), "store")
	out := inmemCommand(t, "import", "--dir", dir, "--json", recorded)
	require.JSONEq(t, `{"new":100,"continued":0,"unchanged":0,"conflicting":0,"messages":2658,"bad_lines":0}`, out)
	requireStored(t, dir, file, 2658)
	out = inmemCommand(t, "import", "--dir", dir, "--json", recorded)
	require.JSONEq(t, `{"new":0,"continued":0,"unchanged":100,"conflicting":0,"messages":0,"bad_lines":0}`, out)
	requireStored(t, dir, file, 2658)
	require.Contains(t, inmemCommand(t, "check", "--dir", dir), "sound")
}

// TestImportKilledAndResumed kills an import, at several points that it tells
// of itself, in a store that has runs already. Its output is the ledger: every
// message in it is there, and going on adds the others.
func TestImportKilledAndResumed(t *testing.T) {
	t.Parallel()
	first := recordedRuns(t)
	for _, mode := range []string{"batched", "strict"} {
		// The last leaves more unsaid than the pipe between the two holds, so
		// that the import cannot end before it is killed.
		for _, after := range []int{1, 40, 1000, 2000} {
			t.Run(mode+" "+count(after), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "store")
				inmemCommand(t, "import", "--dir", dir, recorded)
				// The same runs of another tenant: work to do.
				second := bytes.ReplaceAll(first, []byte(`"tenant": "tau-bench"`), []byte(`"tenant": "again"`))
				path := filepath.Join(t.TempDir(), "second.jsonl")
				require.NoError(t, os.WriteFile(path, second, 0o644))

				ledger := killedImport(t, dir, path, mode, after)
				requireLedger(t, dir, second, ledger)
				out := inmemCommand(t, "import", "--dir", dir, "--json", path)
				var sum importSummary
				require.NoError(t, json.Unmarshal([]byte(out), &sum))
				require.Equal(t, 100, sum.New+sum.Continued+sum.Unchanged)
				require.LessOrEqual(t, sum.Messages, 2658-len(ledger))
				requireStored(t, dir, second, 2658)
				requireStored(t, dir, first, 2658)
				require.Contains(t, inmemCommand(t, "check", "--dir", dir), "sound")
			})
		}
	}
}

// killedImport kills an import when it has acknowledged so many messages, and
// returns all that it acknowledged up to its end.
func killedImport(t *testing.T, dir, path, mode string, after int) (ledger []acknowledged) {
	t.Helper()
	cmd := exec.Command("inmem", "import", "--dir", dir, "--verbose", "--durability", mode, path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break // a line that the kill cut short told nobody anything
		}
		var a acknowledged
		require.NoError(t, json.Unmarshal(line, &a))
		ledger = append(ledger, a)
		if len(ledger) == after {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait())
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, status.Signaled() && status.Signal() == syscall.SIGKILL, "it ended before it was killed")
	require.GreaterOrEqual(t, len(ledger), after)
	return ledger
}

// requireLedger wants each acknowledged message in the store at its version,
// byte for byte, and the messages of each run without gaps.
func requireLedger(t *testing.T, dir string, file []byte, ledger []acknowledged) {
	t.Helper()
	records := map[run.ID]*record{}
	for _, rec := range linesOf(t, file) {
		records[rec.meta.ID] = rec
	}
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	ctx := context.Background()
	for _, a := range ledger {
		r, err := db.Run(a.Run)
		require.NoError(t, err)
		e, err := r.Events().Get(ctx, a.Stream, a.Sequence)
		require.NoError(t, err)
		sum := sha256.Sum256(e.Payload)
		require.Equal(t, a, acknowledged{Run: a.Run, Stream: event.Main, Sequence: e.Sequence, Version: e.Version, SHA256: hex.EncodeToString(sum[:])})
	}
	for id, rec := range records {
		r, err := db.Run(id)
		if errors.Is(err, inmem.ErrRunNotFound) {
			continue // its turn had not come
		}
		require.NoError(t, err)
		n := 0
		for e, err := range r.Events().Read(ctx, event.Main) {
			require.NoError(t, err)
			require.Equal(t, string(rec.messages[n]), string(e.Payload))
			n++
		}
		requireSpansAndCounters(t, r, rec.messages[:n]) // never half a message
	}
}

// TestImportContinuesAndRefuses makes runs as other programs, and older imports,
// may have left them: with the messages under keys.
func TestImportContinuesAndRefuses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	ctx := context.Background()
	ns := run.Namespace{Tenant: "t"}
	const m1, m2 = `{"role":"user"}`, `{"role":"assistant"}`
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	begin := func(name string, messages ...string) *inmem.Run {
		r, err := db.BeginRun(ctx, run.Meta{ID: ns.DeriveID(name), Name: name, Namespace: ns})
		require.NoError(t, err)
		for i, m := range messages {
			_, err := r.KV().Put(ctx, messageKey(i+1), []byte(m))
			require.NoError(t, err)
		}
		return r
	}
	begin("half", m1)
	begin("not ended", m1, m2)
	begin("with notes", m1).KV().Put(ctx, "notes", []byte("of somebody"))
	require.NoError(t, begin("archived", m1, m2).Archive(ctx))
	require.NoError(t, begin("paused", m1).Pause(ctx))
	require.NoError(t, begin("failed", m1).End(ctx, run.Failed))
	_, err = begin("gap").KV().Put(ctx, messageKey(2), []byte(m2))
	require.NoError(t, err)
	deleted := begin("deleted")
	require.NoError(t, db.DeleteRun(ctx, deleted.ID()))
	require.NoError(t, db.Close())

	var file strings.Builder
	for _, name := range []string{"half", "not ended", "with notes", "archived", "paused", "failed", "gap", "deleted", "new"} {
		file.WriteString(`{"name":"` + name + `","namespace":{"tenant":"t"},"messages":[` + m1 + "," + m2 + "]}\n")
	}
	var out, errOut bytes.Buffer
	code := execute([]string{"import", "--dir", dir, "--json", "-"}, strings.NewReader(file.String()), &out, &errOut)
	require.Equal(t, exitBadInput, code, errOut.String())
	require.JSONEq(t, `{"new":1,"continued":3,"unchanged":1,"conflicting":4,"messages":4,"bad_lines":0}`, out.String())
	for _, want := range []string{
		"(paused): it is paused", "(failed): it is failed with 1 of the file's 2 messages",
		"(gap): messages/00000001 is missing", "(deleted): it was deleted",
	} {
		require.Contains(t, errOut.String(), want)
	}
}

// TestImportOfALongLine: a message of many megabytes is no special case.
func TestImportOfALongLine(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	big := `{"role":"user","content":"` + strings.Repeat("x", 20<<20) + `"}`
	line := `{"name":"big","messages":[` + big + `]}`
	var out, errOut bytes.Buffer
	require.Equal(t, exitOK, execute([]string{"import", "--dir", dir, "-"}, strings.NewReader(line), &out, &errOut), errOut.String())
	requireStored(t, dir, []byte(line), 1)
}

func TestImportStopsWhereItIsInterrupted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	ctx, cancel := context.WithCancel(context.Background())
	var out, errOut bytes.Buffer
	a := newApp(ctx, readerFunc(func(b []byte) (int, error) {
		cancel() // while it waits for the input
		return copy(b, "{\"name\":\"a\",\"messages\":[]}\n"), nil
	}), &out, &errOut)
	c := &importCmd{store: store{dir}, Files: []string{"-"}, Durability: "batched", Jobs: 2}
	err := c.Run(a)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, exitInterrupted, a.fail(err))
	require.NoError(t, a.out.Flush())
	require.Contains(t, out.String(), "Not finished: run it again to go on")
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

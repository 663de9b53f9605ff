package inmem_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// scriptTime is what the clock of every script shows.
const scriptTime = int64(1_800_000_000_000)

func scriptClock() time.Time { return time.UnixMilli(scriptTime) }

// note is a line by which a process tells what was acknowledged to it.
type note struct {
	What    string // "try", "ack", "flush", "ready"
	Info    *run.Info
	Run     run.ID
	Version uint64
	Mode    inmem.Durability
	Ops     []op.Op
}

// script drives a store and notes what it acknowledges. It runs in a process
// that will be killed, or on a memory disk that will lose power.
type script struct {
	db       *inmem.DB
	mode     inmem.Durability // the store's
	emit     func(note)
	versions map[run.ID]uint64
	ids      []run.ID
}

// must ends a script that does not go as written. It panics because in a child
// there is no test to fail; the parent sees the exit and what it printed.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func mustRefuse(err, want error) {
	if !errors.Is(err, want) {
		panic(fmt.Sprintf("want %v, got %v", want, err))
	}
}

func (s *script) ack(id run.ID, mode inmem.Durability, ops ...op.Op) {
	if mode == op.Default {
		mode = s.mode
	}
	s.versions[id]++
	s.emit(note{What: "ack", Run: id, Version: s.versions[id], Mode: mode, Ops: ops})
}

func (s *script) begin() *inmem.Run {
	id, err := run.NewID()
	must(err)
	meta := run.Meta{ID: id, Name: fmt.Sprint("run ", len(s.ids)), Namespace: run.Namespace{Tenant: "t", App: "a"}}
	r, err := s.db.BeginRun(bg, meta)
	must(err)
	s.emit(note{What: "ack", Info: &run.Info{Meta: meta, Status: run.Active, Created: scriptTime, FirstVersion: 1}, Mode: s.mode})
	s.versions[id] = 1
	s.ids = append(s.ids, id)
	return r
}

func putOp(key, value string) op.Op {
	return op.Op{Kind: op.Put, Tag: op.KV, Key: key, Value: []byte(value)}
}

func (s *script) put(r *inmem.Run, key, value string, mode inmem.Durability) {
	v, err := r.KV().Put(bg, key, []byte(value), kv.Durability(mode))
	must(err)
	s.ack(r.ID(), mode, putOp(key, value))
	if v != s.versions[r.ID()] {
		panic(fmt.Sprintf("version %d, want %d", v, s.versions[r.ID()]))
	}
}

func (s *script) del(r *inmem.Run, key string, mode inmem.Durability) {
	_, err := r.KV().Delete(bg, key, kv.Durability(mode))
	must(err)
	s.ack(r.ID(), mode, op.Op{Kind: op.Delete, Tag: op.KV, Key: key})
}

func (s *script) end(r *inmem.Run, status run.Status) {
	info, err := r.Info()
	must(err)
	must(r.End(bg, status))
	info.Status, info.Ended = status, scriptTime
	s.ack(r.ID(), op.Default, op.Op{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)})
}

func (s *script) drop(r *inmem.Run) {
	must(s.db.DeleteRun(bg, r.ID()))
	s.ack(r.ID(), op.Default, op.Op{Kind: op.Drop})
}

func (s *script) flush() {
	must(s.db.Flush(bg))
	s.emit(note{What: "flush"})
}

func (s *script) close() {
	must(s.db.Close())
	s.emit(note{What: "flush"})
}

// take enters a note in the ledger.
func (l *ledger) take(n note) {
	switch {
	case n.What == "flush":
		l.allSafe()
	case n.What == "ack" && n.Info != nil:
		l.begun(*n.Info, n.Mode)
	case n.What == "ack":
		l.acked(n.Run, n.Version, n.Mode, n.Ops...)
	}
}

// settle makes what was acknowledged the whole history, for scripts in which
// nothing else happens.
func (l *ledger) settle(t testing.TB) {
	for _, e := range l.runs {
		e.history = nil
		for v := uint64(1); v <= e.last; v++ {
			ack, ok := e.acks[v] // not require.Contains, which looks at every key
			require.True(t, ok, "version %d is not in the ledger", v)
			e.history = append(e.history, ack.commit)
		}
	}
}

func scriptLedger() *ledger { return newLedger(func() int64 { return scriptTime }, 1<<40) }

// The environment of a child that carries out a scenario.
const (
	scenarioEnv = "INMEM_TEST_SCENARIO"
	dirEnv      = "INMEM_TEST_DIR"
)

func init() { children["scenario"] = scenarioChild }

// scenarioChild carries a scenario out, tells so, and waits to be killed.
func scenarioChild() {
	sc := scenarios[os.Getenv(scenarioEnv)]
	out := json.NewEncoder(os.Stdout)
	runScenario(sc, os.Getenv(dirEnv), vfs.OS, func(n note) { must(out.Encode(n)) })
	must(out.Encode(note{What: "ready"}))
	_, err := io.Copy(io.Discard, os.Stdin)
	must(err)
}

// runScenario opens the store and does what the scenario says. The caller has
// the store closed, if it can.
func runScenario(sc scenario, dir string, fsys vfs.FS, emit func(note)) *inmem.DB {
	opts := sc.opts
	opts.FS, opts.Now = fsys, scriptClock
	db, err := inmem.Open(dir, &opts)
	must(err)
	s := &script{db: db, mode: db.Durability(), emit: emit, versions: map[run.ID]uint64{}}
	sc.do(s)
	return db
}

// startChild runs this binary as a child, whose notes come out of lines.
func startChild(t *testing.T, name string, env ...string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "INMEM_TEST_CHILD="+name), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // held open until the child is dead
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close() // a child that was not killed ends by this
	})
	lines = bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<24)
	return cmd, lines
}

// kill ends a child as a crash does, and hands what it still told to take.
func kill(t *testing.T, cmd *exec.Cmd, lines *bufio.Scanner, take func(note)) {
	t.Helper()
	require.NoError(t, cmd.Process.Kill())
	for lines.Scan() {
		var n note
		if json.Unmarshal(lines.Bytes(), &n) != nil {
			break // a line that the kill cut short
		}
		take(n)
	}
	err := cmd.Wait()
	require.Error(t, err)
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && runtime.GOOS != "windows" {
		require.True(t, status.Signaled() && status.Signal() == syscall.SIGKILL, "the child ended by itself: %v", err)
	}
}

// verify recovers a store, compares it with the ledger, and ends with the full
// check: closed, every byte checked, opened again, the same digests.
func (l *ledger) verify(t testing.TB, dir string, opts inmem.Options, promised map[run.ID]uint64) (*inmem.RecoveryReport, found) {
	t.Helper()
	check := func(when string) {
		checked, err := recovery.Check(opts.FS, dir)
		if !errors.Is(err, inmem.ErrNoStore) {
			require.NoError(t, err, when)
			require.Empty(t, checked.Problems, when)
		}
	}
	before := filesOf(t, opts.FS, dir)
	check("before recovery")
	db, err := inmem.Open(dir, &opts)
	require.NoError(t, err)
	report := db.Recovery()
	for _, s := range report.Shards {
		requireTornAt(t, s, before)
	}
	got := l.compare(t, db, promised)
	require.NoError(t, db.Close())
	check("after recovery")
	db, err = inmem.Open(dir, &opts)
	require.NoError(t, err)
	require.Equal(t, recovery.Clean, db.Recovery().Verdict)
	require.Equal(t, got, l.compare(t, db, promised))
	require.NoError(t, db.Close())
	return report, got
}

// requireTornAt wants a torn tail to be reported as it was in the file: from
// the offset up to the last byte that is not zero.
func requireTornAt(t testing.TB, s recovery.ShardReport, before map[string][]byte) {
	t.Helper()
	require.Equal(t, s.Verdict == recovery.Torn, s.TornBytes > 0)
	if s.TornBytes == 0 {
		require.Empty(t, s.TornFile)
		return
	}
	b := before[filepath.ToSlash(s.TornFile)]
	end := s.TornOffset + s.TornBytes
	require.LessOrEqual(t, end, int64(len(b)))
	require.NotZero(t, b[end-1], "the torn bytes end with a zero")
	require.Empty(t, bytes.Trim(b[end:], "\x00"), "there are torn bytes that are not reported")
}

// filesOf returns all files of a store but the lock, by path.
func filesOf(t testing.TB, fsys vfs.FS, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := fsys.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		require.NoError(t, err)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case e.IsDir():
				walk(path)
			case e.Name() != "LOCK":
				b, err := vfs.ReadFile(fsys, path, 1<<30)
				require.NoError(t, err)
				files[filepath.ToSlash(path)] = b
			}
		}
	}
	walk(dir)
	return files
}

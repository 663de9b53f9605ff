package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"inmem"
	"inmem/run"
)

// leakChecked is a test run that fails where goroutines are left.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintf(os.Stderr, "goleak: %v\n", err)
			return 1
		}
	}
	return code
}

// TestMain makes this binary the command itself, for scripts and for tests
// that kill it.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"inmem": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("INMEM_UPDATE") != "", // the files that cmp compares with
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("NO_COLOR", "")
			env.Values[held{}] = map[string]*inmem.DB{}
			env.Values[frozen{}] = map[string]map[string]string{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": codeCmd, "seed": seedCmd, "seedlong": seedLongCmd, "seedfaces": seedFacesCmd, "flip": flipCmd, "append": appendCmd, "cut": cutCmd, "size": sizeCmd,
			"hold": holdCmd, "write": writeCmd, "unfinished": unfinishedCmd, "freeze": freezeCmd, "frozen": frozenCmd, "thaw": thawCmd, "capture": captureCmd,
			"vectors": vectorsCmd, "spoilindex": spoilIndexCmd,
		},
	})
}

// captureCmd makes a variable of what the group of a pattern matches in what the
// last command wrote: capture stdout|stderr NAME PATTERN
func captureCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture stdout|stderr NAME PATTERN")
	}
	found := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[0]))
	if len(found) != 2 {
		ts.Fatalf("%s is not in %s", args[2], args[0])
	}
	ts.Setenv(args[1], found[1])
}

// codeCmd runs a program and demands its exit code: code N program args…
func codeCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	have := 0
	if errors.As(err, &exit) {
		have = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if have != want {
		ts.Fatalf("exit code %d, want %d", have, want)
	}
}

// The runs that seed makes. Their IDs stand in the scripts too.
const (
	seedDone   = "00000000-0000-7000-8000-000000000001"
	seedActive = "00000000-0000-7000-8000-000000000002"
	seedFailed = "00000000-0000-7000-8000-000000000003"
	seedPaused = "00000000-0000-7000-8000-000000000004"
)

// seedCmd makes a store with some of everything: seed DIR. Its clock begins at
// 2025-01-01 10:00:00 UTC, and an hour passes before each run.
func seedCmd(ts *testscript.TestScript, _ bool, args []string) {
	var now atomic.Int64
	now.Store(time.Date(2025, 1, 1, 10, 0, 0, 0, time.UTC).UnixMilli())
	pass := func(d time.Duration) { now.Add(d.Milliseconds()) }
	db, err := inmem.Open(ts.MkAbs(args[0]), &inmem.Options{
		Shards: 1, Now: func() time.Time { return time.UnixMilli(now.Load()) },
		BatchInterval: time.Hour, // a seal whenever the machine is slow would make each log different
	})
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	ctx := context.Background()
	ns := run.Namespace{Tenant: "acme", App: "desk", Agent: "mia"}
	begin := func(id, name string, meta run.Meta) *inmem.Run {
		pass(time.Hour)
		meta.ID, err = run.ParseID(id)
		ts.Check(err)
		meta.Name, meta.Namespace = name, ns
		r, err := db.BeginRun(ctx, meta)
		ts.Check(err)
		return r
	}
	put := func(r *inmem.Run, key, value string) {
		_, err := r.KV().Put(ctx, key, []byte(value))
		ts.Check(err)
	}
	done := begin(seedDone, "first", run.Meta{Tags: map[string]string{"team": "red", "x": "1"}})
	put(done, "a/1", "one")
	put(done, "a/2", `{"n": 2}`)
	put(done, "b\x00\xff", "\x00\x01\xfe")
	pass(90 * time.Second)
	ts.Check(done.End(ctx, run.Completed))
	active := begin(seedActive, "second", run.Meta{Parent: done.ID(), Tags: map[string]string{"team": "blue"}})
	put(active, "plan", "think")
	ts.Check(begin(seedFailed, "odd\x1b[31mname", run.Meta{}).End(ctx, run.Failed))
	ts.Check(begin(seedPaused, "third", run.Meta{}).Pause(ctx))
	space, err := db.Space(ctx, ns)
	ts.Check(err)
	put(space, "memory", "long")
}

// seedLongCmd makes a store whose log has several segments, and a checkpoint:
// seedlong DIR.
func seedLongCmd(ts *testscript.TestScript, _ bool, args []string) {
	db, err := inmem.Open(ts.MkAbs(args[0]), &inmem.Options{Shards: 1, SegmentSize: 4 << 10, BatchInterval: time.Hour, CheckpointBytes: -1})
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	ctx := context.Background()
	r, err := db.BeginRun(ctx, run.Meta{Name: "long"})
	ts.Check(err)
	for i := range 100 {
		_, err := r.KV().Put(ctx, fmt.Sprintf("key-%02d", i), make([]byte, 100))
		ts.Check(err)
	}
	ts.Check(db.Checkpoint(ctx))
}

// flipCmd damages a byte of a file: flip FILE OFFSET.
func flipCmd(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	offset, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[offset] ^= 0x20
	ts.Check(os.WriteFile(path, b, 0o644))
}

// appendCmd appends text to a file: append FILE TEXT.
func appendCmd(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteString(args[1])
	ts.Check(errors.Join(err, f.Close()))
}

// cutCmd makes a file shorter: cut FILE BYTES.
func cutCmd(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// sizeCmd makes a file that is large and has no content: size FILE BYTES.
func sizeCmd(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	path := filepath.Clean(ts.MkAbs(args[0]))
	ts.Check(os.WriteFile(path, nil, 0o644))
	ts.Check(os.Truncate(path, n))
}

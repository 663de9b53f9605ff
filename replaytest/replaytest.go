// Package replaytest holds an agent function against a run that was recorded,
// in a test: a run of production, exported by 'inmem run export' or DB.Export,
// becomes a fixture.
//
// Nothing is executed. Each step of the agent is answered from the record, and
// the first one that is not the recorded one fails the test, with both.
package replaytest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"inmem"
	"inmem/run"
	"inmem/transfer"
	"inmem/vfs"
)

// Run imports the run in the file into a store in memory and lets the agent do
// its work on it again, from the beginning; ctx is the test's. The test fails
// and ends at the first step that differs from the recorded one or is not
// recorded; where the agent returns without all recorded steps; where it returns
// an error and the run did not fail; and where the file cannot be imported.
//
// The store's clock stands still at the last commit of the run: keys that were
// live then are live. What the agent reads of the run outside of steps it reads as
// of the end of the run, and what it writes outside of steps an ended run refuses.
func Run(t testing.TB, file string, agent func(ctx context.Context, r *inmem.Run) error) {
	t.Helper()
	db, info := open(t, file)
	r, check, err := db.ReplaySteps(info.ID)
	if err != nil {
		t.Fatalf("replaytest: %s: %v", file, err)
	}
	err = agent(t.Context(), r)
	var diverged *inmem.DivergedError
	if !errors.As(err, &diverged) {
		if left := check(t.Context()); left != nil && !errors.As(left, &diverged) {
			t.Fatalf("replaytest: %s: %v", file, left)
		}
	}
	if diverged != nil {
		t.Fatalf("replaytest: %s: run %v diverges at step %s:\n\texpected: %s\n\tactual:   %s",
			file, info.ID, diverged.Path, call(diverged.Expected, "no more steps are recorded"), call(diverged.Actual, "the agent returned"))
	}
	if err != nil && info.Status != run.Failed {
		t.Fatalf("replaytest: %s: run %v is %v, but the agent failed: %v", file, info.ID, info.Status, err)
	}
}

func call(c *inmem.StepCall, none string) string {
	if c == nil {
		return none
	}
	return c.String()
}

// open imports the file into a store in memory.
func open(t testing.TB, file string) (*inmem.DB, *run.Info) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatalf("replaytest: %v", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	info, last, err := look(f)
	if err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		t.Fatalf("replaytest: %s: %v", file, err)
	}
	db, err := inmem.Open("replaytest", &inmem.Options{
		FS: vfs.NewMem(), Shards: 1, CheckpointBytes: -1, Now: func() time.Time { return last },
	})
	if err != nil {
		t.Fatalf("replaytest: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("replaytest: %v", err)
		}
	})
	if _, err := db.Import(t.Context(), f); err != nil {
		t.Fatalf("replaytest: %s: %v", file, err)
	}
	return db, info
}

// look returns what the file says of the run, and when its last commit was made.
func look(f *os.File) (info *run.Info, last time.Time, err error) {
	r, err := transfer.NewReader(f)
	if err != nil {
		return nil, last, err
	}
	defer r.Close()
	for c, err := range r.Commits() {
		if err != nil {
			return nil, last, err
		}
		last = time.UnixMilli(c.Time)
	}
	return r.Run(), last, nil
}

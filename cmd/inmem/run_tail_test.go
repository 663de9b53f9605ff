package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/run"
)

// follower is 'run tail -f' in a process of its own.
type follower struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Reader
	err bytes.Buffer
}

func follow(t *testing.T, args ...string) *follower {
	t.Helper()
	f := &follower{t: t, cmd: exec.Command("inmem", append([]string{"run", "tail", "-f"}, args...)...)}
	f.cmd.Stderr = &f.err
	return f.start()
}

func (f *follower) start() *follower {
	t := f.t
	t.Helper()
	out, err := f.cmd.StdoutPipe()
	require.NoError(t, err)
	f.out = bufio.NewReader(out)
	require.NoError(t, f.cmd.Start())
	kill := func() { _ = f.cmd.Process.Kill() } // of one that has ended there is nothing to kill
	late := time.AfterFunc(time.Minute, kill)   // whoever waits for a line is told then
	t.Cleanup(func() {
		late.Stop()
		kill()
	})
	return f
}

// line waits for the next line.
func (f *follower) line() string {
	f.t.Helper()
	line, err := f.out.ReadString('\n')
	if err != nil {
		f.t.Fatalf("it ended: %v: %s", f.cmd.Wait(), f.err.String())
	}
	return line
}

// commit waits for the next commit, in JSON.
func (f *follower) commit() (c jsonCommit) {
	f.t.Helper()
	require.NoError(f.t, json.Unmarshal([]byte(f.line()), &c))
	return c
}

// end wants no more output, no error and exit code 0.
func (f *follower) end() {
	f.t.Helper()
	rest, err := f.out.ReadString('\n')
	require.Error(f.t, err)
	require.Empty(f.t, rest)
	err = f.cmd.Wait()
	require.NoError(f.t, err, f.err.String())
	require.Empty(f.t, f.err.String())
}

// TestTailFollowsAnotherProcess follows a run that this process writes to,
// until it is deleted.
func TestTailFollowsAnotherProcess(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r, err := db.BeginRun(ctx, run.Meta{Name: "followed"})
	require.NoError(t, err)
	_, err = r.KV().Put(ctx, "first", []byte("one"))
	require.NoError(t, err)
	other, err := db.BeginRun(ctx, run.Meta{Name: "other"})
	require.NoError(t, err)

	f := follow(t, "--dir", dir, "-n", "1", r.ID().String())
	require.Regexp(t, `v2  put first  3 B  .one.\n$`, f.line())
	_, err = other.KV().Put(ctx, "unseen", nil)
	require.NoError(t, err)
	_, err = r.Events().Append(ctx, event.Main, event.New{Type: "asked", ID: "x", Payload: []byte(`{"q":1}`)})
	require.NoError(t, err)
	require.Regexp(t, `v3  append event main 1  asked  7 B`, f.line())
	require.NoError(t, r.End(ctx, run.Completed))
	require.Regexp(t, `v4  become completed`, f.line())
	require.NoError(t, db.DeleteRun(ctx, r.ID()))
	require.Regexp(t, `v5  delete the run`, f.line())
	f.end()
}

// TestTailOfAllRuns follows a store: runs that there are, and one that begins.
func TestTailOfAllRuns(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	db, err := inmem.Open(dir, &inmem.Options{Shards: 1}) // between shards there is no order
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r, err := db.BeginRun(ctx, run.Meta{Name: "old"})
	require.NoError(t, err)
	f := &follower{t: t, cmd: exec.Command("inmem", "run", "tail", "--all", "-f", "--dir", dir)}
	said, err := f.cmd.StderrPipe()
	require.NoError(t, err)
	f.start()
	text, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, text, "following all runs of "+dir)
	_, err = r.KV().Put(ctx, "key", nil)
	require.NoError(t, err)
	require.Contains(t, f.line(), r.ID().String()+"  v2  put key  0 B")
	fresh, err := db.BeginRun(ctx, run.Meta{Name: "new"})
	require.NoError(t, err)
	require.Contains(t, f.line(), fresh.ID().String()+"  v1  begin new")
	require.NoError(t, db.DeleteRun(ctx, r.ID()))
	require.Contains(t, f.line(), r.ID().String()+"  v3  delete the run")
	require.NoError(t, f.cmd.Process.Signal(os.Interrupt))
	f.end()
}

// TestTailEndsOnAnInterrupt ends a tail as a user does.
func TestTailEndsOnAnInterrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r, err := db.BeginRun(context.Background(), run.Meta{Name: "followed"})
	require.NoError(t, err)
	f := follow(t, "--dir", dir, "--json", r.ID().String())
	require.Equal(t, uint64(1), f.commit().Version)
	require.NoError(t, f.cmd.Process.Signal(os.Interrupt))
	f.end()
}

// TestTailMissesNothing follows a run through segments and checkpoints, and past
// a reopening of the store: each version comes once, in order.
func TestTailMissesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	options := &inmem.Options{Shards: 1, SegmentSize: 16 << 10, CheckpointBytes: 64 << 10}
	db, err := inmem.Open(dir, options)
	require.NoError(t, err)
	r, err := db.BeginRun(ctx, run.Meta{Name: "busy"})
	require.NoError(t, err)
	id := r.ID()
	f := follow(t, "--dir", dir, "--json", "-n", "1000000", id.String())
	commits := 600
	if testing.Short() {
		commits = 150
	}
	next := uint64(1)
	for round := range 3 {
		for i := range commits {
			_, err := r.KV().Put(ctx, fmt.Sprint(i%10), []byte(strings.Repeat("x", 200)))
			require.NoError(t, err)
		}
		if round == 2 {
			require.NoError(t, db.DeleteRun(ctx, id))
		}
		whole := uint64(commits*(round+1)) + 1
		for ; next <= whole; next++ {
			require.Equal(t, next, f.commit().Version)
		}
		require.NoError(t, db.Close())
		db, err = inmem.Open(dir, options)
		require.NoError(t, err)
		if round < 2 {
			r, err = db.Run(id)
			require.NoError(t, err)
		}
	}
	last := f.commit()
	require.Equal(t, next, last.Version)
	require.Equal(t, "drop", last.Ops[0].Kind)
	f.end()
	require.NoError(t, db.Close())
}

// TestTailTellsWhyItCannotGoOn follows a store that goes away.
func TestTailTellsWhyItCannotGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	r, err := db.BeginRun(context.Background(), run.Meta{Name: "followed"})
	require.NoError(t, err)
	f := follow(t, "--dir", dir, "--json", r.ID().String())
	require.Equal(t, uint64(1), f.commit().Version)
	require.NoError(t, db.Close())
	require.NoError(t, os.RemoveAll(dir))
	_, err = f.out.ReadString('\n')
	require.Error(t, err)
	var exit *exec.ExitError
	require.ErrorAs(t, f.cmd.Wait(), &exit)
	require.Contains(t, []int{exitFailed, exitDamaged, exitNotFound}, exit.ExitCode())
	require.NotEmpty(t, f.err.String())
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/recovery"
	"inmem/run"
	"inmem/state"
	"inmem/trace"
	"inmem/wal"
)

// TestReadingCommandsWhileAProgramWrites: with a store that is written to,
// through segments and checkpoints, what reads never fails,
// calls nothing damaged or crashed, and sees what was acknowledged before.
func TestReadingCommandsWhileAProgramWrites(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds { // of a store each: the log is kept for ever
		readWhileWriting(t, round)
	}
}

func readWhileWriting(t *testing.T, round int) {
	dir := t.TempDir()
	db, err := inmem.Open(dir, &inmem.Options{Shards: 1, SegmentSize: 256 << 10, CheckpointBytes: 512 << 10})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	ctx := context.Background()
	r, err := db.BeginRun(ctx, run.Meta{Name: "busy"})
	require.NoError(t, err)
	_, err = r.KV().Put(ctx, "count", []byte("0"))
	require.NoError(t, err)
	_, err = r.Trace().Start(ctx, trace.Start{Kind: trace.Thought, Name: "busy"})
	require.NoError(t, err)
	_, err = r.State().Init(ctx, "cell", state.Value{State: "busy"})
	require.NoError(t, err)
	_, err = r.Events().Append(ctx, event.Main, event.New{Type: "began"})
	require.NoError(t, err)

	var acknowledged atomic.Int64
	var failed error
	burst := make(chan struct{}, 1) // one for each command: a slow disk is to make no endless log
	var writer sync.WaitGroup
	writer.Go(func() {
		filler := make([]byte, 16<<10) // the write of it takes a while
		n := int64(0)
		for range burst {
			for end := n + 100; n < end && failed == nil; n++ {
				if _, failed = r.KV().Put(ctx, fmt.Sprint("filler", n%7), filler); failed == nil {
					_, failed = r.KV().Put(ctx, "count", []byte(strconv.FormatInt(n, 10)))
				}
				if failed == nil {
					_, failed = r.Events().Append(ctx, event.Main, event.New{Type: "counted"})
				}
				if failed == nil {
					acknowledged.Store(n)
				}
			}
		}
	})
	defer func() {
		close(burst)
		writer.Wait()
		require.NoError(t, failed)
	}()

	id := r.ID().String()
	for _, args := range [][]string{
		{"wal", "dump"}, {"wal", "dump", "--limit", "1"}, {"run", "ls"}, {"run", "show", id}, {"run", "show", id, "--history"},
		{"kv", "ls", "--run", id}, {"event", "ls", id}, {"event", "verify", id}, {"state", "history", id, "cell"}, {"trace", "ls", id, "--at", "3"},
		{"run", "show", id, "--tree"}, {"run", "tail", id}, {"stat"}, {"check"}, {"backup", "--to", filepath.Join(t.TempDir(), "copy")},
	} {
		select {
		case burst <- struct{}{}:
		default: // it is still at the last one
		}
		least := acknowledged.Load()
		out := command(t, append(args, "--dir", dir))
		require.NotContains(t, out, "damaged", args)
		require.NotContains(t, out, "crashed", args)
		count := command(t, []string{"kv", "get", "--run", id, "count", "--dir", dir})
		have, err := strconv.ParseInt(count, 10, 64)
		require.NoError(t, err)
		require.GreaterOrEqual(t, have, least, "round %d, after %v", round, args)
	}
}

// TestSegmentThatGrows: a segment that is appended to has frames that are being
// written, and frames behind them that prove them synced. It is not damaged.
func TestSegmentThatGrows(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for range rounds { // short ones: each look reads the whole segment
		dumpWhileWriting(t)
	}
}

func dumpWhileWriting(t *testing.T) {
	dir := t.TempDir()
	db, err := inmem.Open(dir, &inmem.Options{Shards: 1, Durability: inmem.Strict, SegmentSize: 1 << 30})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	ctx, stop := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer stop()
	for n := range 8 {
		r, err := db.BeginRun(ctx, run.Meta{})
		require.NoError(t, err)
		writers.Go(func() {
			value := make([]byte, 32<<10) // the write of it takes a while
			for ctx.Err() == nil {
				if _, err := r.KV().Put(ctx, fmt.Sprint(n), value); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	path := filepath.Join(recovery.Dir(dir, 0), "0000000000000001.wal")
	var last uint64
	for begun := time.Now(); time.Since(begun) < 100*time.Millisecond; {
		next := uint64(0)
		found, err := readSegment(path, func(f wal.Frame) error {
			next++
			if f.Sequence != next {
				return fmt.Errorf("sequence %d, want %d", f.Sequence, next)
			}
			return nil
		})
		require.NoError(t, err)
		require.Empty(t, found.Evidence, found.Flaw)
		require.GreaterOrEqual(t, found.Last, last)
		last = found.Last
	}
}

// command executes a command that succeeds and says nothing, and returns its output.
func command(t *testing.T, args []string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	code := execute(args, io.LimitReader(strings.NewReader(""), 0), &out, &errOut)
	require.Zero(t, code, "%v: %s\n%s", args, errOut.String(), lastLines(out.String()))
	require.Empty(t, errOut.String(), args)
	return out.String()
}

func lastLines(s string) string { return s[max(0, len(s)-1000):] }

package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/bench/store"
	"inmem/bench/stores"
	"inmem/bench/workload"
)

// The test program is its own child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Argument {
		if err := Serve(kinds(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == serverArgument {
		beServer()
		return
	}
	goleak.VerifyTestMain(m)
}

// kinds are stores that work, and some that do not.
func kinds() []store.Kind {
	broken := func(name string, put func() error) store.Kind {
		k := stores.Btree()
		open := k.Open
		k.Name = name
		k.Open = func(dir string, class store.Class) (store.Store, error) {
			st, err := open(dir, class)
			return &misbehaving{st, put}, err
		}
		return k
	}
	return []store.Kind{
		stores.Inmem(), stores.Btree(), remoteKind(),
		broken("fails", func() error { return errors.New("the disk is full") }),
		broken("dies", func() error { panic("a bug of the store") }),
		broken("hangs", func() error { time.Sleep(time.Hour); return nil }),
		broken("cannot", func() error { return errors.ErrUnsupported }),
	}
}

// misbehaving does something else than put.
type misbehaving struct {
	store.Store
	put func() error
}

func (m *misbehaving) Put(int, string, []byte) error { return m.put() }

var (
	size = workload.Size{Keys: 400, Runs: 10, Value: 32}
	puts = workload.Cell{Name: workload.Put, Class: store.Volatile, Callers: 2}
	gets = workload.Cell{Name: workload.Get, Class: store.Volatile, Callers: 2}
)

func start(t *testing.T, kind string, class store.Class, dir string) *Process {
	program, err := os.Executable()
	require.NoError(t, err)
	p, err := Start(program)
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	_, err = p.Open(t.Context(), Store{Kind: kind, Class: class, Dir: dir, Size: size, Seed: 1})
	require.NoError(t, err)
	return p
}

func TestChild(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	p := start(t, "inmem", store.Batched, filepath.Join(dir, "store"))
	require.NoError(t, p.Check(ctx, "inmem", store.Batched, filepath.Join(dir, "check")))
	require.NoError(t, p.Load(ctx, 1))
	profile := filepath.Join(dir, "profile")
	for _, c := range []workload.Cell{puts, gets, {Name: workload.Agents, Class: store.Batched, Callers: workload.AgentRuns}} {
		reply, err := p.Cell(ctx, c, 5*time.Millisecond, time.Millisecond, 1, profile)
		require.NoError(t, err)
		assert.Positive(t, reply.Result.Ops, c.ID())
		assert.Positive(t, reply.Result.Latency.Count())
		assert.FileExists(t, profile)
	}
	_, err := p.Rest(ctx, 10*time.Millisecond, time.Second)
	require.NoError(t, err)
	require.NoError(t, p.Overwrite(ctx, 2))
	memory, err := p.Memory(ctx)
	require.NoError(t, err)
	if runtime.GOOS == "linux" {
		assert.Positive(t, memory.Resident)
		assert.Positive(t, memory.Collected)
	}
	require.NoError(t, p.Close(ctx))
	assert.Error(t, p.Load(ctx, 1), "it has ended")
}

// What goes wrong in the store is told, and the child goes on.
func TestChildWhoseStoreFails(t *testing.T) {
	ctx := t.Context()
	p := start(t, "fails", store.Volatile, t.TempDir())
	_, err := p.Cell(ctx, puts, time.Millisecond, 0, 1, "")
	var failed *Failed
	require.ErrorAs(t, err, &failed)
	assert.Contains(t, failed.Text, "the disk is full")
	assert.False(t, failed.Unsupported)
	require.NoError(t, p.Load(ctx, 1))
	reply, err := p.Cell(ctx, gets, time.Millisecond, 0, 1, "")
	require.NoError(t, err)
	assert.Positive(t, reply.Result.Ops)
	assert.Error(t, p.Check(ctx, "fails", store.Volatile, t.TempDir()))
	assert.Error(t, p.Check(ctx, "nobody", store.Volatile, t.TempDir()))
	_, err = p.Open(ctx, Store{Kind: "btree", Class: store.Volatile, Size: size})
	assert.ErrorContains(t, err, "open already")
	require.NoError(t, p.Close(ctx))

	p = start(t, "cannot", store.Volatile, t.TempDir())
	_, err = p.Cell(ctx, puts, time.Millisecond, 0, 1, "")
	require.ErrorAs(t, err, &failed)
	assert.True(t, failed.Unsupported)
}

// A child that dies says why, once and for all.
func TestChildDies(t *testing.T) {
	p := start(t, "dies", store.Volatile, t.TempDir())
	for range 2 {
		_, err := p.Cell(t.Context(), puts, time.Millisecond, 0, 1, "")
		require.ErrorContains(t, err, "a bug of the store")
		failed := (*Failed)(nil)
		assert.False(t, errors.As(err, &failed))
	}
	assert.Error(t, p.Close(t.Context()))
}

// A child that hangs is killed when its parent has no more time.
func TestChildHangs(t *testing.T) {
	p := start(t, "hangs", store.Volatile, t.TempDir())
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	_, err := p.Cell(ctx, puts, time.Hour, 0, 1, "")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.NotNil(t, p.cmd.ProcessState, "it was waited for")
}

// A child whose parent is gone ends by itself, whatever it is doing.
func TestChildEndsWithItsInput(t *testing.T) {
	p := start(t, "btree", store.Volatile, t.TempDir())
	require.NoError(t, p.Load(t.Context(), 1))
	require.NoError(t, json.NewEncoder(p.stdin).Encode(Request{Do: doCell, Cell: gets, For: time.Hour}))
	require.NoError(t, p.stdin.Close())
	_, err := io.Copy(io.Discard, p.replies.Buffered())
	require.NoError(t, err)
	var reply Reply
	require.NoError(t, p.replies.Decode(&reply))
	assert.Contains(t, reply.Err, "no more requests")
	require.NoError(t, p.cmd.Wait())
	p.dead = errors.New("it has ended")
}

func TestKillWhileCommitting(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a ledger needs memory that outlives the process")
	}
	for _, killed := range []bool{false, true} {
		dir := t.TempDir()
		name, ledger := filepath.Join(dir, "store"), filepath.Join(dir, "ledger")
		p := start(t, "inmem", store.Batched, name)
		require.NoError(t, p.Commit(t.Context(), 2000, ledger, killed))
		if killed {
			assert.ErrorContains(t, p.Commit(t.Context(), 2000, ledger, false), "under way")
			p.Kill()
		} else {
			require.NoError(t, p.Close(t.Context()))
		}
		p = start(t, "inmem", store.Batched, name)
		reply, err := p.Missing(t.Context(), ledger)
		require.NoError(t, err)
		assert.Zero(t, reply.Missing, "inmem loses nothing that was acknowledged to a killed process")
		if killed {
			assert.Greater(t, reply.Acked, workload.Writers)
		} else {
			assert.Equal(t, 2000, reply.Acked)
		}
		require.NoError(t, p.Close(t.Context()))

		empty := start(t, "inmem", store.Batched, filepath.Join(dir, "empty"))
		lost, err := empty.Missing(t.Context(), ledger)
		require.NoError(t, err)
		assert.Equal(t, reply.Acked, lost.Missing)
	}
}

// Close ends commits that go on, and says what they came to.
func TestServeEndsCommits(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a ledger needs memory that outlives the process")
	}
	var requests, replies bytes.Buffer
	lines := json.NewEncoder(&requests)
	for _, r := range []Request{
		{Do: doLoad}, {Do: "dance"},
		{Do: doOpen, Kind: "btree", Class: store.Volatile, Size: size},
		{Do: "dance"},
		{Do: doCommit, Commits: 100, GoOn: true, Ledger: filepath.Join(t.TempDir(), "ledger")},
	} {
		require.NoError(t, lines.Encode(r))
	}
	in := io.MultiReader(&requests, strings.NewReader("nonsense"))
	_ = Serve(kinds(), in, &replies) // how far the commits got, nobody knows
	var got []Reply
	for d := json.NewDecoder(&replies); d.More(); {
		var r Reply
		require.NoError(t, d.Decode(&r))
		got = append(got, r)
	}
	require.Len(t, got, 5)
	assert.Contains(t, got[0].Err, "without an open store")
	assert.Contains(t, got[3].Err, "is no request")
}

func TestTail(t *testing.T) {
	var s tail
	assert.Empty(t, s.text())
	fmt.Fprint(&s, "panic: the reason\n")
	for range 1000 {
		fmt.Fprintln(&s, "goroutine after goroutine")
	}
	fmt.Fprint(&s, "the end")
	assert.Contains(t, s.text(), "the reason")
	assert.Contains(t, s.text(), "the end")
	assert.Less(t, len(s.text()), 5000)
}

package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/trace"
)

// counter counts how often each step was executed.
type counter map[string]int

// do is a step that returns its name and input, and counts.
func (c counter) do(ctx context.Context, r *inmem.Run, name string, input any) (string, error) {
	return inmem.Do(ctx, r, name, input, func(context.Context) (string, error) {
		c[name]++
		return fmt.Sprint(name, " of ", input), nil
	})
}

// resumed takes the run up again.
func (s *store) resumed(id run.ID) *inmem.Run {
	s.t.Helper()
	r, err := s.Resume(ctx, id)
	require.NoError(s.t, err)
	return r
}

// Steps that are recorded return what they returned, and are not executed.
func TestDo(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	executed := counter{}
	agent := func(r *inmem.Run, steps int) (out []string) {
		for i := range steps {
			v, err := executed.do(ctx, r, fmt.Sprint("step ", i), i)
			require.NoError(t, err)
			out = append(out, v)
		}
		return out
	}
	first := agent(r, 3)
	require.EqualValues(t, 4, versionOf(t, r), "each step is one commit")
	r = s.resumed(r.ID())
	require.Equal(t, first, agent(r, 3))
	require.Equal(t, counter{"step 0": 1, "step 1": 1, "step 2": 1}, executed)
	s.reopen()
	r = s.resumed(r.ID())
	require.Equal(t, first, agent(r, 5)[:3])
	require.Equal(t, counter{"step 0": 1, "step 1": 1, "step 2": 1, "step 3": 1, "step 4": 1}, executed)
	n, err := r.Epoch()
	require.NoError(t, err)
	require.EqualValues(t, 2, n)

	var spans []trace.Span
	for span, err := range r.Trace().List(ctx, trace.Filter{}) {
		require.NoError(t, err)
		spans = append(spans, span)
	}
	require.Len(t, spans, 5)
	require.Equal(t, "step 4", spans[4].Name)
	require.Equal(t, "4", string(spans[4].Input))
	require.Equal(t, `"step 4 of 4"`, string(spans[4].Output))
	require.Equal(t, "5", spans[4].Attributes[trace.AttrStepPath])
}

// What a step returns is what it will return from the record.
func TestDoReturnsWhatIsRecorded(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	type result struct {
		Kept    int
		dropped int
	}
	v, err := inmem.Do(ctx, r, "s", nil, func(context.Context) (result, error) { return result{1, 2}, nil })
	require.NoError(t, err)
	require.Equal(t, result{Kept: 1}, v)
	_, err = inmem.Do(ctx, r, "f", nil, func(context.Context) (result, error) { return result{}, errDisk })
	var failed *inmem.StepError
	require.ErrorAs(t, err, &failed)
	require.NotErrorIs(t, err, errDisk, "the record could not say so")
	again := s.resumed(r.ID())
	_, err = inmem.Do(ctx, again, "s", nil, func(context.Context) (result, error) { panic("executed") })
	require.NoError(t, err)
	_, err2 := inmem.Do(ctx, again, "f", nil, func(context.Context) (result, error) { panic("executed") })
	require.Equal(t, failed, err2)
	require.Equal(t, inmem.StepError{Run: r.ID(), Path: "2", Step: "f", Message: errDisk.Error()}, *failed)
}

// An agent that calls for another step than the recorded one is stopped.
func TestDiverged(t *testing.T) {
	s := newStore(t)
	id := s.begin().ID()
	begin := func() *inmem.Run { return s.resumed(id) }
	executed := counter{}
	_, err := executed.do(ctx, begin(), "search", "q")
	require.NoError(t, err)
	recorded := &inmem.StepCall{Kind: "step", Name: "search", Input: `"q"`}
	for name, c := range map[string]struct {
		call   func(r *inmem.Run) error
		actual inmem.StepCall
	}{
		"name":  {func(r *inmem.Run) error { _, err := executed.do(ctx, r, "find", "q"); return err }, inmem.StepCall{"step", "find", `"q"`}},
		"input": {func(r *inmem.Run) error { _, err := executed.do(ctx, r, "search", "p"); return err }, inmem.StepCall{"step", "search", `"p"`}},
		"kind":  {func(r *inmem.Run) error { return r.Sleep(ctx, time.Hour) }, inmem.StepCall{"sleep", "sleep", "3600000000000"}},
		"group": {func(r *inmem.Run) error { _, err := inmem.NewGroup(ctx, r, "g", 0); return err }, inmem.StepCall{Kind: "group", Name: "g"}},
	} {
		err := c.call(begin())
		var diverged *inmem.DivergedError
		require.ErrorAs(t, err, &diverged, name)
		require.ErrorIs(t, err, inmem.ErrDiverged)
		require.Equal(t, inmem.DivergedError{Run: id, Path: "1", Expected: recorded, Actual: &c.actual}, *diverged, name)
	}
	require.Equal(t, counter{"search": 1}, executed)

	// The same where a group is recorded.
	id = s.begin().ID()
	g, err := inmem.NewGroup(ctx, begin(), "g", 0)
	require.NoError(t, err)
	inmem.Go(g, "search", "q", func(context.Context) (int, error) { return 1, nil })
	require.NoError(t, g.Wait())
	_, err = executed.do(ctx, begin(), "search", "q")
	var diverged *inmem.DivergedError
	require.ErrorAs(t, err, &diverged)
	require.Equal(t, "group", diverged.Expected.Kind)
	g, err = inmem.NewGroup(ctx, begin(), "another", 0)
	require.NoError(t, err)
	inmem.Go(g, "search", "q", func(context.Context) (int, error) { return 1, nil })
	require.ErrorIs(t, g.Wait(), inmem.ErrDiverged, "a group is known by its name")
}

// An older handle is refused whatever it writes; handles of lookers-on are not.
func TestFencedHandles(t *testing.T) {
	s := newStore(t)
	first := s.begin()
	looker := s.run(first.ID())
	second := s.resumed(first.ID())
	third := s.resumed(first.ID())
	for name, old := range map[string]*inmem.Run{"begun": first, "resumed": second} {
		_, err := old.KV().Put(ctx, "k", nil)
		var fenced *inmem.FencedError
		require.ErrorAs(t, err, &fenced, name)
		require.Equal(t, uint64(3), fenced.Now)
		_, err = inmem.Do(ctx, old, "s", nil, func(context.Context) (int, error) { return 1, nil })
		require.ErrorIs(t, err, inmem.ErrFenced, name)
		require.ErrorIs(t, old.End(ctx, run.Completed), inmem.ErrFenced, name)
		require.ErrorIs(t, old.Update(ctx, func(tx *inmem.Tx) error { _, err := tx.KV().Put(ctx, "k", nil); return err }), inmem.ErrFenced, name)
		require.NoError(t, old.View(ctx, func(*inmem.Tx) error { return nil }))
	}
	put(t, looker, "k", "v")
	_, err := inmem.Do(ctx, looker, "s", nil, func(context.Context) (int, error) { return 1, nil })
	require.ErrorIs(t, err, inmem.ErrNotResumed)
	require.NoError(t, third.End(ctx, run.Completed))
	_, err = s.Resume(ctx, first.ID())
	require.ErrorIs(t, err, inmem.ErrRunNotActive)
	_, err = s.Resume(ctx, run.ID{1})
	require.ErrorIs(t, err, inmem.ErrRunNotFound)
}

// A step is tried as often as its policy says, after growing pauses, and what is
// recorded in it stays.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		r := s.begin()
		var attempts, inner atomic.Int64
		policy := inmem.RetryPolicy{Attempts: 4, First: time.Second, Max: 3 * time.Second}
		flaky := func(ctx context.Context) (string, error) {
			n, err := inmem.Do(ctx, r, "inner", nil, func(context.Context) (int64, error) { return inner.Add(1), nil })
			if err != nil {
				return "", err
			}
			if attempts.Add(1) < 3 {
				return "", errDisk
			}
			return fmt.Sprint(n), nil
		}
		began := time.Now()
		v, err := inmem.Do(ctx, r, "flaky", nil, flaky, inmem.Retry(policy), inmem.As(trace.ToolCall))
		require.NoError(t, err)
		require.Equal(t, "1", v)
		require.EqualValues(t, 3, attempts.Load())
		require.EqualValues(t, 1, inner.Load())
		took := time.Since(began)
		require.True(t, took > 2600*time.Millisecond && took < 3400*time.Millisecond, "%v", took)

		attempts.Store(-100)
		_, err = inmem.Do(ctx, r, "hopeless", nil, flaky, inmem.Retry(policy))
		require.ErrorIs(t, err, inmem.ErrStepFailed)
		require.EqualValues(t, -96, attempts.Load())
		attempts.Store(0)
		_, err = inmem.Do(ctx, r, "permanent", nil, func(context.Context) (int, error) {
			attempts.Add(1)
			return 0, inmem.Permanent(errDisk)
		}, inmem.Retry(policy))
		require.ErrorIs(t, err, inmem.ErrStepFailed)
		require.EqualValues(t, 1, attempts.Load())
		_, err = inmem.Do(ctx, r, "final", nil, func(context.Context) (int, error) {
			attempts.Add(1)
			return 0, errDisk
		}, inmem.Retry(inmem.RetryPolicy{Attempts: 9, Final: func(err error) bool { return errors.Is(err, errDisk) }}))
		require.ErrorIs(t, err, inmem.ErrStepFailed)
		require.EqualValues(t, 2, attempts.Load())

		// A context that ends records nothing.
		cancelled, cancel := context.WithCancel(ctx)
		before := versionOf(t, r)
		_, err = inmem.Do(cancelled, r, "given up", nil, func(ctx context.Context) (int, error) {
			cancel()
			return 0, errDisk
		})
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, before, versionOf(t, r))

		roots, err := r.Trace().Tree(ctx)
		require.NoError(t, err)
		require.Len(t, roots, 4)
		require.Equal(t, trace.ToolCall, roots[0].Kind)
		require.Equal(t, "inner", roots[0].Children[0].Name, "a step within another is a span within its span")
		require.Equal(t, trace.Failed, roots[1].Status)
		require.NoError(t, s.Close())
		s.ended = true
	})
}

// What a step writes to its run and its record are one commit.
func TestTransact(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	add := func(r *inmem.Run, fail error) (int, error) {
		return inmem.Transact(ctx, r, "add", nil, func(ctx context.Context, tx *inmem.Tx) (int, error) {
			_, err := tx.KV().Put(ctx, "n", []byte("1"))
			return 1, errors.Join(err, fail)
		})
	}
	_, err := add(r, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, versionOf(t, r))
	put(t, r, "n", "2")
	again := s.resumed(r.ID())
	_, err = add(again, nil)
	require.NoError(t, err)
	require.Equal(t, "2", get(t, again, "n"), "it was not done again")
	_, err = add(again, errDisk)
	require.ErrorIs(t, err, inmem.ErrStepFailed)
	require.Equal(t, "2", get(t, again, "n"), "what failed wrote nothing")
}

// Steps of a group run at the same time and are found again at their places.
func TestGroup(t *testing.T) {
	s := newStore(t)
	id := s.begin().ID()
	var executed atomic.Int64
	agent := func(limit int) (out []string) {
		r := s.resumed(id)
		g, err := inmem.NewGroup(ctx, r, "fetch", limit)
		require.NoError(t, err)
		_, err = inmem.Do(ctx, r, "too early", nil, func(context.Context) (int, error) { return 1, nil })
		require.ErrorIs(t, err, inmem.ErrConcurrentSteps)
		var futures []*inmem.Future[string]
		for i := range 20 {
			futures = append(futures, inmem.Go(g, "get", i, func(ctx context.Context) (string, error) {
				executed.Add(1)
				if i == 7 {
					return "", errDisk
				}
				inner, err := inmem.Do(ctx, r, "inner", i, func(context.Context) (int, error) { return i * i, nil })
				return fmt.Sprint(inner), err
			}))
		}
		err = g.Wait()
		require.ErrorIs(t, err, inmem.ErrStepFailed)
		for i, f := range futures {
			v, err := f.Get()
			require.Equal(t, i == 7, err != nil)
			out = append(out, v)
		}
		_, err = inmem.Do(ctx, r, "after", nil, func(context.Context) (int, error) { return 1, nil })
		require.NoError(t, err)
		return out
	}
	first := agent(3)
	require.Equal(t, first, agent(0))
	require.EqualValues(t, 20, executed.Load())
	r := s.run(id)
	roots, err := r.Trace().Tree(ctx)
	require.NoError(t, err)
	require.Len(t, roots, 21)
}

// A step that is called for while another one is at work is refused.
func TestConcurrentSteps(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	_, err := inmem.Do(ctx, r, "outer", nil, func(inner context.Context) (int, error) {
		_, err := inmem.Do(ctx, r, "with the outer context", nil, func(context.Context) (int, error) { return 1, nil })
		require.ErrorIs(t, err, inmem.ErrConcurrentSteps)
		require.Equal(t, r.ID().String()+"/1", inmem.IdempotencyKey(inner))
		inmem.Report(inner, trace.Usage{InputTokens: 5}, map[string]string{trace.AttrRequestModel: "small"})
		inmem.Report(inner, trace.Usage{OutputTokens: 7}, nil)
		return 1, nil
	})
	require.NoError(t, err)
	require.Empty(t, inmem.IdempotencyKey(ctx))
	inmem.Report(ctx, trace.Usage{}, nil)
	span, err := r.Trace().Get(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, trace.Usage{InputTokens: 5, OutputTokens: 7}, span.Usage)
	require.Equal(t, "small", span.Attributes[trace.AttrRequestModel])
}

// Bad steps are refused before anything is executed.
func TestInvalidSteps(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.MaxValueSize = 1 << 20 })
	r := s.begin()
	never := func(context.Context) (int, error) { t.Error("executed"); return 0, nil }
	for _, name := range []string{"", "\xff", strings.Repeat("n", 1025)} {
		_, err := inmem.Do(ctx, r, name, nil, never)
		require.ErrorIs(t, err, inmem.ErrInvalidStep)
	}
	_, err := inmem.Do(ctx, r, "s", make(chan int), never)
	require.ErrorContains(t, err, "cannot be stored")
	_, err = inmem.Do(ctx, r, "s", strings.Repeat("x", 1<<20), never)
	require.ErrorIs(t, err, inmem.ErrValueTooLarge)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = inmem.Do(cancelled, r, "s", nil, never)
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, 1, versionOf(t, r))
	_, err = inmem.Do(ctx, r, "large", nil, func(context.Context) (string, error) { return strings.Repeat("x", 1<<20), nil })
	require.ErrorIs(t, err, inmem.ErrStepFailed, "a result that cannot be stored is a failure")
	_, err = inmem.Do(ctx, r, "chan", nil, func(context.Context) (chan int, error) { return make(chan int), nil })
	require.ErrorIs(t, err, inmem.ErrStepFailed)
	assert.EqualValues(t, 3, versionOf(t, r))
}

// The steps of a run can be listed, nested ones too.
func TestSteps(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	_, err := inmem.Do(ctx, r, "outer", nil, func(ctx context.Context) (int, error) {
		return inmem.Do(ctx, r, "inner", nil, func(context.Context) (int, error) { return 1, nil })
	}, inmem.Retry(inmem.RetryPolicy{Attempts: 3}))
	require.NoError(t, err)
	_, err = inmem.Do(ctx, r, "fails", nil, func(context.Context) (int, error) { return 0, errDisk })
	require.Error(t, err)
	require.NoError(t, r.Sleep(ctx, 0))
	list := func(r *inmem.Run) (all []inmem.Step) {
		for s, err := range r.Steps(ctx) {
			require.NoError(t, err)
			all = append(all, s)
		}
		return all
	}
	want := []inmem.Step{
		{Path: "1", Kind: "step", Name: "outer", Status: trace.OK, Span: 1, Attempts: 1, Version: 3},
		{Path: "1.1", Kind: "step", Name: "inner", Status: trace.OK, Span: 2, Attempts: 1, Version: 2},
		{Path: "2", Kind: "step", Name: "fails", Status: trace.Failed, Span: 3, Attempts: 1, Version: 4},
		{Path: "3", Kind: "sleep", Name: "sleep", Status: trace.OK, Version: 5},
	}
	require.Equal(t, want, list(r))
	for range r.Steps(ctx) {
		break // nothing comes after it
	}
	s.reopen()
	require.Equal(t, want, list(s.run(r.ID())))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range r.Steps(cancelled) {
		require.Error(t, err)
	}
}

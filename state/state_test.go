package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"inmem"
	"inmem/op"
	"inmem/run"
	"inmem/state"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// open opens a store on disk; the test closes it unless it did so itself.
func open(t testing.TB, disk *vfs.Mem, change ...func(*inmem.Options)) *inmem.DB {
	t.Helper()
	opts := &inmem.Options{FS: disk, Shards: 1}
	for _, c := range change {
		c(opts)
	}
	db, err := inmem.Open("store", opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	return db
}

func begin(t testing.TB, db *inmem.DB) *inmem.Run {
	t.Helper()
	r, err := db.BeginRun(ctx, run.Meta{})
	require.NoError(t, err)
	return r
}

func newRun(t testing.TB) *inmem.Run { return begin(t, open(t, vfs.NewMem())) }

var door = state.Machine{Initial: "closed", Transitions: map[string][]string{
	"closed": {"open", "locked"}, "open": {"closed"}, "locked": {"closed", "broken"},
}}

func to(s string) func(state.Cell) (state.Value, error) {
	return func(c state.Cell) (state.Value, error) { return state.Value{State: s, Data: c.Data}, nil }
}

func TestCellWithoutAMachine(t *testing.T) {
	s := newRun(t).State()
	_, err := s.Get(ctx, "plan")
	require.ErrorIs(t, err, inmem.ErrNotFound)
	made, err := s.Init(ctx, "plan", state.Value{State: "draft", Data: []byte("1")})
	require.NoError(t, err)
	got, err := s.Get(ctx, "plan")
	require.NoError(t, err)
	assert.Equal(t, made, got)
	assert.Equal(t, state.Cell{Name: "plan", Value: state.Value{State: "draft", Data: []byte("1")}, Version: 2}, got)

	_, err = s.Init(ctx, "plan", state.Value{})
	var exists *state.ExistsError
	require.ErrorAs(t, err, &exists)
	require.ErrorIs(t, err, state.ErrExists)
	assert.Equal(t, state.ExistsError{Cell: "plan", Version: 2}, *exists)

	next, err := s.CompareAndSet(ctx, "plan", 2, state.Value{State: "anything"})
	require.NoError(t, err)
	assert.EqualValues(t, 3, next.Version)
	_, err = s.CompareAndSet(ctx, "plan", 2, state.Value{})
	var wrong *inmem.VersionError
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, inmem.VersionError{Key: "plan", Expected: 2, Actual: 3}, *wrong)
	_, err = s.CompareAndSet(ctx, "none", 0, state.Value{})
	require.ErrorIs(t, err, inmem.ErrNotFound)

	require.NoError(t, s.Delete(ctx, "plan"))
	require.ErrorIs(t, s.Delete(ctx, "plan"), inmem.ErrNotFound)
	_, err = s.Transition(ctx, "plan", to("x"))
	require.ErrorIs(t, err, inmem.ErrNotFound)
}

func TestBytesAreTheCallers(t *testing.T) {
	s := newRun(t).State()
	data := []byte("data")
	made, err := s.Init(ctx, "c", state.Value{Data: data})
	require.NoError(t, err)
	copy(data, "XXXX")
	copy(made.Data, "YYYY")
	got, err := s.Get(ctx, "c")
	require.NoError(t, err)
	copy(got.Data, "ZZZZ")
	got, err = s.Get(ctx, "c")
	require.NoError(t, err)
	assert.Equal(t, "data", string(got.Data))
}

func TestMachine(t *testing.T) {
	s := newRun(t).State()
	_, err := s.Init(ctx, "door", state.Value{State: "open"}, state.Declare(door))
	require.ErrorIs(t, err, state.ErrTransition)
	c, err := s.Init(ctx, "door", state.Value{}, state.Declare(door))
	require.NoError(t, err)
	assert.Equal(t, "closed", c.State)
	m, err := s.Machine(ctx, "door")
	require.NoError(t, err)
	assert.Equal(t, &door, m)
	assert.Equal(t, []string{"broken", "closed", "locked", "open"}, m.States())

	_, err = s.Transition(ctx, "door", to("broken"))
	var refused *state.TransitionError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, state.TransitionError{Cell: "door", From: "closed", To: "broken", Allowed: []string{"open", "locked"}}, *refused)
	assert.ErrorContains(t, err, `"closed" to "broken"`)
	for _, next := range []string{"locked", "locked", "broken", "broken"} { // keeping the state is no transition
		_, err = s.Transition(ctx, "door", to(next))
		require.NoError(t, err, next)
	}
	_, err = s.Transition(ctx, "door", to("closed")) // a final state
	require.ErrorIs(t, err, state.ErrTransition)
	c, err = s.Get(ctx, "door")
	require.NoError(t, err)
	_, err = s.CompareAndSet(ctx, "door", c.Version, state.Value{State: "open"})
	require.ErrorIs(t, err, state.ErrTransition)

	// The machine goes with the cell.
	require.NoError(t, s.Delete(ctx, "door"))
	_, err = s.Machine(ctx, "door")
	require.ErrorIs(t, err, inmem.ErrNotFound)
	_, err = s.Init(ctx, "door", state.Value{State: "open"})
	require.NoError(t, err)
}

func TestInvalid(t *testing.T) {
	s := newRun(t).State()
	for _, name := range []string{"", "a\x00b", "\xff", strings.Repeat("x", state.MaxName+1)} {
		_, err := s.Init(ctx, name, state.Value{})
		assert.ErrorIs(t, err, state.ErrInvalidName, "%.20q", name)
		assert.ErrorIs(t, s.Delete(ctx, name), state.ErrInvalidName)
		if name != "" {
			_, err = s.Init(ctx, "c", state.Value{State: name})
			assert.ErrorIs(t, err, state.ErrInvalidName)
		}
	}
	many := map[string][]string{}
	for i := range state.MaxStates + 1 {
		many[fmt.Sprint(i)] = nil
	}
	for what, m := range map[string]state.Machine{
		"no initial state":      {},
		"a name":                {Initial: "a", Transitions: map[string][]string{"a": {""}}},
		"twice":                 {Initial: "a", Transitions: map[string][]string{"a": {"b", "b"}}},
		"too many":              {Initial: "1", Transitions: many},
		"nothing follows it":    {Initial: "a", Transitions: map[string][]string{"b": {"a"}}},
		"a name that is no end": {Initial: "a", Transitions: map[string][]string{"a": nil, "\xff": nil}},
	} {
		_, err := s.Init(ctx, "c", state.Value{}, state.Declare(m))
		assert.ErrorIs(t, err, state.ErrInvalidMachine, what)
	}
	_, err := s.Init(ctx, "c", state.Value{}, state.Durability(9))
	assert.ErrorIs(t, err, inmem.ErrInvalidOption)
	assert.ErrorIs(t, s.Delete(ctx, "c", state.Durability(9)), inmem.ErrInvalidOption)
	_, err = s.Init(ctx, "c", state.Value{}, state.Durability(inmem.Strict))
	require.NoError(t, err)
	for _, o := range []state.WriteOption{state.Durability(9), state.Declare(door)} {
		_, err = s.CompareAndSet(ctx, "c", 1, state.Value{}, o)
		assert.ErrorIs(t, err, inmem.ErrInvalidOption)
		_, err = s.Transition(ctx, "c", to("x"), o)
		assert.ErrorIs(t, err, inmem.ErrInvalidOption)
		assert.ErrorIs(t, s.Delete(ctx, "c", o), inmem.ErrInvalidOption)
	}
	broken := errors.New("broken")
	_, err = s.Transition(ctx, "c", func(state.Cell) (state.Value, error) { return state.Value{}, broken })
	assert.Equal(t, broken, err)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Get(ended, "c")
	assert.ErrorIs(t, err, context.Canceled)
	_, err = s.Machine(ended, "c")
	assert.ErrorIs(t, err, context.Canceled)
	for _, err := range s.List(ended, "") {
		assert.ErrorIs(t, err, context.Canceled)
	}
}

func TestTooLarge(t *testing.T) {
	db := open(t, vfs.NewMem(), func(o *inmem.Options) { o.MaxValueSize = 100 })
	_, err := begin(t, db).State().Init(ctx, "c", state.Value{Data: make([]byte, 100)})
	require.ErrorIs(t, err, inmem.ErrValueTooLarge)
}

func TestListAndHistory(t *testing.T) {
	disk := vfs.NewMem()
	var wall atomic.Int64 // Unix milliseconds
	wall.Store(1_700_000_000_000)
	db := open(t, disk, func(o *inmem.Options) { o.Now = func() time.Time { return time.UnixMilli(wall.Load()) } })
	r := begin(t, db)
	s := r.State()
	for _, name := range []string{"b", "a", "ab"} {
		_, err := s.Init(ctx, name, state.Value{State: "0"})
		require.NoError(t, err)
	}
	for _, c := range []struct {
		from, to string
		want     []string
	}{{"", "", []string{"a", "ab", "b"}}, {"a", "b", []string{"a", "ab"}}, {"a\x00", "", []string{"ab", "b"}}, {"c", "", nil}, {"b", "a", nil}} {
		var names []string
		for cell, err := range s.Range(ctx, c.from, c.to) {
			require.NoError(t, err)
			names = append(names, cell.Name)
		}
		assert.Equal(t, c.want, names, "%q to %q", c.from, c.to)
	}
	wall.Add(1000)
	_, err := s.Transition(ctx, "a", to("1"))
	require.NoError(t, err)
	require.NoError(t, s.Delete(ctx, "a"))
	_, err = s.Init(ctx, "a", state.Value{State: "2", Data: []byte("x")})
	require.NoError(t, err)
	var names []string
	for c, err := range s.List(ctx, "a") {
		require.NoError(t, err)
		names = append(names, c.Name+c.State)
	}
	assert.Equal(t, []string{"a2", "ab0"}, names)
	var list []string
	for c, err := range s.History(ctx, "a") {
		require.NoError(t, err)
		list = append(list, fmt.Sprintf("%d %q %s %t +%d", c.Version, c.State, c.Data, c.Removed, c.Time.UnixMilli()-1_700_000_000_000))
	}
	assert.Equal(t, []string{`3 "0"  false +0`, `5 "1"  false +1000`, `6 ""  true +1000`, `7 "2" x false +1000`}, list)
	for c := range s.History(ctx, "a") {
		assert.EqualValues(t, 3, c.Version)
		break
	}

	past, err := r.At(ctx, 5)
	require.NoError(t, err)
	c, err := past.State().Get(ctx, "a")
	require.NoError(t, err)
	assert.Equal(t, "1", c.State)
	_, err = past.State().Transition(ctx, "a", to("9"))
	require.ErrorIs(t, err, inmem.ErrReadOnly)
}

func TestInATransaction(t *testing.T) {
	r := newRun(t)
	stop := errors.New("stop")
	err := r.Update(ctx, func(tx *inmem.Tx) error {
		_, err := tx.State().Init(ctx, "c", state.Value{}, state.Declare(door))
		require.NoError(t, err)
		return stop
	})
	require.Equal(t, stop, err)
	_, err = r.State().Get(ctx, "c")
	require.ErrorIs(t, err, inmem.ErrNotFound)

	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		s := tx.State()
		c, err := s.Init(ctx, "c", state.Value{}, state.Declare(door))
		require.NoError(t, err)
		assert.EqualValues(t, op.Uncommitted, c.Version)
		_, err = s.Init(ctx, "c", state.Value{})
		require.ErrorIs(t, err, state.ErrExists)
		_, err = s.Transition(ctx, "c", to("broken"))
		require.ErrorIs(t, err, state.ErrTransition)
		_, err = s.Transition(ctx, "c", to("open"))
		require.NoError(t, err)
		c, err = s.Get(ctx, "c")
		require.NoError(t, err)
		c, err = s.CompareAndSet(ctx, "c", c.Version, state.Value{State: "closed"})
		require.NoError(t, err)
		_, err = tx.KV().Put(ctx, "beside", []byte(c.State))
		return err
	}))
	c, err := r.State().Get(ctx, "c")
	require.NoError(t, err)
	assert.Equal(t, "closed", c.State)
	assert.EqualValues(t, 2, c.Version, "one commit")

	// Two transactions on one cell: the second is too late.
	t1, err := r.Begin(ctx)
	require.NoError(t, err)
	t2, err := r.Begin(ctx)
	require.NoError(t, err)
	for _, tx := range []*inmem.Tx{t1, t2} {
		_, err = tx.State().Transition(ctx, "c", to("open"))
		require.NoError(t, err)
	}
	_, err = t1.Commit(ctx)
	require.NoError(t, err)
	_, err = t2.Commit(ctx)
	require.ErrorIs(t, err, inmem.ErrConflict)
}

func TestManyAtOnce(t *testing.T) {
	disk := vfs.NewMem()
	db := open(t, disk)
	r := begin(t, db)
	_, err := r.State().Init(ctx, "n", state.Value{})
	require.NoError(t, err)
	const writers, each = 16, 50
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				_, err := r.State().Transition(ctx, "n", func(c state.Cell) (state.Value, error) {
					return state.Value{Data: append(c.Data, 'x')}, nil
				})
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	require.NoError(t, db.Close())
	db = open(t, disk)
	r, err = db.Run(r.ID())
	require.NoError(t, err)
	c, err := r.State().Get(ctx, "n")
	require.NoError(t, err)
	assert.Equal(t, bytes.Repeat([]byte("x"), writers*each), c.Data)
	assert.EqualValues(t, 2+writers*each, c.Version)
}

// TestModel: cells against a map, over a run and over transactions.
func TestModel(t *testing.T) {
	db := open(t, vfs.NewMem())
	rapid.Check(t, func(rt *rapid.T) {
		r := begin(t, db)
		model := map[string]state.Value{}
		names := rapid.SampledFrom([]string{"a", "b", "c"})
		step := func(s state.Store, model map[string]state.Value) {
			name := names.Draw(rt, "cell")
			v := state.Value{State: rapid.SampledFrom([]string{"", "s", "t"}).Draw(rt, "state"), Data: []byte(rapid.String().Draw(rt, "data"))}
			_, exists := model[name]
			var err error
			switch rapid.IntRange(0, 2).Draw(rt, "what") {
			case 0:
				_, err = s.Init(ctx, name, v)
				require.Equal(t, exists, errors.Is(err, state.ErrExists))
				if !exists {
					model[name] = v
				}
			case 1:
				_, err = s.Transition(ctx, name, func(c state.Cell) (state.Value, error) {
					require.Equal(t, model[name].State, c.State)
					return v, nil
				})
				if exists {
					model[name] = v
				}
			case 2:
				err = s.Delete(ctx, name)
				delete(model, name)
			}
			if err != nil && !errors.Is(err, state.ErrExists) {
				require.ErrorIs(t, err, inmem.ErrNotFound)
				require.False(t, exists)
			}
			found := 0
			for c, err := range s.List(ctx, "") {
				require.NoError(t, err)
				require.Equal(t, model[c.Name].State, c.State)
				require.Equal(t, string(model[c.Name].Data), string(c.Data))
				found++
			}
			require.Equal(t, len(model), found)
		}
		for range rapid.IntRange(1, 15).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "alone") {
				step(r.State(), model)
				continue
			}
			next := map[string]state.Value{}
			for k, v := range model {
				next[k] = v
			}
			require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
				for range rapid.IntRange(1, 4).Draw(rt, "in the transaction") {
					step(tx.State(), next)
				}
				return nil
			}))
			model = next
		}
	})
}

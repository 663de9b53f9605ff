package step

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
)

var ctx = context.Background()

// fake is a run that is a map.
type fake struct {
	items   map[string]op.Item
	version uint64
	err     error // of everything
}

func newFake() *fake { return &fake{items: map[string]op.Item{}} }

func (f *fake) Limits() op.Limits                                            { return op.Limits{MaxKey: 1000, MaxValue: 200, MaxCommit: 1000} }
func (f *fake) Now() int64                                                   { return 1 }
func (f *fake) View() (op.View, error)                                       { return f, f.err }
func (f *fake) Version() uint64                                              { return f.version }
func (f *fake) History(context.Context, uint64) iter.Seq2[*op.Commit, error] { return nil }

func (f *fake) Commit(_ context.Context, req *op.Request) (op.Result, error) {
	if f.err != nil {
		return op.Result{}, f.err
	}
	f.version++
	for _, w := range req.Writes {
		key := op.MapKey(w.Tag, w.Key)
		if want, ok := w.Expect.Get(); ok && f.items[key].Version != want {
			return op.Result{}, &op.VersionError{Key: w.Key}
		}
		if delete(f.items, key); w.Kind == op.Put {
			f.items[key] = op.Item{Value: w.Value, Version: f.version}
		}
	}
	return op.Result{Version: f.version}, nil
}

type faceOf struct{ *fake }

func (f faceOf) Get(tag op.Tag, key string) (op.Item, error) {
	if f.err != nil {
		return op.Item{}, f.err
	}
	it, ok := f.items[op.MapKey(tag, key)]
	if !ok {
		return it, op.ErrNotFound
	}
	return it, nil
}

func (f *fake) Get(tag op.Tag, key string) (op.Item, bool) {
	it, ok := f.items[op.MapKey(tag, key)]
	return it, ok
}

func (f *fake) Scan(tag op.Tag, r op.Range, fn func(string, op.Item) bool) {
	n := 0
	for _, k := range slices.Sorted(maps.Keys(f.items)) {
		if key, ok := strings.CutPrefix(k, string([]byte{byte(tag)})); ok && key >= r.From && key < r.To {
			if n++; !fn(key, f.items[k]) || n == r.Limit {
				return
			}
		}
	}
}

func TestSteps(t *testing.T) {
	run := faceOf{newFake()}
	at := func(ns ...uint32) (p Path) {
		for _, n := range ns {
			p = p.Child(n)
		}
		return p
	}
	none, err := Get(run, at(1))
	require.NoError(t, err)
	require.Zero(t, none)
	open := Record{Status: Open, Kind: Call, Name: "s", Span: 1}
	require.NoError(t, Put(ctx, run, at(2), open, none))
	require.ErrorIs(t, Put(ctx, run, at(2), open, none), op.ErrWrongVersion)
	got, err := Get(run, at(2))
	require.NoError(t, err)
	open.Version = 1
	require.Equal(t, open, got)
	done := open
	done.Status = Done
	require.NoError(t, Put(ctx, run, at(2), done, open))
	require.NoError(t, Put(ctx, run, at(2, 1), done, none))
	require.NoError(t, Put(ctx, run, at(300), done, none))
	var paths []string
	for p, err := range List(ctx, run) {
		require.NoError(t, err)
		paths = append(paths, p.String())
	}
	require.Equal(t, []string{"2", "2.1", "300"}, paths)
	for _, c := range []struct{ at, want Path }{{at(2), at(2, 1)}, {at(2, 1), ""}, {at(300), ""}, {at(1), ""}} {
		first, err := Within(run, c.at)
		require.NoError(t, err)
		require.Equal(t, c.want, first)
	}
	done.Result = make([]byte, 200)
	require.ErrorIs(t, Put(ctx, run, at(4), done, none), op.ErrValueTooLarge)
	run.items[op.MapKey(op.Trace, "d"+string(at(5)))] = op.Item{Value: []byte{9}}
	_, err = Get(run, at(5))
	require.ErrorIs(t, err, ErrUnsupportedRecord)
}

func TestWhatIsStoredBesides(t *testing.T) {
	run := faceOf{newFake()}
	for name, get := range map[string]func() ([]byte, error){
		"override": func() ([]byte, error) { return Override(run, "s") }, "agent": func() ([]byte, error) { return Agent(run) },
		"outcome": func() ([]byte, error) { return Outcome(run) },
	} {
		b, err := get()
		require.NoError(t, err)
		require.Nil(t, b, name)
	}
	n, err := Taken(run, "go")
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, Take(ctx, run, "go", 300))
	n, err = Taken(run, "go")
	require.NoError(t, err)
	require.EqualValues(t, 300, n)
	key := OverrideKey("s")
	_, err = run.Commit(ctx, &op.Request{Writes: []op.Write{{Kind: op.Put, Tag: key.Tag, Key: key.Key, Value: []byte("1")}}})
	require.NoError(t, err)
	b, err := Override(run, "s")
	require.NoError(t, err)
	require.Equal(t, "1", string(b))
	require.NoError(t, TakeOverride(ctx, run, "s"))
	b, err = Override(run, "s")
	require.NoError(t, err)
	require.Nil(t, b)
	require.NoError(t, PutOutcome(ctx, run, []byte("{}")))
	b, err = Outcome(run)
	require.NoError(t, err)
	require.Equal(t, "{}", string(b))
}

func TestErrorsOfTheRun(t *testing.T) {
	run := faceOf{newFake()}
	run.err = errors.New("the run's")
	_, err := Get(run, "")
	require.ErrorIs(t, err, run.err)
	_, err = Within(run, "")
	require.ErrorIs(t, err, run.err)
	_, err = Taken(run, "s")
	require.ErrorIs(t, err, run.err)
	for _, err := range List(ctx, run) {
		require.ErrorIs(t, err, run.err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	run.err = nil
	require.NoError(t, Put(ctx, run, Path("").Child(1), golden, Record{}))
	for _, err := range List(ended, run) {
		require.ErrorIs(t, err, context.Canceled)
	}
}

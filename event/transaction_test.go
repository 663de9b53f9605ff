package event_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/op"
)

// TestAppendsInOneTransaction: they are numbered and chained as if each was
// made by itself, and come with one commit.
func TestAppendsInOneTransaction(t *testing.T) {
	w := newWorld(t)
	add(t, w.run.Events(), "a", event.New{Type: "before"})
	before := w.version()
	var want []event.Event
	require.NoError(t, w.run.Update(ctx, func(tx *inmem.Tx) error {
		s := tx.Events()
		w.ms.Add(1)
		want = collect(t, s.Read(ctx, "a"))
		want = append(want, add(t, s, "a", event.New{Type: "first", ID: "1"}, event.ExpectSequence(1)))
		w.ms.Add(1)
		more, err := s.AppendAll(ctx, "a", []event.New{{Type: "second", ID: "2"}, {Type: "third"}}, event.ExpectSequence(2))
		require.NoError(t, err)
		want = append(want, more...)
		assert.Equal(t, want[1], add(t, s, "a", event.New{Type: "first", ID: "1"}), "its own, again")
		add(t, s, "b", event.New{Type: "other"})
		require.NoError(t, s.Verify(ctx, "a"))
		return nil
	}))
	assert.Equal(t, before+1, w.version(), "one commit")
	for i := range want {
		assert.Equal(t, uint64(i+1), want[i].Sequence)
		if i > 0 {
			assert.Equal(t, want[i-1].Hash(), want[i].Prev)
			assert.Equal(t, op.Uncommitted, want[i].Version)
			want[i].Version = before + 1
		}
	}
	w.reopen()
	s := w.run.Events()
	assert.Equal(t, want, collect(t, s.Read(ctx, "a")))
	assert.Equal(t, uint64(1), collect(t, s.Read(ctx, "b"))[0].Sequence)
	require.NoError(t, s.Verify(ctx, "a"))
	then := w.past(before)
	assert.Equal(t, want[:1], collect(t, then.Read(ctx, "a")), "all of it came with the commit")
	require.NoError(t, then.Verify(ctx, "a"))
}

// TestAbortedAppends: whatever keeps a transaction from being carried out, its
// events leave no trace: no number is used up, and no ID is taken.
func TestAbortedAppends(t *testing.T) {
	errGiveUp := errors.New("give up")
	for name, abort := range map[string]func(t *testing.T, w *world, write func(*inmem.Tx)){
		"rollback": func(t *testing.T, w *world, write func(*inmem.Tx)) {
			tx := w.begin()
			write(tx)
			tx.Rollback()
		},
		"error": func(t *testing.T, w *world, write func(*inmem.Tx)) {
			assert.ErrorIs(t, w.run.Update(ctx, func(tx *inmem.Tx) error {
				write(tx)
				return errGiveUp
			}), errGiveUp)
		},
		"panic": func(t *testing.T, w *world, write func(*inmem.Tx)) {
			assert.Panics(t, func() {
				_ = w.run.Update(ctx, func(tx *inmem.Tx) error {
					write(tx)
					panic("give up")
				})
			})
		},
		"conflict": func(t *testing.T, w *world, write func(*inmem.Tx)) {
			tx := w.begin()
			_, err := tx.KV().Exists(ctx, "k")
			require.NoError(t, err)
			write(tx)
			_, err = w.run.KV().Put(ctx, "k", nil)
			require.NoError(t, err)
			_, err = tx.Commit(ctx)
			assert.ErrorIs(t, err, inmem.ErrConflict)
		},
		"refused": func(t *testing.T, w *world, _ func(*inmem.Tx)) {
			for _, s := range []event.Store{w.run.Events(), w.begin().Events()} {
				_, err := s.AppendAll(ctx, "a", []event.New{{Type: "x", ID: "1"}, {Type: "x", ID: "2"}, {Type: "y", ID: "2"}})
				assert.ErrorIs(t, err, event.ErrDuplicateID)
				_, err = s.Append(ctx, "a", event.New{Type: "x", ID: "1"}, event.ExpectSequence(7))
				assert.ErrorIs(t, err, event.ErrWrongSequence)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.run.Events()
			first := add(t, s, "a", event.New{Type: "before"})
			abort(t, w, func(tx *inmem.Tx) {
				add(t, tx.Events(), "a", event.New{Type: "x", ID: "1"})
				add(t, tx.Events(), "a", event.New{Type: "x", ID: "2"})
				add(t, tx.Events(), "new", event.New{Type: "x"})
			})
			assert.Equal(t, []string{"a"}, collect(t, s.Streams(ctx)))
			next := add(t, s, "a", event.New{Type: "after", ID: "2"})
			assert.Equal(t, uint64(2), next.Sequence)
			assert.Equal(t, first.Hash(), next.Prev)
			w.reopen()
			assert.Equal(t, []event.Event{first, next}, collect(t, w.run.Events().Read(ctx, "a")))
			require.NoError(t, w.run.Events().Verify(ctx, "a"))
		})
	}
}

// TestConcurrentTransactions: transactions of many goroutines, of which some
// give up, each append several events to the same streams, while others append
// without a transaction. Each has its events side by side in all streams or in
// none, and no stream has a gap.
func TestConcurrentTransactions(t *testing.T) {
	const goroutines, each = 8, 60
	errGiveUp := errors.New("give up")
	w := newWorld(t)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range each {
				kept := i%3 != 0
				name := fmt.Sprintf(`{"of":"%d %d","kept":%v}`, g, i, kept)
				three := []event.New{{Type: "1", Payload: []byte(name)}, {Type: "2", Payload: []byte(name)}, {Type: "3", Payload: []byte(name)}}
				if i%5 == 4 && kept {
					_, err := w.run.Events().AppendAll(ctx, "a", three)
					assert.NoError(t, err)
					continue
				}
				err := w.run.Update(ctx, func(tx *inmem.Tx) error {
					s := tx.Events()
					one, err := s.Append(ctx, "a", three[0])
					if err != nil {
						return err
					}
					two, err := s.AppendAll(ctx, "a", three[1:], event.ExpectSequence(one.Sequence))
					if err != nil {
						return err
					}
					assert.Equal(t, one.Hash(), two[0].Prev)
					if _, err := s.Append(ctx, "b", event.New{Type: "4", Payload: []byte(name)}); err != nil {
						return err
					}
					if !kept {
						return errGiveUp
					}
					return nil
				})
				assert.True(t, err == nil && kept || errors.Is(err, errGiveUp) && !kept, "%v", err)
			}
		})
	}
	all.Wait()
	w.reopen()
	s := w.run.Events()
	require.NoError(t, s.Verify(ctx, "a"))
	require.NoError(t, s.Verify(ctx, "b"))
	ofA, ofB := collect(t, s.Read(ctx, "a")), collect(t, s.Read(ctx, "b"))
	require.Len(t, ofA, 3*goroutines*each*2/3, "a third gave up")
	versions := map[uint64]string{}
	for i, e := range ofA {
		require.Equal(t, uint64(i+1), e.Sequence)
		require.Equal(t, fmt.Sprint(i%3+1), e.Type)
		require.Contains(t, string(e.Payload), `"kept":true`)
		if i%3 > 0 {
			require.Equal(t, ofA[i-1].Payload, e.Payload, "side by side")
			require.Equal(t, ofA[i-1].Version, e.Version, "one commit")
		}
		versions[e.Version] = string(e.Payload)
	}
	for i, e := range ofB {
		require.Equal(t, uint64(i+1), e.Sequence)
		require.Equal(t, versions[e.Version], string(e.Payload), "all or none")
	}
	require.Len(t, ofB, goroutines*each*2/3-goroutines*each/5+goroutines*each/15)
}

// TestReadOnlyStore: events of a store that is open for reading only are read
// like any others, and none is appended.
func TestReadOnlyStore(t *testing.T) {
	w := newWorld(t)
	want := []event.Event{add(t, w.run.Events(), "a", event.New{Type: "x", ID: "1"}), add(t, w.run.Events(), "a", event.New{Type: "y"})}
	db, err := inmem.OpenReadOnly("store", &inmem.Options{FS: w.disk})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	r, err := db.Run(w.run.ID())
	require.NoError(t, err)
	s := r.Events()
	assert.Equal(t, want, collect(t, s.Read(ctx, "a")))
	require.NoError(t, s.Verify(ctx, "a"))
	_, err = s.Append(ctx, "a", event.New{Type: "z"})
	assert.ErrorIs(t, err, inmem.ErrReadOnly)
	again, err := s.Append(ctx, "a", event.New{Type: "x", ID: "1"})
	require.NoError(t, err)
	assert.Equal(t, want[0], again)
}

package event_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/event"
	"inmem/op"
	"inmem/retry"
	"inmem/run"
)

func TestAppend(t *testing.T) {
	w := newWorld(t)
	s := w.run.Events()
	first := add(t, s, event.Main, event.New{Type: "begun"})
	assert.Equal(t, event.Event{
		Stream: "main", Sequence: 1, Type: "begun", Time: time.UnixMilli(epoch).UTC(), Payload: []byte("{}"), Version: 2,
	}, first)
	w.ms.Add(5)
	second := add(t, s, event.Main, event.New{Type: "step", ID: "a\x00\xff", Payload: []byte(` {"n" : 1}`)})
	assert.Equal(t, event.Event{
		Stream: "main", Sequence: 2, Type: "step", ID: "a\x00\xff", Time: time.UnixMilli(epoch + 5).UTC(),
		Payload: []byte(` {"n" : 1}`), Prev: first.Hash(), Version: 3,
	}, second)
	other := add(t, s, "other", event.New{Type: "begun", Payload: []byte{}})
	assert.Equal(t, uint64(1), other.Sequence, "streams count on their own")
	assert.NotEqual(t, first.Hash(), other.Hash())

	assert.Equal(t, []event.Event{first, second}, collect(t, s.Read(ctx, event.Main)))
	assert.Equal(t, []event.Event{other}, collect(t, s.Read(ctx, "other")))
	w.reopen()
	s = w.run.Events()
	assert.Equal(t, []event.Event{first, second}, collect(t, s.Read(ctx, event.Main)))
	third := add(t, s, event.Main, event.New{Type: "step"})
	assert.Equal(t, uint64(3), third.Sequence)
	assert.Equal(t, second.Hash(), third.Prev)
	require.NoError(t, s.Verify(ctx, event.Main))
}

func TestBytesAreCopied(t *testing.T) {
	s := newWorld(t).run.Events()
	payload := []byte(`{"n":1}`)
	add(t, s, event.Main, event.New{Type: "a", ID: "id", Payload: payload})
	payload[5] = '2'
	got, err := s.Get(ctx, event.Main, 1)
	require.NoError(t, err)
	assert.Equal(t, `{"n":1}`, string(got.Payload))
	got.Payload[5] = '3'
	again := add(t, s, event.Main, event.New{Type: "a", ID: "id", Payload: []byte(`{"n":1}`)})
	assert.Equal(t, `{"n":1}`, string(again.Payload))

	// What stands for no payload is nobody else's either.
	empty := add(t, s, event.Main, event.New{Type: "a"})
	empty.Payload[0] = 'x'
	assert.Equal(t, "{}", string(add(t, s, event.Main, event.New{Type: "a"}).Payload))
}

func TestAppendAll(t *testing.T) {
	w := newWorld(t)
	s := w.run.Events()
	before := w.version()
	got, err := s.AppendAll(ctx, event.Main, []event.New{{Type: "a"}, {Type: "b", ID: "b"}, {Type: "c"}}, event.Durability(op.Strict))
	require.NoError(t, err)
	require.Len(t, got, 3)
	for i, e := range got {
		assert.Equal(t, uint64(i+1), e.Sequence)
		assert.Equal(t, before+1, e.Version, "one commit")
	}
	assert.Equal(t, got, collect(t, s.Read(ctx, event.Main)))
	require.NoError(t, s.Verify(ctx, event.Main))

	got, err = s.AppendAll(ctx, event.Main, nil)
	require.NoError(t, err)
	assert.Empty(t, got)
	assert.Equal(t, before+1, w.version(), "nothing to append is no commit")

	_, err = s.AppendAll(ctx, event.Main, []event.New{{Type: "d"}, {Type: ""}})
	assert.ErrorIs(t, err, event.ErrInvalidType)
	n, err := s.Len(ctx, event.Main)
	assert.NoError(t, err)
	assert.Equal(t, uint64(3), n, "all or none")
}

// faces runs a test over a run and over a transaction of it.
func faces(t *testing.T, test func(t *testing.T, w *world, s event.Store)) {
	t.Run("run", func(t *testing.T) {
		w := newWorld(t)
		test(t, w, w.run.Events())
	})
	t.Run("transaction", func(t *testing.T) {
		w := newWorld(t)
		tx := w.begin()
		test(t, w, tx.Events())
		_, err := tx.Commit(ctx)
		require.NoError(t, err)
		require.NoError(t, w.run.Events().Verify(ctx, event.Main))
	})
}

func TestSameIDAgain(t *testing.T) {
	faces(t, func(t *testing.T, w *world, s event.Store) {
		e := event.New{Type: "a", ID: "id", Payload: []byte(`{"n":1}`)}
		first := add(t, s, event.Main, e)
		add(t, s, event.Main, event.New{Type: "later"})
		before := w.version()
		w.ms.Add(1000)
		assert.Equal(t, first, add(t, s, event.Main, e))
		assert.Equal(t, first, add(t, s, event.Main, e, event.ExpectSequence(0)), "a repetition expects what the first one did")
		assert.Equal(t, before, w.version(), "no commit")

		for _, other := range []event.New{
			{Type: "b", ID: "id", Payload: e.Payload}, {Type: "a", ID: "id"}, {Type: "a", ID: "id", Payload: []byte(`{"n": 1}`)},
		} {
			_, err := s.Append(ctx, event.Main, other)
			assert.ErrorIs(t, err, event.ErrDuplicateID)
			var dup *event.DuplicateIDError
			require.ErrorAs(t, err, &dup)
			assert.Equal(t, event.DuplicateIDError{Stream: "main", ID: "id", Sequence: 1}, *dup)
		}
		assert.Equal(t, uint64(1), add(t, s, "other", e).Sequence, "IDs are a stream's")
	})
}

func TestSameIDInOneCall(t *testing.T) {
	faces(t, func(t *testing.T, w *world, s event.Store) {
		old := add(t, s, event.Main, event.New{Type: "a", ID: "1"})
		got, err := s.AppendAll(ctx, event.Main, []event.New{
			{Type: "a", ID: "2"}, {Type: "a", ID: "1"}, {Type: "x"}, {Type: "a", ID: "2"}, {Type: "a", ID: "3"},
		}, event.ExpectSequence(1))
		require.NoError(t, err)
		var seqs []uint64
		for _, e := range got {
			seqs = append(seqs, e.Sequence)
		}
		assert.Equal(t, []uint64{2, 1, 3, 2, 4}, seqs)
		assert.Equal(t, old, got[1])
		assert.Equal(t, got[0], got[3])
		got[0].Payload[0] = 'x'
		assert.Equal(t, "{}", string(got[3].Payload), "each payload is the caller's")

		before := w.version()
		again, err := s.AppendAll(ctx, event.Main, []event.New{{Type: "a", ID: "3"}, {Type: "a", ID: "1"}}, event.ExpectSequence(77))
		require.NoError(t, err)
		assert.Equal(t, []event.Event{got[4], old}, again)
		assert.Equal(t, before, w.version(), "no commit")

		_, err = s.AppendAll(ctx, event.Main, []event.New{{Type: "a", ID: "4"}, {Type: "b", ID: "4"}})
		var dup *event.DuplicateIDError
		require.ErrorAs(t, err, &dup)
		assert.Equal(t, uint64(5), dup.Sequence)
		n, err := s.Len(ctx, event.Main)
		require.NoError(t, err)
		assert.Equal(t, uint64(4), n, "all or none")
	})
}

func TestExpectSequence(t *testing.T) {
	faces(t, func(t *testing.T, w *world, s event.Store) {
		e := event.New{Type: "a"}
		_, err := s.Append(ctx, event.Main, e, event.ExpectSequence(1))
		var wrong *event.SequenceError
		require.ErrorAs(t, err, &wrong)
		assert.ErrorIs(t, err, event.ErrWrongSequence)
		assert.Equal(t, event.SequenceError{Stream: "main", Expected: 1, Actual: 0}, *wrong)
		add(t, s, event.Main, e, event.ExpectSequence(0))
		_, err = s.Append(ctx, event.Main, e, event.ExpectSequence(0))
		require.ErrorAs(t, err, &wrong)
		assert.Equal(t, event.SequenceError{Stream: "main", Expected: 0, Actual: 1}, *wrong)
		add(t, s, event.Main, e, event.ExpectSequence(7), event.ExpectSequence(1))
		_, err = s.AppendAll(ctx, event.Main, []event.New{e, e}, event.ExpectSequence(2))
		require.NoError(t, err)
		assert.Equal(t, uint64(5), add(t, s, event.Main, e).Sequence, "what was refused used up no sequence")
	})
}

func TestTransaction(t *testing.T) {
	w := newWorld(t)
	s := w.run.Events()
	add(t, s, event.Main, event.New{Type: "a"})

	tx := w.begin()
	in := tx.Events()
	e := add(t, in, event.Main, event.New{Type: "b", ID: "b"})
	assert.Equal(t, op.Uncommitted, e.Version)
	assert.Len(t, collect(t, in.Read(ctx, event.Main)), 2, "it reads what it wrote")
	assert.Len(t, collect(t, s.Read(ctx, event.Main)), 1, "others do not")
	tx.Rollback()
	assert.Equal(t, uint64(2), add(t, s, event.Main, event.New{Type: "c"}).Sequence, "what was rolled back used up no sequence")

	require.NoError(t, w.run.Update(ctx, func(tx *inmem.Tx) error {
		e = add(t, tx.Events(), event.Main, event.New{Type: "b", ID: "b"})
		_, err := tx.KV().Put(ctx, "state", []byte("b"))
		return err
	}))
	got, err := s.Last(ctx, event.Main)
	require.NoError(t, err)
	e.Version = w.version()
	assert.Equal(t, e, got, "but for the version it is what the transaction saw")
	require.NoError(t, s.Verify(ctx, event.Main))
}

func TestTransactionsConflict(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name      string
		read      func(s event.Store) error
		conflicts bool
	}{
		{"append to the same stream", func(s event.Store) error { _, err := s.Append(ctx, "a", event.New{Type: "x"}); return err }, true},
		{"append to another stream", func(s event.Store) error { _, err := s.Append(ctx, "aa", event.New{Type: "x"}); return err }, false},
		{"length", func(s event.Store) error { _, err := s.Len(ctx, "a"); return err }, true},
		{"last", func(s event.Store) error { _, err := s.Last(ctx, "a"); return err }, true},
		{"an old event", func(s event.Store) error { _, err := s.Get(ctx, "a", 1); return err }, false},
		{"old events", func(s event.Store) error { return failure(t, s.Read(ctx, "a", event.Before(2))) }, false},
		{"all events", func(s event.Store) error { return failure(t, s.Read(ctx, "a")) }, true},
		{"an event to come", func(s event.Store) error {
			n, err := w.run.Events().Len(ctx, "a")
			require.NoError(t, err)
			if _, err = s.Get(ctx, "a", n+1); errors.Is(err, inmem.ErrNotFound) {
				err = nil
			}
			return err
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			add(t, w.run.Events(), "a", event.New{Type: "before"})
			tx := w.begin()
			require.NoError(t, c.read(tx.Events()))
			_, err := tx.KV().Put(ctx, "k", nil)
			require.NoError(t, err)
			add(t, w.run.Events(), "a", event.New{Type: "meanwhile"})
			_, err = tx.Commit(ctx)
			if c.conflicts {
				assert.ErrorIs(t, err, inmem.ErrConflict)
			} else {
				assert.NoError(t, err)
			}
		})
	}
	require.NoError(t, w.run.Events().Verify(ctx, "a"))
}

func TestConcurrentAppends(t *testing.T) {
	const goroutines, each = 16, 100
	w := newWorld(t)
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			typ := fmt.Sprint(g)
			for i := range each {
				e := event.New{Type: typ, ID: fmt.Sprint(g, " ", i), Payload: fmt.Appendf(nil, `{"i":%d}`, i)}
				var err error
				if i%10 == 0 {
					err = w.run.Update(ctx, func(tx *inmem.Tx) error {
						_, err := tx.Events().Append(ctx, event.Main, e)
						return err
					})
				} else {
					_, err = w.run.Events().Append(ctx, event.Main, e)
				}
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	s := w.run.Events()
	require.NoError(t, s.Verify(ctx, event.Main))
	next, seq := map[string]int{}, uint64(0)
	for e, err := range s.Read(ctx, event.Main) {
		require.NoError(t, err)
		seq++
		require.Equal(t, seq, e.Sequence)
		require.Equal(t, fmt.Sprintf(`{"i":%d}`, next[e.Type]), string(e.Payload), "each goroutine's are in its order")
		next[e.Type]++
	}
	require.Equal(t, uint64(goroutines*each), seq, "none is missing, none is there twice")
}

// TestConcurrentSameID: of many who append the same event one does.
func TestConcurrentSameID(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				e, err := w.run.Events().Append(ctx, event.Main, event.New{Type: "a", ID: fmt.Sprint(i)})
				assert.NoError(t, err)
				assert.Equal(t, uint64(i+1), e.Sequence)
			})
		}
		all.Wait()
	}
	require.NoError(t, w.run.Events().Verify(ctx, event.Main))
}

// busy is a run in which others are always faster.
type busy struct {
	op.Run
	attempts int
	attempt  func(n int)
}

func (b *busy) Commit(_ context.Context, req *op.Request) (op.Result, error) {
	b.attempts++
	b.attempt(b.attempts)
	return op.Result{}, &op.VersionError{Key: req.Writes[0].Key, Actual: 7}
}

func TestAttemptsAreBounded(t *testing.T) {
	w := newWorld(t)
	b := &busy{Run: w.run.Events().Run(), attempt: func(int) {}}
	_, err := event.NewStore(b).Append(ctx, event.Main, event.New{Type: "a"})
	var version *op.VersionError
	require.ErrorAs(t, err, &version)
	assert.Equal(t, retry.Attempts, b.attempts)

	short, cancel := context.WithCancel(ctx)
	b = &busy{Run: b.Run, attempt: func(n int) {
		if n == 3 {
			cancel()
		}
	}}
	_, err = event.NewStore(b).Append(short, event.Main, event.New{Type: "a"})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 3, b.attempts)
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	s := w.run.Events()
	long := strings.Repeat("n", event.MaxName)
	before := w.version()
	for _, bad := range []string{"", "a\x00b", "\xff", long + "n"} {
		_, err := s.Append(ctx, bad, event.New{Type: "a"})
		assert.ErrorIs(t, err, event.ErrInvalidStream)
		_, err = s.Append(ctx, "a", event.New{Type: bad})
		assert.ErrorIs(t, err, event.ErrInvalidType)
		_, err = s.Get(ctx, bad, 1)
		assert.ErrorIs(t, err, event.ErrInvalidStream)
		_, err = s.Last(ctx, bad)
		assert.ErrorIs(t, err, event.ErrInvalidStream)
		_, err = s.Len(ctx, bad)
		assert.ErrorIs(t, err, event.ErrInvalidStream)
		assert.ErrorIs(t, s.Verify(ctx, bad), event.ErrInvalidStream)
		assert.ErrorIs(t, failure(t, s.Read(ctx, bad)), event.ErrInvalidStream)
	}
	_, err := s.Append(ctx, "a", event.New{Type: "a", ID: strings.Repeat("i", event.MaxID+1)})
	assert.ErrorIs(t, err, event.ErrInvalidID)
	for _, bad := range []string{"[]", "null", `"a"`, "{", "{}}", "{\"a\":\"\xff\"}", " "} {
		_, err = s.Append(ctx, "a", event.New{Type: "a", Payload: []byte(bad)})
		assert.ErrorIs(t, err, event.ErrInvalidPayload)
	}
	_, err = s.Append(ctx, "a", event.New{Type: "a"}, event.Durability(op.Async+1))
	assert.ErrorIs(t, err, op.ErrInvalidOption)
	short, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.Append(short, "a", event.New{Type: "a"})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, before, w.version(), "nothing happened")

	e := add(t, s, long, event.New{Type: long, ID: strings.Repeat("i", event.MaxID)})
	got, err := s.Get(ctx, long, 1)
	require.NoError(t, err)
	assert.Equal(t, e, got, "the longest names")
}

func TestSizes(t *testing.T) {
	w := newWorld(t, func(o *inmem.Options) { o.MaxKeySize, o.MaxValueSize, o.MaxCommitSize = 32, 1000, 2500 })
	s := w.run.Events()
	payload := func(n int) []byte { return []byte(`{"a":"` + strings.Repeat("x", n-8) + `"}`) }
	var size *op.SizeError
	_, err := s.Append(ctx, "a", event.New{Type: "a", Payload: payload(1000)})
	require.ErrorAs(t, err, &size)
	assert.ErrorIs(t, err, op.ErrValueTooLarge)
	assert.Equal(t, 1000, size.Size)
	assert.Less(t, size.Max, 1000)
	most := size.Max
	_, err = s.Append(ctx, "a", event.New{Type: "a", Payload: payload(most + 1)})
	assert.ErrorIs(t, err, op.ErrValueTooLarge)
	add(t, s, "a", event.New{Type: "a", Payload: payload(most)})

	_, err = s.Append(ctx, strings.Repeat("s", 23), event.New{Type: "a"})
	require.ErrorAs(t, err, &size)
	assert.Equal(t, op.SizeError{Err: op.ErrKeyTooLarge, Size: 33, Max: 32}, *size)
	add(t, s, strings.Repeat("s", 22), event.New{Type: "a"})
	_, err = s.Append(ctx, "a", event.New{Type: "a", ID: strings.Repeat("i", 30)})
	require.ErrorAs(t, err, &size)
	assert.Equal(t, op.SizeError{Err: op.ErrKeyTooLarge, Size: 33, Max: 32}, *size)
	add(t, s, "a", event.New{Type: "a", ID: strings.Repeat("i", 29)})

	large := event.New{Type: "a", ID: "i", Payload: payload(700)}
	_, err = s.AppendAll(ctx, "a", []event.New{large, large, large})
	assert.ErrorIs(t, err, op.ErrBatchTooLarge)
	_, err = s.AppendAll(ctx, "a", []event.New{large, large})
	assert.NoError(t, err)
}

func TestRunsThatTakeNoEvents(t *testing.T) {
	w := newWorld(t)
	s := w.run.Events()
	e := event.New{Type: "a", ID: "a"}
	add(t, s, event.Main, e)
	_, err := w.past(2).Append(ctx, event.Main, event.New{Type: "b"})
	assert.ErrorIs(t, err, inmem.ErrReadOnly)
	require.NoError(t, w.run.View(ctx, func(tx *inmem.Tx) error {
		_, err := tx.Events().Append(ctx, event.Main, event.New{Type: "b"})
		assert.ErrorIs(t, err, inmem.ErrReadOnly)
		_, err = tx.Events().Append(ctx, event.Main, e)
		assert.NoError(t, err, "to find that it is there takes no commit")
		return nil
	}))
	require.NoError(t, w.run.End(ctx, run.Completed))
	_, err = s.Append(ctx, event.Main, event.New{Type: "b"})
	assert.ErrorIs(t, err, inmem.ErrRunEnded)
	require.NoError(t, w.db.DeleteRun(ctx, w.run.ID()))
	_, err = s.Append(ctx, event.Main, event.New{Type: "b"})
	assert.ErrorIs(t, err, inmem.ErrRunDeleted)
	_, err = s.Last(ctx, event.Main)
	assert.ErrorIs(t, err, inmem.ErrRunDeleted)
	assert.ErrorIs(t, failure(t, s.Streams(ctx)), inmem.ErrRunDeleted)
	assert.ErrorIs(t, s.Verify(ctx, event.Main), inmem.ErrRunDeleted)
}

package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
)

func beginTx(t testing.TB, r *inmem.Run) *inmem.Tx {
	t.Helper()
	tx, err := r.Begin(ctx)
	require.NoError(t, err)
	return tx
}

func TestTxReadsItsOwnWrites(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "a", "1")
	put(t, r, "b", "1")
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		version, err := tx.KV().Put(ctx, "a", []byte("2"))
		require.NoError(t, err)
		assert.Zero(t, version, "it has none yet")
		it, err := tx.KV().GetItem(ctx, "a")
		require.NoError(t, err)
		assert.Equal(t, kv.Item{Key: "a", Value: []byte("2"), Version: op.Uncommitted}, it)
		old, err := tx.KV().Delete(ctx, "b")
		require.NoError(t, err)
		assert.Equal(t, "1", string(old))
		_, err = tx.KV().Get(ctx, "b")
		require.ErrorIs(t, err, inmem.ErrNotFound)
		_, err = tx.KV().Delete(ctx, "b")
		require.ErrorIs(t, err, inmem.ErrNotFound)
		assert.Equal(t, "1", get(t, r, "a"), "nobody else sees it")
		return nil
	}))
	assert.Equal(t, []string{"a"}, keys(list(t, r, "")))
	assert.Equal(t, "2", get(t, r, "a"))
	info, err := r.Info()
	require.NoError(t, err)
	assert.EqualValues(t, 4, info.LastVersion, "one commit")
}

func TestTxCommitGivesTheVersion(t *testing.T) {
	r := newStore(t).begin()
	tx := beginTx(t, r)
	assert.EqualValues(t, 1, tx.Version())
	assert.Equal(t, r.ID(), tx.ID())
	_, err := tx.KV().Put(ctx, "k", nil)
	require.NoError(t, err)
	put(t, r, "other", "") // blind writes do not conflict
	version, err := tx.Commit(ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 3, version)
	assert.Zero(t, tx.Version())
	tx = beginTx(t, r)
	version, err = tx.Commit(ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 3, version, "nothing was written")
}

func TestTxThatEndedTakesNoCalls(t *testing.T) {
	r := newStore(t).begin()
	for _, end := range []func(*inmem.Tx){
		func(tx *inmem.Tx) { tx.Rollback() },
		func(tx *inmem.Tx) {
			_, err := tx.Commit(ctx)
			require.NoError(t, err)
		},
	} {
		tx := beginTx(t, r)
		end(tx)
		tx.Rollback()
		for what, err := range txCalls(tx) {
			assert.ErrorIs(t, err, inmem.ErrTxDone, what)
		}
	}
}

// txCalls makes every call of a transaction and returns their errors.
func txCalls(tx *inmem.Tx) map[string]error {
	errs := map[string]error{}
	_, errs["get"] = tx.KV().Get(ctx, "k")
	_, errs["put"] = tx.KV().Put(ctx, "k", nil)
	for _, err := range tx.KV().List(ctx, "") {
		errs["list"] = err
	}
	for _, err := range tx.KV().History(ctx, "k") {
		errs["history"] = err
	}
	_, errs["info"] = tx.Info()
	_, errs["commit"] = tx.Commit(ctx)
	return errs
}

func TestViewOnlyReads(t *testing.T) {
	r := newStore(t).begin()
	put(t, r, "k", "1")
	require.NoError(t, r.View(ctx, func(tx *inmem.Tx) error {
		_, err := tx.KV().Put(ctx, "k", nil)
		require.ErrorIs(t, err, inmem.ErrReadOnly)
		put(t, r, "k", "2")
		b, err := tx.KV().Get(ctx, "k")
		require.NoError(t, err)
		assert.Equal(t, "1", string(b))
		info, err := tx.Info()
		require.NoError(t, err)
		assert.EqualValues(t, 2, info.LastVersion)
		n := 0
		for _, err := range tx.KV().History(ctx, "k") {
			require.NoError(t, err)
			n++
		}
		assert.Equal(t, 1, n, "the history is as of the version, too")
		return nil
	}))
	tx, err := r.BeginView(ctx)
	require.NoError(t, err)
	put(t, r, "k", "3")
	b, err := tx.KV().Get(ctx, "k")
	require.NoError(t, err)
	assert.Equal(t, "2", string(b))
	_, err = tx.KV().Delete(ctx, "k")
	require.ErrorIs(t, err, inmem.ErrReadOnly)
	version, err := tx.Commit(ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 3, version, "what it read")
	_, err = tx.KV().Get(ctx, "k")
	require.ErrorIs(t, err, inmem.ErrTxDone)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = r.BeginView(cancelled)
	require.ErrorIs(t, err, context.Canceled)
	mine := errors.New("mine")
	assert.Equal(t, mine, r.View(ctx, func(*inmem.Tx) error { return mine }))
}

func TestUpdateBeginsAnewAfterAConflict(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "n", "0")
	calls := 0
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		b, err := tx.KV().Get(ctx, "n")
		require.NoError(t, err)
		if calls++; calls < 5 {
			put(t, r, "n", fmt.Sprint(calls))
		}
		_, err = tx.KV().Put(ctx, "n", append(b, '!'))
		return err
	}))
	assert.Equal(t, 5, calls)
	assert.Equal(t, "4!", get(t, r, "n"))

	calls = 0
	err := r.Update(ctx, func(tx *inmem.Tx) error {
		_, err := tx.KV().Get(ctx, "n")
		require.NoError(t, err)
		calls++
		put(t, r, "n", "")
		_, err = tx.KV().Put(ctx, "m", nil)
		return err
	})
	var conflict *inmem.ConflictError
	require.ErrorAs(t, err, &conflict)
	assert.Equal(t, 64, calls)
	assert.Equal(t, "n", conflict.Key)
	assert.Equal(t, inmem.TagKV, conflict.Tag)
	assert.ErrorContains(t, err, `kv key "n" was at version`)

	mine := errors.New("mine")
	assert.Equal(t, mine, r.Update(ctx, func(*inmem.Tx) error { return mine }))
	ended, cancel := context.WithCancel(ctx)
	err = r.Update(ended, func(tx *inmem.Tx) error {
		_, err := tx.KV().Get(ended, "n")
		require.NoError(t, err)
		put(t, r, "n", "")
		_, err = tx.KV().Put(ended, "m", nil)
		require.NoError(t, err)
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, r.View(ended, nil), context.Canceled)
}

func TestUpdateThatPanicsEndsItsTransaction(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	assert.PanicsWithValue(t, "mine", func() { _ = r.Update(ctx, func(*inmem.Tx) error { panic("mine") }) })
	assert.Empty(t, s.Metrics().OpenTxs)
}

func TestTxConditions(t *testing.T) {
	r := newStore(t).begin()
	version := put(t, r, "k", "1")
	tx := beginTx(t, r)
	_, err := tx.KV().PutIf(ctx, "k", nil, version+1)
	var wrong *inmem.VersionError
	require.ErrorAs(t, err, &wrong)
	assert.Equal(t, inmem.VersionError{Key: "k", Expected: version + 1, Actual: version}, *wrong)
	_, err = tx.KV().PutIf(ctx, "k", []byte("2"), version)
	require.NoError(t, err)
	_, err = tx.KV().PutIf(ctx, "k", nil, version)
	require.ErrorIs(t, err, inmem.ErrWrongVersion)
	_, err = tx.KV().PutIf(ctx, "k", []byte("3"), op.Uncommitted)
	require.NoError(t, err)
	var b kv.Batch
	b.Put("x", nil)
	b.PutIf("y", nil, 9)
	_, err = tx.KV().Write(ctx, &b)
	require.ErrorIs(t, err, inmem.ErrWrongVersion)
	_, err = tx.KV().Get(ctx, "x")
	require.ErrorIs(t, err, inmem.ErrNotFound, "none of it")
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	assert.Equal(t, "3", get(t, r, "k"))

	// What a condition was held against has been read.
	tx = beginTx(t, r)
	_, err = tx.KV().PutIf(ctx, "new", nil, 0)
	require.NoError(t, err)
	put(t, r, "new", "")
	_, err = tx.Commit(ctx)
	require.ErrorIs(t, err, inmem.ErrConflict)
}

// TestTxRangesAreExact: a listing that was broken off has read only what it saw.
func TestTxRangesAreExact(t *testing.T) {
	for name, c := range map[string]struct {
		read     func(tx *inmem.Tx)
		conflict []string
		harmless []string
	}{
		"limit": {func(tx *inmem.Tx) {
			for range tx.KV().List(ctx, "", kv.Limit(2)) {
			}
		}, []string{"a", "b", "c", "d"}, []string{"d0", "e", "z"}},
		"limit, reverse": {func(tx *inmem.Tx) {
			for range tx.KV().List(ctx, "", kv.Limit(2), kv.Reverse()) {
			}
		}, []string{"f", "g", "h", "z"}, []string{"a", "e", "b"}},
		"break": {func(tx *inmem.Tx) {
			for it := range tx.KV().Range(ctx, "c", "g") {
				if it.Key == "d" {
					break
				}
			}
		}, []string{"c", "d"}, []string{"a", "b", "dd", "e", "f", "g"}},
		"whole": {func(tx *inmem.Tx) {
			for range tx.KV().Range(ctx, "c", "g") {
			}
		}, []string{"c", "d", "e", "f", "fz"}, []string{"b", "bz", "g", "h"}},
		"empty": {func(tx *inmem.Tx) {
			for range tx.KV().List(ctx, "x") {
			}
		}, []string{"x", "xy"}, []string{"w", "y"}},
	} {
		for _, key := range slices.Concat(c.conflict, c.harmless) {
			r := newStore(t, func(o *inmem.Options) { o.Shards = 1 }).begin()
			for _, k := range []string{"b", "d", "f", "h"} {
				put(t, r, k, "")
			}
			for _, change := range []func(){
				func() { put(t, r, key, "new") },
				func() { _, _ = r.KV().Delete(ctx, key) },
			} {
				tx := beginTx(t, r)
				c.read(tx)
				_, err := tx.KV().Put(ctx, "mine", nil)
				require.NoError(t, err)
				change()
				_, err = tx.Commit(ctx)
				if slices.Contains(c.conflict, key) {
					require.ErrorIs(t, err, inmem.ErrConflict, "%s: %s", name, key)
				} else {
					require.NoError(t, err, "%s: %s", name, key)
				}
			}
		}
	}
}

// TestTxExpiry: a value whose deadline passes has changed.
func TestTxExpiry(t *testing.T) {
	for what, read := range map[string]func(*inmem.Tx){
		"get": func(tx *inmem.Tx) { _, _ = tx.KV().Get(ctx, "k") },
		"list": func(tx *inmem.Tx) {
			for range tx.KV().List(ctx, "") {
			}
		},
	} {
		s := newStore(t)
		r := s.begin()
		put(t, r, "k", "", kv.TTL(time.Minute))
		tx := beginTx(t, r)
		read(tx)
		_, err := tx.KV().Put(ctx, "mine", nil)
		require.NoError(t, err)
		s.wall.move(2 * time.Minute)
		_, err = tx.KV().Get(ctx, "k")
		require.NoError(t, err, "the transaction stands in its own time")
		_, err = tx.Commit(ctx)
		require.ErrorIs(t, err, inmem.ErrConflict, what)
	}
	s := newStore(t)
	r := s.begin()
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		_, err := tx.KV().Put(ctx, "k", nil, kv.TTL(time.Minute))
		require.NoError(t, err)
		it, err := tx.KV().GetItem(ctx, "k")
		require.NoError(t, err)
		assert.Equal(t, time.UnixMilli(epoch+60_000), it.Deadline)
		return nil
	}))
	s.wall.move(time.Minute)
	_, err := r.KV().Get(ctx, "k")
	require.ErrorIs(t, err, inmem.ErrNotFound)
}

func TestTxOfARunThatEnds(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	tx := beginTx(t, r)
	info, err := tx.Info()
	require.NoError(t, err)
	assert.Equal(t, run.Active, info.Status)
	_, err = tx.KV().Put(ctx, "k", nil)
	require.NoError(t, err)
	require.NoError(t, r.Pause(ctx))
	require.NoError(t, r.Resume(ctx))
	_, err = tx.Commit(ctx)
	require.ErrorIs(t, err, inmem.ErrConflict, "its status was read")

	tx = beginTx(t, r)
	_, err = tx.KV().Put(ctx, "k", nil)
	require.NoError(t, err)
	require.NoError(t, r.End(ctx, run.Completed))
	_, err = tx.Commit(ctx)
	require.ErrorIs(t, err, inmem.ErrRunEnded)

	tx = beginTx(t, r)
	require.NoError(t, s.DeleteRun(ctx, r.ID()))
	_, err = tx.KV().Get(ctx, "k")
	require.ErrorIs(t, err, inmem.ErrNotFound, "it still reads its version")
	_, err = tx.KV().Put(ctx, "k", nil)
	require.NoError(t, err)
	_, err = tx.Commit(ctx)
	require.ErrorIs(t, err, inmem.ErrRunDeleted)
	_, err = r.Begin(ctx)
	require.ErrorIs(t, err, inmem.ErrRunDeleted)
}

func TestTxIsBounded(t *testing.T) {
	r := newStore(t, func(o *inmem.Options) { o.MaxKeySize, o.MaxValueSize, o.MaxCommitSize = 10, 1000, 3000 }).begin()
	tx := beginTx(t, r)
	defer tx.Rollback()
	for i := range 2 {
		_, err := tx.KV().Put(ctx, fmt.Sprint(i), make([]byte, 1000))
		require.NoError(t, err)
	}
	_, err := tx.KV().Put(ctx, "3", make([]byte, 1000))
	var size *inmem.SizeError
	require.ErrorAs(t, err, &size)
	require.ErrorIs(t, err, inmem.ErrBatchTooLarge)
	assert.Equal(t, 3000, size.Max)
	_, err = tx.Commit(ctx)
	require.NoError(t, err, "the rest of it is as it was")
}

func TestTxTakesTheStrongestMode(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Durability = inmem.Async })
	r := s.begin()
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		for _, mode := range []inmem.Durability{inmem.Async, inmem.Strict, inmem.Batched} {
			_, err := tx.KV().Put(ctx, "k", nil, kv.Durability(mode))
			require.NoError(t, err)
		}
		return nil
	}))
	after := openStore(t, powerLoss(s.mem), s.dir)
	r, err := after.Run(r.ID())
	require.NoError(t, err)
	get(t, r, "k")
}

func TestLeakedTxIsRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, func(o *inmem.Options) { o.TxTimeout = time.Second })
		r := s.begin()
		first := beginTx(t, r)
		time.Sleep(600 * time.Millisecond)
		second := beginTx(t, r)
		open := s.Metrics().OpenTxs
		require.Len(t, open, 2)
		assert.Equal(t, r.ID(), open[0].Run)
		assert.Equal(t, 600*time.Millisecond, open[1].Began.Sub(open[0].Began))
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		for what, err := range txCalls(first) {
			assert.ErrorIs(t, err, inmem.ErrTxExpired, what)
		}
		assert.Len(t, s.Metrics().OpenTxs, 1)
		_, err := second.KV().Put(ctx, "k", nil)
		require.NoError(t, err)
		_, err = second.Commit(ctx)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		third := beginTx(t, r) // the table was empty meanwhile
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		_, err = third.Commit(ctx)
		require.ErrorIs(t, err, inmem.ErrTxExpired)
		require.ErrorIs(t, r.Update(ctx, func(*inmem.Tx) error {
			time.Sleep(2 * time.Second)
			return nil
		}), inmem.ErrTxExpired)
		fourth := beginTx(t, r)
		require.NoError(t, s.Close())
		s.ended = true
		for what, err := range txCalls(fourth) {
			assert.ErrorIs(t, err, inmem.ErrClosed, what)
		}
	})
}

// TestTxModel holds what a transaction sees against a map: its own writes over
// the run's version, in listings of every shape.
func TestTxModel(t *testing.T) {
	s := newStore(t)
	rapid.Check(t, func(rt *rapid.T) {
		r := s.begin()
		model := map[string]string{}
		key := rapid.StringMatching(`[abc]{1,3}`)
		for range rapid.IntRange(0, 10).Draw(rt, "before") {
			k := key.Draw(rt, "key")
			model[k] = "run"
			put(t, r, k, "run")
		}
		tx := beginTx(t, r)
		defer tx.Rollback()
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			k := key.Draw(rt, "key")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0:
				v := rapid.StringN(0, 4, -1).Draw(rt, "value")
				_, err := tx.KV().Put(ctx, k, []byte(v))
				require.NoError(t, err)
				model[k] = v
			case 1:
				old, err := tx.KV().Delete(ctx, k)
				want, ok := model[k]
				require.Equal(t, ok, err == nil)
				require.Equal(t, want, string(old))
				delete(model, k)
			case 2:
				b, err := tx.KV().Get(ctx, k)
				want, ok := model[k]
				require.Equal(t, ok, err == nil)
				require.Equal(t, want, string(b))
			case 3:
				checkListing(t, rt, tx.KV(), model)
			}
		}
		_, err := tx.Commit(ctx)
		require.NoError(t, err)
		checkListing(t, rt, r.KV(), model)
	})
}

func checkListing(t *testing.T, rt *rapid.T, s kv.Store, model map[string]string) {
	bound := rapid.StringMatching(`[abc]{0,2}`)
	from, to := bound.Draw(rt, "from"), bound.Draw(rt, "to")
	limit := rapid.IntRange(0, 5).Draw(rt, "limit")
	opts := []kv.ListOption{kv.Limit(limit)}
	var want []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if k >= from && (to == "" || k < to) {
			want = append(want, k+"="+model[k])
		}
	}
	if rapid.Bool().Draw(rt, "reverse") {
		opts = append(opts, kv.Reverse())
		slices.Reverse(want)
	}
	if limit > 0 && len(want) > limit {
		want = want[:limit]
	}
	var got []string
	for it, err := range s.Range(ctx, from, to, opts...) {
		require.NoError(t, err)
		got = append(got, it.Key+"="+string(it.Value))
	}
	require.Equal(t, strings.Join(want, " "), strings.Join(got, " "))
}

// TestTxOverwritesCountOnce: a transaction is as large as its commit, however
// often it wrote its keys.
func TestTxOverwritesCountOnce(t *testing.T) {
	r := newStore(t, func(o *inmem.Options) { o.MaxKeySize, o.MaxValueSize, o.MaxCommitSize = 10, 1000, 3000 }).begin()
	require.NoError(t, r.Update(ctx, func(tx *inmem.Tx) error {
		for i := range 100 {
			var b kv.Batch
			b.Put("k", make([]byte, 500+i))
			b.Put("k", make([]byte, 1000))
			if _, err := tx.KV().Write(ctx, &b); err != nil {
				return err
			}
			_, err := tx.KV().Delete(ctx, "k")
			require.NoError(t, err)
		}
		for i := range 2 {
			_, err := tx.KV().Put(ctx, fmt.Sprint(i), make([]byte, 1000))
			require.NoError(t, err)
		}
		_, err := tx.KV().Put(ctx, "2", make([]byte, 1000))
		require.ErrorIs(t, err, inmem.ErrBatchTooLarge, "it is still bounded")
		_, err = tx.KV().Put(ctx, "1", make([]byte, 999))
		require.NoError(t, err, "it takes the place of another")
		return nil
	}))
}

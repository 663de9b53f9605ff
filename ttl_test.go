package inmem_test

import (
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
)

// expired waits until the background has removed n keys in all.
func (s *store) expired(n uint64) {
	s.t.Helper()
	s.healthy()
	defer s.healthy()
	soon(s.t, "removal of expired keys", func() bool {
		var sum uint64
		for _, m := range s.Metrics().Shards {
			sum += m.Expired
		}
		return sum >= n
	})
}

func TestExpiredAtTheDeadline(t *testing.T) {
	t.Parallel() // it waits for the actor to look at its clock
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v", kv.TTL(time.Second))
	put(t, r, "other", "v")
	it, err := r.KV().GetItem(ctx, "k")
	require.NoError(t, err)
	assert.Equal(t, int64(epoch+1000), it.Deadline.UnixMilli())
	assert.Equal(t, 1, s.Metrics().Deadlines)
	s.wall.move(999 * time.Millisecond)
	assert.Equal(t, "v", get(t, r, "k"), "a millisecond before")

	s.wall.move(time.Millisecond)
	assert.Equal(t, "-", get(t, r, "k"))
	_, err = r.KV().GetItem(ctx, "k")
	assert.ErrorIs(t, err, inmem.ErrNotFound)
	ok, err := r.KV().Exists(ctx, "k")
	assert.NoError(t, err)
	assert.False(t, ok)
	_, err = r.KV().Delete(ctx, "k")
	assert.ErrorIs(t, err, inmem.ErrNotFound)
	assert.Equal(t, []string{"other"}, keys(list(t, r, "")))
	assert.Equal(t, []string{"other"}, keys(list(t, r, "", kv.Reverse(), kv.Limit(1))))

	s.expired(1)
	commits := history(t, r, 0)
	last := commits[len(commits)-1]
	assert.Equal(t, []inmem.Op{{Kind: op.Expire, Tag: op.KV, Key: "k"}}, last.Ops)
	assert.Equal(t, uint64(4), last.Version)
	assert.Zero(t, s.Metrics().Deadlines)
	assert.Equal(t, "-", get(t, r, "k"))
}

// An expired key counts as absent before anybody removed it.
func TestExpiredCountsAsAbsentForPutIf(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	v := put(t, r, "k", "v", kv.TTL(time.Millisecond))
	_, err := r.KV().PutIf(ctx, "k", []byte("w"), 0)
	assert.ErrorIs(t, err, inmem.ErrWrongVersion)
	s.wall.move(time.Hour)
	_, err = r.KV().PutIf(ctx, "k", []byte("w"), v)
	assert.ErrorIs(t, err, inmem.ErrWrongVersion)
	_, err = r.KV().PutIf(ctx, "k", []byte("w"), 0)
	assert.NoError(t, err)
	assert.Equal(t, "w", get(t, r, "k"))
}

// A value put again before its deadline stays, with its own deadline or none.
func TestPutAgainBeforeExpiry(t *testing.T) {
	t.Parallel() // it waits for the actor to look at its clock
	s := newStore(t)
	r := s.begin()
	for _, k := range []string{"for ever", "longer", "shorter", "goes"} {
		put(t, r, k, "old", kv.TTL(time.Second))
	}
	put(t, r, "for ever", "new")
	put(t, r, "longer", "new", kv.TTL(time.Hour))
	put(t, r, "shorter", "new", kv.TTL(time.Millisecond))
	s.wall.move(time.Second)
	s.expired(2)
	assert.Equal(t, []string{"for ever", "longer"}, keys(list(t, r, "")))
	s.wall.move(time.Hour)
	s.expired(3)
	assert.Equal(t, []string{"for ever"}, keys(list(t, r, "")))
	s.reopen()
	assert.Equal(t, []string{"for ever"}, keys(list(t, s.run(r.ID()), "")))
}

func TestExpiryAcrossRestart(t *testing.T) {
	t.Parallel() // it waits for the actor to look at its clock
	for _, how := range []string{"log", "checkpoint"} {
		t.Run(how, func(t *testing.T) {
			s := newStore(t)
			r := s.begin()
			put(t, r, "soon", "v", kv.TTL(time.Minute))
			put(t, r, "late", "v", kv.TTL(time.Hour))
			if how == "checkpoint" {
				require.NoError(t, s.DB.Checkpoint(ctx))
			}
			s.reopen()
			r = s.run(r.ID())
			assert.Equal(t, 2, s.Metrics().Deadlines)
			require.NoError(t, s.Close())
			s.wall.move(time.Minute) // it expires while nobody is there
			s.open()
			r = s.run(r.ID())
			assert.Equal(t, []string{"late"}, keys(list(t, r, "")))
			s.expired(1)
			s.wall.move(time.Hour)
			s.expired(2)
			assert.Empty(t, list(t, r, ""))
		})
	}
}

// A wall clock that jumps back brings nothing back, neither in this process nor
// after a restart; one that jumps forward is followed.
func TestWallClockJumps(t *testing.T) {
	t.Parallel() // it waits for the actor to look at its clock
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v", kv.TTL(time.Hour))
	s.wall.move(2 * time.Hour)
	assert.Equal(t, "-", get(t, r, "k"))
	s.wall.move(-5 * time.Hour)
	assert.Equal(t, "-", get(t, r, "k"))
	assert.Empty(t, list(t, r, ""))
	_, err := r.KV().PutIf(ctx, "k", []byte("w"), 0, kv.TTL(time.Minute))
	require.NoError(t, err)
	it, err := r.KV().GetItem(ctx, "k")
	require.NoError(t, err)
	assert.Equal(t, int64(epoch)+(2*time.Hour+time.Minute).Milliseconds(), it.Deadline.UnixMilli(), "by the store's clock")
	s.reopen()
	r = s.run(r.ID())
	assert.Equal(t, "w", get(t, r, "k"))
	put(t, r, "later", "v", kv.TTL(time.Minute))
	it, err = r.KV().GetItem(ctx, "later")
	require.NoError(t, err)
	assert.GreaterOrEqual(t, it.Deadline.UnixMilli(), int64(epoch)+(2*time.Hour+time.Minute).Milliseconds())
	s.wall.move(24 * time.Hour)
	assert.Equal(t, "-", get(t, r, "k"))
}

// The clock is remembered by a store that closes, also when the last thing that
// happened was that somebody read it.
func TestClockSurvivesAClose(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "k", "v")
	require.NoError(t, s.Flush(ctx))
	s.wall.move(2 * time.Hour)
	assert.Len(t, list(t, r, ""), 1)
	require.NoError(t, s.Close())
	s.wall.move(-2 * time.Hour)
	s.open()
	r = s.run(r.ID())
	put(t, r, "k", "v", kv.TTL(time.Minute))
	it, err := r.KV().GetItem(ctx, "k")
	require.NoError(t, err)
	assert.Equal(t, int64(epoch)+(2*time.Hour+time.Minute).Milliseconds(), it.Deadline.UnixMilli())
}

// A clock that jumped back between two lives of a store, without a clean end
// of the first: what was seen to expire stays away.
func TestWallClockJumpsBackOverAKill(t *testing.T) {
	t.Parallel() // it waits for the actor to look at its clock
	s := newStore(t, func(o *inmem.Options) { o.Durability = inmem.Strict })
	r := s.begin()
	put(t, r, "k", "v", kv.TTL(time.Hour))
	s.wall.move(2 * time.Hour)
	s.expired(1)
	killed := openStore(t, s.mem.Clone(), s.dir, func(o *inmem.Options) {
		o.Now = func() time.Time { return time.UnixMilli(epoch) }
	})
	killed.wall.moved.Store(true)
	assert.Equal(t, "-", get(t, killed.run(r.ID()), "k"))
}

func TestTTLBounds(t *testing.T) {
	t.Parallel() // it waits for the actor to look at its clock
	s := newStore(t)
	r := s.begin()
	var b kv.Batch
	for _, bad := range []time.Duration{0, -1, -time.Hour, math.MinInt64} {
		_, err := r.KV().Put(ctx, "k", nil, kv.TTL(bad))
		assert.ErrorIs(t, err, inmem.ErrInvalidTTL, bad)
		_, err = r.KV().PutIf(ctx, "k", nil, 0, kv.TTL(bad))
		assert.ErrorIs(t, err, inmem.ErrInvalidTTL, bad)
		b.Reset()
		b.Put("fine", nil)
		b.Put("k", nil, kv.TTL(bad))
		_, err = r.KV().Write(ctx, &b)
		assert.ErrorIs(t, err, inmem.ErrInvalidTTL, bad)
	}
	assert.Empty(t, list(t, r, ""), "nothing of it happened")
	put(t, r, "max", "v", kv.TTL(math.MaxInt64))
	put(t, r, "min", "v", kv.TTL(1))
	it, err := r.KV().GetItem(ctx, "max")
	require.NoError(t, err)
	assert.Equal(t, int64(epoch)+math.MaxInt64/1_000_000, it.Deadline.UnixMilli())
	s.wall.move(time.Millisecond)
	assert.Equal(t, []string{"max"}, keys(list(t, r, "")), "rounded up to a millisecond")
	s.expired(1)
}

// The end of time itself: a clock that shows it and deadlines at it.
func TestDeadlineAtTheEndOfTime(t *testing.T) {
	s := newStore(t, func(o *inmem.Options) { o.Now = func() time.Time { return time.UnixMilli(math.MaxInt64 - 10) } })
	s.wall.moved.Store(true)
	r := s.begin()
	put(t, r, "k", "v", kv.TTL(math.MaxInt64))
	assert.Equal(t, "v", get(t, r, "k"))
	s.reopen()
	assert.Equal(t, "v", get(t, s.run(r.ID()), "k"))
}

// Keys of runs that are gone or have ended do no harm when they are due.
func TestExpiryOfRunsThatAreNotActive(t *testing.T) {
	t.Parallel() // it waits for the actor to look at its clock
	s := newStore(t)
	gone, ended := s.begin(), s.begin()
	put(t, gone, "k", "v", kv.TTL(time.Second))
	put(t, ended, "k", "v", kv.TTL(time.Second))
	require.NoError(t, ended.End(ctx, run.Completed))
	require.NoError(t, s.DeleteRun(ctx, gone.ID()))
	assert.Equal(t, 1, s.Metrics().Deadlines)
	s.wall.move(time.Hour)
	s.expired(1)
	assert.Equal(t, "-", get(t, ended, "k"))
	assert.Zero(t, s.Metrics().Deadlines)
}

// Time as it passes: no manual clock, and every removal is logged soon after
// its deadline.
func TestManyDeadlinesInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, func(o *inmem.Options) { o.Now = time.Now })
		s.wall.moved.Store(true)
		runs := []*inmem.Run{s.begin(), s.begin(), s.begin()}
		var writers sync.WaitGroup
		for w := range 6 {
			writers.Go(func() {
				for i := range 100 {
					_, err := runs[w%3].KV().Put(ctx, key(w*100+i), []byte("v"), kv.TTL(time.Duration(i+1)*time.Second))
					assert.NoError(t, err)
				}
			})
		}
		writers.Wait()
		start := time.Now()
		for _, after := range []time.Duration{10 * time.Second, 50 * time.Second, 99 * time.Second, 101 * time.Second} {
			time.Sleep(time.Until(start.Add(after)) + 2*time.Second)
			synctest.Wait()
			left := 6 * max(0, 100-int((after+2*time.Second)/time.Second))
			assert.Equal(t, left, s.Metrics().Deadlines)
			n := 0
			for _, r := range runs {
				n += len(list(t, r, ""))
			}
			assert.Equal(t, left, n)
		}
	})
}

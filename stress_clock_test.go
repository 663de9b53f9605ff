package inmem_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
)

// jumpy is a wall clock that jumps in every direction, and what is known of the
// clock of the store that follows it: it shows no more than the highest that
// this one has shown, and no less than the highest that the store has seen.
type jumpy struct {
	now, shown, seen atomic.Int64 // Unix ms
}

func (j *jumpy) Now() time.Time {
	ms := j.now.Load()
	raise(&j.shown, ms)
	return time.UnixMilli(ms)
}

func raise(a *atomic.Int64, to int64) {
	for old := a.Load(); to > old && !a.CompareAndSwap(old, to); old = a.Load() {
	}
}

// clockRig is a store on a jumpy clock.
type clockRig struct {
	*store
	jumpy
	probe *inmem.Run
	// jumped hands a jump to one of those who wait for the clock to go on.
	jumped chan struct{}
	// What the looks at keys found.
	there, gone atomic.Int64
}

func newClockRig(t *testing.T, begin int64) *clockRig {
	c := &clockRig{jumped: make(chan struct{})}
	c.now.Store(begin)
	c.store = newStore(t, func(o *inmem.Options) {
		o.Now, o.Shards, o.SegmentSize, o.CheckpointBytes = c.Now, 2, 64<<10, 64<<10
	})
	c.wall.moved.Store(true)
	c.probe = c.begin()
	c.jump(begin)
	return c
}

// jump sets the wall clock and makes sure that the store looks at it.
func (c *clockRig) jump(to int64) {
	c.now.Store(to)
	for range c.probe.KV().List(ctx, "") { // asks the clock as it begins
	}
	raise(&c.seen, to)
}

// perishable is a key as its only writer knows it.
type perishable struct {
	key         string
	version     uint64
	least, most int64 // bounds of its deadline
	eternal     bool  // it has none
}

// work puts keys with times to live and looks at them now and later, and now and
// then waits for the clock: else it would be done before that goes on, where there
// are more goroutines than processors.
func (c *clockRig) work(r *inmem.Run, n int, rng *rand.Rand) {
	const keys = 20
	var known [keys]perishable
	for i := range n {
		p := &known[i%keys]
		p.key = fmt.Sprint(i % keys)
		ttl := time.Duration(1 + rng.Int64N(int64(3*time.Hour)))
		before := c.seen.Load()
		var err error
		if p.version, err = r.KV().Put(ctx, p.key, nil, kv.TTL(ttl)); err != nil {
			c.t.Errorf("put %d: %v", i, err)
			return
		}
		p.eternal = false
		p.least, p.most = plus(before, ttl), plus(c.shown.Load(), ttl+time.Millisecond)
		for range 3 {
			c.look(r, &known[rng.IntN(i+1)%keys])
		}
		if i%10 == 0 {
			c.lookAtAll(r)
		}
		if i%5 == 0 {
			<-c.jumped
		}
	}
}

func plus(ms int64, d time.Duration) int64 {
	return ms + min(d.Milliseconds(), math.MaxInt64-max(ms, 0))
}

// look reads a key: it is there before its deadline, and not after.
func (c *clockRig) look(r *inmem.Run, p *perishable) {
	seen := c.seen.Load()
	it, err := r.KV().GetItem(ctx, p.key)
	shown := c.shown.Load()
	switch {
	case err == nil && it.Version == p.version:
		c.there.Add(1)
		if p.eternal {
			break
		}
		deadline := it.Deadline.UnixMilli()
		if deadline < p.least || deadline > p.most {
			c.t.Errorf("%s: the deadline is %d, not in %d … %d", p.key, deadline, p.least, p.most)
		}
		if deadline <= seen {
			c.t.Errorf("%s is seen at %d or later, after its deadline, %d", p.key, seen, deadline)
		}
		p.least, p.most = deadline, deadline
	case errors.Is(err, inmem.ErrNotFound) && !p.eternal:
		c.gone.Add(1)
		if shown < p.least {
			c.t.Errorf("%s is gone at %d or earlier, before its deadline, %d or later", p.key, shown, p.least)
		}
		version, err := r.KV().PutIf(ctx, p.key, nil, 0)
		if err != nil {
			c.t.Errorf("%s is gone for a reader and not for a writer: %v", p.key, err)
		}
		*p = perishable{key: p.key, version: version, eternal: true}
	default:
		c.t.Errorf("%s: version %d instead of %d, %v", p.key, it.Version, p.version, err)
	}
}

func (c *clockRig) lookAtAll(r *inmem.Run) {
	seen := c.seen.Load()
	for it, err := range r.KV().List(ctx, "") {
		if err != nil || !it.Deadline.IsZero() && it.Deadline.UnixMilli() <= seen {
			c.t.Errorf("%s is listed at %d or later, after its deadline, %d, %v", it.Key, seen, it.Deadline.UnixMilli(), err)
		}
	}
}

// jumpAround lets writers work while the clock jumps to where next says.
func (c *clockRig) jumpAround(seed uint64, writes int, next func(rng *rand.Rand) int64) {
	var writers, jumper sync.WaitGroup
	stop := make(chan struct{})
	jumper.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 0))
		for {
			select {
			case <-stop:
				return
			default:
				c.jump(next(rng))
			}
			select {
			case c.jumped <- struct{}{}:
			default:
			}
		}
	})
	for w := range 6 {
		r := c.begin()
		writers.Go(func() { c.work(r, writes, rand.New(rand.NewPCG(seed, uint64(1+w)))) })
	}
	for range 5 {
		assert.NoError(c.t, c.DB.Checkpoint(ctx))
		assert.NoError(c.t, c.Flush(ctx))
	}
	writers.Wait()
	close(stop)
	jumper.Wait()
}

// settled waits until only keys that are seen have a deadline.
func (c *clockRig) settled() {
	c.t.Helper()
	soon(c.t, "removal of what is past its deadline", func() bool {
		left := 0
		for _, p := range c.pictures() {
			for _, it := range p.Items {
				if !it.Deadline.IsZero() {
					left++
				}
			}
		}
		return c.Metrics().Deadlines == left
	})
	c.healthy()
}

// A wall clock that jumps by hours back and forth, and to long before 1970,
// while keys with times to live are written, read and removed: nothing is seen
// after its deadline, nothing is gone before it, by the store's clock. From the
// far future there is no way back: from then on time stands still, and so do
// deadlines, also when the store is opened again.
func TestClockJumpsUnderLoad(t *testing.T) {
	watchdog(t)
	writes := 1500
	if testing.Short() || raceEnabled {
		writes = 300
	}
	const year, hour = 365 * 24 * int64(time.Hour/time.Millisecond), int64(time.Hour / time.Millisecond)
	for _, seed := range crashSeeds(t, 4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("%s=%d draws the same", seedEnv, seed)
				}
			}()
			synctest.Test(t, func(t *testing.T) {
				c := newClockRig(t, epoch)
				base := int64(epoch)
				c.jumpAround(seed, writes, func(rng *rand.Rand) int64 {
					base += rng.Int64N(hour / 100)
					switch rng.IntN(10) {
					case 0:
						return -rng.Int64N(5000 * year)
					case 1:
						return time.Time{}.UnixMilli()
					default:
						return base + rng.Int64N(10*hour) - 9*hour
					}
				})
				assert.Positive(t, c.there.Load())
				assert.Positive(t, c.gone.Load())
				t.Logf("%d looks found a key, %d none, %v went by", c.there.Load(), c.gone.Load(), time.Duration(c.seen.Load()-epoch)*time.Millisecond)
				c.settled()

				future := 8000 * year
				c.jump(future)
				c.settled()
				c.jumpAround(seed+1, writes/4, func(rng *rand.Rand) int64 {
					return future - rng.Int64N(10*hour)*rng.Int64N(2)*rng.Int64N(10000)
				})
				c.settled()
				before := c.pictures()
				c.jump(epoch)
				time.Sleep(time.Minute) // for whoever is late in looking at the clock
				c.same(before)
				c.reopen()
				c.same(before)
				put(t, c.run(c.probe.ID()), "k", "v", kv.TTL(time.Hour))
				it, err := c.run(c.probe.ID()).KV().GetItem(ctx, "k")
				require.NoError(t, err)
				assert.Equal(t, future+hour, it.Deadline.UnixMilli())
			})
		})
	}
}

// A clock that begins before 1970, where the store's stands at 1 ms, and comes
// to the present by jumps.
func TestClockJumpsFromBefore1970(t *testing.T) {
	watchdog(t)
	synctest.Test(t, func(t *testing.T) {
		c := newClockRig(t, time.Time{}.UnixMilli())
		r := c.begin()
		put(t, r, "k", "v", kv.TTL(time.Hour))
		for _, to := range []int64{-1, 0, 1, -epoch, 3_600_000} {
			c.jump(to)
			assert.Equal(t, "v", get(t, r, "k"), "at %d", to)
		}
		c.jump(3_600_001)
		assert.Equal(t, "-", get(t, r, "k"))
		c.jump(-epoch)
		assert.Equal(t, "-", get(t, r, "k"))
		c.settled()
		assert.Zero(t, c.Metrics().Deadlines)
	})
}

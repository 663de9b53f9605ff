package inmem_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/vfs"
)

// A panic while the store closes, at any look at the clock and any operation of
// the disk: Close returns it, unlocks, and nothing acknowledged is lost.
func TestPanicInClose(t *testing.T) {
	watchdog(t)
	for _, what := range []string{"clock", "disk"} {
		t.Run(what, func(t *testing.T) {
			panicAtEach(t, 3, func(t *testing.T, n int64) bool {
				p := newPanicking(t, func(p *panicking, o *inmem.Options) {
					o.CheckpointBytes = -1
					if what == "clock" {
						o.Now = func() time.Time { p.moment(); return time.UnixMilli(epoch) }
					}
				})
				for range 3 {
					for _, w := range p.writers {
						require.NoError(t, w.next(0))
					}
				}
				if what == "disk" {
					p.mem.SetFault(func(vfs.Op) error {
						if calledFrom("inmem/shard.(*Shard).Close") || calledFrom("inmem.(*DB).close") {
							p.moment()
						}
						return nil
					})
				}
				p.left.Store(n)
				err := p.Close()
				p.left.Store(0)
				p.ended = true
				if p.fired.Load() {
					assert.ErrorIs(t, err, inmem.ErrPoisoned)
					assert.ErrorIs(t, err, errDisk)
					assert.Equal(t, err, p.Close(), "the same again")
				} else {
					require.NoError(t, err)
				}
				p.open()
				for i, w := range p.writers {
					w.verify(p.store, true, fmt.Sprint("writer ", i))
				}
				p.end()
				return p.fired.Load()
			})
		})
	}
}

// A clock of the program that ends the goroutine which looks at it, as the
// FailNow of a test does: the store stops, and nobody is left waiting. The
// goroutine may be that of a call, which then has no answer to give.
func TestGoexitOfTheClock(t *testing.T) {
	watchdog(t)
	var broken atomic.Bool
	s := newStore(t, func(o *inmem.Options) {
		o.Shards = 1
		o.Now = func() time.Time {
			if broken.CompareAndSwap(true, false) {
				runtime.Goexit()
			}
			return time.UnixMilli(epoch)
		}
	})
	r := s.begin()
	put(t, r, "k", "v")
	broken.Store(true)
	calls := startCalls(ctx, "call", []*inmem.Run{r}, 3*mailboxRoom)
	calls.all.Wait()
	if i := slices.Index(calls.errs, errUnanswered); i >= 0 {
		_, calls.errs[i] = r.KV().Put(ctx, "k", []byte("w"))
	}
	calls.answered(t, inmem.ErrPoisoned, "Goexit")
	assert.ErrorIs(t, s.DB.Checkpoint(ctx), inmem.ErrPoisoned)
	assert.ErrorIs(t, s.Close(), inmem.ErrPoisoned)
	s.open()
	assert.Equal(t, "v", get(t, s.run(r.ID()), "k"))
}

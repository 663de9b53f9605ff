package shard

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestClockFollowsTheWallButNeverBack(t *testing.T) {
	wall := int64(5000)
	c := NewClock(func() time.Time { return time.UnixMilli(wall) }, 3000)
	assert.Equal(t, int64(5000), c.Now())
	wall = 4000
	assert.Equal(t, int64(5000), c.Now(), "the wall clock jumped back")
	wall = 9000
	assert.Equal(t, int64(9000), c.Now())
	c.Raise(20000)
	assert.Equal(t, int64(20000), c.Now())
	c.Raise(10000)
	assert.Equal(t, int64(20000), c.Now(), "Raise never lowers")
	c.Freeze()
	wall = 50000
	assert.Equal(t, int64(20000), c.Now(), "frozen")
}

// Stored times are not negative, and 0 means "not ended": a machine that
// believes it is 1969 must not write what cannot be read back.
func TestClockBefore1970(t *testing.T) {
	c := NewClock(func() time.Time { return time.UnixMilli(-5000) }, -7000)
	assert.Equal(t, int64(1), c.Now())
}

func TestClockIsMonotonicForEverybody(t *testing.T) {
	var wall atomic.Int64
	c := NewClock(func() time.Time { return time.UnixMilli(1000 + wall.Add(1)%17) }, 0)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			last := int64(0)
			for i := range 2000 {
				if i%100 == 0 {
					c.Raise(int64(1000 + i))
				}
				now := c.Now()
				assert.GreaterOrEqual(t, now, last)
				last = now
			}
		})
	}
	all.Wait()
}

package shard

import (
	"sync/atomic"
	"time"
)

// Clock is the store's clock: Unix milliseconds that never run backwards,
// whatever the wall clock does.
type Clock struct {
	wall  func() time.Time
	floor atomic.Int64
}

// NewClock returns a clock that follows wall, but never goes below floor.
func NewClock(wall func() time.Time, floor int64) *Clock {
	c := &Clock{wall: wall}
	c.floor.Store(floor)
	return c
}

// Now returns the time.
func (c *Clock) Now() int64 {
	now := c.wall().UnixMilli()
	for {
		floor := c.floor.Load()
		if now <= floor {
			return floor
		}
		if c.floor.CompareAndSwap(floor, now) {
			return now
		}
	}
}

// Raise makes sure that the clock never again shows less than floor.
func (c *Clock) Raise(floor int64) {
	for {
		old := c.floor.Load()
		if floor <= old || c.floor.CompareAndSwap(old, floor) {
			return
		}
	}
}

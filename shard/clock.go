package shard

import (
	"sync/atomic"
	"time"
)

// Clock is the store's clock: Unix milliseconds that never run backwards,
// whatever the wall clock does.
type Clock struct {
	wall   func() time.Time
	floor  atomic.Int64
	frozen atomic.Bool
}

// NewClock returns a clock that follows wall, but never goes below floor, nor
// below 1: stored times are not negative, and 0 means none.
func NewClock(wall func() time.Time, floor int64) *Clock {
	c := &Clock{wall: wall}
	c.floor.Store(max(floor, 1))
	return c
}

// Freeze lets the clock stand still from now on: it asks the wall no more.
func (c *Clock) Freeze() { c.frozen.Store(true) }

// Now returns the time.
func (c *Clock) Now() int64 {
	if c.frozen.Load() {
		return c.floor.Load()
	}
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

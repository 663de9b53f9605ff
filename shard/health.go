package shard

import (
	"fmt"
	"sync/atomic"

	"inmem/actor"
	"inmem/op"
)

// Health is shared by everything in a store that can fail for good: the first
// failure poisons the store, and from then on it takes no work.
type Health struct {
	cause    atomic.Pointer[error]
	onPoison func(error)
}

// NewHealth returns a sound store's health; onPoison is told the first failure.
func NewHealth(onPoison func(error)) *Health { return &Health{onPoison: onPoison} }

// Poison records a failure after which the store must not go on.
func (h *Health) Poison(cause error) {
	if cause != nil && h.cause.CompareAndSwap(nil, &cause) {
		h.onPoison(cause)
	}
}

// Guard runs fn, a part of the engine that is on a caller's goroutine. A panic
// in it poisons the store instead of ending the process.
func (h *Health) Guard(name string, fn func()) { h.Poison(actor.Guard(name, fn)) }

// Err returns nil, or an error that wraps op.ErrPoisoned and the cause.
func (h *Health) Err() error {
	if cause := h.cause.Load(); cause != nil {
		return fmt.Errorf("%w: %w", op.ErrPoisoned, *cause)
	}
	return nil
}

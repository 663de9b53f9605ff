package actor

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// ErrClosed is returned by Send once the mailbox is closed.
var ErrClosed = errors.New("actor: mailbox closed")

// Mailbox is a bounded queue of messages from any number of senders to one
// owner goroutine.
type Mailbox[T any] struct {
	queue   chan T
	closing chan struct{} // closed first: lets senders that wait for room go
	once    sync.Once

	// Send holds mu shared while it may touch queue; Close takes it alone
	// before it closes queue. So nobody sends on a closed channel, and a
	// closed queue holds all that was ever accepted.
	mu sync.RWMutex
}

// NewMailbox returns a mailbox that holds up to capacity messages. With
// capacity 0 a message is accepted only while the owner is receiving.
func NewMailbox[T any](capacity int) *Mailbox[T] {
	return &Mailbox[T]{queue: make(chan T, capacity), closing: make(chan struct{})}
}

// Send hands msg to the owner and waits while the mailbox is full. A nil error
// means accepted: the owner will receive it. On an error nothing happened: it
// is ErrClosed, or it wraps ctx.Err(). A context that has already ended is
// refused even when there is room.
func (m *Mailbox[T]) Send(ctx context.Context, msg T) error {
	if err := ctx.Err(); err != nil {
		return refused(err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	select {
	case <-m.closing:
		return ErrClosed
	default:
	}
	// A select with one case and a default is a plain try, much cheaper than
	// the real one below, and nearly always enough.
	select {
	case m.queue <- msg:
		return nil
	default:
	}
	// A context that never ends has a nil Done, which no case waits for.
	select {
	case m.queue <- msg:
		return nil
	case <-m.closing:
		return ErrClosed
	case <-ctx.Done():
		return refused(ctx.Err())
	}
}

func refused(cause error) error {
	return fmt.Errorf("actor: message not accepted: %w", cause)
}

// Receive returns the next messages, up to cap(buf) of them and at least one,
// in buf's memory; what buf held is forgotten. Only the owner may call it.
//
// It waits for a message or for wake to deliver, which a nil wake never does.
// After a wake the batch is empty and open is true. While messages keep coming
// wake is not looked at: an owner with something to do at a time looks at its
// clock after each batch.
//
// open is false, always with an empty batch, once the mailbox is closed and
// every accepted message has been received.
func (m *Mailbox[T]) Receive(buf []T, wake <-chan time.Time) (batch []T, open bool) {
	clear(buf) // or the garbage collector keeps the last batch until it is overwritten
	batch = buf[:0]
	limit := max(cap(buf), 1)

	first, ok, open := m.first(wake)
	if !ok {
		return batch, open
	}
	batch = append(batch, first)

	// On few processors the owner wakes for the first message before the next
	// sender has run, and finds batches of one, however many senders there
	// are. One yield lets them join. It is idle when the batch is full anyway.
	if len(m.queue) < limit-1 {
		runtime.Gosched()
	}
	for len(batch) < limit {
		select {
		case msg, ok := <-m.queue:
			if !ok {
				return batch, true // the next call finds it closed and empty
			}
			batch = append(batch, msg)
		default:
			return batch, true
		}
	}
	return batch, true
}

// first waits for one message. ok is false after a wake, and with open false
// once the mailbox is closed and empty.
func (m *Mailbox[T]) first(wake <-chan time.Time) (msg T, ok, open bool) {
	select {
	case msg, ok = <-m.queue:
		return msg, ok, ok
	default:
	}
	if wake == nil {
		msg, ok = <-m.queue
		return msg, ok, ok
	}
	select {
	case msg, ok = <-m.queue:
		return msg, ok, ok
	case <-wake:
		return msg, false, true
	}
}

// Close refuses messages from now on; those already accepted are still
// delivered. It returns when every Send under way has been accepted or refused;
// senders that wait for room are refused, so Close needs nothing of the owner,
// which may call it itself. Closing again does nothing.
func (m *Mailbox[T]) Close() {
	m.once.Do(func() {
		close(m.closing)
		m.mu.Lock()
		defer m.mu.Unlock()
		close(m.queue)
	})
}

// Len returns how many accepted messages wait for the owner.
func (m *Mailbox[T]) Len() int { return len(m.queue) }

// Cap returns the capacity given to NewMailbox.
func (m *Mailbox[T]) Cap() int { return cap(m.queue) }

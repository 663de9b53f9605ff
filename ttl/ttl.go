// Package ttl keeps the deadlines of perishable keys in order and, when one
// arrives, tells the shard that owns the key with an ordinary message.
//
// It does not know what a key holds, which shard a run lives on, or whether the
// key still is what it was: the message names the version whose deadline
// passed, and the shard deletes only if that version still stands. A message
// too many is therefore harmless. ttl never touches a shard's state and never
// makes a shard wait.
//
// Invariant: there is one entry per run and key, its newest; and it stays until
// it is replaced, forgotten, or sent.
//
// ttl carries no compatibility promise.
package ttl

import (
	"context"
	"sync"
	"time"

	"inmem/actor"
	"inmem/run"
)

const (
	// maxDue bounds the keys of one message, and so the size of one commit.
	maxDue = 256
	// maxTake bounds the entries taken from the book in one go, and so the
	// time for which it is locked and the number of messages that may be
	// overtaken by newer changes.
	maxTake = 4096
	// maxInbox bounds what waits to be entered in the book while the actor is
	// behind or waits in Send.
	maxInbox = 4096
	// maxSleep bounds how long a wall clock that jumped forward goes unnoticed.
	maxSleep = time.Second
	// retryPause is how long entries rest after a Send that failed.
	retryPause = 100 * time.Millisecond
)

// Change says that a commit gave a key a deadline, or took it away.
type Change struct {
	Run      run.ID
	Key      string // opaque: the key in the run's ordered map
	Version  uint64 // the commit that wrote the key
	Deadline int64  // Unix milliseconds; 0 = forget the key
}

// Due names a value that is past its deadline.
type Due struct {
	Key     string
	Version uint64 // delete only if the key is still at this version
}

// Config is what an Actor needs of the world. Now and Send are required.
type Config struct {
	// Now is the store's clock: Unix milliseconds, never backwards.
	Now func() int64
	// Send gives the owner of run id the keys that are due, at most 256, with
	// the earliest deadline first. It may wait while the owner's mailbox is
	// full and must return when ctx ends. The slice belongs to the receiver,
	// which must not change it. After an error the keys are sent again 100 ms
	// later.
	Send func(ctx context.Context, id run.ID, due []Due) error
	// OnPanic learns of a panic, after which no more expirations are sent. It
	// must not call Stop, which waits for it. May be nil.
	OnPanic func(error)
}

// Actor is the goroutine that owns the deadlines. Its methods may be called
// from any goroutine.
type Actor struct {
	cfg    Config
	ctx    context.Context // the actor's life; ends a Send that waits
	cancel context.CancelFunc
	signal chan struct{} // room for one: "the inbox is not empty"

	mu   sync.Mutex // taken before inMu; never held during Now or Send
	book *book

	inMu   sync.Mutex // held for an append or a swap only
	inbox  []note     // in order of arrival
	worker *actor.Actor
}

// note is a change, or a run to forget, that is not in the book yet.
type note struct {
	Change
	forget bool // drop all of Run
}

// New returns an actor that does nothing yet but keep what it is told.
func New(cfg Config) *Actor {
	ctx, cancel := context.WithCancel(context.Background())
	return &Actor{
		cfg:    cfg,
		ctx:    ctx,
		cancel: cancel,
		signal: make(chan struct{}, 1),
		book:   newBook(),
	}
}

// Start starts the goroutine. Starting again, or after Stop, does nothing.
func (a *Actor) Start() {
	a.inMu.Lock()
	defer a.inMu.Unlock()
	if a.worker != nil || a.ctx.Err() != nil {
		return
	}
	a.worker = actor.Go("ttl", a.loop, func(p *actor.PanicError) {
		a.cancel() // nobody empties the inbox any more, so nobody may fill it
		if a.cfg.OnPanic != nil {
			a.cfg.OnPanic(p)
		}
	})
}

// Stop ends the goroutine, waits for its end, and cancels a Send that waits.
// Deadlines that have not been sent are not sent. It is idempotent and may be
// called without Start.
func (a *Actor) Stop() {
	a.cancel()
	a.inMu.Lock()
	worker := a.worker
	a.inMu.Unlock()
	if worker != nil {
		worker.Wait()
	}
}

// Track takes over changes in the order in which they were committed. A newer
// change of a key replaces the older one; one with a lower version than the
// known one is ignored. Track copies changes and never waits; it lends a hand
// with the book when the actor is far behind. After Stop it does nothing.
func (a *Actor) Track(changes []Change) {
	if len(changes) == 0 {
		return
	}
	a.inMu.Lock()
	if a.ctx.Err() == nil {
		for i := range changes {
			a.inbox = append(a.inbox, note{Change: changes[i]})
		}
	}
	backlog := len(a.inbox)
	a.inMu.Unlock()
	if backlog >= maxInbox {
		a.help()
	}
	a.nudge()
}

// help empties the inbox, unless somebody else has the book at the moment.
func (a *Actor) help() {
	if a.mu.TryLock() {
		defer a.mu.Unlock()
		a.absorb()
	}
}

// Forget drops all deadlines of a run that is gone. It never waits. After Stop
// it does nothing.
func (a *Actor) Forget(id run.ID) {
	a.inMu.Lock()
	if a.ctx.Err() == nil {
		a.inbox = append(a.inbox, note{Change: Change{Run: id}, forget: true})
	}
	a.inMu.Unlock()
	a.nudge()
}

func (a *Actor) nudge() {
	select {
	case a.signal <- struct{}{}:
	default: // already told
	}
}

// Pending returns how many keys have a deadline that is not sent yet.
func (a *Actor) Pending() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.absorb()
	return a.book.len()
}

// absorb enters the inbox in the book. The caller holds mu, so that two of them
// cannot enter their halves in the wrong order.
func (a *Actor) absorb() {
	a.inMu.Lock()
	notes := a.inbox
	a.inbox = nil
	a.inMu.Unlock()
	for i := range notes {
		if n := &notes[i]; n.forget {
			a.book.forget(n.Run)
		} else {
			a.book.track(n.Change)
		}
	}
}

func (a *Actor) loop() {
	timer := time.NewTimer(maxSleep)
	defer timer.Stop()
	for {
		if wait, ok := a.deliver(); ok {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-a.ctx.Done():
			return
		case <-a.signal:
		case <-timer.C:
		}
	}
}

// deliver sends all that is due. It returns how long to sleep, and false if
// there is nothing to wait for.
func (a *Actor) deliver() (wait time.Duration, ok bool) {
	for a.ctx.Err() == nil {
		var batches []batch
		batches, wait, ok = a.next(a.cfg.Now(), time.Now())
		if len(batches) == 0 {
			return wait, ok
		}
		for _, b := range batches {
			a.send(b)
		}
	}
	return 0, false
}

// next brings the book up to date and takes what is due at now, by the store's
// clock, and no longer held at t. The rest is as in deliver.
func (a *Actor) next(now int64, t time.Time) (batches []batch, wait time.Duration, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.absorb()
	a.book.release(t)
	batches = a.book.take(now)
	wait, ok = a.book.wait(now, t)
	return batches, wait, ok
}

// send sends one message and settles its entries.
func (a *Actor) send(b batch) {
	err := a.cfg.Send(a.ctx, b.run, b.due)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		// Why it failed is the sender's to report; here it only means later.
		a.book.hold(b, time.Now().Add(retryPause))
		return
	}
	a.book.settle(b)
}

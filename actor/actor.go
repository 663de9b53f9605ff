// Package actor is what inmem's owner goroutines are built from: a bounded
// mailbox that hands out messages in batches, and an edge at which a panic
// stops instead of ending the process.
//
// It does not know what a message means, what its owner keeps, or what the rest
// of the program does when an owner dies.
//
// Invariant: a message that Send accepted is received by the owner, once and in
// the order of acceptance, also when the mailbox closes at that moment; a
// message that Send refused is never received.
//
// actor carries no compatibility promise.
package actor

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrGoexit is the Value of a PanicError whose actor did not panic but ended
// its goroutine with runtime.Goexit. An owner that is gone is gone, whichever
// way it went.
var ErrGoexit = errors.New("actor: goroutine ended by runtime.Goexit")

// PanicError is what a recovered panic of an actor becomes.
type PanicError struct {
	Actor string // the name given to Go or Guard
	Value any    // what was given to panic
	Stack []byte // the stack of the goroutine where it panicked
}

// Error names the actor and the panic's value. The stack is left to whoever
// wants to print it.
func (e *PanicError) Error() string {
	return fmt.Sprintf("actor %s panicked: %v", e.Actor, e.Value)
}

// Unwrap returns the panic's value if that is an error, else nil.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Guard runs fn now, on the caller's goroutine, and returns a *PanicError if it
// panicked. It is for owners that must go on after a panic, for instance to
// answer those who wait for them.
//
// A runtime.Goexit in fn cannot be held up here and passes through to Go.
func Guard(name string, fn func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Actor: name, Value: v, Stack: debug.Stack()}
		}
	}()
	fn()
	return nil
}

// Actor is a handle on a goroutine that Go started.
type Actor struct {
	done chan struct{}
	err  error // written before done closes, read after
}

// Go runs fn in a goroutine of its own. If fn panics, or ends the goroutine
// with runtime.Goexit, onPanic learns of it on that goroutine, before Done
// closes; it must therefore not wait for the actor. A nil onPanic leaves it to
// Err. A panic of onPanic itself is caught as well and joined to Err.
//
// Only what Go itself cannot recover from (two goroutines in one map, memory
// exhausted) still ends the process.
func Go(name string, fn func(), onPanic func(*PanicError)) *Actor {
	a := &Actor{done: make(chan struct{})}
	go a.run(name, fn, onPanic)
	return a
}

func (a *Actor) run(name string, fn func(), onPanic func(*PanicError)) {
	defer close(a.done)
	returned := false
	defer func() {
		if !returned {
			a.fail(&PanicError{Actor: name, Value: ErrGoexit, Stack: debug.Stack()}, onPanic)
		}
	}()
	err := Guard(name, fn)
	returned = true
	var p *PanicError
	if errors.As(err, &p) {
		a.fail(p, onPanic)
	}
}

// fail records the end of the actor and tells onPanic about it.
func (a *Actor) fail(p *PanicError, onPanic func(*PanicError)) {
	a.err = p
	if onPanic == nil {
		return
	}
	if err := Guard(p.Actor+" onPanic", func() { onPanic(p) }); err != nil {
		a.err = errors.Join(p, err)
	}
}

// Done is closed when the actor's goroutine has ended and a panic of it has
// been reported.
func (a *Actor) Done() <-chan struct{} { return a.done }

// Wait returns when Done is closed.
func (a *Actor) Wait() { <-a.done }

// Err returns what ended the actor: a *PanicError, or nil if its function
// returned or still runs.
func (a *Actor) Err() error {
	select {
	case <-a.done:
		return a.err
	default:
		return nil
	}
}

package event

import (
	"errors"
	"fmt"
)

// The sentinels of events, for errors.Is.
var (
	// ErrInvalidStream, ErrInvalidType: not 1 to MaxName bytes of UTF-8 without NUL.
	ErrInvalidStream = errors.New("inmem: invalid name of an event stream")
	ErrInvalidType   = errors.New("inmem: invalid type of an event")
	// ErrInvalidID: more than MaxID bytes.
	ErrInvalidID = errors.New("inmem: invalid ID of an event")
	// ErrInvalidPayload: not a JSON object in UTF-8.
	ErrInvalidPayload = errors.New("inmem: payload of an event is not a JSON object")
	// ErrDuplicateID: the error is a *DuplicateIDError.
	ErrDuplicateID = errors.New("inmem: the stream has another event with this ID")
	// ErrWrongSequence: the error is a *SequenceError.
	ErrWrongSequence = errors.New("inmem: stream is not at the expected sequence")
	// ErrBrokenChain: the error is a *ChainError.
	ErrBrokenChain = errors.New("inmem: event stream is not as it was appended")
	// ErrInvalidRecord: what is stored is no event.
	ErrInvalidRecord = errors.New("inmem: malformed event record")
	// ErrUnsupportedRecord: an event has a format that this program does not
	// know. It was written by a newer one.
	ErrUnsupportedRecord = errors.New("inmem: event record has an unknown format")
)

// DuplicateIDError says which event of the stream has the ID, with another type
// or payload than the one that was to be appended.
type DuplicateIDError struct {
	Stream   string
	ID       string
	Sequence uint64 // of the event that has it, or would have got it in the same call
}

func (e *DuplicateIDError) Error() string {
	return fmt.Sprintf("%v: %.100q is event %d of stream %q", ErrDuplicateID, e.ID, e.Sequence, e.Stream)
}

func (e *DuplicateIDError) Unwrap() error { return ErrDuplicateID }

// SequenceError says what the last sequence of a stream was instead of the
// expected one.
type SequenceError struct {
	Stream           string
	Expected, Actual uint64 // 0 = no events
}

func (e *SequenceError) Error() string {
	return fmt.Sprintf("%v: the last event of stream %q is %d, not %d (0 = none)", ErrWrongSequence, e.Stream, e.Actual, e.Expected)
}

func (e *SequenceError) Unwrap() error { return ErrWrongSequence }

// ChainError names the first event of a stream that is not as it was appended.
// Of the last two, where they do not fit together, it names the first.
type ChainError struct {
	Stream   string
	Sequence uint64 // 0 = an ID leads nowhere
	Reason   string // for people
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("%v: event %d of stream %q: %s", ErrBrokenChain, e.Sequence, e.Stream, e.Reason)
}

func (e *ChainError) Unwrap() error { return ErrBrokenChain }

package run

import (
	"errors"
	"fmt"
)

// The sentinels of runs, for errors.Is. Package inmem re-exports them.
var (
	ErrNotFound = errors.New("inmem: run not found")
	ErrExists   = errors.New("inmem: run exists already")
	// ErrDeleted is an ErrNotFound that is final: a deleted run's ID is never
	// used again.
	ErrDeleted   = fmt.Errorf("%w: it was deleted", ErrNotFound)
	ErrNotActive = errors.New("inmem: run is not active")
	// ErrEnded is an ErrNotActive that is final: no run that ended becomes
	// active again.
	ErrEnded      = fmt.Errorf("%w: it has ended", ErrNotActive)
	ErrTransition = errors.New("inmem: run cannot change its status so")

	// ErrSpace says that a space was asked to end or to change its status.
	ErrSpace = errors.New("inmem: a space has no lifecycle")

	ErrInvalidID        = errors.New("inmem: invalid run ID")
	ErrInvalidNamespace = errors.New("inmem: invalid namespace")
	ErrInvalidStatus    = errors.New("inmem: invalid run status")
	ErrInvalidMeta      = errors.New("inmem: invalid run metadata")

	// ErrInvalidRecord says that bytes are not the record of a run.
	ErrInvalidRecord = errors.New("inmem: malformed run record")
	// ErrUnsupportedRecord says that a record has a format this program does
	// not know: it was written by a newer one.
	ErrUnsupportedRecord = errors.New("inmem: run record has an unknown format")
)

// TransitionError says which change of status was refused. It is an
// ErrTransition, and an ErrEnded where the run had ended.
type TransitionError struct {
	ID       ID // zero where the run is not known
	From, To Status
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("%v: %sfrom %v to %v", ErrTransition, idPrefix(e.ID), e.From, e.To)
}

func (e *TransitionError) Unwrap() []error {
	if e.From.Ended() {
		return []error{ErrTransition, ErrEnded}
	}
	return []error{ErrTransition}
}

// StatusError says that a write was refused because the run is not active. It
// is an ErrNotActive, and an ErrEnded where the run has ended.
type StatusError struct {
	ID     ID // zero where the run is not known
	Status Status
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%v: %sit is %v", ErrNotActive, idPrefix(e.ID), e.Status)
}

func (e *StatusError) Unwrap() error {
	if e.Status.Ended() {
		return ErrEnded
	}
	return ErrNotActive
}

// MetaError says what is wrong with a run's metadata. It is an ErrInvalidMeta,
// and an ErrInvalidNamespace where that is the field.
type MetaError struct {
	Field string // "name", "namespace", "parent" or "tags"
	Err   error  // what is wrong with it
}

func (e *MetaError) Error() string {
	return fmt.Sprintf("%v: %s: %v", ErrInvalidMeta, e.Field, e.Err)
}

func (e *MetaError) Unwrap() []error { return []error{ErrInvalidMeta, e.Err} }

func idPrefix(id ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String() + ": "
}

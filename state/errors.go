package state

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The sentinels of state cells, for errors.Is.
var (
	// ErrInvalidName: the name of a cell or a state is not 1 to MaxName bytes of
	// UTF-8 without NUL.
	ErrInvalidName = errors.New("inmem: invalid name of a cell or state")
	// ErrInvalidMachine: a machine that makes no sense.
	ErrInvalidMachine = errors.New("inmem: invalid machine")
	// ErrExists: the error is an *ExistsError.
	ErrExists = errors.New("inmem: state cell exists already")
	// ErrTransition: the error is a *TransitionError.
	ErrTransition = errors.New("inmem: the cell's machine does not allow the transition")
	// ErrInvalidRecord: what is stored is no cell or machine.
	ErrInvalidRecord = errors.New("inmem: malformed state record")
	// ErrUnsupportedRecord: a cell has a format that this program does not know.
	// It was written by a newer one.
	ErrUnsupportedRecord = errors.New("inmem: state record has an unknown format")
)

// ExistsError says which cell was to be made and exists already.
type ExistsError struct {
	Cell    string
	Version uint64 // it is at
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("%v: %q, at version %d", ErrExists, e.Cell, e.Version)
}

func (e *ExistsError) Unwrap() error { return ErrExists }

// TransitionError says which change a cell's machine does not allow.
type TransitionError struct {
	Cell     string
	From, To string   // From is empty where the cell was to be made
	Allowed  []string // what may follow From
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("%v: cell %q from %q to %q; allowed: %s", ErrTransition, e.Cell, e.From, e.To, strings.Join(e.Allowed, ", "))
}

func (e *TransitionError) Unwrap() error { return ErrTransition }

func checkName(name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%w: %.300q", ErrInvalidName, name)
	}
	return nil
}

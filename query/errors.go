package query

import (
	"errors"
	"fmt"
)

var (
	// ErrInvalid: what was asked is no query. The error is a *SyntaxError.
	ErrInvalid = errors.New("inmem: invalid query")
	// ErrMemory: the error is a *MemoryError.
	ErrMemory = errors.New("inmem: the query needs too much memory")
	// ErrCursor: the error is a *CursorError.
	ErrCursor = errors.New("inmem: invalid cursor")
)

// SyntaxError says what is wrong with the text of a query, and where.
type SyntaxError struct {
	Text   string // the whole query
	Column int    // in Text, in characters from 1
	Reason string // what was expected, for people
	// Cursor is what is wrong with the cursor at that place; nil where it is
	// something else.
	Cursor *CursorError
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%v: column %d: %s", ErrInvalid, e.Column, e.Reason)
}

// Unwrap returns ErrInvalid, and the *CursorError where there is one.
func (e *SyntaxError) Unwrap() []error {
	if e.Cursor != nil {
		return []error{ErrInvalid, e.Cursor}
	}
	return []error{ErrInvalid}
}

// CursorError says why a query cannot go on behind a cursor, or why a row has
// none, and what to do.
type CursorError struct {
	Reason string
}

func (e *CursorError) Error() string { return fmt.Sprintf("%v: %s", ErrCursor, e.Reason) }

func (e *CursorError) Unwrap() error { return ErrCursor }

// MemoryError says that a query has to keep more than it may: narrow it, give it
// a limit, or raise its bound with Query.Bounded.
type MemoryError struct {
	Bound int64 // bytes
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%v: more than %d bytes of rows or groups to keep; narrow it, or give it a limit", ErrMemory, e.Bound)
}

func (e *MemoryError) Unwrap() error { return ErrMemory }

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
)

// SyntaxError says what is wrong with the text of a query, and where.
type SyntaxError struct {
	Text   string // the whole query
	Column int    // in Text, in characters from 1
	Reason string // what was expected, for people
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%v: column %d: %s", ErrInvalid, e.Column, e.Reason)
}

func (e *SyntaxError) Unwrap() error { return ErrInvalid }

// MemoryError says that a query has to keep more than it may: narrow it, give it
// a limit, or raise its bound with Query.Bounded.
type MemoryError struct {
	Bound int64 // bytes
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%v: more than %d bytes of rows or groups to keep; narrow it, or give it a limit", ErrMemory, e.Bound)
}

func (e *MemoryError) Unwrap() error { return ErrMemory }

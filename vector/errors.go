package vector

import (
	"errors"
	"fmt"
)

// The sentinels of vectors, for errors.Is.
var (
	// ErrInvalidName: the name of a collection is not 1 to MaxName bytes of UTF-8
	// without NUL.
	ErrInvalidName = errors.New("inmem: invalid name of a collection")
	// ErrInvalidConfig: a dimension out of its bounds, or no metric.
	ErrInvalidConfig = errors.New("inmem: invalid configuration of a collection")
	// ErrNoCollection: the error is a *NoCollectionError.
	ErrNoCollection = errors.New("inmem: no such collection")
	// ErrExists: the error is an *ExistsError.
	ErrExists = errors.New("inmem: the collection exists with another configuration")
	// ErrDimension: the error is a *DimensionError.
	ErrDimension = errors.New("inmem: wrong dimension of a vector")
	// ErrNotFinite: the error is an *ElementError.
	ErrNotFinite = errors.New("inmem: an element of a vector is not a finite number")
	// ErrZeroVector: under Cosine a vector has a direction, which zero has not.
	ErrZeroVector = errors.New("inmem: a zero vector has no direction, which the metric cosine compares; leave it out, or use another metric")
	// ErrInvalidMetadata: not a JSON object in UTF-8.
	ErrInvalidMetadata = errors.New("inmem: metadata of a vector is not a JSON object")
	// ErrInvalidRecord: what is stored is no collection or vector.
	ErrInvalidRecord = errors.New("inmem: malformed vector record")
	// ErrUnsupportedRecord: a record has a format that this program does not know.
	// It was written by a newer one.
	ErrUnsupportedRecord = errors.New("inmem: vector record has an unknown format")
)

// NoCollectionError says which collection there is not. Create makes it.
type NoCollectionError struct{ Collection string }

func (e *NoCollectionError) Error() string {
	return fmt.Sprintf("%v: %.300q; create it first", ErrNoCollection, e.Collection)
}

func (e *NoCollectionError) Unwrap() error { return ErrNoCollection }

// ExistsError says what a collection is that was to be made otherwise.
type ExistsError struct {
	Collection  string
	Has, Wanted Config
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("%v: %q is %v, not %v; drop it first, or use another name", ErrExists, e.Collection, e.Has, e.Wanted)
}

func (e *ExistsError) Unwrap() error { return ErrExists }

// DimensionError says how many elements a vector has, and should have.
type DimensionError struct{ Has, Want int }

func (e *DimensionError) Error() string {
	return fmt.Sprintf("%v: it has %d elements, the collection's have %d", ErrDimension, e.Has, e.Want)
}

func (e *DimensionError) Unwrap() error { return ErrDimension }

// ElementError says which element of a vector is NaN or infinite.
type ElementError struct {
	Index int // from 0
	Value float32
}

func (e *ElementError) Error() string {
	return fmt.Sprintf("%v: element %d is %v", ErrNotFinite, e.Index, e.Value)
}

func (e *ElementError) Unwrap() error { return ErrNotFinite }

// ItemError says which vector of a batch was refused. Nothing of the batch is in.
type ItemError struct {
	Index int // from 0
	Key   string
	Err   error
}

func (e *ItemError) Error() string {
	return fmt.Sprintf("vector %d of the batch, key %.100q: %v", e.Index, e.Key, e.Err)
}

// Unwrap returns why it was refused.
func (e *ItemError) Unwrap() error { return e.Err }

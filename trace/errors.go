package trace

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"inmem/op"
)

// The sentinels of spans, for errors.Is.
var (
	// ErrNotFound: the run has no such span.
	ErrNotFound = errors.New("inmem: span not found")
	// ErrNoParent: the span that another was to be part of does not exist.
	ErrNoParent = errors.New("inmem: parent span not found")
	// ErrFinished: the span was finished before.
	ErrFinished = errors.New("inmem: span has ended")
	// ErrInvalidSpan: the error is a *SpanError.
	ErrInvalidSpan = errors.New("inmem: invalid span")
	// ErrInvalidRecord: what is stored is no span.
	ErrInvalidRecord = errors.New("inmem: malformed span record")
	// ErrUnsupportedRecord: a span has a format that this program does not know.
	// It was written by a newer one.
	ErrUnsupportedRecord = errors.New("inmem: span record has an unknown format")
)

// SpanError says what is wrong with a span that was to be stored.
type SpanError struct {
	Field  string
	Reason string
}

func (e *SpanError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ErrInvalidSpan, e.Field, e.Reason)
}

func (e *SpanError) Unwrap() error { return ErrInvalidSpan }

// complete fills in what was left out, and reports what is wrong.
func (s *Start) complete(now int64) error {
	if s.At.IsZero() {
		s.At = time.UnixMilli(now)
	}
	if s.At.UnixMilli() < 0 {
		return &SpanError{"At", "before 1970"}
	}
	if s.Kind == "" {
		return &SpanError{"Kind", "is empty"}
	}
	return firstOf(
		checkText("Kind", string(s.Kind), MaxKind),
		checkText("Name", s.Name, MaxName),
		checkAttributes(s.Attributes),
	)
}

func (f *Finish) complete(now, start int64) error {
	if f.At.IsZero() {
		f.At = time.UnixMilli(max(now, start)) // the start may have been set ahead of the store's clock
	}
	if f.Status == 0 {
		f.Status = OK
		if f.Error != "" {
			f.Status = Failed
		}
	}
	switch {
	case f.At.UnixMilli() < start:
		return &SpanError{"At", "before the start"}
	case !f.Status.Valid() || f.Status == Open:
		return &SpanError{"Status", f.Status.String()}
	case f.Usage.InputTokens < 0 || f.Usage.OutputTokens < 0:
		return &SpanError{"Usage", "negative tokens"}
	case math.IsNaN(f.Usage.Cost) || math.IsInf(f.Usage.Cost, 0):
		return &SpanError{"Usage", "the cost is no number"}
	}
	return firstOf(checkText("Error", f.Error, MaxError), checkAttributes(f.Attributes))
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkText(field, text string, limit int) error {
	if len(text) > limit {
		return &SpanError{field, fmt.Sprintf("%d bytes, the limit is %d", len(text), limit)}
	}
	if !utf8.ValidString(text) {
		return &SpanError{field, "not valid UTF-8"}
	}
	return nil
}

func checkAttributes(attributes map[string]string) error {
	if len(attributes) > MaxAttributes {
		return &SpanError{"Attributes", fmt.Sprintf("%d, the limit is %d", len(attributes), MaxAttributes)}
	}
	for k, v := range attributes {
		if k == "" {
			return &SpanError{"Attributes", "a key is empty"}
		}
		if err := firstOf(checkText("Attributes", k, MaxAttributeKey), checkText("Attributes", v, MaxAttributeValue)); err != nil {
			return err
		}
	}
	return nil
}

// finished makes the refusal of a second finish one that says so.
func finished(err error, id ID) error {
	if errors.Is(err, op.ErrWrongVersion) {
		return fmt.Errorf("%w: %v", ErrFinished, id)
	}
	return err
}

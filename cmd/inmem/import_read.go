package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"inmem/run"
)

const (
	// maxLine bounds a line, in bytes: one run with all its messages.
	maxLine = 1 << 30
	// maxMessage bounds a message, in bytes. A run with a larger one is refused
	// whole.
	maxMessage = 64 << 20
	// maxBeside is more than is stored beside a message, in one value:
	// what belongs to its event, or the name and attributes of a span.
	maxBeside = 128 << 10
	// maxCommitBeside is more than maxCalls spans take, without their input.
	maxCommitBeside = maxCalls * 64 << 10
	// maxMessages is how many keys of 8 digits there are.
	maxMessages = 99_999_999
)

// lineReader reads lines of any length up to maxLine.
type lineReader struct {
	r      *bufio.Reader
	number int
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 256<<10)}
}

// longLineError is a line that is longer than maxLine.
type longLineError struct{ max int }

func (e *longLineError) Error() string {
	return fmt.Sprintf("the line is longer than %s", bytesText(e.max))
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// next returns the next line that is not blank, and its number. The line
// belongs to the caller. A *longLineError is of this line only.
func (l *lineReader) next() (line []byte, number int, err error) {
	for {
		line, err = l.read()
		if err != nil {
			return nil, l.number, err
		}
		if l.number == 1 {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, l.number, nil
		}
	}
}

func (l *lineReader) read() ([]byte, error) {
	var line []byte
	tooLong := false
	l.number++
	for {
		part, err := l.r.ReadSlice('\n')
		if tooLong = tooLong || len(line)+len(part) > maxLine; tooLong {
			line = nil
		} else {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && len(line) == 0 && !tooLong:
			return nil, io.EOF
		case err != nil && err != io.EOF:
			return nil, err
		case tooLong:
			return nil, &longLineError{maxLine}
		}
		return line, nil
	}
}

// record is a recorded run, as a line holds it.
type record struct {
	meta     run.Meta
	messages []json.RawMessage // each as it stands in the line
	unknown  []string          // fields that nobody knows
}

// parseRecord reads and checks a line. What it accepts the store will take.
func parseRecord(line []byte) (*record, error) {
	fields := map[string]json.RawMessage{}
	if err := unmarshal(line, &fields); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	r := &record{}
	for _, f := range []struct {
		name     string
		to       any
		required bool
	}{
		{"name", &r.meta.Name, true}, {"namespace", &r.meta.Namespace, false},
		{"tags", &r.meta.Tags, false}, {"messages", &r.messages, true},
	} {
		raw, ok := fields[f.name]
		delete(fields, f.name)
		if !ok && !f.required {
			continue
		}
		if !ok {
			return nil, fmt.Errorf("field %q is missing", f.name)
		}
		if err := unmarshal(raw, f.to); err != nil {
			return nil, fmt.Errorf("field %q: %w", f.name, err)
		}
	}
	r.unknown = slices.Sorted(maps.Keys(fields))
	if r.meta.Name == "" {
		return nil, errors.New("the name is empty: name and namespace make the run's ID")
	}
	if err := r.meta.Validate(); err != nil {
		return nil, err
	}
	r.meta.ID = r.meta.Namespace.DeriveID(r.meta.Name)
	return r, r.checkMessages()
}

var (
	errNoRole  = errors.New("has no role")
	errNotUTF8 = errors.New("not valid UTF-8")
)

func (r *record) checkMessages() error {
	if r.messages == nil {
		return errors.New(`field "messages" is null`)
	}
	if len(r.messages) > maxMessages {
		return fmt.Errorf("%s, the limit is %s", plural(len(r.messages), "message"), count(maxMessages))
	}
	for i, m := range r.messages {
		switch _, err := parseChat(m); {
		case errors.Is(err, errNoRole):
			return fmt.Errorf("message %d %w", i+1, err)
		case err != nil:
			return fmt.Errorf("message %d: %w", i+1, err)
		}
		if len(m) > maxMessage {
			return fmt.Errorf("message %d has %s, the limit is %s", i+1, bytesText(len(m)), bytesText(maxMessage))
		}
	}
	return nil
}

// unmarshal is json.Unmarshal with errors in terms of the line.
func unmarshal(b []byte, to any) error {
	err := json.Unmarshal(b, to)
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("byte %d: %w", syntax.Offset, err)
	case errors.As(err, &wrong):
		return fmt.Errorf("of the wrong type: %s", wrong.Value)
	}
	return err
}

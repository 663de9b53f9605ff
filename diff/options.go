package diff

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalidPath: not a JSON Pointer.
var ErrInvalidPath = errors.New("inmem: invalid path")

// Part is a part of a run.
type Part uint8

// The parts of a run, which can be joined with |.
const (
	Keys Part = 1 << iota
	Events
	State
	Trace
	Vectors
)

// DefaultLimit is how many differences within one value are listed.
const DefaultLimit = 100

// Option changes how runs are compared.
type Option func(*options)

type options struct {
	ignore  [][]string
	meaning bool
	limit   int
	parts   Part
	err     error
}

func gather(opts []Option) *options {
	o := &options{limit: DefaultLimit, parts: Keys | Events | State | Trace | Vectors}
	for _, opt := range opts {
		opt(o)
	}
	return o
}

// Ignore leaves out differences at these paths, and below them: JSON Pointers
// (RFC 6901) in which * stands for any one step. So "/tool_calls/*/id" is for
// events, and "/attributes/gen_ai.tool.call.id" for spans. They hold for all that
// is compared. Other paths are ErrInvalidPath.
func Ignore(paths ...string) Option {
	return func(o *options) {
		for _, p := range paths {
			tokens, err := parsePointer(p)
			if err != nil {
				o.err = errors.Join(o.err, err)
			}
			o.ignore = append(o.ignore, tokens)
		}
	}
}

// SameJSON lets JSON that means the same count as equal, however it is written.
func SameJSON() Option { return func(o *options) { o.meaning = true } }

// Limit lists at most n differences within one value, and counts the others; n <=
// 0 means DefaultLimit.
func Limit(n int) Option {
	return func(o *options) {
		if o.limit = n; n <= 0 {
			o.limit = DefaultLimit
		}
	}
}

// Only compares some parts of the runs, as in Only(Keys|State).
func Only(parts Part) Option { return func(o *options) { o.parts = parts } }

// Check returns the parts that the options choose, or what is wrong with the
// options.
func Check(opts ...Option) (Part, error) {
	o := gather(opts)
	return o.parts, o.err
}

// parsePointer returns the steps of a path.
func parsePointer(path string) ([]string, error) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, fmt.Errorf("%w: %.100q does not begin with /", ErrInvalidPath, path)
	}
	tokens := strings.Split(rest, "/")
	for i, t := range tokens {
		plain := strings.ReplaceAll(strings.ReplaceAll(t, "~0", ""), "~1", "")
		if strings.Contains(plain, "~") {
			return nil, fmt.Errorf("%w: %.100q has a ~ that is neither ~0 nor ~1", ErrInvalidPath, path)
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

// ignores reports whether differences at a path are left out.
func (o *options) ignores(path []string) bool {
	for _, tokens := range o.ignore {
		if covers(tokens, path) {
			return true
		}
	}
	return false
}

func covers(pattern, path []string) bool {
	if len(pattern) == 0 || len(pattern) > len(path) {
		return false
	}
	for i, t := range pattern {
		if t != "*" && t != path[i] {
			return false
		}
	}
	return true
}

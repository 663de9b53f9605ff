package query

import (
	"cmp"
	"encoding"
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// The values of a query are nil, bool, int64, float64, string, time.Time,
// time.Duration, JSON and map[string]string; constants may be []any as well. What
// is not there, and JSON's null, is nil.

// JSON is an object or an array, as it is written where it is stored.
type JSON string

// MarshalJSON implements json.Marshaler.
func (j JSON) MarshalJSON() ([]byte, error) { return []byte(j), nil }

// kind says what values an expression has, as far as it is known beforehand.
type kind uint8

const (
	kindAny kind = iota // of JSON: found out for each item
	kindNil
	kindBool
	kindNumber
	kindText
	kindTime
	kindDuration
	kindList
	kindLabels // texts under names: tags, attributes
)

var kindNames = [...]string{
	kindAny: "anything", kindNil: "nil", kindBool: "a bool", kindNumber: "a number", kindText: "a text",
	kindTime: "a time", kindDuration: "a duration", kindList: "a list", kindLabels: "labels",
}

func (k kind) String() string { return kindNames[k] }

// kindOf returns the kind of a constant.
func kindOf(v any) kind {
	switch v.(type) {
	case nil:
		return kindNil
	case bool:
		return kindBool
	case int64, float64:
		return kindNumber
	case string:
		return kindText
	case time.Time:
		return kindTime
	case time.Duration:
		return kindDuration
	case []any:
		return kindList
	}
	return kindAny
}

// constantOf makes a value of a query from one of Go's.
func constantOf(v any) (any, bool) {
	switch v := v.(type) {
	case nil, bool, int64, string, time.Duration:
		return v, true
	case time.Time:
		return v.Round(0).UTC(), true
	case []byte:
		return string(v), true
	case encoding.TextMarshaler: // such as run.ID and run.Status
		text, err := v.MarshalText()
		return string(text), err == nil
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Bool:
		return r.Bool(), true
	case reflect.String:
		return r.String(), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int(), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n := r.Uint(); n <= math.MaxInt64 {
			return int64(n), true
		}
	case reflect.Float32, reflect.Float64:
		x := finite(r.Float())
		return x, x != nil
	case reflect.Slice, reflect.Array:
		list := make([]any, r.Len())
		for i := range list {
			item, ok := constantOf(r.Index(i).Interface())
			if !ok || kindOf(item) == kindList {
				return nil, false
			}
			list[i] = item
		}
		return list, true
	}
	return nil, false
}

// compare compares two values; ok is false where there is nothing to compare:
// they are not of one kind, or one is not there, or is no number.
func compare(a, b any) (order int, ok bool) {
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b), true
		}
	case int64:
		switch b := b.(type) {
		case int64:
			return cmp.Compare(a, b), true
		case float64:
			return compareIntFloat(a, b), b == b
		}
	case float64:
		switch b := b.(type) {
		case int64:
			return -compareIntFloat(b, a), a == a
		case float64:
			return cmp.Compare(a, b), a == a && b == b
		}
	case time.Time:
		if b, ok := b.(time.Time); ok {
			return a.Compare(b), true
		}
	case time.Duration:
		if b, ok := b.(time.Duration); ok {
			return cmp.Compare(a, b), true
		}
	case bool:
		if b, ok := b.(bool); ok {
			return compareBool(a, b), true
		}
	}
	return 0, false
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// compareIntFloat compares exactly: not every int64 is a float64.
func compareIntFloat(a int64, b float64) int {
	switch {
	case b >= 1<<63:
		return -1
	case b < -1<<63:
		return 1
	}
	whole := math.Trunc(b)
	if c := cmp.Compare(a, int64(whole)); c != 0 {
		return c
	}
	return cmp.Compare(0, b-whole)
}

// rank orders the kinds of values among each other.
func rank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case int64, float64:
		return 2
	case string:
		return 3
	case time.Time:
		return 4
	case time.Duration:
		return 5
	}
	return 6
}

// order is a total order of all values: nil comes first, then bools, numbers,
// texts, times, durations, and JSON as it is written.
func order(a, b any) int {
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	if c, ok := compare(a, b); ok {
		return c
	}
	switch rank(a) {
	case 2: // one of them is no number: it comes first
		return compareBool(a == a, b == b)
	case 6:
		return strings.Compare(written(a), written(b))
	}
	return 0
}

// written is a value as JSON.
func written(v any) string {
	if j, ok := v.(JSON); ok {
		return string(j)
	}
	if labels, ok := v.(map[string]string); ok && len(labels) == 0 {
		return "{}" // nil or not
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// own returns a value that shares nothing with the store.
func own(v any) any {
	switch v := v.(type) {
	case string:
		return strings.Clone(v)
	case JSON:
		return JSON(strings.Clone(string(v)))
	case map[string]string:
		return maps.Clone(v)
	}
	return v
}

// sizeOf is about what a value takes in memory, in bytes.
func sizeOf(v any) int64 {
	const boxed = 32
	switch v := v.(type) {
	case string:
		return boxed + int64(len(v))
	case JSON:
		return boxed + int64(len(v))
	case map[string]string:
		n := int64(boxed)
		for k, v := range v {
			n += 2*boxed + int64(len(k)+len(v))
		}
		return n
	}
	return boxed
}

// set is the constants behind "in".
type set struct {
	list  []any
	texts map[string]bool // nil where not all are texts
}

func newSet(list []any) *set {
	s := &set{list: list, texts: map[string]bool{}}
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			s.texts = nil
			break
		}
		s.texts[text] = true
	}
	return s
}

func (s *set) has(v any) bool {
	if s.texts != nil {
		text, ok := v.(string)
		return ok && s.texts[text]
	}
	return slices.ContainsFunc(s.list, func(w any) bool {
		c, ok := compare(v, w)
		return ok && c == 0
	})
}

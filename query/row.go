package query

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"
)

// Row is one row of what a query found. It belongs to the caller.
type Row struct {
	columns []string
	values  []any
	from    *origin // of its cursor; nil = it has none
}

// Columns returns the names of the row's columns, in order: for all rows of a
// query the same, and not to be changed.
func (r Row) Columns() []string { return r.columns }

// Values returns the values in the order of the columns: nil where there is none,
// bool, int64, float64, string, time.Time, time.Duration, JSON for objects and
// arrays, and map[string]string for tags and attributes.
func (r Row) Values() []any { return r.values }

// Get returns the value of a column, nil where there is no such column.
func (r Row) Get(column string) any {
	if i := slices.Index(r.columns, column); i >= 0 {
		return r.values[i]
	}
	return nil
}

// MarshalJSON writes the row as an object with the columns in order: times as
// RFC 3339, durations as the language writes them, bytes that are no text in
// base64, under the name of the column and "_base64".
func (r Row) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, name := range r.columns {
		if i > 0 {
			b.WriteByte(',')
		}
		v := r.values[i]
		switch text := v.(type) {
		case string:
			if !utf8.ValidString(text) {
				name, v = name+"_base64", []byte(text)
			}
		case time.Time: // of any year, unlike its own MarshalJSON
			v = text.Format(time.RFC3339Nano)
		case time.Duration:
			v = text.String()
		case map[string]string:
			if text == nil {
				v = map[string]string{} // no labels are no null
			}
		}
		for _, part := range []any{name, v} {
			if err := enc.Encode(part); err != nil {
				return nil, err
			}
			b.Truncate(b.Len() - 1) // the end of the line
			b.WriteByte(':')
		}
		b.Truncate(b.Len() - 1)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

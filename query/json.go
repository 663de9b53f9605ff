package query

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

// document is bytes that may be JSON. What they are is found out when something
// of them is asked for, once for each item.
type document struct {
	raw   []byte
	state docState
}

type docState uint8

const (
	docUnknown docState = iota
	docJSON
	docText
)

// text returns the bytes as a text, without a copy.
func (d *document) text() string { return unsafe.String(unsafe.SliceData(d.raw), len(d.raw)) }

// isJSON reports whether the document is JSON. gjson relies on that, and
// json.Valid bounds how deep it is.
func (d *document) isJSON() bool {
	if d.state == docUnknown {
		d.state = docText
		if mayBeJSON(d.raw) && json.Valid(d.raw) {
			d.state = docJSON
		}
	}
	return d.state == docJSON
}

// mayBeJSON looks at the first byte: most texts do not begin as JSON does.
func mayBeJSON(b []byte) bool {
	for _, c := range b {
		if c > ' ' {
			return strings.IndexByte(`{["-0123456789tfn`, c) >= 0
		}
	}
	return false
}

// value returns what the document is: what the JSON says, or else the text.
func (d *document) value() any {
	if !d.isJSON() {
		return d.text()
	}
	return fromJSON(gjson.Parse(d.text()))
}

// fromJSON is a JSON value as one of a query.
func fromJSON(r gjson.Result) any {
	switch r.Type {
	case gjson.String:
		return r.Str
	case gjson.Number:
		if !strings.ContainsAny(r.Raw, ".eE") {
			if n, err := strconv.ParseInt(r.Raw, 10, 64); err == nil {
				return n
			}
		}
		if math.IsInf(r.Num, 0) {
			return nil // no number that there is
		}
		return r.Num
	case gjson.True:
		return true
	case gjson.False:
		return false
	case gjson.JSON:
		return JSON(strings.TrimSpace(r.Raw))
	}
	return nil
}

// path leads into JSON: names of members, and indexes into arrays.
type path []step

type step struct {
	name   string
	plain  bool // gjson looks a name up by itself where it is no pattern
	index  int
	member bool // a name, not an index
}

func newStep(name string) step {
	plain := name != ""
	for _, c := range []byte(name) {
		plain = plain && (c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	return step{name: name, plain: plain, member: true}
}

// in returns what a document has at the path; nil where there is nothing. Of
// members with the same name the first counts.
func (p path) in(d *document) any {
	if !d.isJSON() {
		return nil
	}
	r := gjson.Parse(d.text())
	for i := range p {
		r = p[i].of(r)
		if !r.Exists() {
			return nil
		}
	}
	return fromJSON(r)
}

func (s *step) of(r gjson.Result) (out gjson.Result) {
	if s.member != r.IsObject() || !s.member && !r.IsArray() {
		return out
	}
	if s.plain {
		return r.Get(s.name)
	}
	n := 0
	r.ForEach(func(key, value gjson.Result) bool {
		if s.member && key.Str == s.name || !s.member && n == s.index {
			out = value
			return false
		}
		n++
		return true
	})
	return out
}

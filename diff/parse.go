package diff

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxNodes bounds the JSON values in one that is compared by path: what has more
// is compared byte by byte.
const maxNodes = 1 << 18

// node is a JSON value.
type node struct {
	raw   []byte // as it is written
	kind  byte   // its first byte; '0' of a number
	names []string
	items []node // of an object, in order of the names, or of an array
}

// parser takes valid JSON apart.
type parser struct {
	b     []byte
	i     int
	nodes int
}

// parse returns a value's tree. It has none where it is no JSON, is not in UTF-8,
// is too large, or does not say clearly what it means: two members of a name, or
// names that stand for no text.
func parse(b []byte) (node, bool) {
	if len(b) == 0 || !json.Valid(b) || !utf8.Valid(b) {
		return node{}, false
	}
	p := parser{b: b}
	return p.value()
}

func (p *parser) space() {
	for p.i < len(p.b) && p.b[p.i] <= ' ' {
		p.i++
	}
}

func (p *parser) value() (n node, ok bool) {
	if p.nodes++; p.nodes > maxNodes {
		return node{}, false
	}
	p.space()
	begin := p.i
	switch n.kind = p.b[p.i]; n.kind {
	case '{', '[':
		ok = p.container(&n)
	case '"':
		p.text()
		ok = true
	default:
		if n.kind == '-' || '0' <= n.kind && n.kind <= '9' {
			n.kind = '0'
		}
		for p.i < len(p.b) && p.b[p.i] > ' ' && !strings.ContainsRune(",]}", rune(p.b[p.i])) {
			p.i++
		}
		ok = true
	}
	n.raw = p.b[begin:p.i]
	return n, ok
}

// text skips a string and returns it as it is written.
func (p *parser) text() []byte {
	begin := p.i
	for p.i++; p.b[p.i] != '"'; p.i++ {
		if p.b[p.i] == '\\' {
			p.i++
		}
	}
	p.i++
	return p.b[begin:p.i]
}

// container reads the members of an object, or the elements of an array.
func (p *parser) container(n *node) bool {
	end := n.kind + 2 // in ASCII, } is two behind {, and ] two behind [
	for p.i++; ; p.i++ {
		p.space()
		if p.b[p.i] == end { // an empty one
			p.i++
			return true
		}
		if n.kind == '{' {
			name, ok := decode(p.text())
			if !ok {
				return false
			}
			n.names = append(n.names, name)
			p.space()
			p.i++ // the colon
		}
		item, ok := p.value()
		if !ok {
			return false
		}
		n.items = append(n.items, item)
		if p.space(); p.b[p.i] == end {
			p.i++
			return n.kind == '[' || n.sort()
		}
	}
}

// sort orders an object's members by name. It returns false where two have the
// same one.
func (n *node) sort() bool {
	if !slices.IsSorted(n.names) {
		order := make([]int, len(n.names))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(i, j int) int { return cmp.Compare(n.names[i], n.names[j]) })
		names, items := make([]string, len(order)), make([]node, len(order))
		for to, from := range order {
			names[to], items[to] = n.names[from], n.items[from]
		}
		n.names, n.items = names, items
	}
	for i := 1; i < len(n.names); i++ {
		if n.names[i-1] == n.names[i] {
			return false
		}
	}
	return true
}

// decode returns what a JSON string stands for. That is no text where an escape
// is half of a surrogate pair.
func decode(raw []byte) (string, bool) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, !strings.ContainsRune(s, utf8.RuneError)
}

// sameScalar reports whether two values mean the same. Of containers only empty
// ones are compared here.
func sameScalar(a, b *node) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case '"':
		textA, okA := decode(a.raw)
		textB, okB := decode(b.raw)
		return okA && okB && textA == textB
	case '0':
		numberA, okA := parseNumber(a.raw)
		numberB, okB := parseNumber(b.raw)
		return okA && okB && numberA == numberB
	}
	return bytes.Equal(a.raw, b.raw)
}

// number is a JSON number exactly: ±digits · 10^exponent.
type number struct {
	negative bool
	digits   string // neither the first nor the last is 0; "" = 0
	exponent int
}

func parseNumber(raw []byte) (n number, ok bool) {
	text, negative := strings.CutPrefix(string(raw), "-")
	mantissa, exponent := text, 0
	if e := strings.IndexAny(text, "eE"); e >= 0 {
		var err error
		if exponent, err = strconv.Atoi(text[e+1:]); err != nil || max(exponent, -exponent) > 1<<40 {
			return number{}, false // only equal to itself
		}
		mantissa = text[:e]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	exponent -= len(fraction)
	n.digits = strings.TrimRight(digits, "0")
	if n.digits == "" {
		return number{}, true
	}
	n.negative, n.exponent = negative, exponent+len(digits)-len(n.digits)
	return n, true
}

package diff

import (
	"bytes"
	"strconv"
	"strings"
)

// maxPaths bounds the bytes of the paths that are listed for one value.
const maxPaths = 1 << 20

// Difference is one difference within a value, or within an event, a cell or a
// span.
type Difference struct {
	// Path says where, as a JSON Pointer (RFC 6901): "" is all of it. Elements of
	// arrays are compared with those at the same index.
	Path   string
	Change Change
	// A and B are what is there on either side, nil where nothing is: JSON as it
	// is written, or with Plain any bytes. They are parts of what was compared.
	A, B  []byte
	Plain bool
}

// JSON compares two JSON values by path. The list is in order of the document,
// members of objects in order of their names; more counts the differences beyond
// the Limit. Numbers are compared by what they are, in whatever way they are
// written, and texts as well. ok is false where it cannot be done by path: where
// one of them is no JSON in UTF-8, has an object with two members of one name, or
// consists of more than 262,144 values.
func JSON(a, b []byte, opts ...Option) (list []Difference, more int, ok bool) {
	na, okA := parse(a)
	nb, okB := parse(b)
	if !okA || !okB {
		return nil, 0, false
	}
	w := walker{options: gather(opts)}
	w.walk(&na, &nb)
	return w.list, w.more, true
}

// walker gathers the differences of two things.
type walker struct {
	*options
	tokens  []string // of the path to where it is
	list    []Difference
	paths   int // bytes of paths in list
	more    int
	form    bool // something is written differently and means the same
	ignored bool
}

// field compares two values that may be JSON, at a path below the current one.
func (w *walker) field(name string, a, b []byte) {
	w.tokens = append(w.tokens, name)
	switch {
	case bytes.Equal(a, b):
	case len(a) == 0:
		w.add(Difference{Change: Added, B: b, Plain: !isJSON(b)})
	case len(b) == 0:
		w.add(Difference{Change: Removed, A: a, Plain: !isJSON(a)})
	default:
		w.value(a, b)
	}
	w.tokens = w.tokens[:len(w.tokens)-1]
}

// text compares two texts, which are there or not, at a path below the current one.
func (w *walker) text(name, a, b string, inA, inB bool) {
	if a == b && inA == inB {
		return
	}
	w.tokens = append(w.tokens, name)
	d := Difference{Change: Changed, Plain: true}
	if inA {
		d.A = []byte(a)
	} else {
		d.Change = Added
	}
	if inB {
		d.B = []byte(b)
	} else {
		d.Change = Removed
	}
	w.add(d)
	w.tokens = w.tokens[:len(w.tokens)-1]
}

func isJSON(b []byte) bool {
	_, ok := parse(b)
	return ok
}

// value compares two values that may be JSON.
func (w *walker) value(a, b []byte) {
	if bytes.Equal(a, b) {
		return
	}
	na, okA := parse(a)
	nb, okB := parse(b)
	if !okA || !okB {
		w.add(Difference{Change: Changed, A: a, B: b, Plain: true})
		return
	}
	found, ignored := len(w.list)+w.more, w.ignored
	w.ignored = false
	w.walk(&na, &nb)
	if found == len(w.list)+w.more && !w.ignored && !w.meaning {
		w.form = true
	}
	w.ignored = w.ignored || ignored
}

func (w *walker) walk(a, b *node) {
	switch {
	case bytes.Equal(a.raw, b.raw):
	case a.kind == '{' && b.kind == '{':
		w.objects(a, b)
	case a.kind == '[' && b.kind == '[':
		w.arrays(a, b)
	case !sameScalar(a, b):
		w.add(Difference{Change: Changed, A: a.raw, B: b.raw})
	}
}

func (w *walker) objects(a, b *node) {
	for i, j := 0, 0; i < len(a.names) || j < len(b.names); {
		switch {
		case j == len(b.names) || i < len(a.names) && a.names[i] < b.names[j]:
			w.at(a.names[i], &a.items[i], nil)
			i++
		case i == len(a.names) || b.names[j] < a.names[i]:
			w.at(b.names[j], nil, &b.items[j])
			j++
		default:
			w.at(a.names[i], &a.items[i], &b.items[j])
			i, j = i+1, j+1
		}
	}
}

func (w *walker) arrays(a, b *node) {
	for i := range max(len(a.items), len(b.items)) {
		switch {
		case i >= len(b.items):
			w.at(strconv.Itoa(i), &a.items[i], nil)
		case i >= len(a.items):
			w.at(strconv.Itoa(i), nil, &b.items[i])
		default:
			w.at(strconv.Itoa(i), &a.items[i], &b.items[i])
		}
	}
}

// at compares what is one step further down the path.
func (w *walker) at(token string, a, b *node) {
	w.tokens = append(w.tokens, token)
	switch {
	case b == nil:
		w.add(Difference{Change: Removed, A: a.raw})
	case a == nil:
		w.add(Difference{Change: Added, B: b.raw})
	default:
		w.walk(a, b)
	}
	w.tokens = w.tokens[:len(w.tokens)-1]
}

// add lists or counts a difference at the current path, unless it is ignored.
func (w *walker) add(d Difference) {
	switch {
	case w.ignores(w.tokens):
		w.ignored = true
		return
	case len(w.list) >= w.limit:
		w.more++
		return
	}
	d.Path = pointer(w.tokens)
	if w.paths += len(d.Path); w.paths > maxPaths && len(w.list) > 0 {
		w.more++
		return
	}
	w.list = append(w.list, d)
}

var escapeToken = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is a path as RFC 6901 writes it.
func pointer(tokens []string) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(escapeToken.Replace(t)) // in one pass: a ~ that it writes stays
	}
	return b.String()
}

package query

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// maxPattern bounds a regular expression, in bytes.
const maxPattern = 1000

// unary binds not, - and +.
func (b *binder) unary(n *ast.UnaryNode) (*bound, error) {
	x, err := b.bind(n.Node)
	if err != nil {
		return nil, err
	}
	if n.Operator == "not" || n.Operator == "!" {
		node, err := b.truth(n.Node, x)
		if err != nil {
			return nil, err
		}
		out := &bound{kind: kindBool, text: "not " + wrapped(x), ofRun: x.ofRun, node: &ast.UnaryNode{Operator: "not", Node: node}}
		if x.get != nil && x.kind == kindBool {
			out.cond = x.condition("==", false) // such a column is always there
		}
		return out, nil
	}
	if x.kind != kindNumber && x.kind != kindDuration && x.kind != kindAny {
		return nil, b.fail(n, "%s has no sign", x.kind)
	}
	if n.Operator == "+" {
		return x, nil
	}
	return b.apply(x.kind, "-"+wrapped(x), func(args []any) any { return negate(args[0]) }, x), nil
}

// wrapped is an expression's text as part of another one.
func wrapped(x *bound) string {
	if x.node != nil && strings.Contains(x.text, " ") && !strings.HasSuffix(x.text, ")") {
		return "(" + x.text + ")"
	}
	return x.text
}

var sameOperators = map[string]string{"&&": "and", "||": "or"}

// binary binds the operators with two sides.
func (b *binder) binary(n *ast.BinaryNode) (*bound, error) {
	op := n.Operator
	if same, ok := sameOperators[op]; ok {
		op = same
	}
	if right, ok := n.Right.(*ast.BinaryNode); ok && op == "in" && right.Operator == ".." {
		return b.between(n, right)
	}
	l, err := b.bind(n.Left)
	if err != nil {
		return nil, err
	}
	r, err := b.bind(n.Right)
	if err != nil {
		return nil, err
	}
	text := wrapped(l) + " " + op + " " + wrapped(r)
	switch {
	case op == "and" || op == "or":
		return b.logic(n, op, l, r, text)
	case orders[op] != nil:
		return b.compare(n, op, l, r, text)
	case op == "in":
		return b.in(n, l, r, text)
	case op == "matches":
		return b.matches(n, l, r, text)
	case matchers[op] != nil:
		return b.match(n, op, l, r, text)
	case op == "??":
		return b.coalesce(l, r, text), nil
	case arithmetic[op] != nil:
		k, ok := computed(op, l.kind, r.kind)
		if !ok {
			return nil, b.fail(n, "%s %s %s: this cannot be computed", l.kind, op, r.kind)
		}
		fn := arithmetic[op]
		return b.apply(k, text, func(args []any) any { return fn(args[0], args[1]) }, l, r), nil
	}
	return nil, b.fail(n, "there is no operator %s here", op)
}

func (b *binder) logic(n *ast.BinaryNode, op string, l, r *bound, text string) (*bound, error) {
	left, err := b.truth(n.Left, l)
	if err != nil {
		return nil, err
	}
	right, err := b.truth(n.Right, r)
	if err != nil {
		return nil, err
	}
	node := &ast.BinaryNode{Operator: op, Left: left, Right: right}
	return &bound{kind: kindBool, text: text, ofRun: l.ofRun && r.ofRun, node: node}, nil
}

// coalesce is l, or r where l is nil.
func (b *binder) coalesce(l, r *bound, text string) *bound {
	k := l.kind
	if r.kind != k {
		k = kindAny
	}
	return b.apply(k, text, func(args []any) any {
		if args[0] == nil {
			return args[1]
		}
		return args[0]
	}, l, r)
}

// computed returns the kind that an operator makes of two kinds.
func computed(op string, l, r kind) (kind, bool) {
	if l == kindAny || r == kindAny {
		return kindAny, fitsComputing(l) && fitsComputing(r)
	}
	switch {
	case l == kindNumber && r == kindNumber:
		return kindNumber, true
	case l == kindTime && r == kindDuration && (op == "+" || op == "-"), l == kindDuration && r == kindTime && op == "+":
		return kindTime, true
	case l == kindTime && r == kindTime && op == "-":
		return kindDuration, true
	case l == kindDuration && r == kindDuration && (op == "+" || op == "-"):
		return kindDuration, true
	case l == kindDuration && r == kindDuration && op == "/":
		return kindNumber, true
	case l == kindDuration && r == kindNumber && (op == "*" || op == "/"), l == kindNumber && r == kindDuration && op == "*":
		return kindDuration, true
	}
	return 0, false
}

func fitsComputing(k kind) bool {
	return k == kindAny || k == kindNumber || k == kindTime || k == kindDuration
}

// compare binds a comparison. The word nil stands for what is not there: all
// other comparisons with that are false.
func (b *binder) compare(n *ast.BinaryNode, op string, l, r *bound, text string) (*bound, error) {
	if l.fixed && !r.fixed {
		l, r, op = r, l, flipped[op]
	}
	if r.fixed && r.kind == kindNil {
		return b.presence(n, op, l, text)
	}
	if err := b.comparable(n, l, r); err != nil {
		return nil, err
	}
	if l.get == nil || !r.fixed {
		fn := comparison(op)
		return b.apply(kindBool, text, func(args []any) any { return fn(args[0], args[1]) }, l, r), nil
	}
	get, fulfils, value := l.get, orders[op], r.value
	x := &bound{kind: kindBool, text: text, ofRun: l.ofRun, cond: l.condition(op, value)}
	x.test = func(s *scope) bool {
		c, ok := compare(get(s), value)
		return ok && fulfils(c)
	}
	return x, nil
}

// comparable holds the kinds of two sides against each other, and a word against
// those that a column can be.
func (b *binder) comparable(n *ast.BinaryNode, l, r *bound) error {
	for _, x := range []*bound{l, r} {
		if x.fixed && x.value == nil && x.kind != kindNil {
			return b.fail(n, "%s comes to nil, and a comparison with that is never true", x.text)
		}
	}
	switch {
	case l.kind == kindNil || r.kind == kindNil:
		return b.fail(n, "nil is compared by == and != only")
	case l.kind == kindList || l.kind == kindLabels || r.kind == kindList || r.kind == kindLabels:
		return b.fail(n, "%s cannot be compared with %s", l.kind, r.kind)
	case !fits(l.kind, r.kind):
		if text, ok := r.value.(string); ok && r.fixed && (l.kind == kindTime && toTime(text) != nil || l.kind == kindDuration && toDuration(text) != nil) {
			return b.fail(n, "%s is %s and %s is a text: write it without quotes", l.text, l.kind, r.text)
		}
		return b.fail(n, "%s is %s and %s is %s: they are never equal", l.text, l.kind, r.text, r.kind)
	}
	if word, ok := r.value.(string); ok && r.fixed {
		return b.known(n, l, word)
	}
	return nil
}

// known makes sure that a column can be a word.
func (b *binder) known(n ast.Node, l *bound, word string) error {
	for _, w := range l.words {
		if w == word {
			return nil
		}
	}
	if l.words == nil {
		return nil
	}
	return b.fail(n, "%s is never %s: it is %s", l.text, strconv.Quote(word), strings.Join(l.words, ", "))
}

func (b *binder) presence(n *ast.BinaryNode, op string, l *bound, text string) (*bound, error) {
	if op != "==" && op != "!=" {
		return nil, b.fail(n, "nil is compared by == and != only")
	}
	absent := op == "=="
	return b.apply(kindBool, text, func(args []any) any { return (args[0] == nil) == absent }, l), nil
}

// in binds "in" with a list, with a JSON array, or with labels.
func (b *binder) in(n *ast.BinaryNode, l, r *bound, text string) (*bound, error) {
	if r.kind != kindList {
		if r.kind != kindAny && r.kind != kindLabels {
			return nil, b.fail(n.Right, "expected a list such as [1, 2], a range such as 1..5, labels or JSON, and this is %s", r.kind)
		}
		return b.apply(kindBool, text, func(args []any) any { return isIn(args[0], args[1]) }, l, r), nil
	}
	for _, v := range r.value.([]any) {
		if k := kindOf(v); k == kindNil || !fits(l.kind, k) {
			return nil, b.fail(n.Right, "%s is %s, and the list has %s in it", l.text, l.kind, k)
		}
		if word, ok := v.(string); ok {
			if err := b.known(n, l, word); err != nil {
				return nil, err
			}
		}
	}
	among := newSet(r.value.([]any))
	if l.get == nil {
		return b.apply(kindBool, text, func(args []any) any { return among.has(args[0]) }, l), nil
	}
	get := l.get
	return &bound{
		kind: kindBool, text: text, ofRun: l.ofRun, cond: l.condition("in", r.value),
		test: func(s *scope) bool { return among.has(get(s)) },
	}, nil
}

// between binds x in a..b: from a up to b, both included.
func (b *binder) between(n, span *ast.BinaryNode) (*bound, error) {
	var sides [3]*bound
	for i, node := range []ast.Node{n.Left, span.Left, span.Right} {
		var err error
		if sides[i], err = b.bind(node); err != nil {
			return nil, err
		}
	}
	x, from, to := sides[0], sides[1], sides[2]
	for _, end := range []*bound{from, to} {
		if err := b.comparable(n, x, end); err != nil {
			return nil, err
		}
	}
	text := wrapped(x) + " in " + wrapped(from) + ".." + wrapped(to)
	out := b.apply(kindBool, text, func(args []any) any {
		low, ok := compare(args[0], args[1])
		high, ok2 := compare(args[0], args[2])
		return ok && ok2 && low >= 0 && high <= 0
	}, x, from, to)
	if x.get != nil && from.fixed && to.fixed {
		out.cond = x.condition("..", []any{from.value, to.value})
	}
	return out, nil
}

// match binds startsWith, endsWith and contains.
func (b *binder) match(n *ast.BinaryNode, op string, l, r *bound, text string) (*bound, error) {
	for _, side := range []*bound{l, r} {
		if !fits(side.kind, kindText) || side.kind == kindNil {
			return nil, b.fail(n, "%s takes two texts, and %s is %s", op, side.text, side.kind)
		}
	}
	fn := matchers[op]
	part, isText := r.value.(string) // a constant that cannot be computed is none
	if l.get == nil || !isText {
		return b.apply(kindBool, text, func(args []any) any {
			s, ok := args[0].(string)
			part, ok2 := args[1].(string)
			return ok && ok2 && fn(s, part)
		}, l, r), nil
	}
	get := l.get
	return &bound{
		kind: kindBool, text: text, ofRun: l.ofRun, cond: l.condition(op, part),
		test: func(s *scope) bool {
			text, ok := get(s).(string)
			return ok && fn(text, part)
		},
	}, nil
}

// matches binds a regular expression, which takes time in proportion to the text.
func (b *binder) matches(n *ast.BinaryNode, l, r *bound, text string) (*bound, error) {
	pattern, ok := r.value.(string)
	switch {
	case !ok || !r.fixed:
		return nil, b.fail(n.Right, "expected a regular expression in quotes")
	case len(pattern) > maxPattern:
		return nil, b.fail(n.Right, "a regular expression of %d bytes, the limit is %d", len(pattern), maxPattern)
	case !fits(l.kind, kindText) || l.kind == kindNil:
		return nil, b.fail(n, "matches takes a text, and %s is %s", l.text, l.kind)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, b.fail(n.Right, "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return b.apply(kindBool, text, func(args []any) any {
		s, ok := args[0].(string)
		return ok && re.MatchString(s)
	}, l), nil
}

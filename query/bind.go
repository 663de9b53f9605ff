package query

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
)

// bound is an expression whose names are found and whose types fit.
type bound struct {
	kind  kind
	text  string // the expression, always written in the same way
	ofRun bool   // it looks at the run only, or at nothing

	fixed bool // it is value, whatever it is evaluated over
	value any

	get    func(*scope) any // a column, or something within one
	column string           // its name …
	label  string           // … and that of the label; neither for what is within JSON
	doc    int              // of a whole document, 1 + its index
	words  []string         // all that the column can be

	test func(*scope) bool // a comparison with a constant
	cond *condition        // what that compares
	node ast.Node          // anything else, as expr carries it out
}

// condition is a comparison of a column with a constant, as plans look at them.
type condition struct {
	column, label string // as those of bound
	op            string
	value         any // of "in" and ".." a []any
}

func (x *bound) condition(op string, value any) *condition {
	return &condition{x.column, x.label, op, value}
}

// binder finds out what the names of an expression mean. Columns, comparisons
// with constants and whatever else must not fail on data become functions that
// expr calls; expr has the rest.
type binder struct {
	source   *source
	clause   *clause
	now      time.Time
	calls    conf.FunctionsTable
	timeless bool // now() has no meaning
}

func (b *binder) fail(n ast.Node, format string, args ...any) error {
	return b.clause.fail(n.Location().From, format, args...)
}

// bind binds a tree of expr's parser.
func (b *binder) bind(n ast.Node) (*bound, error) {
	switch n := n.(type) {
	case *ast.NilNode:
		return fixed(nil), nil
	case *ast.BoolNode:
		return fixed(n.Value), nil
	case *ast.IntegerNode:
		return fixed(int64(n.Value)), nil
	case *ast.FloatNode:
		return fixed(n.Value), nil
	case *ast.StringNode:
		return fixed(b.clause.texts[n.Location().From]), nil
	case *ast.ArrayNode:
		return b.list(n)
	case *ast.IdentifierNode, *ast.MemberNode, *ast.ChainNode:
		return b.path(n)
	case *ast.UnaryNode:
		return b.unary(n)
	case *ast.BinaryNode:
		return b.binary(n)
	case *ast.CallNode:
		callee, ok := n.Callee.(*ast.IdentifierNode)
		if !ok {
			return nil, b.fail(n, "columns are not called; there are the functions %s", functionNames())
		}
		return b.call(n, callee.Value, n.Arguments)
	case *ast.BuiltinNode:
		return b.call(n, n.Name, n.Arguments)
	}
	return nil, b.fail(n, "expected a column, a value, a comparison, or one of the functions %s", functionNames())
}

func functionNames() string {
	names := append(slices.Collect(maps.Keys(functions)), "now", "text")
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func fixed(v any) *bound {
	return &bound{kind: kindOf(v), fixed: true, value: v, ofRun: true, text: writtenConstant(v)}
}

// writtenConstant is a constant as a query has it.
func writtenConstant(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return strconv.Quote(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case int64:
		if v == math.MinInt64 { // there is no number to put a sign before
			return "(-9223372036854775807 - 1)"
		}
	case time.Duration:
		if v == math.MinInt64 {
			return "(-9223372036854775807ns - 1ns)"
		}
	case []any:
		var items []string
		for _, item := range v {
			items = append(items, writtenConstant(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(v)
}

// list binds [a, b, …], all constants.
func (b *binder) list(n *ast.ArrayNode) (*bound, error) {
	values := []any{}
	for _, item := range n.Nodes {
		x, err := b.bind(item)
		switch {
		case err != nil:
			return nil, err
		case !x.fixed || x.kind == kindList:
			return nil, b.fail(item, "expected a constant: lists hold nothing else")
		}
		values = append(values, x.value)
	}
	return fixed(values), nil
}

// path binds a name, and what it leads to: a column, a label, a place in JSON.
func (b *binder) path(n ast.Node) (*bound, error) {
	root, steps, err := b.steps(n)
	if err != nil {
		return nil, err
	}
	if v, ok := b.clause.literals[root.Location().From]; ok {
		if len(steps) > 0 {
			return nil, b.fail(n, "%s has no members", kindOf(v))
		}
		return fixed(v), nil
	}
	if root.Value == "meta" && b.source.columns["metadata"] != nil {
		root.Value = "metadata"
	}
	name, taken := root.Value, 0
	c := b.source.columns[name]
	// The longest name that there is: run.namespace.tenant is a column.
	for i := range steps {
		if !steps[i].member {
			break
		}
		name += "." + steps[i].name
		if longer := b.source.columns[name]; longer != nil {
			c, taken = longer, i+1
		}
	}
	switch {
	case c == nil && len(steps) == 0 && strings.EqualFold(root.Value, "null"):
		return nil, b.fail(root, "no column is named %s: what is not there is nil", root.Value)
	case c == nil && (root.Value != "run" || len(steps) == 0):
		return nil, b.fail(root, "no column is named %s; %s have %s", root.Value, b.source.name, b.source.names())
	case c == nil:
		return nil, b.fail(root, "runs have no column %s; they have %s", steps[0].name, sources[Runs].names())
	}
	full := c.name
	if c.ofRun && b.source.name != Runs {
		full = "run." + c.name
	}
	return b.within(n, c, full, steps[taken:])
}

// steps takes a.b["c"][0] apart.
func (b *binder) steps(n ast.Node) (root *ast.IdentifierNode, steps path, err error) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n, nil, nil
	case *ast.ChainNode:
		return b.steps(n.Node)
	case *ast.MemberNode:
		if root, steps, err = b.steps(n.Node); err != nil {
			return nil, nil, err
		}
		switch p := n.Property.(type) {
		case *ast.StringNode:
			at := p.Location().From
			name, quoted := b.clause.texts[at]
			if !quoted {
				name = p.Value
			}
			if _, ok := b.clause.literals[at]; ok {
				return nil, nil, b.fail(p, "expected a name behind the dot: what is no name goes into brackets, as in value[\"7d\"] or value[$1]")
			}
			return root, append(steps, newStep(name)), nil
		case *ast.IntegerNode:
			return root, append(steps, step{index: p.Value}), nil
		case *ast.IdentifierNode:
			if text, ok := b.clause.literals[p.Location().From].(string); ok {
				return root, append(steps, newStep(text)), nil
			}
		}
		return nil, nil, b.fail(n.Property, "expected a name in quotes or an index")
	}
	return nil, nil, b.fail(n, "only columns have members")
}

// within binds what lies at the steps within a column.
func (b *binder) within(n ast.Node, c *column, full string, steps path) (*bound, error) {
	x := &bound{kind: c.kind, text: full, ofRun: c.ofRun, get: c.get, column: full, doc: c.doc, words: c.words}
	if len(steps) == 0 {
		return x, nil
	}
	x.doc, x.words = 0, nil
	switch {
	case c.kind == kindLabels:
		// Names of labels have dots in them: attributes.gen_ai.tool.name is one.
		var names []string
		for i := range steps {
			if !steps[i].member {
				return nil, b.fail(n, "%s have names, not indexes", full)
			}
			names = append(names, steps[i].name)
		}
		name := strings.Join(names, ".")
		x.kind, x.label, x.text = kindText, name, full+"["+strconv.Quote(name)+"]"
		x.get = func(s *scope) any {
			if v, ok := c.get(s).(map[string]string)[name]; ok {
				return v
			}
			return nil
		}
	case c.doc > 0:
		i := c.doc - 1
		x.column = ""
		x.text += steps.String()
		x.get = func(s *scope) any { return steps.in(&s.docs[i]) }
	default:
		return nil, b.fail(n, "%s is %s: it has no members", full, c.kind)
	}
	return x, nil
}

// String is the path as a query has it.
func (p path) String() string {
	var s strings.Builder
	for i := range p {
		switch st := &p[i]; {
		case !st.member:
			fmt.Fprintf(&s, "[%d]", st.index)
		case st.plain:
			s.WriteString("." + st.name)
		default:
			fmt.Fprintf(&s, "[%q]", st.name)
		}
	}
	return s.String()
}

// names lists the columns, for people.
func (s *source) names() string {
	var names []string
	for name := range s.columns {
		if !strings.HasPrefix(name, "run.") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if s.name != Runs {
		names = append(names, "and run.… of their run")
	}
	return strings.Join(names, ", ")
}

// define names a function that expr calls.
func (b *binder) define(fn func(args []any) any) string {
	name := "f" + strconv.Itoa(len(b.calls))
	b.calls[name] = &builtin.Function{Name: name, Func: func(args ...any) (any, error) { return fn(args), nil }}
	return name
}

func callOf(name string, args ...ast.Node) ast.Node {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: args}
}

// nodeOf is an expression as expr carries it out.
func (b *binder) nodeOf(x *bound) ast.Node {
	switch {
	case x.fixed:
		return &ast.ConstantNode{Value: x.value}
	case x.test != nil:
		test := x.test
		return callOf(b.define(func(args []any) any { return test(args[0].(*scope)) }), &ast.IdentifierNode{Value: "$env"})
	case x.get != nil:
		get := x.get
		return callOf(b.define(func(args []any) any { return get(args[0].(*scope)) }), &ast.IdentifierNode{Value: "$env"})
	}
	return x.node
}

// truth is an expression as something that is true or not: what is no bool is
// not true.
func (b *binder) truth(n ast.Node, x *bound) (ast.Node, error) {
	switch {
	case x.kind != kindBool && x.kind != kindAny && x.kind != kindNil:
		return nil, b.fail(n, "expected a condition, and this is %s", x.kind)
	case x.fixed:
		return &ast.BoolNode{Value: x.value == true}, nil
	case x.kind == kindBool && x.get == nil:
		return b.nodeOf(x), nil // it is never nil
	}
	return callOf(b.define(func(args []any) any { return args[0] == true }), b.nodeOf(x)), nil
}

// apply makes an expression of a call with arguments, at once where they are
// constants.
func (b *binder) apply(k kind, text string, call func(args []any) any, args ...*bound) *bound {
	constant, ofRun := true, true
	var values []any
	var nodes []ast.Node
	for _, x := range args {
		constant, ofRun = constant && x.fixed, ofRun && x.ofRun
		values = append(values, x.value)
	}
	if constant {
		x := fixed(call(values))
		if x.kind == kindNil { // it cannot be computed, which is not the word nil
			x.kind, x.text = k, text
		}
		return x
	}
	for _, x := range args {
		nodes = append(nodes, b.nodeOf(x))
	}
	return &bound{kind: k, text: text, ofRun: ofRun, node: callOf(b.define(call), nodes...)}
}

// call binds the call of a function.
func (b *binder) call(n ast.Node, name string, args []ast.Node) (*bound, error) {
	fn := functions[name]
	count := 0
	switch {
	case fn != nil:
		count = len(fn.params)
	case name == "text":
		count = 1
	case name != "now":
		return nil, b.fail(n, "there is no function %s; there are %s", name, functionNames())
	}
	if len(args) != count {
		return nil, b.fail(n, "%s takes %d arguments, not %d", name, count, len(args))
	}
	if name == "now" {
		if b.timeless {
			return nil, b.fail(n, "a filter has no clock: give it the time as an argument, $1")
		}
		x := fixed(b.now.UTC())
		x.text = "now()"
		return x, nil
	}
	var list []*bound
	var texts []string
	for i, arg := range args {
		x, err := b.bind(arg)
		if err != nil {
			return nil, err
		}
		if fn != nil && !fits(x.kind, fn.params[i]) {
			return nil, b.fail(arg, "%s takes %s, and this is %s", name, fn.params[i], x.kind)
		}
		list, texts = append(list, x), append(texts, x.text)
	}
	text := name + "(" + strings.Join(texts, ", ") + ")"
	if fn == nil {
		return b.textOf(args[0], list[0], text)
	}
	return b.apply(fn.result, text, fn.call, list...), nil
}

// textOf binds text(x): the bytes of a document as they are stored, and a text
// itself.
func (b *binder) textOf(n ast.Node, x *bound, text string) (*bound, error) {
	switch {
	case x.doc > 0:
		i := x.doc - 1
		return &bound{kind: kindText, text: text, get: func(s *scope) any {
			if s.docs[i].raw == nil {
				return nil
			}
			return s.docs[i].text()
		}}, nil
	case !fits(x.kind, kindText):
		return nil, b.fail(n, "text takes a value, a payload, data, an input, an output, or a text; this is %s", x.kind)
	}
	return b.apply(kindText, text, func(args []any) any {
		switch v := args[0].(type) {
		case string:
			return v
		case JSON:
			return string(v)
		}
		return nil
	}, x), nil
}

// fits reports whether values of a kind can be of another.
func fits(have, want kind) bool {
	return have == want || have == kindAny || want == kindAny || have == kindNil
}

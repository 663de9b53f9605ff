package query

import (
	"errors"
	"fmt"
	"strings"

	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// The bounds of a query.
const (
	maxNodes   = 1000 // of each expression
	maxColumns = 100  // of a row
	maxOrder   = 10   // keys to order by
)

// keywords begin clauses, wherever they stand outside of brackets and not behind
// a dot.
var keywords = map[string]bool{
	"where": true, "select": true, "group": true, "order": true, "limit": true, "offset": true, "after": true,
	"count": true, "sum": true, "min": true, "max": true, "avg": true,
}

// aggregates are the keywords that begin one.
var aggregateWords = map[string]bool{"count": true, "sum": true, "min": true, "max": true, "avg": true}

// clauses is how a query goes on, for people.
const clauses = "where, select, group by, count, sum, min, max, avg, order by, limit, offset, after"

// textParser reads the clauses of a query; what is within them is for expr.
type textParser struct {
	whole  string
	runes  []rune
	tokens []token
	i      int
}

func newParser(text string, args []any) (*textParser, error) {
	tokens, runes, err := lex(text, args)
	return &textParser{whole: text, runes: runes, tokens: tokens}, err
}

func failAt(whole string, at int, format string, args ...any) error {
	return &SyntaxError{Text: whole, Column: at + 1, Reason: fmt.Sprintf(format, args...)}
}

func (p *textParser) now() *token { return &p.tokens[p.i] }

func (p *textParser) fail(format string, args ...any) error {
	return failAt(p.whole, p.now().from, format, args...)
}

// isKeyword reports whether a token begins a clause.
func (t *token) isKeyword() bool {
	return t.kind == tokenWord && t.depth == 0 && !t.member && keywords[t.text]
}

// accept takes words, if they come next.
func (p *textParser) accept(words ...string) bool {
	for i, w := range words {
		if p.i+i >= len(p.tokens) || p.tokens[p.i+i].text != w || p.tokens[p.i+i].kind == tokenText {
			return false
		}
	}
	p.i += len(words)
	return true
}

// found is the next token, for people.
func (p *textParser) found() string {
	if p.now().kind == tokenEnd {
		return "the end"
	}
	return p.now().text
}

// query reads all of it.
func (p *textParser) query() (*Query, error) {
	q := &Query{limit: -1, memory: DefaultMemory, source: sources[Source(p.now().text)]}
	if q.source == nil || p.now().kind != tokenWord {
		return nil, p.fail("expected a source, one of %s, and found %s", sourceNames(), p.found())
	}
	p.i++
	for _, read := range []func(*Query) error{p.where, p.selection, p.grouping, p.aggregation, p.ordering, p.bounds} {
		if err := read(q); err != nil {
			return nil, err
		}
	}
	if p.now().kind != tokenEnd {
		if p.now().isKeyword() {
			return nil, p.fail("%s has no place here: the order is %s", p.found(), clauses)
		}
		return nil, p.fail("expected one of %s, and found %s", clauses, p.found())
	}
	q.text = p.written(len(p.tokens) - 1)
	return q, p.distinct(q)
}

// written is the text up to a token, with its arguments in their places.
func (p *textParser) written(end int) string {
	var s strings.Builder
	from := 0
	for i := range p.tokens[:end] {
		if t := &p.tokens[i]; t.isArgument() {
			s.WriteString(string(p.runes[from:t.from]) + t.written())
			from = t.to
		}
	}
	return strings.TrimSpace(s.String() + string(p.runes[from:p.tokens[end].from]))
}

func (t *token) isArgument() bool { return t.kind == tokenLiteral && t.text[0] == '$' }

// written is the token as it stands in the text, an argument as what it is.
func (t *token) written() string {
	if t.isArgument() {
		return writtenConstant(t.value)
	}
	return t.text
}

// distinct makes sure that columns can be told apart by name.
func (p *textParser) distinct(q *Query) error {
	seen := map[string]bool{}
	for _, name := range q.Columns() {
		if seen[name] {
			return p.fail("two columns are named %s: give one another name, as in: %s as other", name, name)
		}
		seen[name] = true
	}
	if len(seen) > maxColumns {
		return p.fail("%d columns, the limit is %d", len(seen), maxColumns)
	}
	return nil
}

func (p *textParser) where(q *Query) (err error) {
	if p.accept("where") {
		q.where, err = p.expression()
	}
	return err
}

func (p *textParser) selection(q *Query) (err error) {
	if !p.accept("select") {
		return nil
	}
	if p.accept("*") {
		return nil
	}
	q.selected, err = p.named()
	return err
}

func (p *textParser) grouping(q *Query) (err error) {
	if !p.accept("group") {
		return nil
	}
	if len(q.selected) > 0 {
		return p.fail("select and group by exclude each other: rows have what they are grouped by, and the aggregates")
	}
	if !p.accept("by") {
		return p.fail("expected by behind group, and found %s", p.found())
	}
	q.groups, err = p.named()
	return err
}

// named reads expressions with names, between commas.
func (p *textParser) named() (list []*clause, err error) {
	for {
		c, err := p.expression()
		if err != nil {
			return nil, err
		}
		if c.name = squeezed(c.text); p.accept("as") {
			if c.name, err = p.name(); err != nil {
				return nil, err
			}
		}
		if list = append(list, c); !p.accept(",") {
			return list, nil
		}
	}
}

func (p *textParser) name() (string, error) {
	t := p.now()
	if t.kind != tokenWord || t.isKeyword() {
		return "", p.fail("expected a name behind as, and found %s", p.found())
	}
	p.i++
	return t.text, nil
}

func (p *textParser) aggregation(q *Query) error {
	if !aggregateWords[p.now().text] || p.now().kind != tokenWord {
		return nil
	}
	if len(q.selected) > 0 {
		return p.fail("select and aggregates exclude each other: rows have what they are grouped by, and the aggregates")
	}
	for {
		a, err := p.aggregate()
		if err != nil {
			return err
		}
		if p.accept("as") {
			if a.name, err = p.name(); err != nil {
				return err
			}
		}
		if q.aggregates = append(q.aggregates, a); !p.accept(",") {
			return nil
		}
	}
}

// aggregate reads count, or a function of an expression.
func (p *textParser) aggregate() (*aggregate, error) {
	a := &aggregate{fn: p.now().text}
	if !aggregateWords[a.fn] || p.now().kind != tokenWord {
		return nil, p.fail("expected count, sum, min, max or avg, and found %s", p.found())
	}
	p.i++
	a.name = a.fn
	if !p.accept("(") {
		if a.fn != "count" {
			return nil, p.fail("expected an expression in brackets behind %s, and found %s", a.fn, p.found())
		}
		return a, nil
	}
	if a.fn == "count" && p.accept(")") {
		return a, nil
	}
	c, err := p.until(func(t *token) bool { return t.depth == 0 && t.text == ")" })
	if err != nil {
		return nil, err
	}
	p.i++
	a.of, a.name = c, a.fn+"("+squeezed(c.text)+")"
	return a, nil
}

func (p *textParser) ordering(q *Query) error {
	if !p.accept("order") {
		return nil
	}
	if !p.accept("by") {
		return p.fail("expected by behind order, and found %s", p.found())
	}
	for {
		o, err := p.orderKey(q)
		if err != nil {
			return err
		}
		if !p.accept("asc") {
			o.desc = p.accept("desc")
		}
		if len(q.orders) == maxOrder {
			return p.fail("more than %d keys to order by", maxOrder)
		}
		if q.orders = append(q.orders, o); !p.accept(",") {
			return nil
		}
	}
}

// orderKey reads an expression, or the name of a column of the row; of groups it
// must be one.
func (p *textParser) orderKey(q *Query) (*ordering, error) {
	begin := p.now().from
	o := &ordering{column: -1}
	if !q.grouped() {
		c, err := p.expression()
		if o.key = c; err != nil {
			return nil, err
		}
		for _, selected := range q.selected {
			if selected.name == squeezed(c.text) {
				o.key = selected // by the name that it was given
			}
		}
		return o, nil
	}
	var name string
	if aggregateWords[p.now().text] && p.now().kind == tokenWord {
		a, err := p.aggregate()
		if err != nil {
			return nil, err
		}
		name = a.name
	} else {
		c, err := p.expression()
		if err != nil {
			return nil, err
		}
		name = squeezed(c.text)
	}
	columns := q.Columns()
	for i, c := range columns {
		if c == name {
			o.column = i
			return o, nil
		}
	}
	return nil, failAt(p.whole, begin, "groups have no column %s to order by; they have %s", name, strings.Join(columns, ", "))
}

// expression reads up to where a clause or an item of a list ends.
func (p *textParser) expression() (*clause, error) {
	return p.until(func(t *token) bool {
		return t.isKeyword() || t.depth == 0 && !t.member &&
			(t.kind == tokenSign && t.text == "," || t.kind == tokenWord && (t.text == "as" || t.text == "asc" || t.text == "desc"))
	})
}

// until reads an expression up to a token, and has expr parse it.
func (p *textParser) until(end func(*token) bool) (*clause, error) {
	first := p.i
	for p.now().kind != tokenEnd && !end(p.now()) {
		p.i++
	}
	if p.i == first {
		return nil, p.fail("expected an expression, and found %s", p.found())
	}
	begin, behind := p.tokens[first].from, p.tokens[p.i-1].to
	c := &clause{whole: p.whole, at: begin, text: string(p.runes[begin:behind]), literals: map[int]any{}, texts: map[int]string{}}
	// expr does not know the literals: it gets names of their length instead, so
	// that all columns stay what they are. Nor does it read texts as Go does.
	source := []rune(c.text)
	for i := first; i < p.i; i++ {
		t := &p.tokens[i]
		from, to := t.from-begin, t.to-begin
		switch t.kind {
		case tokenLiteral:
			c.literals[from] = t.value
		case tokenText:
			c.texts[from] = t.value.(string)
			from, to = from+1, to-1
		default:
			continue
		}
		for ; from < to; from++ {
			source[from] = '_'
		}
	}
	tree, err := parser.ParseWithConfig(string(source), exprConfig())
	if err != nil {
		return nil, p.explain(c, p.tokens[first:p.i+1], err)
	}
	c.tree = tree.Node
	return c, nil
}

// exprConfig is how expr parses and compiles: without its functions, and bounded.
func exprConfig() *conf.Config {
	cfg := conf.CreateNew()
	cfg.Optimize, cfg.DisableIfOperator, cfg.MaxNodes = false, true, maxNodes
	clear(cfg.Builtins)
	return cfg
}

// explain says what expr's parser expected, as far as the token before tells.
func (p *textParser) explain(c *clause, tokens []token, err error) error {
	var at *file.Error
	if !errors.As(err, &at) {
		return c.fail(0, "%v", err)
	}
	if strings.Contains(at.Message, "maximum allowed nodes") {
		return c.fail(at.From, "an expression of more than %d parts", maxNodes)
	}
	before, found, from := token{}, "the end", at.From
	if strings.Contains(at.Message, "EOF") { // expr has it at the last character
		from = tokens[len(tokens)-1].from - c.at
	}
	for _, t := range tokens {
		if t.from-c.at >= from {
			if from = t.from - c.at; t.kind != tokenEnd {
				found = t.text
			}
			break
		}
		before = t
	}
	switch {
	case !strings.HasPrefix(at.Message, "unexpected"):
		return c.fail(at.From, "%s", at.Message)
	case before.operand():
		return c.fail(from, "expected an operator such as == or and, or one of %s, and found %s", clauses, found)
	}
	return c.fail(from, "expected a value, and found %s", found)
}

// operatorWords are the words that are no names.
var operatorWords = map[string]bool{
	"and": true, "or": true, "not": true, "in": true, "startsWith": true, "endsWith": true, "contains": true, "matches": true,
}

// operand reports whether a value ends with the token.
func (t *token) operand() bool {
	switch t.kind {
	case tokenWord:
		return !operatorWords[t.text]
	case tokenNumber, tokenText, tokenLiteral:
		return true
	case tokenSign:
		return t.text == ")" || t.text == "]"
	}
	return false
}

func sourceNames() string {
	return strings.Join([]string{string(Runs), string(KV), string(Events), string(States), string(Spans), string(Vectors)}, ", ")
}

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/big"
	"strings"

	"inmem/vfs"
)

// Calculator is a tool that works out expressions of numbers, + - * / and
// parentheses, exactly. It has no effects, so calling it again does no harm.
type Calculator struct{}

const (
	maxExpression = 1 << 10 // bytes
	maxNumber     = 30      // digits
)

// Call implements Tool. The argument is "expression".
func (Calculator) Call(_ string, arguments []byte) (string, bool, error) {
	var args struct {
		Expression string `json:"expression"`
	}
	if err := json.Unmarshal(arguments, &args); err != nil {
		return "", false, err
	}
	if len(args.Expression) > maxExpression {
		return "", false, errors.New("the expression is too long")
	}
	tree, err := parser.ParseExpr(args.Expression)
	if err != nil {
		return "", false, err
	}
	value, err := evaluate(tree)
	if err != nil {
		return "", false, err
	}
	text := value.FloatString(6)
	return strings.TrimRight(strings.TrimRight(text, "0"), "."), false, nil
}

func evaluate(e ast.Expr) (*big.Rat, error) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return evaluate(e.X)
	case *ast.BasicLit:
		// Exponents could ask for more digits than there is memory.
		if len(e.Value) <= maxNumber && strings.Trim(e.Value, "0123456789.") == "" {
			if r, ok := new(big.Rat).SetString(e.Value); ok {
				return r, nil
			}
		}
		return nil, fmt.Errorf("%q is not a number", e.Value)
	case *ast.UnaryExpr:
		x, err := evaluate(e.X)
		if err != nil {
			return nil, err
		}
		if e.Op != token.SUB {
			return nil, errors.New("only - may stand before a number")
		}
		return x.Neg(x), nil
	case *ast.BinaryExpr:
		return binary(e)
	}
	return nil, errors.New("only numbers, + - * / and parentheses")
}

func binary(e *ast.BinaryExpr) (*big.Rat, error) {
	x, errX := evaluate(e.X)
	y, errY := evaluate(e.Y)
	if err := errors.Join(errX, errY); err != nil {
		return nil, err
	}
	switch e.Op {
	case token.ADD:
		return x.Add(x, y), nil
	case token.SUB:
		return x.Sub(x, y), nil
	case token.MUL:
		return x.Mul(x, y), nil
	case token.QUO:
		if y.Sign() == 0 {
			return nil, errors.New("division by zero")
		}
		return x.Quo(x, y), nil
	}
	return nil, fmt.Errorf("no operator %v", e.Op)
}

// Todo is a tool that adds to a to-do list in a file: an effect outside of the
// store. Each line names the call that added it, so that a call that is made
// again changes nothing.
type Todo struct{ Path string }

const (
	todoHead = "# To do\n\n"
	maxTodo  = 1 << 20 // bytes
)

// Call implements Tool. The argument is "item".
func (t Todo) Call(id string, arguments []byte) (result string, again bool, err error) {
	var args struct {
		Item string `json:"item"`
	}
	if err := json.Unmarshal(arguments, &args); err != nil {
		return "", false, err
	}
	item := strings.Join(strings.Fields(args.Item), " ")
	if item == "" {
		return "", false, errors.New("the item is empty")
	}
	items, err := t.Items()
	if err != nil {
		return "", false, err
	}
	for i, it := range items {
		if it.Call == id {
			return fmt.Sprintf("number %d on the list", i+1), true, nil
		}
	}
	items = append(items, TodoItem{Text: item, Call: id})
	var b strings.Builder
	b.WriteString(todoHead)
	for _, it := range items {
		fmt.Fprintf(&b, "- [ ] %s (%s)\n", it.Text, it.Call)
	}
	if err := vfs.WriteFileAtomic(vfs.OS, t.Path, []byte(b.String())); err != nil {
		return "", false, err
	}
	return fmt.Sprintf("number %d on the list", len(items)), false, nil
}

// TodoItem is a line of the list.
type TodoItem struct {
	Text string
	Call string // the ID of the call that added it
}

// Items reads the list. A file that is not there is an empty one.
func (t Todo) Items() ([]TodoItem, error) {
	b, err := vfs.ReadFile(vfs.OS, t.Path, maxTodo)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var items []TodoItem
	for line := range strings.Lines(string(b)) {
		text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "- [ ] ")
		open := strings.LastIndex(text, " (")
		if !ok || open < 0 || !strings.HasSuffix(text, ")") {
			continue
		}
		items = append(items, TodoItem{Text: text[:open], Call: text[open+2 : len(text)-1]})
	}
	return items, nil
}

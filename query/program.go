package query

import (
	"fmt"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
)

// value is an expression that is ready to be evaluated.
type value struct {
	*bound
	code *vm.Program // nil where get does it, or it is fixed
}

// newValue compiles an expression.
func (b *binder) newValue(x *bound) (*value, error) {
	if x.fixed || x.get != nil {
		return &value{bound: x}, nil
	}
	code, err := b.compile(b.nodeOf(x))
	return &value{bound: x, code: code}, err
}

// of returns the value for what is in scope. It may share bytes with the store.
func (v *value) of(s *scope) (any, error) {
	switch {
	case v.fixed:
		return v.value, nil
	case v.code == nil:
		return v.get(s), nil
	}
	return s.vm.Run(v.code, s)
}

// predicate is a condition that is ready to be evaluated.
type predicate struct {
	*bound
	code *vm.Program
}

// newPredicate compiles a condition.
func (b *binder) newPredicate(n ast.Node, x *bound) (*predicate, error) {
	node, err := b.truth(n, x)
	if err != nil {
		return nil, err
	}
	code, err := b.compile(node)
	return &predicate{bound: x, code: code}, err
}

// holds reports whether the condition is true for what is in scope.
func (p *predicate) holds(s *scope) (bool, error) {
	out, err := s.vm.Run(p.code, s)
	return out == true, err
}

// compile makes expr's byte code of what was bound.
func (b *binder) compile(node ast.Node) (*vm.Program, error) {
	cfg := exprConfig()
	cfg.Functions = b.calls
	tree := &parser.Tree{Node: node, Source: file.NewSource("")}
	_, err := checker.Check(tree, cfg)
	if err != nil {
		return nil, fmt.Errorf("inmem: compiling %q: %w", b.clause.text, err)
	}
	code, err := compiler.Compile(tree, cfg)
	if err != nil {
		return nil, fmt.Errorf("inmem: compiling %q: %w", b.clause.text, err)
	}
	return code, nil
}

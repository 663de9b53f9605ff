package main

import (
	"context"
	"strings"

	"inmem"
	"inmem/op"
	"inmem/vector"
	"inmem/vector/matrix"
)

// vectorChange is what an operation is to the face of vectors.
func (m *meaning) vectorChange(ctx context.Context, c *inmem.Commit, o *inmem.Op) {
	one := &oneOp{c, o}
	name, key, ofVector := strings.Cut(o.Key[1:], "\x00")
	if o.Key[0] == 'c' {
		if o.Kind != op.Put {
			m.verb, m.subject = o.Kind.String(), "collection "+plain(o.Key[1:])
			return
		}
		for made, err := range vector.NewStore(one, matrix.Set{}).Collections(ctx) {
			if err == nil {
				m.verb, m.subject, m.detail = "create", "collection "+plain(made.Name), made.Config.String()
			}
		}
		return
	}
	if o.Key[0] != 'v' || !ofVector {
		return
	}
	subject := "vector " + plain(name) + " " + plain(key)
	if o.Kind != op.Put {
		m.verb, m.subject = o.Kind.String(), subject
		return
	}
	it, err := vector.NewStore(inCollection{one}, matrix.Set{}).Get(ctx, name, key)
	if err == nil {
		m.verb, m.subject, m.detail, m.data = "put", subject, plural(len(it.Vector), "element"), it.Metadata
	}
}

// inCollection is a run in which there is nothing but one operation, and
// collections of no account, without which there are no vectors.
type inCollection struct{ *oneOp }

func (r inCollection) View() (op.View, error) { return oneOpView{r}, nil }

func (r inCollection) Get(tag op.Tag, key string) (op.Item, error) {
	if strings.HasPrefix(key, "c") {
		return op.Item{Value: anyCollection}, nil
	}
	return r.oneOp.Get(tag, key)
}

// anyCollection is how the face of vectors stores a collection.
var anyCollection = func() []byte {
	r := &startTaker{oneOp: oneOp{&inmem.Commit{}, &inmem.Op{}}}
	if _, err := vector.NewStore(r, matrix.Set{}).Create(context.Background(), "any", vector.Config{Dimension: 1, Metric: vector.Dot}); err != nil {
		panic(err)
	}
	return r.value
}()

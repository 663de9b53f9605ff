package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"inmem/bench/store"
)

// Writers is how many goroutines make the commits that a kill is to interrupt.
const Writers = 64

// Ledger remembers how many commits of each writer were acknowledged, also when
// the process is killed.
type Ledger interface {
	Acknowledge(writer int)
	Acknowledged(writer int) int
}

// Commit puts keys 0, 1, 2 …, each in a commit of its own, shared out among the
// writers in turn. With a limit it ends when so many keys are put, otherwise with
// its context, or its process.
func (d *Data) Commit(ctx context.Context, st store.Store, l Ledger, limit int) error {
	return each(Writers, func(w int) error {
		for n := w; (limit == 0 || n < limit) && ctx.Err() == nil; n += Writers {
			run, key := d.Key(n)
			if err := st.Put(run, key, d.numbered(n)); err != nil {
				return fmt.Errorf("put %s of run %d: %w", key, run, err)
			}
			l.Acknowledge(w)
		}
		return nil
	})
}

// numbered returns the value that belongs to a key put by Commit.
func (d *Data) numbered(n int) []byte {
	const far = 104_729 // a prime, so that neighbours share no bytes
	at := n % poolSize * far % poolSize
	return d.pool[at : at+d.Value]
}

// Missing returns how many commits were acknowledged, and how many of those are
// not in the store as they were put.
func (d *Data) Missing(st store.Store, l Ledger) (acknowledged, missing int, err error) {
	for w := range Writers {
		for i := range l.Acknowledged(w) {
			n := i*Writers + w
			run, key := d.Key(n)
			value, err := st.Get(run, key)
			acknowledged++
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return 0, 0, err
			}
			if err != nil || !bytes.Equal(value, d.numbered(n)) {
				missing++
			}
		}
	}
	return acknowledged, missing, nil
}

// First gets the first key of the first runs, so many as commits have reached,
// and begins with one: ready is called when that has been got.
func (d *Data) First(st store.Store, commits int, ready func()) error {
	for n := range min(d.Runs, commits) {
		run, key := d.Key(n)
		if _, err := st.Get(run, key); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("get %s of run %d: %w", key, run, err)
		}
		if n == 0 {
			ready()
		}
	}
	return nil
}

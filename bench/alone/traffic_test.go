package alone

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"inmem"
	"inmem/event"
	"inmem/kv"
)

// anyKey returns a key of the data set and its run.
func (s *store) anyKey(c *caller) (kv.Store, string) {
	return s.runs[c.rng.IntN(len(s.runs))].KV(), s.keys[c.rng.IntN(len(s.keys))]
}

func put(s *store, c *caller) error {
	face, key := s.anyKey(c)
	_, err := face.Put(ctx, key, c.value)
	return err
}

func get(s *store, c *caller) error {
	face, key := s.anyKey(c)
	value, err := face.Get(ctx, key)
	if err == nil && len(value) != valueSize {
		err = fmt.Errorf("%s has %d bytes", key, len(value))
	}
	return err
}

// miss asks for a key that is not there, but would lie among those that are.
func miss(s *store, c *caller) error {
	face, key := s.runs[c.rng.IntN(len(s.runs))].KV(), s.missing[c.rng.IntN(len(s.missing))]
	if _, err := face.Get(ctx, key); !errors.Is(err, inmem.ErrNotFound) {
		return fmt.Errorf("%s, which nobody put: %v", key, err)
	}
	return nil
}

// mixed is half gets, half puts.
func mixed(s *store, c *caller) error {
	if c.rng.IntN(2) == 0 {
		return put(s, c)
	}
	return get(s, c)
}

// scan reads 100 keys of a run in order.
func scan(s *store, c *caller) error {
	face, limit := s.runs[c.rng.IntN(len(s.runs))].KV(), min(100, len(s.keys))
	from := s.keys[c.rng.IntN(len(s.keys)-limit+1)]
	n := 0
	for _, err := range face.Range(ctx, from, "", kv.Limit(limit)) {
		if err != nil {
			return err
		}
		n++
	}
	if n != limit {
		return fmt.Errorf("a scan found %d keys", n)
	}
	return nil
}

// transaction reads two keys of a run and writes two others.
func transaction(s *store, c *caller) error {
	r, first := s.runs[c.rng.IntN(len(s.runs))], c.rng.IntN(len(s.keys))
	return r.Update(ctx, func(tx *inmem.Tx) error {
		for i := range 4 {
			var err error
			if key := s.keys[(first+i)%len(s.keys)]; i < 2 {
				_, err = tx.KV().Get(ctx, key)
			} else {
				_, err = tx.KV().Put(ctx, key, c.value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func BenchmarkPut(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.String(), func(b *testing.B) { byCallers(b, loaded(b, mode), put) })
	}
}

func BenchmarkGet(b *testing.B)   { byCallers(b, loaded(b, inmem.Batched), get) }
func BenchmarkMiss(b *testing.B)  { byCallers(b, loaded(b, inmem.Batched), miss) }
func BenchmarkMixed(b *testing.B) { byCallers(b, loaded(b, inmem.Batched), mixed) }
func BenchmarkScan(b *testing.B)  { byCallers(b, loaded(b, inmem.Batched), scan) }

func BenchmarkTransaction(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.String(), func(b *testing.B) {
			s := loaded(b, mode)
			b.Run("callers=16", func(b *testing.B) { concurrently(b, s, 16, transaction) })
		})
	}
}

// ownRun returns the caller's own run: nobody else writes to it.
func (s *store) ownRun(c *caller) *inmem.Run { return s.runs[c.number%len(s.runs)] }

// appendEvent appends to a stream of the caller's own.
func appendEvent(s *store, c *caller) error {
	_, err := s.ownRun(c).Events().Append(ctx, event.Main, event.New{Type: "tool.called", Payload: object})
	return err
}

// putNew puts what appendEvent appends: an event is a new key, too.
func putNew(s *store, c *caller) error {
	_, err := s.ownRun(c).KV().Put(ctx, "event/"+strconv.Itoa(100_000_000+c.calls), object)
	return err
}

// BenchmarkEvent appends events, and for comparison puts new keys. Each goes to a
// store of its own, which is as large only as the operations make it.
func BenchmarkEvent(b *testing.B) {
	for _, what := range []struct {
		name string
		op   func(*store, *caller) error
	}{{"append", appendEvent}, {"put", putNew}} {
		for _, mode := range modes {
			for _, callers := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/%s/callers=%d", what.name, mode, callers), func(b *testing.B) {
					concurrently(b, openStore(b, options(mode), callers), callers, what.op)
				})
			}
		}
	}
}

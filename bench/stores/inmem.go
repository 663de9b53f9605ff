package stores

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"inmem"
	"inmem/bench/store"
	"inmem/kv"
	"inmem/run"
)

// Inmem is the store of this repository.
func Inmem() store.Kind {
	const same = "Options as they are by default. A run of the store for each run, a batch for each Write. " +
		"Its scans lend what they read, as those of the others do. "
	return store.Kind{
		Name:    "inmem",
		Classes: []store.Class{store.Strict, store.Batched},
		Notes: map[store.Class]string{
			store.Strict:  same + "A power cut loses nothing.",
			store.Batched: same + "A killed process loses nothing, a power cut the last 100 ms.",
		},
		Open: func(dir string, class store.Class) (store.Store, error) {
			return openInmem(dir, inmem.Options{Durability: durabilities[class]})
		},
		Lean: func(dir string, class store.Class) (store.Store, error) {
			none := inmem.RetentionLimits{History: inmem.NoVersions}
			return openInmem(dir, inmem.Options{Durability: durabilities[class], Retention: inmem.Retention{Limits: none}})
		},
		Missing: present,
	}
}

// durabilities are the modes of the classes.
var durabilities = map[store.Class]inmem.Durability{
	store.Strict:  inmem.Strict,
	store.Batched: inmem.Batched,
}

type inmemStore struct {
	db   *inmem.DB
	runs []*inmem.Run
}

func openInmem(dir string, opts inmem.Options) (store.Store, error) {
	db, err := inmem.Open(dir, &opts)
	if err != nil {
		return nil, err
	}
	return &inmemStore{db: db}, nil
}

// runNames is where the IDs of the runs are derived from their numbers.
var runNames = run.Namespace{Tenant: "bench", App: "bench", Agent: "bench"}

// beginners is how many runs are begun at once: a Strict one takes a sync.
const beginners = 64

func (s *inmemStore) Begin(runs int) error {
	s.runs = make([]*inmem.Run, runs)
	errs := make([]error, beginners)
	var next atomic.Int64
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= runs {
					return
				}
				s.runs[n], errs[i] = s.begin(n)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *inmemStore) begin(n int) (*inmem.Run, error) {
	id := runNames.DeriveID(strconv.Itoa(n))
	r, err := s.db.Run(id)
	if errors.Is(err, run.ErrNotFound) {
		r, err = s.db.BeginRun(ctx, run.Meta{ID: id})
	}
	return r, err
}

func (s *inmemStore) Put(run int, key string, value []byte) error {
	_, err := s.runs[run].KV().Put(ctx, key, value)
	return err
}

func (s *inmemStore) Get(run int, key string) ([]byte, error) {
	return inmemGet(s.runs[run].KV(), key)
}

func inmemGet(face kv.Store, key string) ([]byte, error) {
	value, err := face.Get(ctx, key)
	if errors.Is(err, inmem.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	return value, err
}

func (s *inmemStore) Scan(run int, from string, limit int, visit func(string, []byte) bool) error {
	for item, err := range s.runs[run].KV().Range(ctx, from, "", kv.Limit(limit), kv.Lend()) {
		if err != nil {
			return err
		}
		if !visit(item.Key, item.Value) {
			return nil
		}
	}
	return nil
}

var batches = sync.Pool{New: func() any { return new(kv.Batch) }}

func (s *inmemStore) Write(run int, pairs []store.Pair) error {
	b := batches.Get().(*kv.Batch)
	for _, p := range pairs {
		b.Put(p.Key, p.Value)
	}
	_, err := s.runs[run].KV().Write(ctx, b)
	b.Reset()
	batches.Put(b)
	return err
}

func (s *inmemStore) Update(run int, fn func(store.Tx) error) error {
	return s.runs[run].Update(ctx, func(tx *inmem.Tx) error { return fn(inmemTx{tx.KV()}) })
}

type inmemTx struct{ face kv.Store }

func (t inmemTx) Get(key string) ([]byte, error) { return inmemGet(t.face, key) }

func (t inmemTx) Put(key string, value []byte) error {
	_, err := t.face.Put(ctx, key, value)
	return err
}

func (s *inmemStore) Flush() error { return s.db.Flush(ctx) }
func (s *inmemStore) Close() error { return s.db.Close() }

package workload

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"inmem/bench/store"
)

// action does one operation with a caller's random numbers.
type action func(rng *rand.Rand) error

// actions is what each cell does, bound to a data set and the store that has it.
var actions = map[string]func(*Data, store.Store) (action, error){
	Put:         always((*Data).put),
	Get:         always((*Data).get),
	Miss:        always((*Data).miss),
	Mostly:      always(func(d *Data, st store.Store) action { return d.mix(st, 5) }),
	Half:        always(func(d *Data, st store.Store) action { return d.mix(st, 50) }),
	Scan:        always((*Data).scan),
	Transaction: (*Data).transaction,
	"YCSB A":    always(func(d *Data, st store.Store) action { return d.update(st, 50) }),
	"YCSB B":    always(func(d *Data, st store.Store) action { return d.update(st, 5) }),
	"YCSB C":    always(func(d *Data, st store.Store) action { return d.update(st, 0) }),
	"YCSB D":    always((*Data).latest),
	"YCSB E":    always((*Data).shortScans),
	"YCSB F":    always((*Data).modify),
}

func always(bind func(*Data, store.Store) action) func(*Data, store.Store) (action, error) {
	return func(d *Data, st store.Store) (action, error) { return bind(d, st), nil }
}

func (d *Data) put(st store.Store) action {
	return func(rng *rand.Rand) error { return d.putKey(st, rng, rng.IntN(d.Keys)) }
}

func (d *Data) get(st store.Store) action {
	return func(rng *rand.Rand) error { return d.getKey(st, rng.IntN(d.Keys)) }
}

func (d *Data) putKey(st store.Store, rng *rand.Rand, n int) error {
	run, key := d.Key(n)
	if err := st.Put(run, key, d.value(rng)); err != nil {
		return fmt.Errorf("put %s of run %d: %w", key, run, err)
	}
	return nil
}

func (d *Data) getKey(st store.Store, n int) error {
	run, key := d.Key(n)
	value, err := st.Get(run, key)
	if err == nil && len(value) != d.Value {
		err = fmt.Errorf("%d bytes, not %d", len(value), d.Value)
	}
	if err != nil {
		return fmt.Errorf("get %s of run %d: %w", key, run, err)
	}
	touch(value)
	return nil
}

// miss asks for keys that are not there, but would lie among those that are.
func (d *Data) miss(st store.Store) action {
	return func(rng *rand.Rand) error {
		run, key := rng.IntN(d.Runs), d.missing[rng.IntN(len(d.missing))]
		if _, err := st.Get(run, key); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("get %s of run %d, which is not there: %v", key, run, err)
		}
		return nil
	}
}

// mix puts so many times in a hundred, and gets otherwise.
func (d *Data) mix(st store.Store, puts int) action {
	put, get := d.put(st), d.get(st)
	return func(rng *rand.Rand) error {
		if rng.IntN(100) < puts {
			return put(rng)
		}
		return get(rng)
	}
}

// scan reads up to 100 keys of a run in order.
func (d *Data) scan(st store.Store) action {
	limit := min(100, d.perRun())
	return func(rng *rand.Rand) error {
		from := rng.IntN(d.perRun() - limit + 1)
		n, err := d.scanFrom(st, rng.IntN(d.Runs), from, limit)
		if err == nil && n != limit {
			err = fmt.Errorf("a scan from %s found %d keys, not %d", d.names[from], n, limit)
		}
		return err
	}
}

// scanFrom returns how many keys a scan visited, all in order.
func (d *Data) scanFrom(st store.Store, run, from, limit int) (int, error) {
	n := 0
	var wrong error
	err := st.Scan(run, d.names[from], limit, func(key string, value []byte) bool {
		// The keys of a run have no gaps. What a store inserts may be behind them.
		if from+n < d.perRun() && key != d.names[from+n] || len(value) != d.Value {
			wrong = fmt.Errorf("a scan from %s has as number %d: %s with %d bytes", d.names[from], n, key, len(value))
		}
		touch(key)
		touch(value)
		n++
		return wrong == nil
	})
	if err != nil {
		return n, fmt.Errorf("scan from %s: %w", d.names[from], err)
	}
	return n, wrong
}

// transaction reads two keys of a run and writes two others.
func (d *Data) transaction(st store.Store) (action, error) {
	tr, ok := st.(store.Transactor)
	if !ok {
		return nil, errUnsupported("transactions")
	}
	perRun := d.perRun()
	if perRun < 4 {
		return nil, errors.New("transactions need runs of four keys")
	}
	return func(rng *rand.Rand) error {
		// Four keys of the run, far apart.
		first, step := rng.IntN(perRun), perRun/4
		key := func(i int) string { return d.names[(first+i*step)%perRun] }
		one, two := d.value(rng), d.value(rng)
		err := tr.Update(rng.IntN(d.Runs), func(tx store.Tx) error {
			for i := range 2 {
				value, err := tx.Get(key(i))
				if err != nil {
					return err
				}
				if len(value) != d.Value {
					return fmt.Errorf("%s has %d bytes", key(i), len(value))
				}
				touch(value)
			}
			if err := tx.Put(key(2), one); err != nil {
				return err
			}
			return tx.Put(key(3), two)
		})
		if err != nil {
			return fmt.Errorf("transaction: %w", err)
		}
		return nil
	}, nil
}

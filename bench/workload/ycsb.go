package workload

import (
	"fmt"
	"math/rand/v2"

	"inmem/bench/store"
)

// The core workloads of YCSB (Cooper et al., "Benchmarking cloud serving systems
// with YCSB", 2010, and its files workloada … workloadf), on the keys and the
// values of the data set: not on records of ten fields of 100 B. A key that is
// chosen often is anywhere in the set; scans are in the order of the keys, and
// within the run that they begin in.

// update is A (50 % updates), B (5 %) and C (none), the rest reads.
func (d *Data) update(st store.Store, updates int) action {
	z := zipfOf(d.Keys)
	return func(rng *rand.Rand) error {
		n := z.scrambled(rng)
		if rng.IntN(100) < updates {
			return d.putKey(st, rng, n)
		}
		return d.getKey(st, n)
	}
}

// latest is D: 95 % reads, most of what was inserted last, and 5 % inserts.
func (d *Data) latest(st store.Store) action {
	z := zipfOf(d.Keys)
	return func(rng *rand.Rand) error {
		if rng.IntN(100) < 5 {
			return d.insert(st, rng)
		}
		// Of what was inserted only what was acknowledged.
		last := d.Keys + int(d.inserted.done.Load()) - 1
		return d.getKey(st, last-z.next(rng))
	}
}

// insert puts a key that is not there.
func (d *Data) insert(st store.Store, rng *rand.Rand) error {
	n := d.inserted.take()
	if err := d.putKey(st, rng, d.Keys+int(n)); err != nil {
		return err
	}
	d.inserted.finish(n)
	return nil
}

// shortScans is E: 95 % scans of 1 to 100 keys, and 5 % inserts.
func (d *Data) shortScans(st store.Store) action {
	z := zipfOf(d.Keys)
	return func(rng *rand.Rand) error {
		if rng.IntN(100) < 5 {
			return d.insert(st, rng)
		}
		n, limit := z.scrambled(rng), 1+rng.IntN(100)
		run, from := n%d.Runs, n/d.Runs
		got, err := d.scanFrom(st, run, from, limit)
		if least := min(limit, d.perRun()-from); err == nil && got < least {
			err = fmt.Errorf("a scan from %s found %d keys, not %d", d.names[from], got, least)
		}
		return err
	}
}

// modify is F: 50 % reads, 50 % that read and then put the same key. As in YCSB
// that is no transaction.
func (d *Data) modify(st store.Store) action {
	z := zipfOf(d.Keys)
	return func(rng *rand.Rand) error {
		n := z.scrambled(rng)
		if err := d.getKey(st, n); err != nil || rng.IntN(2) == 0 {
			return err
		}
		return d.putKey(st, rng, n)
	}
}

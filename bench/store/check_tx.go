package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

const callers = 8

// parallel calls work in several goroutines, which it numbers.
func parallel(work func(n int) error) error {
	errs := make([]error, callers)
	var all sync.WaitGroup
	for n := range callers {
		all.Go(func() { errs[n] = work(n) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// callers puts and reads from several goroutines, each in all runs.
func (ck *checker) callers() error {
	const rounds = 20
	for n := range callers {
		for round := range rounds {
			ck.note(some[round%len(some)], callerKey(n, round), []byte(callerKey(n, round)))
		}
	}
	err := parallel(func(n int) error {
		for round := range rounds {
			run, key := some[round%len(some)], callerKey(n, round)
			if err := ck.s.Put(run, key, []byte(key)); err != nil {
				return err
			}
			if err := ck.get(run, key); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, ck.all())
}

func callerKey(n, round int) string { return fmt.Sprintf("caller %d/%d", n, round) }

func (ck *checker) transactions() error {
	s, ok := ck.s.(Transactor)
	if !ok {
		return nil
	}
	for _, step := range []struct {
		name string
		do   func(Transactor) error
	}{
		{"own writes", ck.ownWrites},
		{"abandoned", ck.abandoned},
		{"a counter", ck.counter},
		{"two keys that are written together", ck.together},
		{"two keys of which one must stay", ck.skew},
	} {
		if err := step.do(s); err != nil {
			return wrap(step.name, err)
		}
	}
	return ck.all()
}

func (ck *checker) ownWrites(s Transactor) error {
	if err := ck.put(1, "old", []byte("before")); err != nil {
		return err
	}
	ck.note(1, "old", []byte("after"))
	ck.note(1, "new", []byte("again"))
	again := []byte("again")
	err := s.Update(1, func(tx Tx) error {
		if err := errors.Join(expect(tx, "old", "before"), tx.Put("new", []byte("once")), expect(tx, "new", "once")); err != nil {
			return err
		}
		if _, err := tx.Get("missing"); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("get of a key that is not there: %v, not ErrNotFound", err)
		}
		return errors.Join(expect(tx, "new", "once"), tx.Put("new", again), tx.Put("old", []byte("after")),
			expect(tx, "new", "again"), expect(tx, "old", "after"))
	})
	copy(again, "spoil")
	return errors.Join(err, ck.get(1, "new"), ck.get(1, "old"))
}

func expect(tx Tx, key, want string) error {
	got, err := tx.Get(key)
	if err == nil && string(got) != want {
		return fmt.Errorf("get %q in a transaction returns %q, not %q", key, got, want)
	}
	copy(got, "spoiled, as it is the caller's")
	return err
}

// abandoned demands that a transaction whose function fails does nothing.
func (ck *checker) abandoned(s Transactor) error {
	failed := errors.New("failed on purpose")
	err := s.Update(1, func(tx Tx) error {
		return errors.Join(tx.Put("old", []byte("lost")), tx.Put("never", nil), failed)
	})
	if !errors.Is(err, failed) {
		return fmt.Errorf("a transaction returns %v, not the error of its function", err)
	}
	return errors.Join(ck.get(1, "old"), ck.get(1, "never"))
}

// counter demands that no update of one counter is lost.
func (ck *checker) counter(s Transactor) error {
	const each = 25
	if err := ck.put(2, "counter", number(0)); err != nil {
		return err
	}
	err := parallel(func(int) error {
		for range each {
			err := s.Update(2, func(tx Tx) error {
				n, err := readNumber(tx, "counter")
				if err != nil {
					return err
				}
				runtime.Gosched() // let another one come between
				return tx.Put("counter", number(n+1))
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	ck.note(2, "counter", number(callers*each))
	return ck.get(2, "counter")
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func readNumber(tx Tx, key string) (uint64, error) {
	value, err := tx.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%q is %s, not a number", key, show(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// together demands that a transaction that commits saw all of a Write, or
// nothing of it.
func (ck *checker) together(s Transactor) error {
	pair := func(n uint64) []Pair { return []Pair{{"left", number(n)}, {"right", number(n)}} }
	if err := ck.writePairs(10, pair(0)); err != nil {
		return err
	}
	var written atomic.Uint64
	var reading atomic.Int32
	reading.Store(callers - 1)
	err := parallel(func(n int) error {
		if n > 0 {
			defer reading.Add(-1)
			return readTogether(s, &written)
		}
		for reading.Load() > 0 {
			if err := s.Write(10, pair(written.Add(1))); err != nil {
				written.Store(enough)
				return err
			}
		}
		return nil
	})
	for _, p := range pair(written.Load()) {
		ck.note(10, p.Key, p.Value)
	}
	return err
}

// enough is how many writes must have been begun before a reader is done.
const enough = 5

func readTogether(s Transactor, written *atomic.Uint64) error {
	for n := 0; n < 25 || written.Load() < enough; n++ {
		var left, right uint64
		err := s.Update(10, func(tx Tx) (err error) {
			if left, err = readNumber(tx, "left"); err != nil {
				return err
			}
			runtime.Gosched()
			right, err = readNumber(tx, "right")
			return err
		})
		if err != nil {
			return err
		}
		if left != right {
			return fmt.Errorf("a transaction saw half of a write: %d and %d", left, right)
		}
	}
	return nil
}

// skew demands that transactions cannot break together what none of them
// breaks: each takes one of two keys away only while it sees both.
func (ck *checker) skew(s Transactor) error {
	const rounds = 25
	keys := []string{"even", "odd"}
	for range rounds {
		if err := ck.writePairs(11, []Pair{{keys[0], number(1)}, {keys[1], number(1)}}); err != nil {
			return err
		}
		err := parallel(func(n int) error {
			return s.Update(11, func(tx Tx) error {
				even, err := readNumber(tx, keys[0])
				if err != nil {
					return err
				}
				odd, err := readNumber(tx, keys[1])
				if err != nil || even+odd < 2 {
					return err
				}
				runtime.Gosched()
				return tx.Put(keys[n%2], number(0))
			})
		})
		if err != nil {
			return err
		}
		if err := ck.oneLeft(keys); err != nil {
			return err
		}
	}
	return nil
}

func (ck *checker) oneLeft(keys []string) error {
	var sum byte
	for _, key := range keys {
		value, err := ck.s.Get(11, key)
		if err != nil {
			return err
		}
		if len(value) != 8 {
			return fmt.Errorf("%q is %s, not a number", key, show(value))
		}
		ck.note(11, key, value)
		sum += value[7]
	}
	if sum != 1 {
		return fmt.Errorf("%d keys are left, not 1: transactions were not serializable", sum)
	}
	return nil
}

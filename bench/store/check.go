package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Check finds out whether a kind does what Store says, in a directory that is
// empty. A store that does not is not worth timing: the error names it, the
// class, and what was wrong. Durability is checked as far as a reopening can.
func Check(k Kind, c Class, dir string) error {
	ck := &checker{kind: k, class: c, dir: dir, want: make(map[int]map[string][]byte)}
	err := ck.open()
	if err == nil {
		err = errors.Join(ck.run(), ck.close())
	}
	if err != nil {
		return fmt.Errorf("%s, %s: %w", k.Name, c, err)
	}
	return nil
}

// runs is how many runs the check begins, and some of them are those it uses:
// neighbours by their number, by its decimal digits and by its bytes.
const runs = 258

var some = []int{0, 1, 2, 10, 11, 100, 255, 256, 257}

type checker struct {
	kind  Kind
	class Class
	dir   string
	s     Store
	want  map[int]map[string][]byte // what must be in the runs
}

func (ck *checker) open() error {
	s, err := ck.kind.Open(ck.dir, ck.class)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	ck.s = s
	if err := s.Begin(runs); err != nil {
		return errors.Join(fmt.Errorf("begin: %w", err), ck.close())
	}
	return nil
}

func (ck *checker) close() error {
	if ck.s == nil {
		return nil
	}
	err := ck.s.Close()
	ck.s = nil
	return wrap("close", err)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (ck *checker) run() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"nothing there yet", ck.all},
		{"puts and gets", ck.puts},
		{"misses", ck.misses},
		{"overwrites", ck.overwrites},
		{"bytes of the caller", ck.ownership},
		{"empty and large values", ck.sizes},
		{"scans", ck.scans},
		{"write", ck.write},
		{"many callers", ck.callers},
		{"transactions", ck.transactions},
		{"begin again", func() error { return errors.Join(ck.s.Begin(runs), ck.all()) }},
		{"flush", func() error { return errors.Join(ck.s.Flush(), ck.all()) }},
		{"reopened", ck.reopen},
	} {
		if err := step.do(); err != nil {
			return wrap(step.name, err)
		}
	}
	return nil
}

// put puts a value, and notes that it must be there.
func (ck *checker) put(run int, key string, value []byte) error {
	ck.note(run, key, value)
	return wrap(fmt.Sprintf("put %q of run %d", key, run), ck.s.Put(run, key, value))
}

func (ck *checker) note(run int, key string, value []byte) {
	if ck.want[run] == nil {
		ck.want[run] = make(map[string][]byte)
	}
	ck.want[run][key] = append([]byte{}, value...)
}

// get demands what was noted.
func (ck *checker) get(run int, key string) error {
	want, there := ck.want[run][key]
	got, err := ck.s.Get(run, key)
	switch {
	case !there && err == nil:
		return fmt.Errorf("get %q of run %d returns %d bytes that nobody put", key, run, len(got))
	case !there && !errors.Is(err, ErrNotFound):
		return fmt.Errorf("get %q of run %d, which is not there: %v, not ErrNotFound", key, run, err)
	case there && err != nil:
		return fmt.Errorf("get %q of run %d: %w", key, run, err)
	case !bytes.Equal(got, want):
		return fmt.Errorf("get %q of run %d returns %s, not %s", key, run, show(got), show(want))
	}
	return nil
}

func show(value []byte) string {
	const most = 40
	if len(value) > most {
		return fmt.Sprintf("%q… (%d bytes)", value[:most], len(value))
	}
	return fmt.Sprintf("%q", value)
}

// all demands that everything noted is there, and that scans find nothing else.
func (ck *checker) all() error {
	for _, run := range some {
		for key := range ck.want[run] {
			if err := ck.get(run, key); err != nil {
				return err
			}
		}
		if err := ck.scan(run, "", 1<<20); err != nil {
			return err
		}
	}
	return nil
}

// scan demands the first keys from one on, as noted.
func (ck *checker) scan(run int, from string, limit int) error {
	keys := slices.Sorted(maps.Keys(ck.want[run]))
	first, _ := slices.BinarySearch(keys, from)
	keys = keys[first:]
	keys = keys[:min(limit, len(keys))]
	what := fmt.Sprintf("scan of run %d from %q, limit %d", run, from, limit)
	n := 0
	var wrong error
	err := ck.s.Scan(run, from, limit, func(key string, value []byte) bool {
		switch {
		case n >= len(keys):
			wrong = fmt.Errorf("%s: key %q after the last one of %d", what, key, len(keys))
		case key != keys[n]:
			wrong = fmt.Errorf("%s: key %d is %q, not %q", what, n, key, keys[n])
		case !bytes.Equal(value, ck.want[run][key]):
			wrong = fmt.Errorf("%s: value of %q is %s, not %s", what, key, show(value), show(ck.want[run][key]))
		}
		n++
		return wrong == nil
	})
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case err != nil:
		return wrap(what, err)
	case wrong == nil && n < len(keys):
		return fmt.Errorf("%s: found %d keys of %d", what, n, len(keys))
	}
	return wrong
}

// awkward are keys whose order is that of their bytes, and nothing else.
var awkward = []string{"a", "a\x00", "a\x00b", "aa", "ab", "B", "key-000000000001", "key-000000000010", "z", "ä", "\U0001f600"}

func (ck *checker) puts() error {
	for _, run := range some {
		for _, key := range awkward {
			if err := ck.put(run, key, fmt.Appendf(nil, "%d/%s", run, key)); err != nil {
				return err
			}
			if err := ck.get(run, key); err != nil {
				return err
			}
		}
	}
	return ck.all()
}

func (ck *checker) misses() error {
	for _, key := range []string{"A", "aaa", "key-", "key-0000000000011", "\x00", "zz"} {
		if err := ck.get(1, key); err != nil {
			return err
		}
	}
	if err := ck.put(10, "only here", []byte("10")); err != nil {
		return err
	}
	for _, run := range some {
		if err := ck.get(run, "only here"); err != nil {
			return err
		}
	}
	return nil
}

func (ck *checker) overwrites() error {
	for _, value := range []string{"longer than it was before", "short", "short"} {
		for _, key := range awkward[:3] {
			if err := ck.put(2, key, []byte(value)); err != nil {
				return err
			}
			if err := ck.get(2, key); err != nil {
				return err
			}
		}
	}
	return ck.all()
}

// ownership demands that what the caller changes after a call is not the
// store's, on the way in and on the way out.
func (ck *checker) ownership() error {
	value := []byte("a value")
	if err := ck.put(0, "mine", value); err != nil {
		return err
	}
	copy(value, "spoiled")
	if err := ck.get(0, "mine"); err != nil {
		return wrap("the caller's bytes were changed after the put", err)
	}
	got, err := ck.s.Get(0, "mine")
	if err != nil {
		return err
	}
	copy(got, "spoiled")
	if err := ck.get(0, "mine"); err != nil {
		return wrap("the bytes that a get returned were changed", err)
	}
	pairs := []Pair{{"pair 1", []byte("one")}, {"pair 2", []byte("two")}}
	if err := ck.writePairs(0, pairs); err != nil {
		return err
	}
	copy(pairs[0].Value, "eno")
	pairs[1] = Pair{"other", nil}
	return wrap("the pairs were changed after the write", ck.all())
}

func (ck *checker) writePairs(run int, pairs []Pair) error {
	for _, p := range pairs {
		ck.note(run, p.Key, p.Value)
	}
	return wrap(fmt.Sprintf("write of %d pairs to run %d", len(pairs), run), ck.s.Write(run, pairs))
}

func (ck *checker) sizes() error {
	for i, size := range []int{0, 1, 256, 4096, 64 << 10} {
		value := bytes.Repeat([]byte{byte('a' + i)}, size)
		if err := ck.put(11, fmt.Sprintf("size %d", size), value); err != nil {
			return err
		}
		if err := ck.put(11, "another size", value); err != nil {
			return err
		}
		if err := ck.get(11, "another size"); err != nil {
			return err
		}
	}
	return errors.Join(ck.put(11, "none", nil), ck.all())
}

func (ck *checker) scans() error {
	const keys = 300
	for n := range keys {
		key := fmt.Sprintf("key-%012d", n*7919%keys) // in no order
		if err := ck.put(100, key, []byte(key)); err != nil {
			return err
		}
	}
	for _, limit := range []int{1, 2, 100, keys, keys + len(awkward), 1 << 20} {
		for _, from := range []string{"", "a", "b", "key-", "key-000000000150", "key-0000000001500", "key-000000000299", "z", "\U0010ffff"} {
			for _, run := range []int{100, 257} { // no run has a key behind those of 257
				if err := ck.scan(run, from, limit); err != nil {
					return err
				}
			}
		}
	}
	visited := 0
	err := ck.s.Scan(100, "", 100, func(string, []byte) bool { visited++; return visited < 5 })
	if err == nil && visited != 5 {
		return fmt.Errorf("a scan whose visitor ends it at the 5th key visited %d", visited)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func (ck *checker) write() error {
	var pairs []Pair
	for n := range 100 {
		pairs = append(pairs, Pair{fmt.Sprintf("pair %d", n), []byte(strings.Repeat("x", n))})
	}
	if err := ck.writePairs(255, pairs); err != nil {
		return err
	}
	// The last one of a key counts.
	if err := ck.writePairs(256, []Pair{{"twice", []byte("first")}, {"between", nil}, {"twice", []byte("second")}}); err != nil {
		return err
	}
	return ck.all()
}

// reopen demands that all is still there, where the class is durable.
func (ck *checker) reopen() error {
	if err := ck.close(); err != nil || ck.class == Volatile {
		return err
	}
	if err := ck.open(); err != nil {
		return err
	}
	if err := ck.all(); err != nil {
		return err
	}
	if err := ck.put(1, "after", []byte("the reopening")); err != nil {
		return err
	}
	return ck.all()
}

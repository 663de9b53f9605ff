package main

import (
	"fmt"
	"strconv"
	"time"

	"inmem"
	"inmem/event"
)

// pair compares what a face does with puts. They take turns on one store, so
// that both have the same machine, also where others want some of it.
type pair struct {
	what    string
	mode    inmem.Durability
	callers int
	op, put operation
}

func (p pair) name() string {
	return fmt.Sprintf("%s / put, %s, %d callers", p.what, p.mode, p.callers)
}

// turns is how often each of a pair has its turn.
const turns = 10

func pairs() []pair {
	var list []pair
	for _, mode := range modes {
		list = append(list,
			pair{"transaction of 2 reads and 2 writes", mode, 16, transaction, put},
			pair{"event", mode, 1, appendEvent, putNew},
			pair{"event", mode, 16, appendEvent, putNew},
		)
	}
	return list
}

// compare returns how often op is done in the time of one put.
func (s *store) compare(p pair) (float64, error) {
	var n [2]int
	var took [2]time.Duration
	list := s.cfg.callers(p.callers)
	for range turns {
		for i, op := range []operation{p.op, p.put} {
			done, d, err := s.measure(list, s.cfg.cell/turns/2, op)
			if err != nil {
				return 0, err
			}
			n[i], took[i] = n[i]+done, took[i]+d
		}
	}
	return float64(n[0]) / float64(n[1]) * took[1].Seconds() / took[0].Seconds(), nil
}

// transaction reads two keys of a run and writes two others.
func transaction(s *store, c *caller) error {
	r := s.runs[c.rng.IntN(len(s.runs))]
	return r.Update(ctx, func(tx *inmem.Tx) error {
		store, first := tx.KV(), c.rng.IntN(len(s.keys))
		for i := range 4 {
			var err error
			if key := s.keys[(first+i)%len(s.keys)]; i < 2 {
				_, err = store.Exists(ctx, key) // the last run may have a key less than the first
			} else {
				_, err = store.Put(ctx, key, c.value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// run returns the caller's own run: nobody else writes to it.
func (s *store) run(c *caller) *inmem.Run { return s.runs[c.number%len(s.runs)] }

func appendEvent(s *store, c *caller) error {
	_, err := s.run(c).Events().Append(ctx, event.Main, event.New{Type: "tool.called", Payload: c.object})
	return err
}

// putNew puts what appendEvent appends: an event is a new key, too.
func putNew(s *store, c *caller) error {
	_, err := s.run(c).KV().Put(ctx, "event/"+strconv.Itoa(100_000_000+c.calls), c.object)
	return err
}

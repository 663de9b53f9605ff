package ttl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/run"
)

// place is a key of a run.
type place struct {
	run run.ID
	key string
}

// model is the book without an order, without batches and without a clock.
type model map[place]entry

func (m model) track(c Change) {
	p := place{c.Run, c.Key}
	if known, ok := m[p]; ok && c.Version < known.version {
		return
	}
	if c.Deadline == 0 {
		delete(m, p)
		return
	}
	m[p] = entry{c.Version, c.Deadline}
}

func (m model) forget(id run.ID) {
	maps.DeleteFunc(m, func(p place, _ entry) bool { return p.run == id })
}

// due removes and returns what is due at now.
func (m model) due(now int64) map[place]uint64 {
	due := map[place]uint64{}
	for p, e := range m {
		if e.deadline <= now {
			due[p] = e.version
			delete(m, p)
		}
	}
	return due
}

func drawChange(t *rapid.T, now int64) Change {
	c := Change{
		Run:     id(rapid.Byte().Draw(t, "run") % 3),
		Key:     fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "key")),
		Version: rapid.Uint64Range(1, 6).Draw(t, "version"),
	}
	if rapid.IntRange(0, 4).Draw(t, "has deadline") > 0 {
		c.Deadline = now + rapid.Int64Range(-20, 3000).Draw(t, "in")
	}
	return c
}

// Whatever is tracked, forgotten and refused, the actor sends at every moment
// exactly what the model says is due.
func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Failures inside the bubble come out as a panic of rapid's own, which
		// it must see itself, or it cannot shrink.
		var failure any
		synctest.Test(t, func(*testing.T) {
			defer func() { failure = recover() }()
			againstAModel(rt)
		})
		if failure != nil {
			panic(failure)
		}
	})
}

func againstAModel(t *rapid.T) {
	s := &shards{}
	a := New(Config{Now: s.now, Send: s.send})
	a.Start()
	defer a.Stop()
	m := model{}
	refusing := false

	// check compares what was sent since the last check with the model.
	check := func() {
		messages := s.take()
		if refusing {
			require.Empty(t, messages)
			return
		}
		got := map[place]uint64{}
		for _, msg := range messages {
			for _, d := range msg.due {
				got[place{msg.run, d.Key}] = d.Version
			}
		}
		require.Equal(t, m.due(s.now()), got)
		require.Equal(t, len(m), a.Pending())
	}
	t.Repeat(map[string]func(*rapid.T){
		"track": func(t *rapid.T) {
			now := s.now()
			changes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Change { return drawChange(t, now) }), 1, 4).Draw(t, "changes")
			a.Track(changes)
			for _, c := range changes {
				m.track(c)
			}
		},
		"forget": func(t *rapid.T) {
			r := id(rapid.Byte().Draw(t, "run") % 3)
			a.Forget(r)
			m.forget(r)
		},
		"wait": func(t *rapid.T) {
			for range rapid.IntRange(1, 2500).Draw(t, "ms") {
				time.Sleep(time.Millisecond)
				check()
			}
		},
		"refuse": func(*rapid.T) {
			refusing = true
			s.failWith(func(run.ID) error { return errRefused })
		},
		"accept": func(*rapid.T) {
			s.failWith(nil)
			time.Sleep(retryPause)
			refusing = false
		},
		"": func(*rapid.T) { check() },
	})
}

// The book alone, against the model: order and bounds of what it hands out,
// with batches settled and held in any order.
func TestBookAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, m := newBook(), model{}
		start := time.Unix(0, 0)
		now := int64(1)
		t.Repeat(map[string]func(*rapid.T){
			"track": func(t *rapid.T) {
				c := drawChange(t, now)
				b.track(c)
				m.track(c)
			},
			"forget": func(t *rapid.T) {
				r := id(rapid.Byte().Draw(t, "run") % 3)
				b.forget(r)
				m.forget(r)
			},
			"take": func(t *rapid.T) {
				now += rapid.Int64Range(0, 1000).Draw(t, "ms")
				at := start.Add(time.Duration(now) * time.Millisecond)
				b.release(at)
				for _, batch := range b.take(now) {
					require.NotEmpty(t, batch.due)
					require.IsIncreasing(t, slotsOf(batch))
					for i, d := range batch.due {
						require.Equal(t, m[place{batch.run, d.Key}], entry{d.Version, batch.deadlines[i]})
					}
					if rapid.Bool().Draw(t, "fails") {
						b.hold(batch, at.Add(retryPause))
						continue
					}
					b.settle(batch)
					for _, d := range batch.due {
						delete(m, place{batch.run, d.Key})
					}
				}
				wait, ok := b.wait(now, at)
				require.Equal(t, b.queue.Len() > 0 || len(b.held) > 0, ok)
				require.Greater(t, wait, time.Duration(0), "all that was due is out")
				require.LessOrEqual(t, wait, maxSleep)
			},
			"": func(t *rapid.T) { require.Equal(t, len(m), b.len()) },
		})
	})
}

// slotsOf returns a batch's places in the queue, as strings that sort alike.
func slotsOf(b batch) []string {
	slots := make([]string, len(b.due))
	for i, d := range b.due {
		slots[i] = fmt.Sprintf("%020d/%s", b.deadlines[i]+1000, d.Key)
	}
	return slots
}

// BenchmarkTrack is what a shard pays for sixteen changes of 100,000 keys, as
// fast as it can, so that it does a part of the actor's work.
func BenchmarkTrack(b *testing.B) {
	now := func() int64 { return 0 }
	a := New(Config{Now: now, Send: func(context.Context, run.ID, []Due) error { return errors.New("nothing is due") }})
	a.Start()
	defer a.Stop()
	keys := make([]string, 100_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("key%d", i)
	}
	changes := make([]Change, 16)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for j := range changes {
			n := i*len(changes) + j
			changes[j] = Change{id(byte(n % 64)), keys[n%len(keys)], uint64(n), int64(n + 1)}
		}
		a.Track(changes)
	}
}

package inmem_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
	"inmem/vfs"
)

// spoken is a line by which a process tells of a call: that it begins, or what
// the answer was.
type spoken struct {
	Client int
	What   question
	Run    int
	Key    string      `json:",omitempty"`
	Keys   []string    `json:",omitempty"`
	Writes []spokenPut `json:",omitempty"`
	Mode   inmem.Durability

	Answered bool `json:",omitempty"` // what follows is the answer
	Unknown  bool `json:",omitempty"`
	Version  uint64
	Value    string      `json:",omitempty"`
	Absent   bool        `json:",omitempty"`
	Refused  string      `json:",omitempty"`
	Lost     bool        `json:",omitempty"`
	Items    []spokenPut `json:",omitempty"`
}

type spokenPut struct {
	Key, Value   string
	Remove, Only bool
	Version      uint64
}

func speak(client int, in *asked, out *told) spoken {
	s := spoken{Client: client, What: in.what, Run: in.run, Key: in.key, Keys: in.keys, Mode: in.mode}
	for _, w := range in.writes {
		s.Writes = append(s.Writes, spokenPut{w.key, w.value, w.remove, w.only, w.version})
	}
	if out != nil {
		s.Answered, s.Unknown, s.Version, s.Value = true, out.unknown, out.version, out.value
		s.Absent, s.Refused, s.Lost = out.absent, out.refused, out.lost
		for _, it := range out.items {
			s.Items = append(s.Items, spokenPut{Key: it.key, Value: it.value, Version: it.version})
		}
	}
	return s
}

func (s *spoken) asked() *asked {
	in := &asked{what: s.What, run: s.Run, key: s.Key, keys: s.Keys, mode: s.Mode}
	for _, w := range s.Writes {
		in.writes = append(in.writes, change{w.Key, w.Value, w.Remove, w.Only, w.Version})
	}
	return in
}

func (s *spoken) told() told {
	out := told{unknown: s.Unknown, version: s.Version, value: s.Value, absent: s.Absent, refused: s.Refused, lost: s.Lost}
	for _, it := range s.Items {
		out.items = append(out.items, pair{it.Key, it.Value, it.Version})
	}
	return out
}

func init() { children["clients"] = clientsChild }

// fatal ends the process: in a child there is no test to fail, and the parent
// sees that nobody killed it.
type fatal struct{ testing.TB }

func (fatal) Helper()                        {}
func (fatal) Errorf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (fatal) FailNow()                       { panic("failed") }

func linearOptions(rng *rand.Rand) inmem.Options {
	return inmem.Options{
		Shards: 2, Durability: inmem.Durability(1 + rng.IntN(3)),
		SegmentSize:     []int64{4 << 10, 64 << 10}[rng.IntN(2)],
		CheckpointBytes: []int64{-1, 2 << 10, 8 << 10}[rng.IntN(3)],
		FS:              vfs.OS,
	}
}

// clientsChild lets clients work on a store until it is killed, and tells of
// each call before and after it.
func clientsChild() {
	seed, err := strconv.ParseUint(os.Getenv(roundEnv), 10, 64)
	must(err)
	rng := rand.New(rand.NewPCG(seed, 1))
	opts := linearOptions(rand.New(rand.NewPCG(seed>>8, 1)))
	db, err := inmem.Open(os.Getenv(dirEnv), &opts)
	must(err)
	l := &linear{store: &store{t: fatal{}, opts: opts, DB: db}, stats: &linearStats{crashes: int(seed & 0xff)}}
	for i := range l.ids {
		l.runs[i], err = db.Run(linearID(i))
		must(err)
	}
	out, mu := json.NewEncoder(os.Stdout), sync.Mutex{}
	l.tell = func(s spoken) {
		mu.Lock()
		defer mu.Unlock()
		must(out.Encode(s))
	}
	var all sync.WaitGroup
	for i := range linearClients {
		c := &client{linear: l, id: i, rng: rand.New(rand.NewPCG(rng.Uint64(), 3)), seen: map[string]uint64{}}
		all.Go(func() {
			for c.call() {
				c.n++
			}
		})
	}
	all.Wait()
}

func linearID(i int) run.ID { return run.Namespace{App: "linear"}.DeriveID(fmt.Sprint(i)) }

// TestLinearizableKilled is TestLinearizable with clients in a process that is
// killed. The order of what it tells is the order in time: it tells of a call
// before it makes it, and of an answer after it has it.
func TestLinearizableKilled(t *testing.T) {
	var stats linearStats
	for _, seed := range crashSeeds(t, 6) {
		t.Run(fmt.Sprint(seedEnv, "=", seed), func(t *testing.T) { liveKilled(t, seed<<8, &stats) })
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", stats)
}

func liveKilled(t *testing.T, seed uint64, stats *linearStats) {
	rng := rand.New(rand.NewPCG(seed, 2))
	l := &linear{stats: stats, store: newOSStore(t, func(o *inmem.Options) { *o = linearOptions(rand.New(rand.NewPCG(seed>>8, 1))) })}
	for i := range l.ids {
		l.ids[i] = linearID(i)
		l.begin(run.Meta{ID: l.ids[i]})
	}
	for life := range uint64(3) {
		require.NoError(t, l.Close())
		cmd, lines := startChild(t, "clients", dirEnv+"="+l.dir, roundEnv+"="+fmt.Sprint(seed+life))
		h := hearing{linear: l, open: map[int]int{}}
		for range 50 + rng.IntN(700) {
			require.True(t, lines.Scan(), "the child ended by itself")
			h.line(t, lines.Bytes())
		}
		require.NoError(t, cmd.Process.Kill())
		h.rest(lines)
		require.Error(t, cmd.Wait())
		l.end = linearEnd{kind: askKill, from: l.ticks.Add(1), to: l.ticks.Add(1)}
		l.settle(h.calls)
		l.goOn()
	}
	stats.histories++
	l.check()
}

// hearing makes a history of what a process tells.
type hearing struct {
	*linear
	calls []porcupine.Operation
	open  map[int]int // where the call is that a client waits for
}

func (h *hearing) line(t *testing.T, b []byte) {
	var s spoken
	require.NoError(t, json.Unmarshal(b, &s), "%s", b)
	h.take(&s)
}

func (h *hearing) take(s *spoken) {
	at, waits := h.open[s.Client]
	if !s.Answered {
		h.open[s.Client] = len(h.calls)
		h.calls = append(h.calls, porcupine.Operation{
			ClientId: s.Client, Input: s.asked(), Output: told{unknown: true}, Call: h.ticks.Add(1), Return: math.MaxInt64,
		})
		return
	}
	if waits {
		o := &h.calls[at]
		o.Output, o.Return = s.told(), h.ticks.Add(1)
		delete(h.open, s.Client)
		if flush := *o; s.What == askFlush { // it is one for all runs
			for i := range linearRuns - 1 {
				flush.Input = &asked{what: askFlush, run: i + 1}
				h.calls = append(h.calls, flush)
			}
		}
	}
}

// rest takes what was told before the kill, but for a line that it cut short.
func (h *hearing) rest(lines *bufio.Scanner) {
	for lines.Scan() {
		var s spoken
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			return
		}
		h.take(&s)
	}
}

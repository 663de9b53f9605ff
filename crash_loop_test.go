package inmem_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/run"
	"inmem/vfs"
)

const (
	roundEnv   = "INMEM_TEST_ROUND"
	loopActors = 4
)

func init() { children["writers"] = writersChild }

func loopOptions() inmem.Options {
	return inmem.Options{Shards: 2, SegmentSize: 32 << 10, CheckpointBytes: 64 << 10, FS: vfs.OS, Now: scriptClock}
}

// loopRun is the run of an actor, the same in every round.
func loopRun(actor int) run.ID { return run.Namespace{Tenant: "loop"}.DeriveID(fmt.Sprint(actor)) }

// writersChild writes from several goroutines, each to a run of its own, and
// tells before each commit what it tries and after it what was acknowledged,
// until it is killed.
func writersChild() {
	opts := loopOptions()
	db, err := inmem.Open(os.Getenv(dirEnv), &opts)
	must(err)
	round, err := strconv.ParseUint(os.Getenv(roundEnv), 10, 64)
	must(err)
	out := json.NewEncoder(os.Stdout)
	var mu sync.Mutex
	emit := func(n note) {
		mu.Lock()
		defer mu.Unlock()
		must(out.Encode(n))
	}
	var actors sync.WaitGroup
	for actor := range loopActors {
		actors.Go(func() { writer(db, loopRun(actor), rand.New(rand.NewPCG(round, uint64(actor))), emit) })
	}
	actors.Wait()
}

func writer(db *inmem.DB, id run.ID, rng *rand.Rand, emit func(note)) {
	version := uint64(0)
	r, err := db.Run(id)
	if err == nil {
		info, err := r.Info()
		must(err)
		version = info.LastVersion
	} else {
		meta := run.Meta{ID: id, Name: "written for ever"}
		info := &run.Info{Meta: meta, Status: run.Active, Created: scriptTime, FirstVersion: 1}
		emit(note{What: "try", Info: info, Run: id, Version: 1, Mode: inmem.Batched})
		r, err = db.BeginRun(bg, meta)
		must(err)
		version = 1
		emit(note{What: "ack", Run: id, Version: 1})
	}
	for {
		n := note{What: "try", Run: id, Version: version + 1, Mode: []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Batched, inmem.Async}[rng.IntN(4)]}
		var b kv.Batch
		for range 1 + rng.IntN(3) {
			o := putOp(fmt.Sprint("key ", rng.IntN(30)), fmt.Sprint("value ", rng.Uint64()))
			n.Ops = append(n.Ops, o)
			b.Put(o.Key, o.Value)
		}
		emit(n)
		v, err := r.KV().Write(bg, &b, kv.Durability(n.Mode))
		must(err)
		version++
		if v != version {
			panic(fmt.Sprintf("version %d, want %d", v, version))
		}
		emit(note{What: "ack", Run: id, Version: v})
	}
}

// TestKillLoop kills a process that writes, at a random moment, again and again
// on the same store, each time with a ledger of what it was told.
func TestKillLoop(t *testing.T) {
	dir := t.TempDir()
	l := scriptLedger()
	rounds := len(crashSeeds(t, 12))
	acked, lost := 0, 0
	for round := range rounds {
		seed := crashSeeds(t, 1)[0]
		tried := map[run.ID]note{} // the last of each run; at most one is in flight
		cmd, lines := startChild(t, "writers", dirEnv+"="+dir, roundEnv+"="+strconv.Itoa(round))
		take := func(n note) {
			if n.What == "try" {
				tried[n.Run] = n
				return
			}
			l.enter(tried[n.Run])
			acked++
		}
		for range 20 + rand.New(rand.NewPCG(seed, 5)).IntN(1500) {
			require.True(t, lines.Scan(), "the child ended by itself")
			var n note
			require.NoError(t, json.Unmarshal(lines.Bytes(), &n))
			take(n)
		}
		kill(t, cmd, lines, take)
		lost += l.survivors(t, dir, tried)
	}
	t.Logf("%d kills, %d commits acknowledged, %d of them, Async all, lost", rounds, acked, lost)
}

// enter enters what was tried as acknowledged.
func (l *ledger) enter(n note) {
	if n.Info != nil {
		l.begun(*n.Info, n.Mode)
		return
	}
	l.acked(n.Run, n.Version, n.Mode, n.Ops...)
}

// survivors recovers after a kill and goes on with what is there as the truth:
// everything that was promised, and at most the one commit that was in flight.
func (l *ledger) survivors(t *testing.T, dir string, tried map[run.ID]note) (lost int) {
	t.Helper()
	known := map[run.ID]uint64{}
	promised := l.promises().kill
	for id, n := range tried {
		if e := l.runs[id]; e != nil {
			known[id] = e.last
		}
		if n.Version == known[id]+1 {
			l.enter(n) // it may have come through
		}
	}
	l.settle(t)
	// The end may be torn: the kernel ends a write of several pages between two of
	// them for a process that is killed. Nobody was told that it was done.
	_, got := l.verify(t, dir, loopOptions(), promised)
	for id, n := range got.kept {
		e := l.runs[id]
		lost += max(0, int(known[id])-n)
		for v := range e.acks {
			if int(v) > n {
				require.True(t, e.acks[v].mode == inmem.Async || v > known[id])
				delete(e.acks, v)
			}
		}
		e.last, e.safe, e.killSafe = uint64(n), uint64(n), uint64(n)
		if n == 0 {
			delete(l.runs, id)
		}
	}
	l.order = nil
	for id := range l.runs {
		l.order = append(l.order, id)
	}
	return lost
}

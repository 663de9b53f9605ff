package inmem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
)

const (
	seedOfChildEnv = "INMEM_TEST_POWER_SEED"
	paceEnv        = "INMEM_TEST_POWER_PACE"

	powerShards = 2
	powerActors = 6
)

// powerPace is what a writer waits between commits, by shard, if it is paced.
// Those of shard 1 do not fill a window of commits in the time that they have,
// so that it is the interval that brings the syncs.
var powerPace = [powerShards]time.Duration{time.Millisecond, 25 * time.Millisecond}

func init() { children["power"] = powerMain }

// powerOptions has a window of commits that is small enough to matter, unless
// it is the interval's turn.
func powerOptions(paced bool) inmem.Options {
	commits := 8
	if paced {
		commits = 40
	}
	return inmem.Options{
		Shards: powerShards, SegmentSize: 16 << 10, CheckpointBytes: 48 << 10,
		BatchCommits: commits, BatchInterval: 10 * time.Millisecond, FS: vfs.OS, Now: scriptClock,
	}
}

// powerNote is what the child tells: before a call what it tries, after it that
// it was acknowledged and when.
type powerNote struct {
	note        // What is also "opening", "opened", "flushing", "failed"
	Actor int   `json:",omitempty"`
	At    int64 `json:",omitempty"` // see monotonic
	Err   string
}

// monotonic is a clock that all processes share, in nanoseconds.
func monotonic() int64 {
	var ts unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts))
	return ts.Nano()
}

// powerRun is the run of an actor, the same in every cycle. Actors take turns
// in the shards, so that it is known who shares a log with whom.
func powerRun(actor int) run.ID {
	for i := 0; ; i++ {
		id := run.Namespace{Tenant: "power"}.DeriveID(fmt.Sprint(actor, " ", i))
		if shard.Place(id, powerShards) == actor%powerShards {
			return id
		}
	}
}

type powerChild struct {
	db  *inmem.DB
	mu  sync.Mutex
	out *json.Encoder
}

// powerMain writes from several goroutines until it is killed, on a disk that
// loses power meanwhile.
func powerMain() {
	c := &powerChild{out: json.NewEncoder(os.Stdout)}
	seed, err := strconv.ParseUint(os.Getenv(seedOfChildEnv), 10, 64)
	must(err)
	c.emit(powerNote{note: note{What: "opening"}})
	paced := os.Getenv(paceEnv) != ""
	opts := powerOptions(paced)
	c.db, err = inmem.Open(os.Getenv(dirEnv), &opts)
	c.check(err)
	c.emit(powerNote{note: note{What: "opened"}})
	var actors sync.WaitGroup
	for i := range powerActors {
		w := powerWriter{powerChild: c, actor: i, id: powerRun(i), rng: rand.New(rand.NewPCG(seed, uint64(i))), paced: paced}
		actors.Go(w.write)
	}
	actors.Wait()
}

func (c *powerChild) emit(n powerNote) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.At = monotonic()
	must(c.out.Encode(n))
}

// check tells of a failure, which is expected once the power is cut, and waits
// to be killed.
func (c *powerChild) check(err error) {
	if err == nil {
		return
	}
	c.emit(powerNote{note: note{What: "failed"}, Err: err.Error()})
	_, _ = io.Copy(io.Discard, os.Stdin) // ends only if the parent did
	os.Exit(1)
}

// powerWriter writes to one run, which nobody else writes to.
type powerWriter struct {
	*powerChild
	actor   int
	id      run.ID
	run     *inmem.Run
	version uint64
	rng     *rand.Rand
	paced   bool
}

func (w powerWriter) write() {
	w.begin()
	for {
		if w.paced {
			time.Sleep(powerPace[w.actor%powerShards])
		}
		switch n := w.rng.IntN(400); {
		case n < 3 && !w.paced:
			w.emit(powerNote{note: note{What: "flushing"}, Actor: w.actor})
			w.check(w.db.Flush(bg))
			w.emit(powerNote{note: note{What: "flush"}, Actor: w.actor})
		case n < 6 && !w.paced:
			w.check(w.db.Checkpoint(bg))
		case n < 60:
			w.delete()
		default:
			w.put()
		}
	}
}

func (w *powerWriter) begin() {
	var err error
	if w.run, err = w.db.Run(w.id); err == nil {
		info, err := w.run.Info()
		w.check(err)
		w.version = info.LastVersion
		return
	}
	if !errors.Is(err, inmem.ErrRunNotFound) {
		w.check(err)
	}
	meta := run.Meta{ID: w.id, Name: "written for ever"}
	w.try(inmem.Batched, &run.Info{Meta: meta, Status: run.Active, Created: scriptTime, FirstVersion: 1})
	w.run, err = w.db.BeginRun(bg, meta)
	w.ack(1, err)
}

func (w *powerWriter) try(mode inmem.Durability, info *run.Info, ops ...op.Op) {
	w.emit(powerNote{note: note{What: "try", Info: info, Run: w.id, Version: w.version + 1, Mode: mode, Ops: ops}, Actor: w.actor})
}

func (w *powerWriter) ack(version uint64, err error) {
	w.check(err)
	w.version++
	if version != w.version {
		panic(fmt.Sprintf("version %d, want %d", version, w.version))
	}
	w.emit(powerNote{note: note{What: "ack", Run: w.id, Version: version}, Actor: w.actor})
}

// mode chooses a mode. A writer that keeps a pace leaves shard 1 to what is
// synced by time alone, and shard 0 to Strict, which shows what a sync takes.
func (w *powerWriter) mode() inmem.Durability {
	switch {
	case w.paced && w.actor%powerShards == 0:
		return inmem.Strict
	case w.paced:
		return []inmem.Durability{inmem.Batched, inmem.Batched, inmem.Async}[w.rng.IntN(3)]
	default:
		// The rarer Strict is in a log, the more is left to Batched.
		return []inmem.Durability{inmem.Strict, inmem.Async, inmem.Batched}[min(2, w.rng.IntN(8<<(3*(w.actor%powerShards))))]
	}
}

func (w *powerWriter) put() {
	var b kv.Batch
	var ops []op.Op
	for range 1 + w.rng.IntN(3)*w.rng.IntN(6) {
		o := putOp(fmt.Sprint("key ", w.rng.IntN(30)), fmt.Sprint("value ", w.rng.Uint64()))
		if w.rng.IntN(20) == 0 {
			o.Value = []byte(strings.Repeat(string(o.Value), 1+w.rng.IntN(200))) // over several sectors
		}
		ops = append(ops, o)
		b.Put(o.Key, o.Value)
	}
	mode := w.mode()
	w.try(mode, nil, ops...)
	v, err := w.run.KV().Write(bg, &b, kv.Durability(mode))
	w.ack(v, err)
}

func (w *powerWriter) delete() {
	key := fmt.Sprint("key ", w.rng.IntN(30))
	there, err := w.run.KV().Exists(bg, key)
	w.check(err)
	if !there {
		return
	}
	mode := w.mode()
	w.try(mode, nil, op.Op{Kind: op.Delete, Tag: op.KV, Key: key})
	_, err = w.run.KV().Delete(bg, key, kv.Durability(mode))
	w.ack(w.version+1, err)
}

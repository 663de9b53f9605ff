package inmem_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/vfs"
)

// The environment of a child whose system calls fail.
const (
	livesEnv   = "INMEM_TEST_FAULT_LIVES"    // how the store is opened, a letter for each time
	threadEnv  = "INMEM_TEST_FAULT_THREAD"   // one thread makes all calls on the disk
	clockEnv   = "INMEM_TEST_FAULT_CLOCK"    // where the clock begins
	limitEnv   = "INMEM_TEST_FAULT_LIMIT"    // bytes that a file may have …
	limitAtEnv = "INMEM_TEST_FAULT_LIMIT_AT" // … from this call on
)

const (
	faultShards = powerShards // so that powerRun serves
	faultActors = 4
	unlimited   = ^uint64(0) // RLIM_INFINITY
	faultTTL    = 5 * time.Millisecond
	// faultPatience is what a child may take. The longest takes about a second.
	faultPatience = 60 * time.Second
)

// errnos are the failures that are made to happen.
var errnos = map[string]syscall.Errno{
	"EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC, "EINTR": syscall.EINTR, "EFBIG": syscall.EFBIG,
}

func init() { children["faults"] = faultMain }

// faultLives are the ways in which the child opens its store. In the first
// nothing comes by time, so that it makes the same calls every time.
var faultLives = map[byte]inmem.Options{
	'b': {Durability: inmem.Batched, CheckpointBytes: -1, BatchInterval: time.Hour},
	's': {Durability: inmem.Strict, CheckpointBytes: 6 << 10, BatchInterval: 2 * time.Millisecond},
	'a': {Durability: inmem.Async, CheckpointBytes: -1, BatchInterval: 2 * time.Millisecond, BatchCommits: 8},
	'o': {CheckpointBytes: -1, BatchInterval: time.Hour}, // opened and closed, and nothing else
}

func faultOptions(life byte) inmem.Options {
	opts := faultLives[life]
	opts.Shards, opts.SegmentSize, opts.FS = faultShards, 4<<10, vfs.OS
	return opts
}

// faultNote is what the child tells: before a call what it tries, and after it
// what came of it.
type faultNote struct {
	note         // What is "try", "end", "found", "bad" or "thread"
	Life  int    // the number of times that the store was opened before
	Call  string // the name of the call
	N     int    // its number; of a thread, its ID
	Clock int64  // what the child's clock shows
	Torn  int64  // bytes that an opening cut off

	Err                string
	Errno              string // of errnos, where Err wraps one
	Poisoned, DiskFull bool
}

// faultRun is what the child knows of a run. Whoever writes to the run has it.
type faultRun struct {
	version  uint64
	values   map[string]string
	dropped  bool
	expiring bool // its keys may go at any time
}

type faultChild struct {
	dir   string
	fs    vfs.FS
	db    *inmem.DB
	mode  inmem.Durability // the store's
	life  int
	clock atomic.Int64
	// stopped is closed once the store tells that it was poisoned.
	stopped chan struct{}
	runs    map[run.ID]*faultRun

	limit, limitAt int

	mu    sync.Mutex
	out   *json.Encoder
	calls int
}

// faultMain lives the lives that it is told to, whatever fails meanwhile, and
// tells what came of each call.
func faultMain() {
	time.AfterFunc(faultPatience, func() { panic("it hangs") })
	c := &faultChild{dir: os.Getenv(dirEnv), fs: vfs.OS, out: json.NewEncoder(os.Stdout), runs: map[run.ID]*faultRun{}}
	c.clock.Store(int64(faultNumber(clockEnv)))
	c.limit, c.limitAt = faultNumber(limitEnv), faultNumber(limitAtEnv)
	if os.Getenv(threadEnv) != "" {
		disk, thread := newOneThread()
		c.fs = disk
		c.emit(faultNote{note: note{What: "thread"}, N: thread})
	}
	for actor := range faultActors {
		c.runs[powerRun(actor)] = &faultRun{}
	}
	for i, life := range []byte(os.Getenv(livesEnv)) {
		c.life = i
		c.live(life)
		c.setLimit(unlimited)
	}
}

func faultNumber(name string) int {
	if os.Getenv(name) == "" {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv(name))
	must(err)
	return n
}

// setLimit lets writes beyond a size fail, and those across it be cut short.
func (c *faultChild) setLimit(size uint64) {
	var limit syscall.Rlimit
	must(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	limit.Cur = size
	must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
}

func (c *faultChild) emit(n faultNote) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.Life, n.Clock = c.life, c.clock.Load()
	must(c.out.Encode(n))
}

func (c *faultChild) bad(format string, args ...any) {
	c.emit(faultNote{note: note{What: "bad"}, Err: fmt.Sprintf(format, args...)})
}

// call makes a call, and tells of it before and after.
func (c *faultChild) call(name string, n note, fn func() error) error {
	number := c.try(name, n)
	err := fn()
	c.end(name, number, n, err)
	return err
}

func (c *faultChild) try(name string, n note) int {
	c.mu.Lock()
	c.calls++
	number := c.calls
	if number == c.limitAt {
		c.setLimit(uint64(c.limit))
	}
	c.mu.Unlock()
	n.What = "try"
	c.emit(faultNote{note: n, Call: name, N: number})
	return number
}

func (c *faultChild) end(name string, number int, n note, err error) {
	out := faultNote{note: note{What: "end", Run: n.Run}, Call: name, N: number}
	if err != nil {
		out.Err = err.Error()
		out.Poisoned, out.DiskFull = errors.Is(err, inmem.ErrPoisoned), errors.Is(err, inmem.ErrDiskFull)
		for name, errno := range errnos {
			if errors.Is(err, errno) {
				out.Errno = name
			}
		}
	} else if name == "open" {
		for _, s := range c.db.Recovery().Shards {
			out.Torn += s.TornBytes
		}
	}
	c.emit(out)
}

// live opens the store, a second time where the first fails, works, and closes
// it, whatever happened.
func (c *faultChild) live(kind byte) {
	opts := faultOptions(kind)
	opts.FS, opts.Now = c.fs, func() time.Time { return time.UnixMilli(c.clock.Load()) }
	opts.PruneInterval = -1 // what it cannot read there is told by an event, and to no caller
	open := func() (err error) {
		stopped := make(chan struct{})
		c.stopped = stopped
		opts.OnEvent = func(e inmem.Event) {
			if _, ok := e.(inmem.Poisoned); ok {
				close(stopped)
			}
		}
		c.db, err = inmem.Open(c.dir, &opts)
		return err
	}
	if c.call("open", note{}, open) != nil {
		c.setLimit(unlimited)
		if c.call("open", note{}, open) != nil {
			return
		}
	}
	c.mode = c.db.Durability()
	warm := c.warm()
	c.found(warm)
	if warm && kind != 'o' {
		c.work()
	}
	if warm {
		c.read()
	}
	_ = c.call("close", note{}, c.db.Close)
}

// work does all that makes calls on the disk.
func (c *faultChild) work() {
	for actor := range faultActors {
		c.begin(powerRun(actor), "written for ever")
	}
	c.fill(9)
	_ = c.call("flush", note{}, func() error { return c.db.Flush(bg) })
	c.checkpoint()
	c.fill(3)
	c.temporary()
	c.expiring()
	c.read()
	c.checkpoint()
	var actors sync.WaitGroup
	for actor := range faultActors {
		actors.Go(func() {
			for i := range 2 {
				c.write(powerRun(actor), c.nth(actor+i), c.op(actor+i), c.op(actor+i+3))
			}
		})
	}
	actors.Wait()
	c.history(powerRun(0))
	c.checkpoint()
	c.fill(2)
}

// fill writes to the first run of each shard.
func (c *faultChild) fill(commits int) {
	for i := range commits {
		for actor := range faultShards {
			id := powerRun(actor)
			if key := fmt.Sprint("key ", i%7); i%5 == 4 && c.runs[id].values[key] != "" {
				c.write(id, c.nth(i), op.Op{Kind: op.Delete, Tag: op.KV, Key: key})
				continue
			}
			c.write(id, c.nth(i+actor), c.op(i))
		}
	}
}

func (c *faultChild) nth(i int) inmem.Durability {
	return []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async, op.Default}[i%4]
}

// op is a put whose value is no other's.
func (c *faultChild) op(i int) op.Op {
	c.mu.Lock()
	defer c.mu.Unlock()
	return putOp(fmt.Sprint("key ", i%7), strings.Repeat(fmt.Sprint("value ", c.life, " ", c.calls, " "), 1+i%5*15))
}

// write commits to a run, if that was begun.
func (c *faultChild) write(id run.ID, mode inmem.Durability, ops ...op.Op) {
	r, err := c.db.Run(id)
	if err != nil {
		return // found has told, or the call to begin it
	}
	var b kv.Batch
	for _, o := range ops {
		switch {
		case o.Kind == op.Delete:
			b.Delete(o.Key)
		case o.Deadline != 0:
			b.Put(o.Key, o.Value, kv.TTL(time.Duration(o.Deadline-c.clock.Load())*time.Millisecond))
		default:
			b.Put(o.Key, o.Value)
		}
	}
	known := c.runs[id]
	told := mode
	if mode == op.Default {
		told = c.mode
	}
	var version uint64
	n := note{Run: id, Version: known.version + 1, Mode: told, Ops: ops}
	if c.call("write", n, func() (err error) {
		version, err = r.KV().Write(bg, &b, kv.Durability(mode))
		return err
	}) != nil {
		return
	}
	known.version++
	if version != known.version {
		c.bad("run %v: version %d, want %d", id, version, known.version)
	}
	for _, o := range ops {
		if o.Kind == op.Delete {
			delete(known.values, o.Key)
		} else {
			known.values[o.Key] = string(o.Value)
		}
	}
}

// begin begins a run that is not there.
func (c *faultChild) begin(id run.ID, name string) {
	if c.runs[id] == nil {
		c.runs[id] = &faultRun{}
	}
	known := c.runs[id]
	if known.version > 0 {
		return
	}
	info := &run.Info{Meta: run.Meta{ID: id, Name: name}, Status: run.Active, Created: c.clock.Load(), FirstVersion: 1}
	if c.call("begin", note{Run: id, Version: 1, Mode: c.mode, Info: info}, func() error {
		_, err := c.db.BeginRun(bg, info.Meta)
		return err
	}) == nil {
		known.version, known.values = 1, map[string]string{}
	}
}

func (c *faultChild) newRun(name string) run.ID {
	id, err := run.NewID()
	must(err)
	c.begin(id, name)
	return id
}

func (c *faultChild) checkpoint() {
	_ = c.call("checkpoint", note{}, func() error { return c.db.Checkpoint(bg) })
}

// temporary begins a run and deletes it, and ends another.
func (c *faultChild) temporary() {
	id := c.newRun("temporary")
	c.write(id, op.Default, c.op(1))
	if known := c.runs[id]; known.version > 0 {
		n := note{Run: id, Version: known.version + 1, Mode: c.mode, Ops: []op.Op{{Kind: op.Drop}}}
		known.dropped = c.call("delete", n, func() error { return c.db.DeleteRun(bg, id) }) == nil
	}
	id = c.newRun("ended")
	r, err := c.db.Run(id)
	if err != nil {
		return
	}
	info, err := r.Info()
	must(err)
	info.LastVersion, info.Status, info.Ended = 2, run.Completed, c.clock.Load()
	n := note{Run: id, Version: 2, Mode: c.mode, Ops: []op.Op{{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)}}}
	if c.call("status", n, func() error { return r.End(bg, run.Completed) }) == nil {
		c.runs[id].version = 2
	}
}

// expiring puts a key in a run of its own and waits until its removal can be
// seen, which is then as durable as any commit.
func (c *faultChild) expiring() {
	id := c.newRun("expiring")
	known := c.runs[id]
	known.expiring = true
	o := c.op(2)
	o.Deadline = c.clock.Load() + faultTTL.Milliseconds()
	c.write(id, op.Default, o)
	if known.version < 2 {
		return
	}
	r, err := c.db.Run(id)
	must(err)
	c.clock.Add(2 * faultTTL.Milliseconds())
	n := note{Run: id, Version: 3, Mode: c.mode, Ops: []op.Op{{Kind: op.Expire, Tag: op.KV, Key: o.Key}}}
	number := c.try("expire", n)
	for range 300 {
		info, err := r.Info()
		must(err)
		if info.LastVersion > 2 {
			c.end("expire", number, n, nil)
			return
		}
		select {
		case <-c.stopped:
			return
		case <-time.After(time.Millisecond):
		}
	}
	// The disk is full, for all that is known here: it is tried again later.
	c.emit(faultNote{note: note{What: "late", Run: id}, N: number})
}

// history reads a run's commits from the files, which may fail.
func (c *faultChild) history(id run.ID) {
	r, err := c.db.Run(id)
	if err != nil {
		return
	}
	_ = c.call("history", note{}, func() error {
		next := uint64(1)
		for commit, err := range r.History(bg, 0) {
			if err != nil {
				return err
			}
			if commit.Version != next {
				c.bad("history: version %d, want %d", commit.Version, next)
			}
			next++
		}
		if next != c.runs[id].version+1 {
			c.bad("history: it ends at %d, want %d", next-1, c.runs[id].version)
		}
		return nil
	})
}

// warm takes the reading of runs that are on disk ahead, a second time where the
// first fails, so that nothing read later can.
func (c *faultChild) warm() bool {
	for range 2 {
		if c.call("warm", note{}, func() error { return c.db.Warm(bg, run.Filter{Spaces: true}) }) == nil {
			return true
		}
	}
	return false
}

// found tells what is there after an opening, and goes on from it if it could be
// loaded.
func (c *faultChild) found(warm bool) {
	for info, err := range c.db.Runs(bg, run.Filter{}) {
		must(err)
		if c.runs[info.ID] == nil {
			c.runs[info.ID] = &faultRun{expiring: info.Name == "expiring"}
		}
	}
	for id, known := range c.runs {
		*known = faultRun{expiring: known.expiring, values: map[string]string{}}
		r, err := c.db.Run(id)
		if err == nil {
			info, err := r.Info()
			must(err)
			known.version = info.LastVersion
			if warm {
				known.values = c.list(r)
			}
		} else if !errors.Is(err, inmem.ErrRunNotFound) {
			c.bad("run %v: %v", id, err)
		}
		c.emit(faultNote{note: note{What: "found", Run: id, Version: known.version}})
	}
}

func (c *faultChild) list(r *inmem.Run) map[string]string {
	values := map[string]string{}
	for it, err := range r.KV().List(bg, "") {
		must(err)
		values[it.Key] = string(it.Value)
	}
	return values
}

// read looks at every run: what was acknowledged is there, and nothing else.
func (c *faultChild) read() {
	for id, known := range c.runs {
		r, err := c.db.Run(id)
		if known.dropped || known.version == 0 {
			if !errors.Is(err, inmem.ErrRunNotFound) {
				c.bad("run %v is not there, but: %v", id, err)
			}
			continue
		}
		if err == nil && !known.expiring {
			err = known.compare(r)
		}
		if err != nil {
			c.bad("reading run %v: %v", id, err)
		}
	}
}

func (known *faultRun) compare(r *inmem.Run) error {
	info, err := r.Info()
	if err != nil {
		return err
	}
	if info.LastVersion != known.version {
		return fmt.Errorf("version %d, want %d", info.LastVersion, known.version)
	}
	values := map[string]string{}
	for it, err := range r.KV().List(bg, "") {
		if err != nil {
			return err
		}
		one, err := r.KV().Get(bg, it.Key)
		if err != nil || !bytes.Equal(one, it.Value) {
			return fmt.Errorf("%q is another one in a listing: %v", it.Key, err)
		}
		values[it.Key] = string(it.Value)
	}
	if !maps.Equal(values, known.values) {
		return fmt.Errorf("%v, want %v", values, known.values)
	}
	return nil
}

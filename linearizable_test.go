package inmem_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
)

const (
	linearRuns    = 3
	linearClients = 8
	linearCalls   = 40 // of a client, between two crashes
)

var linearKeys = []string{"a/1", "a/2", "b/1", "b/2", "b/3"}

// linear is a history in the making: clients of one store, whose disk crashes
// under them again and again.
type linear struct {
	*store
	rng     *rand.Rand // of the test's goroutine
	ids     [linearRuns]run.ID
	runs    [linearRuns]*inmem.Run
	mixed   bool // commits ask for modes of their own
	cancels bool // some calls are given up

	ticks   atomic.Int64 // the time of the history
	history []porcupine.Operation
	stats   *linearStats
	tell    func(spoken) // where the clients are in a process of their own

	mu    sync.Mutex
	dice  *rand.Rand // of the disk
	end   linearEnd
	begun int // operations on the disk when the clients began
	over  atomic.Bool
	given atomic.Int32 // calls that were given up since the clients began
}

// linearEnd is how the clients' work is ended, before an operation on the disk.
type linearEnd struct {
	kind   question // askReopen, askKill or askPowerCut
	before int      // it comes before this operation, counted from the clients' beginning
	broken bool     // the disk fails from there on, and the crash comes later
	disk   *vfs.Mem // what the crash left; nil = it has not come yet
	from   int64    // the crash came after this time …
	to     int64    // … and before this
}

type linearStats struct{ histories, calls, unknown, crashes, amid, lost int }

// TestLinearizable has clients work on a few runs at the same time while the
// disk loses its power, the process is killed, the disk fails or the store is
// closed; then they go on with what is left. The whole history of each run,
// crashes included, must be one that a single client could have seen: what was
// acknowledged as durable is never lost, and calls in flight happened before
// the crash or never. The seed does not say how the goroutines take turns.
func TestLinearizable(t *testing.T) {
	var stats linearStats
	for _, seed := range crashSeeds(t, 100) {
		t.Run(fmt.Sprint(seedEnv, "=", seed), func(t *testing.T) { live(t, seed, &stats) })
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", stats)
}

func live(t *testing.T, seed uint64, stats *linearStats) {
	rng := rand.New(rand.NewPCG(seed, 1))
	l := &linear{rng: rng, dice: rand.New(rand.NewPCG(seed, 2)), mixed: rng.IntN(3) == 0, cancels: rng.IntN(3) == 0, stats: stats}
	l.store = newStore(t, func(o *inmem.Options) {
		o.Shards = 1 + rng.IntN(2)
		o.Durability = inmem.Durability(1 + rng.IntN(3))
		o.SegmentSize = []int64{4 << 10, 64 << 10}[rng.IntN(2)]
		o.CheckpointBytes = []int64{-1, 2 << 10, 8 << 10}[rng.IntN(3)]
		o.BatchCommits = 1 + rng.IntN(40)
		o.BatchInterval = []time.Duration{time.Millisecond, time.Hour}[rng.IntN(2)]
	})
	for i := range l.ids {
		l.ids[i] = linearID(i)
		l.begin(run.Meta{ID: l.ids[i]})
	}
	l.healthy()
	for range 2 + rng.IntN(4) {
		l.work()
		l.crash()
		if t.Failed() {
			l.abandon()
			return
		}
	}
	stats.histories++
	l.check()
}

// work lets the clients work until they are done or the crash comes.
func (l *linear) work() {
	l.over.Store(false)
	l.given.Store(0)
	for i, id := range l.ids {
		l.runs[i] = l.run(id)
	}
	l.begun = l.mem.Ops()
	l.end = linearEnd{
		kind:   []question{askReopen, askKill, askKill, askPowerCut, askPowerCut, askPowerCut}[l.rng.IntN(6)],
		before: 1 + l.rng.IntN(100),
	}
	l.end.broken = l.end.kind != askReopen && l.rng.IntN(3) == 0
	l.mem.SetFault(l.strike)
	var all sync.WaitGroup
	clients := make([]*client, linearClients)
	for i := range clients {
		clients[i] = &client{linear: l, id: i, rng: rand.New(rand.NewPCG(l.rng.Uint64(), 3)), seen: map[string]uint64{}}
		all.Go(clients[i].work)
	}
	ends(l.t, "clients", all.Wait)
	l.mem.SetFault(nil)
	l.mu.Lock()
	if l.end.disk == nil {
		l.cut()
	} else {
		l.stats.amid++
	}
	l.mu.Unlock()
	for _, c := range clients {
		l.settle(c.calls)
	}
}

// strike is asked before every operation on the disk.
func (l *linear) strike(o vfs.Op) error {
	runtime.Gosched() // let calls overlap
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.end.kind == askReopen || o.Index-l.begun < l.end.before:
		return nil
	case l.end.broken && o.Kind == vfs.Write:
		return vfs.ShortWrite{N: l.dice.IntN(o.Size + 1), Err: errDisk}
	case l.end.broken:
		return errDisk
	case l.end.disk == nil:
		l.cut()
	}
	return nil
}

// cut is the crash. What the store goes on to do is not in this world.
func (l *linear) cut() {
	l.end.from = l.ticks.Add(1)
	switch l.end.kind {
	case askReopen:
		l.end.disk = l.mem
	case askKill:
		l.end.disk = l.mem.Clone()
	case askPowerCut:
		l.end.disk = l.mem.Crash(l.dice)
	}
	l.end.to = l.ticks.Add(1)
	l.over.Store(true)
}

// settle enters calls into the history, as far as the crash let them happen.
func (l *linear) settle(calls []porcupine.Operation) {
	for _, o := range calls {
		out := o.Output.(told)
		if o.Call > l.end.to {
			continue
		}
		if out.unknown || o.Return > l.end.from {
			if !o.Input.(*asked).what.writes() {
				continue
			}
			o.Output, o.Return = told{unknown: true, items: out.items}, l.end.to
			l.stats.unknown++
		}
		l.stats.calls++
		l.history = append(l.history, o)
	}
}

// crash goes on with what the crash left.
func (l *linear) crash() {
	t := l.t
	if err := l.Close(); err != nil {
		assert.True(t, l.end.broken, "%v", err)
		assert.ErrorIs(t, err, inmem.ErrPoisoned)
	}
	l.mem, l.fs, l.opts.FS = l.end.disk, l.end.disk, l.end.disk
	l.goOn()
}

// goOn recovers after a crash, and enters into the history what is left.
func (l *linear) goOn() {
	t := l.t
	acked := l.acknowledged()
	l.sound()
	l.open()
	l.stats.crashes++
	lost := make([]int, l.opts.Shards)
	for i, id := range l.ids {
		r := l.run(id)
		info, err := r.Info()
		require.NoError(t, err)
		out := told{version: info.LastVersion, items: pairs(list(t, r, ""))}
		l.history = append(l.history, porcupine.Operation{
			ClientId: linearClients, Input: &asked{what: l.end.kind, run: i}, Output: out,
			Call: l.ticks.Add(1), Return: l.ticks.Add(1),
		})
		lost[shard.Place(id, len(lost))] += max(0, int(acked[i])-int(info.LastVersion))
	}
	for _, n := range lost {
		l.stats.lost += n
		if l.opts.Durability != inmem.Async && !l.mixed {
			require.LessOrEqual(t, n, l.opts.BatchCommits, "more Batched commits were lost than may be unsynced")
		}
	}
}

// acknowledged returns the newest version of each run that somebody was told of
// since the last crash.
func (l *linear) acknowledged() (versions [linearRuns]uint64) {
	for i := len(l.history) - 1; i >= 0; i-- {
		in, out := l.history[i].Input.(*asked), l.history[i].Output.(told)
		if in.what >= askReopen {
			break
		}
		if !out.unknown {
			versions[in.run] = max(versions[in.run], out.version)
		}
	}
	return versions
}

func pairs(items []kv.Item) (out []pair) {
	for _, it := range items {
		out = append(out, pair{it.Key, string(it.Value), it.Version})
	}
	return out
}

// check looks for an order of the calls that explains all answers. It is found in
// next to no time, or there is none; on a busy machine a hard one may take more
// than the first minute.
func (l *linear) check() {
	model := linearizable()
	if porcupine.CheckOperationsTimeout(model, l.history, time.Minute) == porcupine.Ok {
		return
	}
	result, info := porcupine.CheckOperationsVerbose(model, l.history, time.Minute)
	if result == porcupine.Ok {
		return
	}
	dir, err := os.MkdirTemp("", "inmem-linearizable-")
	require.NoError(l.t, err)
	path := filepath.Join(dir, "history.html")
	assert.NoError(l.t, porcupine.VisualizePath(model, info, path))
	l.t.Errorf("%v: no order of the calls explains the answers, or none was found in a minute; see %s", result, path)
	l.t.Logf("options: %+v, mixed modes: %v", l.opts, l.mixed)
	l.abandon()
}

// client makes one call after the other.
type client struct {
	*linear
	id    int
	rng   *rand.Rand
	n     int
	seen  map[string]uint64 // versions of keys, by run and key
	calls []porcupine.Operation
}

func (c *client) work() {
	for c.n < linearCalls && !c.over.Load() && c.call() {
		c.n++
		if c.end.kind == askReopen && c.id == 0 && c.n == c.end.before {
			assert.NoError(c.t, c.Close())
		}
	}
}

// call makes one call and notes it. It returns false where there is no point in
// another.
func (c *client) call() (goesOn bool) {
	in := c.draw()
	callContext, give := bg, func() {}
	// What is unknown for long doubles what the check has to look at, each time.
	if c.cancels && in.what.writes() && c.rng.IntN(8) == 0 && c.given.Add(1) <= 6 {
		var cancel context.CancelFunc
		callContext, cancel = context.WithCancel(bg)
		done := make(chan struct{})
		go func() { cancel(); close(done) }()
		give = func() { <-done }
	}
	o := porcupine.Operation{ClientId: c.id, Input: in, Call: c.ticks.Add(1)}
	if c.tell != nil {
		c.tell(speak(c.id, in, nil))
	}
	out, err := c.ask(callContext, in)
	o.Return = c.ticks.Add(1)
	give()
	happened := true
	var refused *inmem.VersionError
	switch {
	case err == nil:
		goesOn = true
	case errors.As(err, &refused):
		out, goesOn = told{refused: refused.Key, version: refused.Actual}, true
	case errors.Is(err, inmem.ErrNotFound):
		out, goesOn = told{absent: true}, true
	case errors.Is(err, inmem.ErrConflict):
		out, goesOn = told{lost: true}, true
	case errors.Is(err, context.Canceled):
		out.unknown, goesOn = true, true
		happened = strings.Contains(err.Error(), "outcome is unknown")
	case errors.Is(err, inmem.ErrPoisoned):
		out.unknown = true
		assert.ErrorIs(c.t, err, errDisk)
	case errors.Is(err, inmem.ErrClosed):
		happened = false
		assert.Equal(c.t, askReopen, c.end.kind)
	default:
		happened = false
		assert.NoError(c.t, err)
	}
	if happened {
		c.note(o, in, out)
	}
	if happened && c.tell != nil {
		c.tell(speak(c.id, in, &out))
	}
	return goesOn
}

func (c *client) note(o porcupine.Operation, in *asked, out told) {
	o.Output = out
	c.calls = append(c.calls, o)
	if in.what == askFlush { // it is one for all runs
		for i := range linearRuns - 1 {
			o.Input = &asked{what: askFlush, run: i + 1}
			c.calls = append(c.calls, o)
		}
	}
	switch {
	case in.what == askGet:
		c.seen[fmt.Sprint(in.run, in.key)] = out.version
	case in.what.writes() && !out.unknown:
		for _, w := range in.writes {
			c.seen[fmt.Sprint(in.run, w.key)] = out.version
		}
	}
}

// draw draws what to ask.
func (c *client) draw() *asked {
	in := &asked{run: c.rng.IntN(linearRuns), mode: c.opts.Durability}
	if c.mixed {
		in.mode = inmem.Durability(1 + c.rng.IntN(3))
	}
	in.what = []question{
		askPut, askPut, askPut, askPutIf, askPutIf, askDelete, askBatch, askBatch,
		askUpdate, askUpdate, askUpdate, askUpdate, askView,
		askGet, askGet, askGet, askList, askVersion,
	}[c.rng.IntN(18)]
	in.key = linearKeys[c.rng.IntN(len(linearKeys))]
	switch in.what {
	case askPut:
		in.writes = []change{c.put(in.key)}
	case askPutIf:
		in.writes = []change{c.putIf(in.run, in.key)}
	case askDelete:
		in.writes = []change{{key: in.key, remove: true}}
	case askBatch:
		for i := range 1 + c.rng.IntN(4) {
			key := linearKeys[c.rng.IntN(len(linearKeys))]
			switch n := c.rng.IntN(6); {
			case n < 2:
				in.writes = append(in.writes, change{key: key, remove: true})
			case n < 3 && i == 0:
				in.writes = append(in.writes, c.putIf(in.run, key))
			default:
				in.writes = append(in.writes, c.put(key))
			}
		}
	case askUpdate:
		in.writes = []change{c.put(in.key)}
		if other := linearKeys[c.rng.IntN(len(linearKeys))]; other != in.key {
			in.writes = append(in.writes, change{key: other, remove: true})
		}
		c.drawReads(in)
		return in
	case askView:
		c.drawReads(in)
		return in
	case askList:
		in.key = []string{"", "a/", "b/"}[c.rng.IntN(3)]
		return in
	case askGet:
		return in
	case askVersion:
		if c.rng.IntN(4) == 0 {
			in.what, in.run = askFlush, 0
		}
	}
	in.key = ""
	return in
}

// drawReads draws what a transaction reads.
func (c *client) drawReads(in *asked) {
	in.key = []string{"none/", "none/", "a/", "b/"}[c.rng.IntN(4)]
	for range c.rng.IntN(3) {
		in.keys = append(in.keys, linearKeys[c.rng.IntN(len(linearKeys))])
	}
}

// put draws a put of a value that nobody else puts.
func (c *client) put(key string) change {
	value := fmt.Sprint(c.stats.crashes, ".", c.id, ".", c.n)
	return change{key: key, value: value + strings.Repeat(".", c.rng.IntN(150))}
}

func (c *client) putIf(r int, key string) change {
	w := c.put(key)
	w.only = true
	if c.rng.IntN(4) > 0 {
		w.version = c.seen[fmt.Sprint(r, key)]
	}
	return w
}

// ask makes the call.
func (c *client) ask(ctx context.Context, in *asked) (out told, err error) {
	face := c.runs[in.run].KV()
	mode := kv.Durability(in.mode)
	if !c.mixed {
		mode = kv.Durability(op.Default)
	}
	switch in.what {
	case askPut:
		out.version, err = face.Put(ctx, in.writes[0].key, []byte(in.writes[0].value), mode)
	case askPutIf:
		out.version, err = face.PutIf(ctx, in.writes[0].key, []byte(in.writes[0].value), in.writes[0].version, mode)
	case askDelete:
		var old []byte
		old, err = face.Delete(ctx, in.writes[0].key, mode)
		out.value = string(old)
	case askBatch:
		out.version, err = face.Write(ctx, batchOf(in.writes), mode)
	case askUpdate:
		return c.update(ctx, in)
	case askView:
		err = c.runs[in.run].View(ctx, func(tx *inmem.Tx) error {
			out.items, err = readsOf(tx, in)
			return err
		})
	case askGet:
		var it kv.Item
		it, err = face.GetItem(ctx, in.key)
		out.value, out.version = string(it.Value), it.Version
	case askList:
		for it, listErr := range face.List(ctx, in.key) {
			if listErr != nil {
				return told{}, listErr
			}
			out.items = append(out.items, pair{it.Key, string(it.Value), it.Version})
			runtime.Gosched()
		}
	case askVersion:
		var info *run.Info
		if info, err = c.runs[in.run].Info(); err == nil {
			out.version = info.LastVersion
		}
	case askFlush:
		err = c.Flush(ctx)
	}
	return out, err
}

// update carries a transaction out, once: a conflict is an answer.
func (c *client) update(ctx context.Context, in *asked) (out told, err error) {
	tx, err := c.runs[in.run].Begin(ctx)
	if err != nil {
		return out, err
	}
	defer tx.Rollback()
	if out.items, err = readsOf(tx, in); err != nil {
		return out, err
	}
	for _, w := range in.writes {
		if w.remove {
			if _, err := tx.KV().Delete(ctx, w.key); err != nil && !errors.Is(err, inmem.ErrNotFound) {
				return out, err
			}
			continue
		}
		if _, err := tx.KV().Put(ctx, w.key, []byte(w.value), kv.Durability(in.mode)); err != nil {
			return out, err
		}
		if own, err := tx.KV().Get(ctx, w.key); err != nil || string(own) != w.value {
			return out, fmt.Errorf("its own write is %q: %w", own, err)
		}
	}
	out.version, err = tx.Commit(ctx)
	return out, err
}

// readsOf reads what a transaction is to read, with time for others in between.
func readsOf(tx *inmem.Tx, in *asked) (items []pair, err error) {
	for _, key := range in.keys {
		it, err := tx.KV().GetItem(bg, key)
		if err != nil && !errors.Is(err, inmem.ErrNotFound) {
			return nil, err
		}
		items = append(items, pair{key, string(it.Value), it.Version})
		runtime.Gosched()
	}
	for it, err := range tx.KV().List(bg, in.key) {
		if err != nil {
			return nil, err
		}
		items = append(items, pair{it.Key, string(it.Value), it.Version})
	}
	return items, nil
}

func batchOf(writes []change) *kv.Batch {
	var b kv.Batch
	for _, w := range writes {
		switch {
		case w.remove:
			b.Delete(w.key)
		case w.only:
			b.PutIf(w.key, []byte(w.value), w.version)
		default:
			b.Put(w.key, []byte(w.value))
		}
	}
	return &b
}

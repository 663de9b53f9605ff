package shard

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/actor"
	"inmem/checkpoint"
	"inmem/op"
	"inmem/run"
	"inmem/ttl"
	"inmem/vfs"
	"inmem/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ctx      = context.Background()
	errFault = errors.New("the disk failed")
	storeID  = [16]byte{1}
	identity = wal.Identity{Store: storeID}
)

const dir = "/store/shard-0000"

// rig is a shard on a memory disk, put together as recovery would.
type rig struct {
	*Shard
	t      testing.TB
	fs     *vfs.Mem
	clock  *Clock
	health *Health

	mu      sync.Mutex
	causes  []error
	taken   []CheckpointDone
	timers  []ttl.Change
	forgot  []run.ID
	closeFn func() (uint64, error)
}

// rigOptions change a rig before it starts.
type rigOptions struct {
	wall            func() time.Time
	durability      op.Durability
	segmentSize     int64
	interval        time.Duration
	checkpointBytes int64
	onCheckpoint    func(CheckpointDone)
	memory          *Memory
}

// newRig makes a new log on a new disk and a shard over it, which is closed at
// the end of the test.
func newRig(t testing.TB, options ...func(*rigOptions)) *rig {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll(dir, 0o755))
	require.NoError(t, wal.Create(fs, dir, identity, wal.Options{Now: func() int64 { return 1 }}))
	m := &checkpoint.Manifest{Store: storeID, Shards: []checkpoint.Shard{{First: 1}}}
	require.NoError(t, checkpoint.NewManifestFile(fs, "/store", m).Update(func(*checkpoint.Manifest) {}))
	for _, above := range []string{"/", "/store", dir} {
		require.NoError(t, fs.SyncDir(above))
	}
	return openRig(t, fs, options...)
}

// openRig opens a shard over what is on the disk.
func openRig(t testing.TB, fs *vfs.Mem, options ...func(*rigOptions)) *rig {
	opts := rigOptions{wall: func() time.Time { return time.UnixMilli(1000) }, durability: op.Batched, checkpointBytes: -1}
	for _, o := range options {
		o(&opts)
	}
	r := &rig{t: t, fs: fs, clock: NewClock(opts.wall, 0)}
	r.health = NewHealth(func(err error) { r.mu.Lock(); r.causes = append(r.causes, err); r.mu.Unlock() })
	m, err := checkpoint.ReadManifest(fs, "/store")
	require.NoError(t, err)
	cfg := Config{
		FS: fs, Dir: dir, Store: storeID, Clock: r.clock, Health: r.health,
		Durability: opts.durability, CheckpointBytes: opts.checkpointBytes,
		Manifest: checkpoint.NewManifestFile(fs, "/store", m),
		Track:    func(list []ttl.Change) { r.mu.Lock(); r.timers = append(r.timers, list...); r.mu.Unlock() },
		Memory:   opts.memory, Left: func(run.ID) {},
		Forget: func(id run.ID) { r.mu.Lock(); r.forgot = append(r.forgot, id); r.mu.Unlock() },
		OnCheckpoint: func(done CheckpointDone) {
			if opts.onCheckpoint != nil {
				opts.onCheckpoint(done)
			}
			r.mu.Lock()
			r.taken = append(r.taken, done)
			r.mu.Unlock()
		},
	}
	r.recover(&cfg, m, wal.Options{SegmentSize: opts.segmentSize, Interval: opts.interval})
	r.Shard = New(cfg)
	r.closeFn = sync.OnceValues(r.Shard.Close)
	t.Cleanup(func() { _, _ = r.closeFn() }) // tests that care look at what end returns
	return r
}

func (r *rig) recover(cfg *Config, m *checkpoint.Manifest, log wal.Options) {
	cfg.State = NewState()
	bounds := wal.Bounds{First: m.Shards[0].First, After: m.Shards[0].Checkpoint}
	if bounds.After != 0 {
		files := checkpoint.OpenFiles(r.fs, dir, storeID, 0)
		x, err := files.Index(bounds.After)
		require.NoError(r.t, err)
		for i := range x.Entries {
			item, err := cfg.State.Load(&x.Entries[i])
			require.NoError(r.t, err)
			require.NoError(r.t, files.Image(&x.Entries[i], item))
		}
		cfg.State.Forget(x.Deleted)
		cfg.Index = x.Table()
		require.NoError(r.t, files.Close())
	}
	sc, err := wal.Scan(r.fs, dir, identity, bounds, func(f wal.Frame) error {
		c, err := op.DecodeCommit(f.Payload)
		if err != nil {
			return err
		}
		return cfg.State.Replay(&c, f.Sequence)
	})
	require.NoError(r.t, err)
	log.Now, log.OnError = r.clock.Now, r.health.Poison
	cfg.Log, err = wal.Open(r.fs, dir, identity, sc, log)
	require.NoError(r.t, err)
}

// end closes the shard, once.
func (r *rig) end() (last uint64, err error) { return r.closeFn() }

// reopen closes the shard and opens one over what it left.
func (r *rig) reopen(options ...func(*rigOptions)) *rig {
	_, err := r.end()
	require.NoError(r.t, err)
	return openRig(r.t, r.fs, options...)
}

func (r *rig) begin() *Handle {
	id, err := run.NewID()
	require.NoError(r.t, err)
	h, err := r.Begin(ctx, &run.Info{Meta: run.Meta{ID: id}}, op.Default)
	require.NoError(r.t, err)
	return h
}

func put(key, value string) *op.Request {
	return &op.Request{Writes: []op.Write{{Kind: op.Put, Tag: op.KV, Key: key, Value: []byte(value)}}}
}

func putTTL(key, value string, in time.Duration) *op.Request {
	req := put(key, value)
	req.Writes[0].TTL = in
	return req
}

// put puts and must succeed.
func (r *rig) put(h *Handle, key, value string) uint64 {
	res, err := r.Commit(ctx, h.ID, put(key, value))
	var p *actor.PanicError
	if errors.As(err, &p) {
		r.t.Logf("%s", p.Stack)
	}
	require.NoError(r.t, err)
	return res.Version
}

// value returns what readers see.
func value(h *Handle, key string) string {
	it, ok := h.snapshot.Load().Get(op.KV, key)
	if !ok {
		return ""
	}
	return string(it.Value)
}

// digests are those of all runs.
func (r *rig) digests() map[run.ID]op.Digest {
	all := map[run.ID]op.Digest{}
	r.handles.Range(func(id, h any) bool {
		if snap := h.(*Handle).snapshot.Load(); snap != nil { // else it says that the run was deleted
			all[id.(run.ID)] = snap.Digest()
		}
		return true
	})
	return all
}

// failOn lets the disk fail every operation of a kind whose file name has the suffix.
func (r *rig) failOn(kind vfs.OpKind, suffix string) {
	r.fs.SetFault(func(o vfs.Op) error {
		if o.Kind == kind && hasSuffix(o.Name, suffix) {
			return errFault
		}
		return nil
	})
}

func hasSuffix(s, suffix string) bool {
	return len(s) >= len(suffix) && s[len(s)-len(suffix):] == suffix
}

// answered fails the test unless fn returns soon: a caller who is never
// answered would hang the test instead of failing it.
func answered(t testing.TB, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	// Looks are counted, not time: a machine that was asleep gets its turns.
	for range 20_000 {
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatalf("%s: no answer", what)
}

// soon waits for what happens in the background.
func soon(t testing.TB, is func() bool) {
	t.Helper()
	answered(t, "waiting", func() {
		for !is() {
			time.Sleep(time.Millisecond)
		}
	})
}

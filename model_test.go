package inmem_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// modelRun is a run as it should be.
type modelRun struct {
	run     *inmem.Run
	info    run.Info // LastVersion is not kept
	deleted bool
	keys    map[string]modelItem
	atLeast uint64 // its version, but for removals of expired keys
}

type modelItem struct {
	value    string
	version  uint64
	deadline int64
}

// attempt is what a call asks of a run.
type attempt struct {
	run     *modelRun
	mode    inmem.Durability
	version uint64  // what the call returned; 0 = such calls return none
	ops     []op.Op // the commit, as it is logged; none = the call changes nothing
}

// world is what a model's store lives in.
type world interface {
	// spoiled reports whether a call ended as it did because of the disk. want
	// is how it should have ended.
	spoiled(t *rapid.T, a attempt, want, err error) bool
	// committed is told of what was acknowledged.
	committed(t *rapid.T, a attempt)
}

// quiet is a world in which disks do not fail.
type quiet struct{}

func (quiet) spoiled(*rapid.T, attempt, error, error) bool { return false }
func (quiet) committed(*rapid.T, attempt)                  {}

// model is a store beside a map that says what it should hold.
type model struct {
	opts  inmem.Options
	disk  *vfs.Mem
	wall  *wall
	db    *inmem.DB
	runs  []*modelRun
	world world
	ids   func(n int) run.ID // of the n-th run that is begun; nil = the store's
	begun int
}

const modelDir = "/model"

var modelKeys = []string{"a", "aa", "ab", "b", "b\x00", "\xff", "\xff\xff", "c/1", "c/2"}

func newModel(t *rapid.T) *model {
	m := &model{disk: vfs.NewMem(), wall: &wall{}, world: quiet{}}
	m.wall.ms.Store(epoch)
	m.opts = inmem.Options{
		FS: m.disk, Now: m.wall.Now, Shards: rapid.IntRange(1, 3).Draw(t, "shards"),
		SegmentSize: 4 << 10, CheckpointBytes: rapid.SampledFrom([]int64{-1, 2 << 10}).Draw(t, "checkpoint bytes"),
		Durability: inmem.Durability(rapid.IntRange(1, 3).Draw(t, "durability")),
	}
	return m
}

func (m *model) open(t *rapid.T) {
	db, err := inmem.Open(modelDir, &m.opts)
	require.NoError(t, err)
	m.db = db
	m.find(t)
}

// find gets the runs' handles.
func (m *model) find(t *rapid.T) {
	for _, r := range m.runs {
		again, err := m.db.Run(r.info.ID)
		if r.deleted {
			require.ErrorIs(t, err, inmem.ErrRunNotFound)
			continue
		}
		require.NoError(t, err)
		r.run = again
	}
}

func (m *model) close(t *rapid.T) {
	require.NoError(t, m.db.Close())
	m.sound(t)
}

// sound checks the files.
func (m *model) sound(t *rapid.T) {
	checked, err := recovery.Check(m.disk, modelDir)
	require.NoError(t, err)
	require.Empty(t, checked.Problems)
}

// live drops what is past its deadline.
func (m *model) live(r *modelRun) {
	for key, it := range r.keys {
		if it.deadline != 0 && m.wall.ms.Load() >= it.deadline {
			delete(r.keys, key)
		}
	}
}

// any draws a run that is there.
func (m *model) any(t *rapid.T) *modelRun {
	there := slices.DeleteFunc(slices.Clone(m.runs), func(r *modelRun) bool { return r.deleted })
	if len(there) == 0 {
		t.Skip("no runs")
	}
	r := there[rapid.IntRange(0, len(there)-1).Draw(t, "run")]
	m.live(r)
	return r
}

// apply does a commit.
func (r *modelRun) apply(t *rapid.T, version uint64, ops []op.Op) {
	r.atLeast = max(r.atLeast, version)
	for _, o := range ops {
		switch {
		case o.Kind == op.Drop:
			r.deleted = true
		case o.Tag == op.RunMetadata:
			info, err := run.DecodeRecord(r.info.ID, o.Value)
			require.NoError(t, err)
			r.info = *info
		case o.Kind == op.Put:
			r.keys[o.Key] = modelItem{string(o.Value), version, o.Deadline}
		default:
			delete(r.keys, o.Key)
		}
	}
}

// ended compares how a call ended with how it should have, and takes over what
// it did. It reports whether that is a commit.
func (m *model) ended(t *rapid.T, a attempt, want, err error) bool {
	if m.world.spoiled(t, a, want, err) {
		return false
	}
	if want != nil {
		require.ErrorIs(t, err, want)
		return false
	}
	require.NoError(t, err)
	if len(a.ops) == 0 {
		require.GreaterOrEqual(t, a.version, a.run.atLeast)
		return false
	}
	version := a.version
	if version == 0 {
		version = a.run.atLeast + 1
	}
	require.Greater(t, version, a.run.atLeast)
	m.world.committed(t, a)
	a.run.apply(t, version, a.ops)
	return true
}

// refusal is the error of any write to the run.
func (r *modelRun) refusal() error {
	if r.info.Status != run.Active {
		return inmem.ErrRunNotActive
	}
	return nil
}

func drawTTL(t *rapid.T) (time.Duration, []kv.WriteOption) {
	ttl := time.Duration(rapid.SampledFrom([]int{0, 0, 1, 10, 100}).Draw(t, "ttl")) * time.Millisecond
	if ttl == 0 {
		return 0, nil
	}
	return ttl, []kv.WriteOption{kv.TTL(ttl)}
}

func drawMode(t *rapid.T) inmem.Durability {
	return rapid.SampledFrom([]inmem.Durability{op.Default, inmem.Strict, inmem.Batched, inmem.Async}).Draw(t, "mode")
}

// putOf is a put as it is logged.
func (m *model) putOf(key, value string, ttl time.Duration) op.Op {
	o := op.Op{Kind: op.Put, Tag: op.KV, Key: key}
	if value != "" {
		o.Value = []byte(value)
	}
	if ttl > 0 {
		o.Deadline = m.wall.ms.Load() + ttl.Milliseconds()
	}
	return o
}

func (m *model) put(t *rapid.T) {
	r, key := m.any(t), rapid.SampledFrom(modelKeys).Draw(t, "key")
	value := rapid.StringN(0, 5, 300).Draw(t, "value") + strings.Repeat("long", rapid.SampledFrom([]int{0, 0, 100, 400}).Draw(t, "more"))
	ttl, opts := drawTTL(t)
	a := attempt{run: r, mode: drawMode(t), ops: []op.Op{m.putOf(key, value, ttl)}}
	var err error
	a.version, err = r.run.KV().Put(ctx, key, []byte(value), append(opts, kv.Durability(a.mode))...)
	m.ended(t, a, r.refusal(), err)
}

func (m *model) putIf(t *rapid.T) {
	r, key := m.any(t), rapid.SampledFrom(modelKeys).Draw(t, "key")
	actual := r.keys[key].version
	expected := rapid.SampledFrom([]uint64{0, actual, actual + 1}).Draw(t, "expected")
	want := r.refusal()
	if want == nil && expected != actual {
		want = inmem.ErrWrongVersion
	}
	a := attempt{run: r, mode: drawMode(t), ops: []op.Op{m.putOf(key, "if", 0)}}
	var err error
	a.version, err = r.run.KV().PutIf(ctx, key, []byte("if"), expected, kv.Durability(a.mode))
	m.ended(t, a, want, err)
	if errors.Is(err, inmem.ErrWrongVersion) {
		var e *inmem.VersionError
		require.ErrorAs(t, err, &e)
		require.Equal(t, inmem.VersionError{Key: key, Expected: expected, Actual: actual}, *e)
	}
}

func (m *model) delete(t *rapid.T) {
	r, key := m.any(t), rapid.SampledFrom(modelKeys).Draw(t, "key")
	it, existed := r.keys[key]
	want := r.refusal()
	if want == nil && !existed {
		want = inmem.ErrNotFound
	}
	a := attempt{run: r, mode: drawMode(t), ops: []op.Op{{Kind: op.Delete, Tag: op.KV, Key: key}}}
	old, err := r.run.KV().Delete(ctx, key, kv.Durability(a.mode))
	if m.ended(t, a, want, err) {
		require.Equal(t, it.value, string(old))
	}
}

func (m *model) batch(t *rapid.T) {
	r := m.any(t)
	var b kv.Batch
	a := attempt{run: r, mode: drawMode(t)}
	for range rapid.IntRange(0, 6).Draw(t, "operations") {
		key := rapid.SampledFrom(modelKeys).Draw(t, "key")
		if rapid.Bool().Draw(t, "put") {
			value := rapid.StringN(0, 5, 20).Draw(t, "value")
			ttl, opts := drawTTL(t)
			b.Put(key, []byte(value), opts...)
			a.ops = append(a.ops, m.putOf(key, value, ttl))
		} else {
			b.Delete(key)
			a.ops = append(a.ops, op.Op{Kind: op.Delete, Tag: op.KV, Key: key})
		}
	}
	a.ops = r.effects(a.ops)
	var err error
	a.version, err = r.run.KV().Write(ctx, &b, kv.Durability(a.mode))
	m.ended(t, a, r.refusal(), err)
}

// effects leaves out of a batch what is not logged: deletes of what is not
// there, unless a put of the batch may have made it.
func (r *modelRun) effects(ops []op.Op) (logged []op.Op) {
	puts := slices.ContainsFunc(ops, func(o op.Op) bool { return o.Kind == op.Put })
	for i, o := range ops {
		if _, there := r.keys[o.Key]; o.Kind == op.Put || there || puts && i > 0 {
			logged = append(logged, o)
		}
	}
	return logged
}

func (m *model) begin(t *rapid.T) {
	if len(m.runs) >= 8 {
		t.Skip("enough runs")
	}
	info := run.Info{Status: run.Active, Created: m.wall.ms.Load(), FirstVersion: 1}
	info.Meta = run.Meta{Name: fmt.Sprint(m.begun), Tags: map[string]string{"n": fmt.Sprint(m.begun % 2)}}
	if m.ids != nil {
		info.ID = m.ids(m.begun)
	}
	m.begun++
	r, err := m.db.BeginRun(ctx, info.Meta)
	if err == nil {
		info.ID = r.ID()
	}
	mr := &modelRun{run: r, info: info, keys: map[string]modelItem{}}
	if m.ended(t, attempt{run: mr, version: 1, ops: []op.Op{recordOf(&info)}}, nil, err) {
		m.runs = append(m.runs, mr)
	}
}

// recordOf is a change of a run's metadata as it is logged.
func recordOf(info *run.Info) op.Op {
	return op.Op{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)}
}

func (m *model) status(t *rapid.T) {
	r := m.any(t)
	to := run.Status(rapid.IntRange(1, 6).Draw(t, "status"))
	var err error
	switch to {
	case run.Active:
		err = r.run.Resume(ctx)
	case run.Paused:
		err = r.run.Pause(ctx)
	case run.Archived:
		err = r.run.Archive(ctx)
	default:
		err = r.run.End(ctx, to)
	}
	refusal := r.info.Status.Become(to)
	var want error
	if refusal != nil {
		want = inmem.ErrTransition
	}
	info := r.info
	info.Status = to
	if to.Ended() && info.Ended == 0 {
		info.Ended = m.wall.ms.Load()
	}
	m.ended(t, attempt{run: r, ops: []op.Op{recordOf(&info)}}, want, err)
	if errors.Is(err, inmem.ErrTransition) {
		require.Equal(t, errors.Is(refusal, inmem.ErrRunEnded), errors.Is(err, inmem.ErrRunEnded))
	}
}

func (m *model) deleteRun(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "really") != 0 {
		t.Skip("not this time")
	}
	r := m.any(t)
	err := m.db.DeleteRun(ctx, r.info.ID)
	if !m.ended(t, attempt{run: r, ops: []op.Op{{Kind: op.Drop}}}, nil, err) {
		return
	}
	_, err = m.db.BeginRun(ctx, run.Meta{ID: r.info.ID})
	m.ended(t, attempt{run: r}, inmem.ErrRunDeleted, err)
	_, err = r.run.KV().Put(ctx, "a", nil)
	m.ended(t, attempt{run: r}, inmem.ErrRunDeleted, err)
}

// agree compares all that can be seen with the model.
func (m *model) agree(t *rapid.T) {
	there := 0
	for _, r := range m.runs {
		if r.deleted {
			_, err := m.db.Run(r.info.ID)
			require.ErrorIs(t, err, inmem.ErrRunNotFound)
			continue
		}
		there++
		m.live(r)
		seen := map[string]modelItem{}
		last := ""
		for it, err := range r.run.KV().List(ctx, "") {
			require.NoError(t, err)
			require.True(t, last == "" || last < it.Key, "out of order")
			last = it.Key
			got := modelItem{value: string(it.Value), version: it.Version}
			if !it.Deadline.IsZero() {
				got.deadline = it.Deadline.UnixMilli()
			}
			seen[it.Key] = got
		}
		require.Equal(t, r.keys, seen, "run %v", r.info.ID)
		info, err := r.run.Info()
		require.NoError(t, err)
		require.GreaterOrEqual(t, info.LastVersion, r.atLeast)
		want := r.info
		want.LastVersion = info.LastVersion
		require.Equal(t, &want, info)
	}
	n := 0
	for _, err := range m.db.Runs(ctx, run.Filter{}) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, there, n)
}

// histories replays every run's history and compares it with what is there.
func (m *model) histories(t *rapid.T) {
	for _, r := range m.runs {
		if r.deleted {
			continue
		}
		m.live(r)
		replayed := modelRun{info: r.info, keys: map[string]modelItem{}}
		next := uint64(1)
		for c, err := range r.run.History(ctx, 0) {
			require.NoError(t, err)
			require.Equal(t, next, c.Version)
			next++
			replayed.apply(t, c.Version, c.Ops)
		}
		m.live(&replayed)
		require.Equal(t, r.keys, replayed.keys)
		require.Equal(t, r.info, replayed.info)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		m.open(t)
		defer func() { assert.NoError(t, m.db.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"":          m.agree,
			"put":       m.put,
			"putif":     m.putIf,
			"delete":    m.delete,
			"batch":     m.batch,
			"begin":     m.begin,
			"status":    m.status,
			"deleteRun": m.deleteRun,
			"history":   m.histories,
			"time": func(t *rapid.T) {
				m.wall.move(time.Duration(rapid.IntRange(0, 60).Draw(t, "ms")) * time.Millisecond)
			},
			"flush":      func(t *rapid.T) { require.NoError(t, m.db.Flush(ctx)) },
			"checkpoint": func(t *rapid.T) { require.NoError(t, m.db.Checkpoint(ctx)) },
			"reopen": func(t *rapid.T) {
				m.close(t)
				m.open(t)
			},
		})
	})
}

package matrix

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/op"
	"inmem/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// view is a run at a version, as searches see it. It never changes.
type view struct {
	version uint64
	items   map[string]op.Item
	now     int64
	scans   *int
}

func (v *view) Version() uint64 { return v.version }

func (v *view) Get(_ op.Tag, key string) (op.Item, bool) {
	it, ok := v.items[key]
	return it, ok && !it.Expired(v.now)
}

func (v *view) Scan(_ op.Tag, r op.Range, fn func(key string, it op.Item) bool) {
	*v.scans++
	for _, key := range slices.Sorted(maps.Keys(v.items)) {
		if it := v.items[key]; key >= r.From && key < r.To && !it.Expired(v.now) && !fn(key, it) {
			return
		}
	}
}

func (v *view) Diff(old op.Snapshot, _ op.Tag, r op.Range, most int, fn func(key string, was, is *op.Item) bool) bool {
	before := old.(*view).items
	for _, key := range slices.Sorted(maps.Keys(v.items)) {
		it := v.items[key]
		if was, ok := before[key]; strings.HasPrefix(key, r.From) && (!ok || was.Version != it.Version) {
			if most--; most == -1 {
				return false
			}
			if !fn(key, &was, &it) {
				return true
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, ok := v.items[key]; strings.HasPrefix(key, r.From) && !ok {
			was := before[key]
			if most--; most == -1 {
				return false
			}
			if !fn(key, &was, nil) {
				return true
			}
		}
	}
	return true
}

// overlay is a transaction's view.
type overlay struct {
	*view
	own map[string]*op.Item
}

func (o *overlay) Under(_ op.Tag, _ op.Range, fn func(key string, is *op.Item)) op.Snapshot {
	for _, key := range slices.Sorted(maps.Keys(o.own)) {
		fn(key, o.own[key])
	}
	return o.view
}

// plainView is a view that cannot be compared with others.
type plainView struct{ op.View }

// world is a run that goes on, and a cache.
type world struct {
	t     testing.TB
	now   *view
	scans int
	taken int64
	cache *Cache
	of    Collection
	id    run.ID
	owner owner
}

// owner is that of a run that may be gone.
type owner struct{ gone bool }

func (o *owner) Kept() bool { return !o.gone }

func (w *world) set() Set { return w.cache.Of(w.id, &w.owner) }

var errBad = errors.New("a bad record")

func newWorld(t testing.TB, limit int64, m Metric, dimension int) *world {
	w := &world{t: t, id: run.ID{1}}
	w.now = &view{items: map[string]op.Item{}, scans: &w.scans}
	w.cache = NewCache(Config{Limit: limit, Charge: func(n int64) { w.taken += n }, Guard: func(fn func()) { fn() }})
	t.Cleanup(w.cache.Close)
	w.of = Collection{
		Name: "c", Made: 1, Metric: m, Dimension: dimension, Tag: op.Vector, Keys: op.Prefix("v/"), Prefix: "v/",
		Vector: func(value []byte) ([]byte, error) {
			if len(value) != 4*dimension {
				return nil, errBad
			}
			return value, nil
		},
	}
	return w
}

// change makes a new version.
func (w *world) change(fn func(items map[string]op.Item)) *view {
	next := *w.now
	next.version++
	next.items = maps.Clone(w.now.items)
	fn(next.items)
	w.now = &next
	return w.now
}

func (w *world) item(v ...float32) op.Item {
	return op.Item{Value: bytesOf(v), Version: w.now.version + 1}
}

func (w *world) put(key string, v ...float32) *view {
	return w.change(func(items map[string]op.Item) { items["v/"+key] = w.item(v...) })
}

func (w *world) delete(key string) *view {
	return w.change(func(items map[string]op.Item) { delete(items, "v/"+key) })
}

func bytesOf(v []float32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// keys searches, and returns the keys in order.
func (w *world) keys(v op.View, q Query) string {
	w.t.Helper()
	hits, err := w.set().Search(ctx, v, &w.of, &q)
	require.NoError(w.t, err)
	var keys []string
	for _, h := range hits {
		keys = append(keys, h.Key)
		require.NotNil(w.t, h.Item.Value)
	}
	return strings.Join(keys, " ")
}

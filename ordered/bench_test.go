package ordered

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tidwall/btree"

	"inmem/op"
)

// The benchmarks hold 1,000 maps, as a shard holds runs, beside the same in
// tidwall's B-tree. Values have 256 bytes and keys look like those of a
// key-value face.

// contender is one run's map and its published snapshot.
type contender interface {
	set(key string, it op.Item)
	publish()
	get(key string) (op.Item, bool) // from the snapshot
	ascend(from string, fn func(string, op.Item) bool)
}

type ours struct {
	m    Map
	view atomic.Pointer[View]
}

func (o *ours) set(key string, it op.Item) { o.m.Put(key, it) }
func (o *ours) publish() {
	v := o.m.Snapshot()
	o.view.Store(&v)
}
func (o *ours) get(key string) (op.Item, bool) { return o.view.Load().Get(key) }
func (o *ours) ascend(from string, fn func(string, op.Item) bool) {
	o.view.Load().Ascend(from, fn)
}

type theirs struct {
	m    *btree.Map[string, op.Item]
	view atomic.Pointer[btree.Map[string, op.Item]]
}

// set copies what it is given, as Map.Set does.
func (t *theirs) set(key string, it op.Item) {
	it.Value = append([]byte(nil), it.Value...)
	t.m.Set(strings.Clone(key), it)
}
func (t *theirs) publish()                       { t.view.Store(t.m.Copy()) }
func (t *theirs) get(key string) (op.Item, bool) { return t.view.Load().Get(key) }
func (t *theirs) ascend(from string, fn func(string, op.Item) bool) {
	t.view.Load().Ascend(from, fn)
}

var contenders = []struct {
	name string
	make func() contender
}{
	{"ordered", func() contender { return &ours{} }},
	{"tidwall-8", func() contender { return &theirs{m: btree.NewMap[string, op.Item](8)} }},
	{"tidwall-32", func() contender { return &theirs{m: btree.NewMap[string, op.Item](32)} }},
}

const manyMaps = 1000

var (
	benchItem = op.Item{Value: make([]byte, 256), Version: 1}
	sinkItem  op.Item
	sinkBytes byte
)

// benchKeys returns n keys of 16 bytes and as many that are not in the maps.
func benchKeys(n int) (hits, misses []string) {
	for i := range n {
		hits = append(hits, fmt.Sprintf("\x01user-%010d", 2*i))
		misses = append(misses, fmt.Sprintf("\x01user-%010d", 2*i+1))
	}
	return hits, misses
}

// load fills maps with the keys in random order, a snapshot after each.
func load(make func() contender, keys []string) []contender {
	maps := []contender{}
	for range manyMaps {
		c := make()
		for _, i := range rand.Perm(len(keys)) {
			c.set(keys[i], benchItem)
			c.publish()
		}
		maps = append(maps, c)
	}
	return maps
}

// forMaps runs fn for each contender with filled maps of 500 keys.
func forMaps(b *testing.B, fn func(b *testing.B, maps []contender, hits, misses []string)) {
	hits, misses := benchKeys(500)
	for _, c := range contenders {
		b.Run(c.name, func(b *testing.B) {
			maps := load(c.make, hits)
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			fn(b, maps, hits, misses)
			b.StopTimer()
			runtime.KeepAlive(maps)
		})
	}
}

// gcShare reports which part of the processors' time the collector takes in fn.
func gcShare(b *testing.B, fn func()) {
	before := cpuSeconds()
	fn()
	after := cpuSeconds()
	b.ReportMetric(100*(after.gc-before.gc)/(after.busy-before.busy), "gc-%")
}

func BenchmarkOverwriteSnapshot(b *testing.B) {
	forMaps(b, func(b *testing.B, maps []contender, keys, _ []string) {
		gcShare(b, func() {
			for range b.N {
				c := maps[rand.IntN(len(maps))]
				c.set(keys[rand.IntN(len(keys))], benchItem)
				c.publish()
			}
		})
	})
}

func BenchmarkPutNewSnapshot(b *testing.B) {
	keys, _ := benchKeys(500)
	for _, c := range contenders {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			gcShare(b, func() {
				for done := 0; done < b.N; {
					maps := make([]contender, manyMaps)
					for i := range maps {
						maps[i] = c.make()
					}
					order := rand.Perm(len(keys))
					for _, k := range order {
						for _, m := range maps {
							if done++; done > b.N {
								return
							}
							m.set(keys[k], benchItem)
							m.publish()
						}
					}
				}
			})
		})
	}
}

func BenchmarkGetHit(b *testing.B) {
	forMaps(b, func(b *testing.B, maps []contender, keys, _ []string) {
		for range b.N {
			sinkItem, _ = maps[rand.IntN(len(maps))].get(keys[rand.IntN(len(keys))])
		}
	})
}

func BenchmarkGetMiss(b *testing.B) {
	forMaps(b, func(b *testing.B, maps []contender, _, keys []string) {
		for range b.N {
			sinkItem, _ = maps[rand.IntN(len(maps))].get(keys[rand.IntN(len(keys))])
		}
	})
}

func BenchmarkAscend100(b *testing.B) {
	forMaps(b, func(b *testing.B, maps []contender, keys, _ []string) {
		for range b.N {
			n := 0
			maps[rand.IntN(len(maps))].ascend(keys[rand.IntN(400)], func(key string, it op.Item) bool {
				sinkBytes += key[0] + it.Value[0] // who scans, looks
				n++
				return n < 100
			})
		}
	})
}

// BenchmarkMemory loads 1,000 keys into each of 1,000 maps and then overwrites
// each key three times on average.
func BenchmarkMemory(b *testing.B) {
	keys, _ := benchKeys(1000)
	for _, c := range contenders {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				empty := heap()
				maps := load(c.make, keys)
				n := float64(len(maps) * len(keys))
				b.ReportMetric(float64(heap()-empty)/n, "B/key-loaded")
				for range 3 * len(maps) * len(keys) {
					m := maps[rand.IntN(len(maps))]
					m.set(keys[rand.IntN(len(keys))], benchItem)
					m.publish()
				}
				b.ReportMetric(float64(heap()-empty)/n, "B/key-overwritten")
				counted := int64(0)
				for _, m := range maps {
					if o, ok := m.(*ours); ok {
						counted += o.m.Bytes()
					}
				}
				b.ReportMetric(float64(counted)/n, "B/key-counted")
				runtime.KeepAlive(maps)
			}
		})
	}
}

// heap returns the bytes that are live after a collection.
func heap() uint64 {
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

package shard

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/run"
)

func listedInfo(n int, status run.Status) *run.Info {
	return &run.Info{
		Meta: run.Meta{ID: run.ID{byte(n >> 8), byte(n)}, Name: "n"}, Status: status, Created: int64(n),
	}
}

// listedIDs returns what an index lists, in order.
func listedIDs(x *run.Index, f *run.Filter) (ids []run.ID) {
	x.Scan(f, func(info *run.Info) bool {
		ids = append(ids, info.ID)
		return true
	})
	return ids
}

// Whatever is noted between whatever listings, what is listed is what was
// published, and an index that somebody has does not change.
func TestCatalogAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &catalog{}
		published := map[int]*run.Info{}
		wanted := func(f *run.Filter) (ids []run.ID) {
			for n := range 40 {
				if info := published[n]; info != nil && f.Match(info) {
					ids = append(ids, info.ID)
				}
			}
			return ids
		}
		all, ended := &run.Filter{}, &run.Filter{Status: []run.Status{run.Completed}}
		var held *run.Index
		var heldIDs []run.ID
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				var changes []listed
				for range rapid.IntRange(1, 60).Draw(t, "changes") {
					n := rapid.IntRange(0, 39).Draw(t, "run")
					info := listedInfo(n, rapid.SampledFrom([]run.Status{run.Active, run.Completed}).Draw(t, "status"))
					gone := published[n] != nil && rapid.Bool().Draw(t, "gone")
					if published[n] = info; gone {
						delete(published, n)
					}
					changes = append(changes, listed{info, gone})
				}
				c.note(changes)
			},
			"list": func(t *rapid.T) {
				x := c.snapshot(func(yield func(*run.Info)) {
					for _, info := range published {
						yield(info)
					}
				})
				require.Equal(t, wanted(all), listedIDs(x, all))
				require.Equal(t, wanted(ended), listedIDs(x, ended))
				held, heldIDs = x, wanted(all)
			},
			"": func(t *rapid.T) {
				if held != nil {
					require.Equal(t, heldIDs, listedIDs(held, all))
				}
			},
		})
	})
}

// Nothing is kept for nobody: before the first listing no change is, and
// afterwards the owner takes over what nobody asks for.
func TestCatalogIsBounded(t *testing.T) {
	c := &catalog{}
	publish := func(n int) { c.note([]listed{{info: listedInfo(n%1000, run.Active)}}) }
	for n := range 3 * maxPending {
		publish(n)
	}
	assert.Empty(t, c.pending)
	assert.Zero(t, c.snapshot(func(func(*run.Info)) {}).Len())
	for n := range 10 * maxPending {
		publish(n)
		require.LessOrEqual(t, len(c.pending), maxPending+1)
	}
	assert.Equal(t, 1000, c.snapshot(nil).Len())
}

// Those who list while runs are published see no run twice, and what was published
// before they asked.
func TestCatalogAtOnce(t *testing.T) {
	c := &catalog{}
	var mu sync.Mutex
	published := map[int]*run.Info{}
	const runs = 4000
	var all sync.WaitGroup
	all.Go(func() {
		for n := range runs {
			info := listedInfo(n, run.Active)
			mu.Lock()
			published[n] = info
			mu.Unlock()
			c.note([]listed{{info: info}})
		}
	})
	for range 3 {
		all.Go(func() {
			for n := 0; n < runs; {
				x := c.snapshot(func(yield func(*run.Info)) {
					mu.Lock()
					defer mu.Unlock()
					for _, info := range published {
						yield(info)
					}
				})
				ids := listedIDs(x, &run.Filter{})
				assert.True(t, slices.IsSortedFunc(ids, run.ID.Compare))
				assert.Equal(t, len(ids), len(slices.Compact(ids)))
				assert.GreaterOrEqual(t, len(ids), n)
				n = len(ids)
			}
		})
	}
	all.Wait()
}

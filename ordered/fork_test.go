package ordered

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/op"
)

// forest is a number of maps of which each but the first was made from a View of
// another, each beside its model.
type forest struct {
	trees []*machine
	views []pair
}

// any returns one of the maps.
func (f *forest) any(t *rapid.T) *machine {
	return f.trees[rapid.IntRange(0, len(f.trees)-1).Draw(t, "map")]
}

// actions is what a single map is put through, for any of them, and forking.
func (f *forest) actions() map[string]func(*rapid.T) {
	on := func(do func(*machine, *rapid.T)) func(*rapid.T) {
		return func(t *rapid.T) { do(f.any(t), t) }
	}
	return map[string]func(*rapid.T){
		"":           f.check,
		"set":        on((*machine).Set),
		"setMany":    on((*machine).SetMany),
		"overwrite":  on((*machine).Overwrite),
		"delete":     on((*machine).Delete),
		"deleteMany": on((*machine).DeleteMany),
		"get":        on((*machine).Get),
		"scan":       on((*machine).Scan),
		"lookBack":   on((*machine).LookBack),
		"snapshot": func(t *rapid.T) {
			m := f.any(t)
			m.Snapshot(t)
			f.views = append(f.views, m.past[len(m.past)-1])
		},
		"fork": f.fork,
	}
}

func (f *forest) check(t *rapid.T) {
	for _, m := range f.trees {
		m.Check(t)
	}
}

// fork makes a map of a View, an old one as often as not.
func (f *forest) fork(t *rapid.T) {
	if len(f.views) == 0 || len(f.trees) > 5 {
		t.Skip()
	}
	p := f.views[rapid.IntRange(0, len(f.views)-1).Draw(t, "view")]
	f.trees = append(f.trees, &machine{m: p.view.Map(), live: *p.model.Copy()})
}

// Maps that were made of each other's Views, and share what they can, know
// nothing of each other: each of them, and every View of it, answers like its
// own model whatever happens to the others.
func TestForksAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &forest{trees: []*machine{{}}}
		t.Repeat(f.actions())
		for _, m := range f.trees {
			m.Snapshot(t)
			for i := range m.past {
				m.past[i].requireEqual(t)
			}
		}
	})
}

// A fork takes nodes and chunks from the View, and no bytes of its own.
func TestForkShares(t *testing.T) {
	var m Map
	for i := range 1000 {
		m.Set(fmt.Sprintf("\x01key-%06d", i), op.Item{Value: make([]byte, 256), Version: uint64(i + 1)})
	}
	view := m.Snapshot()
	fork := view.Map()
	require.NoError(t, fork.Check())
	require.Equal(t, m.live, fork.live)
	require.Equal(t, m.nodes, fork.nodes)
	require.Equal(t, view.root, fork.root)
	view.Ascend("", func(key string, it op.Item) bool {
		got, ok := fork.Get(key)
		require.True(t, ok)
		require.Same(t, &it.Value[0], &got.Value[0])
		return true
	})
	allocated := testing.AllocsPerRun(10, func() { _ = view.Map() })
	require.Less(t, allocated, 20.0, "a few slices, whatever the number of keys")

	fork.Set("\x01key-000500", op.Item{Value: []byte("mine")})
	m.Set("\x01key-000500", op.Item{Value: []byte("theirs")})
	for _, of := range []*Map{&m, &fork} {
		require.NoError(t, of.Check())
	}
	mine, _ := fork.Get("\x01key-000500")
	theirs, _ := m.Get("\x01key-000500")
	old, _ := view.Get("\x01key-000500")
	require.Equal(t, []string{"mine", "theirs"}, []string{string(mine.Value), string(theirs.Value)})
	require.Len(t, old.Value, 256)

	empty := (&View{}).Map()
	require.NoError(t, empty.Check())
	empty.Set("k", op.Item{})
	require.NoError(t, empty.Check())
}

// Two owners change a map and its fork at once, and fork further, while readers
// read what both published: nobody sees anything of the others.
func TestForksWhileTheirOwnersWrite(t *testing.T) {
	rounds := 1500
	if testing.Short() {
		rounds = 400
	}
	const keys, forks = 300, 4
	name := func(i int) string { return fmt.Sprintf("\x01key-%06d", i) }
	value := func(owner, version int, key string) []byte {
		return fmt.Appendf(make([]byte, 150), "%s@%d by %d", key, version, owner)
	}
	var wait sync.WaitGroup
	// life is an owner's: it changes its map, hands Views to a reader each, and
	// its first View, some rounds on, to the next owner.
	var life func(owner int, m *Map, seen map[string]string)
	life = func(owner int, m *Map, seen map[string]string) {
		random := rand.New(rand.NewPCG(uint64(owner), 7))
		for version := 1; version <= rounds; version++ {
			for range 1 + random.IntN(10) {
				key := name(random.IntN(keys))
				if random.IntN(4) == 0 {
					m.Delete(key)
					delete(seen, key)
					continue
				}
				v := value(owner, version, key)
				m.Set(key, op.Item{Value: v})
				seen[key] = string(v)
			}
			if version%50 != 0 {
				continue
			}
			view, want := m.Snapshot(), maps.Clone(seen)
			wait.Go(func() { requireHolds(t, &view, want) })
			if version == 100 && owner < forks {
				wait.Go(func() {
					fork := view.Map()
					life(owner+1, &fork, maps.Clone(want))
				})
			}
		}
		if err := m.Check(); err != nil {
			t.Errorf("owner %d: %v", owner, err)
		}
		last := m.Snapshot()
		requireHolds(t, &last, seen)
	}
	wait.Go(func() { life(0, &Map{}, map[string]string{}) })
	wait.Wait()
}

func requireHolds(t *testing.T, v *View, want map[string]string) {
	n := 0
	v.Ascend("", func(key string, it op.Item) bool {
		n++
		if want[key] != string(it.Value) {
			t.Errorf("%q holds %q, not %q", key, it.Value, want[key])
			return false
		}
		return true
	})
	if n != len(want) {
		t.Errorf("%d keys, not %d", n, len(want))
	}
}

func BenchmarkFork(b *testing.B) {
	hits, _ := benchKeys(1000)
	o := &ours{}
	for _, i := range rand.Perm(len(hits)) {
		o.set(hits[i], benchItem)
		o.publish()
	}
	view := o.view.Load()
	b.ReportAllocs()
	for b.Loop() {
		m := view.Map()
		sinkItem, _ = m.Get(hits[0])
	}
}

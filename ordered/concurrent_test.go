package ordered

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"inmem/op"
)

// Readers of published Views see whole states of the map while its owner goes
// on: every key of a View has a value of its version, and the numbers add up.
func TestReadersWhileTheOwnerWrites(t *testing.T) {
	const keys, rounds, readers, least = 300, 3000, 4, 500
	var (
		m         Map
		published atomic.Pointer[View]
		reads     atomic.Int64
		stop      atomic.Bool
		wait      sync.WaitGroup
	)
	published.Store(&View{})
	name := func(i int) string { return fmt.Sprintf("\x01key-%06d", i) }
	for range readers {
		wait.Go(func() {
			var kept []*View
			for !stop.Load() {
				v := published.Load()
				if rand.IntN(50) == 0 {
					kept = append(kept, v)
				}
				readAll(t, v)
				v.Get(name(rand.IntN(keys)))
				reads.Add(1)
			}
			for _, v := range kept {
				readAll(t, v)
			}
		})
	}
	for version := uint64(1); version <= rounds || reads.Load() < least; version++ {
		for range 1 + rand.IntN(20) {
			if key := name(rand.IntN(keys)); rand.IntN(4) == 0 {
				m.Delete(key)
			} else {
				m.Set(key, op.Item{Value: fmt.Appendf(make([]byte, 200), "%s@%d", key, version), Version: version})
			}
		}
		v := m.Snapshot()
		published.Store(&v)
	}
	stop.Store(true)
	wait.Wait()
	assert.NoError(t, m.Check())
}

func readAll(t *testing.T, v *View) {
	n := 0
	check := func(key string, it op.Item) bool {
		n++
		return assert.Equal(t, fmt.Sprintf("%s@%d", key, it.Version), string(it.Value[200:]))
	}
	v.Ascend("", check)
	v.Descend("", check)
	assert.Equal(t, 2*v.Len(), n)
}

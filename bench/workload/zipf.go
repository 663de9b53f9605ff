package workload

import (
	"math"
	"math/rand/v2"
	"sync"
)

// zipf chooses among n items: item 0 most often, item i with a probability in
// proportion to 1/(i+1)^theta. It is the method of Gray et al., "Quickly
// generating billion-record synthetic databases" (1994), which YCSB uses, with
// its constant. It never changes.
type zipf struct {
	n                int
	zeta, alpha, eta float64
	second           float64 // up to where it is item 1
}

const theta = 0.99

func newZipf(n int) *zipf {
	z := &zipf{n: n, zeta: zeta(n), alpha: 1 / (1 - theta)}
	z.second = 1 + math.Pow(0.5, theta)
	z.eta = (1 - math.Pow(2/float64(n), 1-theta)) / (1 - zeta(2)/z.zeta)
	return z
}

func zeta(n int) float64 {
	sum := 0.0
	for i := n; i >= 1; i-- { // the small ones first: they would be lost in a large sum
		sum += math.Pow(float64(i), -theta)
	}
	return sum
}

// next returns an item.
func (z *zipf) next(rng *rand.Rand) int {
	u := rng.Float64()
	switch uz := u * z.zeta; {
	case uz < 1:
		return 0
	case uz < z.second:
		return min(1, z.n-1)
	}
	return min(z.n-1, int(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)))
}

// scrambled spreads the items that are chosen often over the whole set.
func (z *zipf) scrambled(rng *rand.Rand) int { return int(fnv(uint64(z.next(rng))) % uint64(z.n)) }

// fnv is the 64-bit FNV-1a hash of the eight bytes.
func fnv(v uint64) uint64 {
	h := uint64(0xcbf29ce484222325)
	for range 8 {
		h ^= v & 0xff
		h *= 0x100000001b3
		v >>= 8
	}
	return h
}

// zipfs keeps those that were made: one of a million items takes a while.
var zipfs sync.Map

func zipfOf(n int) *zipf {
	if z, ok := zipfs.Load(n); ok {
		return z.(*zipf)
	}
	z, _ := zipfs.LoadOrStore(n, newZipf(n))
	return z.(*zipf)
}

package inmem_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/op"
	"inmem/run"
)

// largeStory is the life of a larger store: three shards with several segments
// and checkpoint files each, and values larger than a segment. A seed means one
// store, but for the order of the images in a checkpoint.
func largeStory(t testing.TB, seed uint64, ending string) *story {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 4))
	return tell(t, inmem.Options{Shards: 3, SegmentSize: 32 << 10, PruneInterval: -1, Durability: modeOf(ending)}, func(s *story) {
		s.beginIn(4)
		for round := range 5 {
			s.each(func(r []*inmem.Run) {
				if round%2 == 1 && rng.IntN(2) == 0 {
					r = r[2:] // the images of the others stay where they are
				}
				s.writes(rng, r)
			})
			if round == 2 {
				s.script.drop(s.of[rng.IntN(3)][1])
				for i := range s.of {
					s.of[i] = slices.Delete(s.of[i], 1, 2)
				}
			}
			if round < 4 {
				s.checkpoint(fmt.Sprint("checkpoint ", round+1))
			} else {
				s.script.flush()
			}
		}
		s.each(func(r []*inmem.Run) { s.writes(rng, r) })
		s.script.end(s.of[0][0], run.Completed)
	})
}

// writes puts some values, small ones and large ones, and deletes some.
func (s *story) writes(rng *rand.Rand, runs []*inmem.Run) {
	for range 6 {
		for _, r := range runs {
			key := fmt.Sprint("key ", rng.IntN(9))
			size := 10 + rng.IntN(1500)
			if rng.IntN(40) == 0 {
				size = rng.IntN(40 << 10)
			}
			value := make([]byte, size)
			for i := range value {
				value[i] = byte(rng.Uint32() >> 28) // zeros among them
			}
			s.script.put(r, key, string(value), op.Default)
			if rng.IntN(8) == 0 {
				s.script.del(r, key, op.Default)
			}
		}
	}
}

// rots are ways in which a file goes bad at an offset.
var rots = []struct {
	what string
	do   func(rng *rand.Rand, b []byte, at int)
}{
	{"a bit flipped", func(rng *rand.Rand, b []byte, at int) { b[at] ^= 1 << rng.IntN(8) }},
	{"a byte changed", func(rng *rand.Rand, b []byte, at int) { b[at] ^= byte(1 + rng.IntN(255)) }},
	{"three bits flipped", func(rng *rand.Rand, b []byte, at int) {
		for range 3 {
			b[at] ^= 1 << rng.IntN(8)
			at = rng.IntN(len(b))
		}
	}},
	{"zeros", func(rng *rand.Rand, b []byte, at int) { clear(b[at:stretch(rng, b, at)]) }},
	{"ones", func(rng *rand.Rand, b []byte, at int) {
		copy(b[at:stretch(rng, b, at)], bytes.Repeat([]byte{0xff}, maxStretch))
	}},
	{"garbage", func(rng *rand.Rand, b []byte, at int) {
		for i := range b[at:stretch(rng, b, at)] {
			b[at+i] = byte(rng.Uint32())
		}
	}},
	{"zeros to the end", func(_ *rand.Rand, b []byte, at int) { clear(b[at:]) }},
	{"a sector of 512 bytes zeroed", func(_ *rand.Rand, b []byte, at int) { clear(sector(b, at, 512)) }},
	{"a sector of 4096 bytes zeroed", func(_ *rand.Rand, b []byte, at int) { clear(sector(b, at, 4096)) }},
	{"another sector of 512 bytes", func(rng *rand.Rand, b []byte, at int) {
		copy(sector(b, at, 512), bytes.Clone(sector(b, rng.IntN(len(b)), 512)))
	}},
	{"another sector of 4096 bytes", func(rng *rand.Rand, b []byte, at int) {
		copy(sector(b, at, 4096), bytes.Clone(sector(b, rng.IntN(len(b)), 4096)))
	}},
}

const maxStretch = 64 << 10

// stretch is where a stretch of bytes from at on ends, short ones as likely as
// long ones.
func stretch(rng *rand.Rand, b []byte, at int) int {
	n := int(math.Exp2(rng.Float64() * math.Log2(maxStretch)))
	return min(at+n, len(b))
}

func sector(b []byte, at, size int) []byte {
	from := at / size * size
	return b[from:min(from+size, len(b))]
}

// edges are the offsets at which one part of a file ends and another begins.
func (l *layout) edges(name string) []int64 {
	list := []int64{0, magicSize, headerSize}
	if s := l.segments[name]; s != nil {
		for _, f := range s.frames {
			list = append(list, f.from, f.from+32)
		}
		return append(list, s.end, s.size-segmentFooter, s.size-1)
	}
	if p := l.images[name]; p != nil {
		for _, b := range slices.Concat(p.live, p.index) {
			list = append(list, b.from, b.to)
		}
		return append(list, p.size-imagesFooter, p.size-1)
	}
	return list
}

// place draws a place for damage: anywhere, or close to where something begins.
func (l *layout) place(rng *rand.Rand, names []string) (name string, at int) {
	name = names[rng.IntN(len(names))]
	if size := len(l.files[name]); rng.IntN(2) == 0 {
		return name, rng.IntN(size)
	}
	edges := l.edges(name)
	edge := int(edges[rng.IntN(len(edges))]) + []int{0, 0, 0, rng.IntN(9) - 4}[rng.IntN(4)]
	return name, min(max(edge, 0), len(l.files[name])-1)
}

// TestCorruptionLarge damages large stores at random places, in many ways.
func TestCorruptionLarge(t *testing.T) {
	slowAndAlone(t)
	found, most := map[finding]int{}, 0.0
	seeds := crashSeeds(t, 12)
	for _, seed := range seeds {
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("repeat with %s=%d", seedEnv, seed)
				}
			}()
			most = max(most, rotten(t, seed, found))
		}()
	}
	t.Logf("%d stores: %v; at most %.2f of the bound allocated", len(seeds), found, most)
	if len(seeds) < 12 {
		return
	}
	for _, f := range []finding{harmless, onlyChecked, tornOff, refused} { // the other one is rare
		require.NotZero(t, found[f], "%v: it never came to that", f)
	}
}

// rotten damages one store, each time anew.
func rotten(t *testing.T, seed uint64, found map[finding]int) (most float64) {
	ending := endings[seed%uint64(len(endings))]
	p := largeStory(t, seed, ending).patient(ending)
	rng := rand.New(rand.NewPCG(seed, 5))
	names := p.names()
	places := 200
	if testing.Short() || raceEnabled {
		places = 60
	}
	for range places {
		disk, what := p.disk.Clone(), ending
		bad := map[string][]byte{}
		for range 1 + max(rng.IntN(8)-5, 0) { // most often one place, three at most
			name, at := p.place(rng, names)
			if bad[name] == nil {
				bad[name] = bytes.Clone(p.files[name])
			}
			rot := rots[rng.IntN(len(rots))]
			rot.do(rng, bad[name], at)
			what += fmt.Sprintf(", %s in %s at %d", rot.what, name, at)
		}
		want := p.damage(t, disk, bad)
		p.hold(t, disk, what, want...)
		found[gravest(want)]++
	}
	return p.most
}

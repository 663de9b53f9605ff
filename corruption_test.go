package inmem_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/recovery"
)

// spoilers are ways to spoil the i-th frame of a segment. at are the offsets of
// its frames and of their end.
var spoilers = map[string]func(b []byte, at []int, i int) []byte{
	"length 0xFFFFFFFF": func(b []byte, at []int, i int) []byte {
		copy(b[at[i]+4:], "\xff\xff\xff\xff")
		return b
	},
	"zero length": func(b []byte, at []int, i int) []byte {
		clear(b[at[i]+4 : at[i]+8])
		return b
	},
	"payload flip": func(b []byte, at []int, i int) []byte {
		b[at[i]+32+5] ^= 0x20
		return b
	},
	"checksum flipped": func(b []byte, at []int, i int) []byte {
		b[at[i]+1] ^= 0x01
		return b
	},
	"unknown kind": func(b []byte, at []int, i int) []byte {
		b[at[i]+8] = 77
		return b
	},
	"kind zero": func(b []byte, at []int, i int) []byte {
		b[at[i]+8] = 0
		return b
	},
	"overwritten by another": func(b []byte, at []int, i int) []byte {
		j := (i + len(at)/2) % (len(at) - 1)
		copy(b[at[i]:at[i+1]], bytes.Clone(b[at[j]:at[j+1]]))
		return b
	},
}

// TestCorruption spoils the first, a middle and the last frame of stores that
// ended differently. What makes the verdict is only what is known to have been
// on the device.
func TestCorruption(t *testing.T) {
	for name, spoil := range spoilers {
		t.Run(name, func(t *testing.T) {
			for _, ending := range endings {
				t.Run(ending, func(t *testing.T) { spoilEach(t, ending, spoil) })
			}
		})
	}
}

func spoilEach(t *testing.T, ending string, spoil func([]byte, []int, int) []byte) {
	v := newVictim(t, ending)
	frames := len(v.at) - 1
	for _, i := range []int{0, frames / 2, frames - 1} {
		v := newVictim(t, ending)
		v.write(v.segment(), spoil(v.read(v.segment()), v.at, i))
		switch {
		case ending == closedStore, ending == strictStore && i < frames-1:
			v.damaged(v.segment(), int64(v.at[i]))
		default:
			v.torn(v.at[i], i)
		}
	}
}

// TestCorruptionPowerLoss cuts frames short, as a power loss does: at each of
// its bytes by the end of the file, and by zeros from there on.
func TestCorruptionPowerLoss(t *testing.T) {
	cuts := map[string]func(at []int, i int) int{
		"truncated checksum":  func(at []int, i int) int { return at[i] + 2 },
		"after the length":    func(at []int, i int) int { return at[i] + 8 },
		"after the kind":      func(at []int, i int) int { return at[i] + 9 },
		"part of the payload": func(at []int, i int) int { return at[i] + 32 + 3 },
		"last bytes":          func(at []int, i int) int { return at[i+1] - 16 },
	}
	for name, cut := range cuts {
		for _, ending := range endings {
			for how, end := range map[string]func(b []byte, at int) []byte{
				"end of file": func(b []byte, at int) []byte { return b[:at] },
				"zeros":       func(b []byte, at int) []byte { clear(b[at:]); return b },
			} {
				t.Run(fmt.Sprint(name, "/", ending, "/", how), func(t *testing.T) {
					v := newVictim(t, ending)
					frames := len(v.at) - 1
					for _, i := range []int{frames / 2, frames - 1} {
						v := newVictim(t, ending)
						v.write(v.segment(), end(v.read(v.segment()), cut(v.at, i)))
						if ending == closedStore {
							v.damaged(v.segment(), int64(v.at[i]))
						} else {
							v.torn(v.at[i], i)
						}
					}
				})
			}
		}
	}
}

func TestCorruptionSeveral(t *testing.T) {
	for _, bad := range [][]int{{1, 4, 7}, {0, 2, 10}, {3, 4, 5}, {6, 9}} {
		for _, ending := range endings {
			t.Run(fmt.Sprint(bad, " ", ending), func(t *testing.T) {
				v := newVictim(t, ending)
				b := v.read(v.segment())
				for _, i := range bad {
					b[v.at[i]+40] ^= 0x04
				}
				v.write(v.segment(), b)
				if ending == batchedStore {
					v.torn(v.at[bad[0]], bad[0])
					return
				}
				v.damaged(v.segment(), int64(v.at[bad[0]]))
			})
		}
	}
}

// TestCorruptionUnknownKind gives frames with a right checksum a kind that
// nobody wrote: no power loss makes that.
func TestCorruptionUnknownKind(t *testing.T) {
	for _, ending := range endings {
		for _, i := range []int{0, 5, 11} {
			v := newVictim(t, ending)
			b := v.read(v.segment())
			b[v.at[i]+8] = 99
			reseal(b, v.at[i])
			v.write(v.segment(), b)
			v.damaged(v.segment(), int64(v.at[i]))
		}
	}
}

func TestCorruptionTrailingGarbage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, ending := range endings {
		for _, n := range []int{1, 7, 32, 700} {
			v := newVictim(t, ending)
			end := v.at[len(v.at)-1]
			b := v.read(v.segment())[:end]
			for range n {
				b = append(b, byte(1+rng.IntN(255)))
			}
			v.write(v.segment(), b)
			v.torn(end, victimCommits)
			require.Equal(t, recovery.Clean, v.whole().Verdict)
		}
	}
}

func TestCorruptionWholeFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, ending := range endings {
		t.Run("random/"+ending, func(t *testing.T) {
			v := newVictim(t, ending)
			b := v.read(v.segment())
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			v.write(v.segment(), b)
			v.damaged(v.segment(), 0)
		})
		t.Run("zero length/"+ending, func(t *testing.T) {
			v := newVictim(t, ending)
			v.write(v.segment(), nil)
			v.damaged(v.segment(), 0)
		})
		t.Run("only zeros/"+ending, func(t *testing.T) {
			v := newVictim(t, ending)
			b := v.read(v.segment())
			clear(b)
			v.write(v.segment(), b)
			v.damaged(v.segment(), 0)
		})
	}
}

// TestCorruptionOverwrites writes random bytes over a segment, at many offsets
// and lengths.
func TestCorruptionOverwrites(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, ending := range endings {
		end := 1
		for off := 0; off < end; off += 1 + rng.IntN(90) {
			v := newVictim(t, ending)
			b := v.read(v.segment())
			end = v.at[len(v.at)-1]
			n := 1 + rng.IntN(200)
			for i := off; i < min(off+n, end); i++ {
				b[i] ^= byte(1 + rng.IntN(255))
			}
			v.write(v.segment(), b)
			v.overwritten(ending, off, min(off+n, end))
		}
	}
}

// overwritten judges a segment that is spoilt from one offset to another.
func (v *victim) overwritten(ending string, from, to int) {
	v.t.Helper()
	if from < 64 {
		v.damaged(v.segment(), -1)
		return
	}
	frames := len(v.at) - 1
	first, _ := slices.BinarySearch(v.at, from+1)
	first-- // the frame in which the damage begins
	lastHit := to > v.at[frames-1]
	switch {
	case ending == closedStore, ending == strictStore && first < frames-1 && !lastHit:
		v.damaged(v.segment(), int64(v.at[first]))
	default: // the last frame, the only witness, is gone too
		v.torn(v.at[first], first)
	}
}

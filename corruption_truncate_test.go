package inmem_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
)

// cut says what must come of a file of which only the first n bytes are left.
func (l *layout) cut(name string, n int64) verdict {
	size := int64(len(l.files[name]))
	if n == size {
		return verdict{}
	}
	bad := refusal(name, n)
	if name == manifestFile {
		if bad.offset = n - 4; n < 52 { // less than any manifest has
			bad.offset = 0
		}
		return bad
	}
	if n < headerSize {
		return bad
	}
	if s := l.segments[name]; s != nil {
		return s.cut(l.files[name], n)
	}
	p := l.images[name]
	if p.newest {
		bad.offset = max(n-imagesFooter, 0)
		return bad
	}
	for _, b := range p.live {
		if b.to > n { // its image lies outside the file
			bad.offset = min(p.start(b), n)
			return bad
		}
	}
	bad.finding, bad.offset, bad.shard = onlyChecked, n-imagesFooter, shardOf(name)
	return bad
}

func (s *segmentPart) cut(was []byte, n int64) verdict {
	if n >= s.end && s.newest {
		return verdict{} // of space reserved ahead
	}
	if n >= s.end {
		return verdict{resealed: true, shard: s.shard}
	}
	i := slices.IndexFunc(s.frames, func(f framePart) bool { return f.to > n })
	bad := refusal(s.name, s.frames[i].from)
	if !s.newest || s.frames[i].sequence <= s.vouched {
		return bad
	}
	bad.finding, bad.shard, bad.left = unseen, s.shard, s.left(i)
	if bad.torn = int64(len(bytes.TrimRight(was[bad.offset:n], "\x00"))); bad.torn > 0 {
		bad.finding = tornOff
	}
	return bad
}

// TestCorruptionTruncated cuts off every file of a store at each of its bytes.
// What a kill leaves differs from what Close leaves in the last segments only:
// there the other files are cut at some of their bytes.
func TestCorruptionTruncated(t *testing.T) {
	slowAndAlone(t)
	for _, ending := range endings {
		t.Run(ending, func(t *testing.T) {
			p := newStory(t, 1, modeOf(ending)).patient(ending)
			found := map[finding]int{}
			for _, name := range p.names() {
				b := p.files[name]
				for n := 0; n <= len(b); n += p.step(ending, name, n) {
					want := p.cut(name, int64(n))
					p.hold(t, p.damaged(t, name, b[:n]), fmt.Sprint(name, " cut at ", n), want)
					found[want.finding]++
				}
			}
			t.Logf("%v; at most %.2f of the bound allocated", found, p.most)
			require.NotZero(t, found[refused])
			require.Equal(t, ending != closedStore, found[tornOff] > 0)
		})
	}
}

// step is how far it is to the next place at which a file is cut.
func (p *patient) step(ending, name string, n int) int {
	step := 1
	switch s := p.segments[name]; {
	case s != nil && s.newest && n > int(s.end)+8: // space reserved ahead
		step = 97
	case ending != closedStore && (s == nil || !s.newest):
		step = 13
	}
	if testing.Short() || raceEnabled {
		step *= 13
	}
	return step
}

// TestCorruptionAtBorders cuts the last segment off behind each whole frame: that
// is how every log ends that was not closed, so nothing tells but the manifest.
func TestCorruptionAtBorders(t *testing.T) {
	for _, ending := range endings {
		p := newStory(t, 2, modeOf(ending)).patient(ending)
		for _, s := range p.segments {
			if !s.newest {
				continue
			}
			for i, f := range s.frames {
				want := refusal(s.name, f.from)
				if f.sequence > s.vouched {
					want = verdict{finding: unseen, file: s.name, offset: f.from, shard: s.shard, left: s.left(i)}
				}
				require.Equal(t, want, p.cut(s.name, f.from))
				what := fmt.Sprintf("%s: %s cut at %d", ending, s.name, f.from)
				p.hold(t, p.damaged(t, s.name, p.files[s.name][:f.from]), what, want)
				zeros := bytes.Clone(p.files[s.name])
				clear(zeros[f.from:])
				p.hold(t, p.damaged(t, s.name, zeros), what+", zeros", want)
			}
			require.Equal(t, ending == closedStore, s.frames[len(s.frames)-1].sequence <= s.vouched)
		}
	}
}

// longer says what must come of a file with n more bytes, all of them zeros or
// none.
func (l *layout) longer(name string, n int64, zeros bool) verdict {
	size := int64(len(l.files[name])) + n
	s := l.segments[name]
	switch {
	case name == manifestFile && size > largestManifest:
		return refusal(name, largestManifest)
	case name == manifestFile:
		return refusal(name, size-4)
	case s == nil && l.images[name].newest:
		return refusal(name, size-imagesFooter)
	case s == nil:
		return verdict{finding: onlyChecked, file: name, offset: size - imagesFooter, shard: shardOf(name)}
	case !s.newest:
		return verdict{resealed: true, shard: s.shard}
	case zeros:
		return verdict{} // space reserved ahead
	}
	return verdict{finding: tornOff, file: name, offset: s.end, torn: size - s.end, shard: s.shard, left: l.last[s.shard]}
}

const largestManifest = 48 + 1024*24 + 4 // of 1,024 shards

// TestCorruptionLonger appends to every file.
func TestCorruptionLonger(t *testing.T) {
	for _, ending := range endings {
		p := newStory(t, 2, modeOf(ending)).patient(ending)
		for _, name := range p.names() {
			for _, n := range []int{1, 8, 500, 70_000} {
				for _, zeros := range []bool{true, false} {
					b := slices.Concat(p.files[name], bytes.Repeat([]byte{0xa5}, n))
					if zeros {
						clear(b[len(b)-n:])
					}
					p.hold(t, p.damaged(t, name, b), fmt.Sprintf("%s: %s with %d more bytes", ending, name, n), p.longer(name, int64(n), zeros))
				}
			}
		}
	}
}

// TestCorruptionSparse gives every file 16 MiB of zeros more, which take no room
// on the disk and must take none in memory: a file is read in pieces.
func TestCorruptionSparse(t *testing.T) {
	const more, pieces = 16 << 20, 2 << 20
	for _, ending := range endings {
		p := newStory(t, 2, modeOf(ending)).patient(ending)
		for _, name := range p.names() {
			disk, size := p.disk.Clone(), int64(len(p.files[name]))
			f, err := disk.OpenFile(name, os.O_RDWR, 0)
			require.NoError(t, err)
			require.NoError(t, f.Truncate(size+more))
			require.NoError(t, f.Close())
			opts := p.opts
			opts.FS = disk
			var db *inmem.DB
			n := allocated(func() { db, err = inmem.Open(storeDir, &opts) })
			require.LessOrEqual(t, n, p.bound(p.files)+pieces, name)
			if want := p.longer(name, more, true); want.finding == refused {
				requireOneOf(t, err, name, []verdict{want})
				continue
			}
			require.NoError(t, err, name)
			p.contents(t, db, p.kept(), nil, name)
			require.NoError(t, db.Close())
		}
	}
}

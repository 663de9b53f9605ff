package inmem_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/checkpoint"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
	"inmem/wal"
)

// finding is what must come of damage to a store.
type finding uint8

const (
	// harmless: nobody reads these bytes, or they are derived and Open writes
	// them anew.
	harmless finding = iota
	// onlyChecked: Open passes over these bytes; Check names file and offset.
	onlyChecked
	// tornOff: the end of a log that nothing vouches for. It is cut off, and
	// reported.
	tornOff
	// unseen: the same, but what is left ends with a whole frame, and zeros or
	// nothing follow: no log that ends early looks different.
	unseen
	// refused: Open and Check name file and offset, and nothing is changed.
	refused
)

func (f finding) String() string {
	return [...]string{"harmless", "only checked", "torn off", "unseen", "refused"}[f]
}

// verdict is what must be said of a damaged store.
type verdict struct {
	finding
	file   string
	offset int64
	torn   int64 // bytes that are torn off
	// Where the end of a log is lost: of which shard, and the sequence of its
	// last frame that is left.
	shard int
	left  uint64
	// An older segment's index is written anew.
	resealed bool
	// More is wrong, and Check may tell of it as well.
	more bool
	// It is an image: who needs its run finds it, perhaps Open.
	latent bool
}

func (v verdict) String() string {
	return fmt.Sprintf("%v, %s at %d, %d bytes torn, shard %d up to %d", v.finding, v.file, v.offset, v.torn, v.shard, v.left)
}

func refusal(file string, offset int64) verdict {
	return verdict{finding: refused, file: file, offset: offset}
}

// others is the verdict where more files are wrong than the one it names.
func (v verdict) others() verdict {
	v.more = true
	return v
}

// span is a part of a file.
type span struct{ from, to int64 }

// framePart is a frame and what it says.
type framePart struct {
	span
	sequence uint64
	synced   int64
	seal     bool
}

// segmentPart is a segment taken apart.
type segmentPart struct {
	shard   int
	name    string
	frames  []framePart
	end     int64 // of the frames
	size    int64
	indexed bool // it ends with an index and its footer
	covered bool // by a checkpoint: Open reads the footer only
	newest  bool
	vouched uint64 // the manifest says that the log was on the device up to here
}

// imagesPart is a checkpoint file taken apart.
type imagesPart struct {
	name   string
	size   int64
	newest bool    // the manifest names it; its header, footer and index are read
	index  []span  // its blocks
	dead   []span  // the blocks of images that newer ones replaced
	live   []span  // the blocks of images that the newest index names, as they are read
	starts []int64 // of the image that each of these blocks belongs to
}

// start is where the image begins that a block belongs to.
func (p *imagesPart) start(of span) int64 { return p.starts[slices.Index(p.live, of)] }

// layout is a sound store taken apart: what each byte is good for.
type layout struct {
	shards   int
	files    map[string][]byte
	segments map[string]*segmentPart
	images   map[string]*imagesPart
	commits  []map[uint64]run.ID // of each shard: the runs by the sequence of their commits
	last     []uint64            // of each shard: the sequence of its last frame
	verdicts []recovery.Verdict  // of each shard, as long as nothing is damaged
}

const (
	headerSize    = 64 // of segments and checkpoints
	segmentFooter = 48
	imagesFooter  = 32
	magicSize     = 8
)

var manifestFile = filepath.Join(storeDir, "MANIFEST")

// layoutOf takes a sound store apart. Nothing is at work on it.
func layoutOf(t testing.TB, disk *vfs.Mem) *layout {
	t.Helper()
	m, err := checkpoint.ReadManifest(disk, storeDir)
	require.NoError(t, err)
	l := &layout{
		shards: len(m.Shards), files: filesOf(t, disk, storeDir),
		segments: map[string]*segmentPart{}, images: map[string]*imagesPart{},
	}
	for i, s := range m.Shards {
		l.commits = append(l.commits, map[uint64]run.ID{})
		l.segmentsOf(t, disk, i, max(s.Synced, s.Checkpoint), s.Checkpoint)
		if s.Checkpoint > 0 {
			l.imagesOf(t, disk, i, m.Store, s.Checkpoint)
		}
	}
	for name := range l.files {
		require.True(t, name == manifestFile || l.segments[name] != nil || l.images[name] != nil, "whose file is %s?", name)
	}
	return l
}

func (l *layout) segmentsOf(t testing.TB, disk *vfs.Mem, shard int, vouched, checkpoint uint64) {
	t.Helper()
	var newest *segmentPart
	for _, name := range filesLike(disk, shard, ".wal") {
		s := &segmentPart{shard: shard, name: name, vouched: vouched}
		d, err := wal.ReadSegment(disk, name, func(f wal.Frame) error {
			s.frames = append(s.frames, framePart{span{f.Offset, 0}, f.Sequence, f.Synced, f.Kind == wal.Seal})
			if f.Kind == wal.Record {
				l.commits[shard][f.Sequence] = run.ID(f.Payload[:16])
			}
			return nil
		})
		require.NoError(t, err)
		require.Empty(t, d.Flaw, name)
		s.end, s.size, s.indexed = d.End, d.Size, d.Indexed
		for i := range s.frames {
			s.frames[i].to = s.end
			if i > 0 {
				s.frames[i-1].to = s.frames[i].from
			}
		}
		s.covered = d.Last <= checkpoint
		l.segments[name], newest = s, s
	}
	newest.newest, newest.covered = true, false
	for _, s := range l.segments {
		require.True(t, s.newest || s.indexed || s.shard != shard, "%s has no index", s.name)
	}
	last := newest.left(len(newest.frames))
	l.last = append(l.last, last)
	l.verdicts = append(l.verdicts, newest.ends(len(newest.frames)))
}

// left is the sequence of the last frame where i of the segment's are left.
func (s *segmentPart) left(i int) uint64 {
	if i > 0 {
		return s.frames[i-1].sequence
	}
	var first uint64
	_, err := fmt.Sscanf(filepath.Base(s.name), "%x.wal", &first)
	must(err)
	return first - 1
}

// ends is the verdict over a log whose last segment has i whole frames, and
// nothing behind them.
func (s *segmentPart) ends(i int) recovery.Verdict {
	if s.left(i) == 0 || i > 0 && s.frames[i-1].seal {
		return recovery.Clean
	}
	return recovery.Interrupted
}

func (l *layout) imagesOf(t testing.TB, disk *vfs.Mem, shard int, store [16]byte, sequence uint64) {
	t.Helper()
	dir := recovery.Dir(storeDir, shard)
	files := checkpoint.OpenFiles(disk, dir, store, uint32(shard))
	x, err := files.Index(sequence)
	require.NoError(t, err)
	newest := l.imagesFile(checkpoint.Name(dir, sequence))
	newest.newest = true
	for i := range x.Entries {
		at := x.Entries[i].Location
		f := l.imagesFile(files.Name(&x.Entries[i]))
		for _, b := range blocksOf(l.files[f.name], at.Offset, at.Offset+at.Length) {
			f.live, f.starts = append(f.live, b), append(f.starts, at.Offset)
			f.dead = slices.DeleteFunc(f.dead, func(d span) bool { return d == b })
		}
	}
	require.NoError(t, files.Close())
}

func (l *layout) imagesFile(name string) *imagesPart {
	if l.images[name] == nil {
		b := l.files[name]
		p := &imagesPart{name: name, size: int64(len(b))}
		index := int64(binary.LittleEndian.Uint64(b[p.size-imagesFooter+8:]))
		p.index = blocksOf(b, index, p.size-imagesFooter)
		p.dead = blocksOf(b, headerSize, index)
		l.images[name] = p
	}
	return l.images[name]
}

// blocksOf returns the blocks of a checkpoint file from one offset to another.
func blocksOf(b []byte, from, to int64) (list []span) {
	for from < to {
		end := from + 8 + int64(binary.LittleEndian.Uint32(b[from+4:]))
		list = append(list, span{from, end})
		from = end
	}
	return list
}

// filesLike returns the files of a shard with a suffix, in order.
func filesLike(disk *vfs.Mem, shard int, suffix string) (list []string) {
	for _, name := range disk.Files() {
		if filepath.Dir(name) == recovery.Dir(storeDir, shard) && strings.HasSuffix(name, suffix) {
			list = append(list, name)
		}
	}
	return list
}

// changed tells which parts of a file are not as they were.
type changed struct{ was, is []byte }

func (c changed) in(s span) bool { return !bytes.Equal(c.was[s.from:s.to], c.is[s.from:s.to]) }

// first returns the first of some parts that changed, or -1.
func (c changed) first(list []span) int {
	for i, s := range list {
		if c.in(s) {
			return i
		}
	}
	return -1
}

// judge says what must come of a file that is as long as it was, but holds
// something else.
func (l *layout) judge(name string, is []byte) verdict {
	c := changed{l.files[name], is}
	whole := span{0, int64(len(is))}
	if !c.in(whole) {
		return verdict{}
	}
	if name == manifestFile {
		return refusal(name, c.magicOr(whole.to-4))
	}
	if s := l.segments[name]; s != nil {
		return s.judge(c)
	}
	return l.images[name].judge(c)
}

// magicOr is where an error of a header is, whose checksum stands at an offset.
func (c changed) magicOr(sum int64) int64 {
	if c.in(span{0, magicSize}) {
		return 0
	}
	return sum
}

func (p *imagesPart) judge(c changed) verdict {
	bad := refusal(p.name, 0)
	footer := span{p.size - imagesFooter, p.size}
	i, k := c.first(p.index), c.first(p.live)
	switch {
	case c.in(span{0, headerSize}):
		bad.offset = c.magicOr(headerSize - 4)
	case p.newest && c.in(footer):
		bad.offset = footer.from
	case p.newest && i >= 0:
		bad.offset = p.index[i].from
	case k >= 0:
		// Open reads the image only where the log goes on with its run.
		bad.offset, bad.latent = p.live[k].from, true
	default: // nobody needs an older index, or an image that a newer one replaced
		bad.finding, bad.shard = onlyChecked, shardOf(p.name)
		if d := c.first(p.dead); c.in(footer) {
			bad.offset = footer.from
		} else if i >= 0 {
			bad.offset = p.index[i].from
		} else {
			bad.offset = p.dead[d].from
		}
	}
	return bad
}

func (s *segmentPart) judge(c changed) verdict {
	if c.in(span{0, headerSize}) {
		return refusal(s.name, c.magicOr(headerSize-4))
	}
	i := 0
	for i < len(s.frames) && !c.in(s.frames[i].span) {
		i++
	}
	if s.newest {
		return s.judgeEnd(c, i)
	}
	footer := c.in(span{s.size - segmentFooter, s.size})
	frame := i < len(s.frames)
	switch {
	case frame && s.covered && !footer:
		return verdict{finding: onlyChecked, file: s.name, offset: s.frames[i].from, shard: s.shard}
	case frame:
		return refusal(s.name, s.frames[i].from)
	case footer:
		return verdict{resealed: true, shard: s.shard}
	}
	return verdict{finding: onlyChecked, file: s.name, offset: s.end, shard: s.shard} // the index
}

// judgeEnd judges the last segment, whose i-th frame is the first that changed.
func (s *segmentPart) judgeEnd(c changed, i int) verdict {
	from := s.end
	if i < len(s.frames) {
		from = s.frames[i].from
		if s.vouches(c, i) {
			return refusal(s.name, from)
		}
	}
	rest := int64(len(bytes.TrimRight(c.is[from:], "\x00")))
	v := verdict{finding: tornOff, file: s.name, offset: from, torn: rest, shard: s.shard, left: s.left(i)}
	if rest == 0 {
		v.finding = unseen
	}
	return v
}

// vouches reports whether something is left that knows the i-th frame to have
// been on the device: the manifest, or a later frame, wherever behind it a copy of
// a sector has brought that.
func (s *segmentPart) vouches(c changed, i int) bool {
	if s.frames[i].sequence <= s.vouched {
		return true
	}
	for _, f := range s.frames[i+1:] {
		if f.synced > s.frames[i].from && bytes.Contains(c.is[s.frames[i].from:], c.was[f.from:f.to]) {
			return true
		}
	}
	return false
}

// kept is how many commits of each run are left under some verdicts.
func (l *layout) kept(want ...verdict) map[run.ID]int {
	last := slices.Clone(l.last)
	for _, v := range only(want, tornOff, unseen) {
		last[v.shard] = v.left
	}
	n := map[run.ID]int{}
	for shard, commits := range l.commits {
		for sequence, id := range commits {
			if sequence <= last[shard] {
				n[id]++
			}
		}
	}
	return n
}

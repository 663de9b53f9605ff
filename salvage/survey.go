package salvage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/recovery"
	"inmem/run"
	"inmem/shard"
	"inmem/wal"
)

const (
	manifestName = "MANIFEST"
	lockName     = "LOCK"
	shardPrefix  = "shard-"
)

// inventory is everything of a store that verifies.
type inventory struct {
	src      *source
	dir      string
	report   *Report
	manifest *checkpoint.Manifest // nil = there is none that can be used
	dirs     []int                // the shards that have a directory
	store    [16]byte
	time     int64 // the newest that anything knows, Unix milliseconds
	shards   map[int]*shardFiles
	runs     map[run.ID]*runFound

	decoded op.Commit // scratch
}

// shardFiles is what there is of a shard.
type shardFiles struct {
	number   int
	segments []*segment
	images   []*images
	verified int // images that do
	ghosts   map[place]bool
	first    uint64 // the sequence with which its log begins, as far as anything knows
	end      uint64 // … and with which it ended
	gaps     []span // what is missing in between, in order
	whole    bool   // nothing is, and the manifest says so: Open would find the same log
}

// place is where a frame was in a segment, whichever file that is in.
type place struct {
	salt   uint32
	offset int64
}

// span is a range of sequences.
type span struct{ first, last uint64 }

// segment is a segment of the source.
type segment struct {
	*wal.Survey
	number int     // of its shard
	dir    int     // the number in the name of its directory; -1 = none
	frames []frame // in order of the sequence
}

// frame is a frame that verifies.
type frame struct {
	sequence uint64
	offset   int64
	hash     uint64 // of kind and payload
	version  uint64 // 0 = a seal
	run      *runFound
	begins   bool // a run may begin with it
	drop     bool
}

// images are the checkpoint files of a shard in one directory.
type images struct {
	files   *checkpoint.Files
	dir     string
	surveys map[uint64]*checkpoint.Survey // by sequence
	indexes []*checkpoint.Index           // those that verify, the newest first
	flaws   map[uint64]*op.CorruptError   // of the others, by sequence
}

func newInventory(src *source, dir string) *inventory {
	return &inventory{
		src: src, dir: dir, report: &Report{}, shards: map[int]*shardFiles{}, runs: map[run.ID]*runFound{},
	}
}

// gather reads the source.
func (inv *inventory) gather(ctx context.Context) error {
	if err := inv.readManifest(); err != nil {
		return err
	}
	segments, surveys, err := inv.list()
	if err != nil {
		return err
	}
	inv.vote(segments, surveys)
	if err := inv.readSegments(ctx, segments); err != nil {
		return err
	}
	return inv.readCheckpoints(surveys)
}

// close lets go of the files.
func (inv *inventory) close() error {
	var err error
	for _, sh := range inv.shards {
		for _, im := range sh.images {
			err = errors.Join(err, im.files.Close())
		}
	}
	return err
}

func (inv *inventory) damaged(d Damage) { inv.report.Damage = append(inv.report.Damage, d) }

func (inv *inventory) readManifest() error {
	name := filepath.Join(inv.dir, manifestName)
	m, err := checkpoint.ReadManifest(inv.src, inv.dir)
	var corrupt *op.CorruptError
	switch {
	case err == nil:
		inv.manifest = m
	case errors.As(err, &corrupt):
		inv.damaged(Damage{File: name, Reason: corrupt.Reason})
	case errors.Is(err, op.ErrUnsupported):
		return err
	case errors.Is(err, fs.ErrNotExist):
		inv.damaged(Damage{File: name, Reason: "the manifest is missing"})
	default:
		return inv.unopened(name, err)
	}
	return nil
}

// unopened reports a file that cannot be opened at all, and goes on, unless
// somebody at the terminal can help that.
func (inv *inventory) unopened(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	inv.src.gone[path] = true
	inv.damaged(Damage{File: path, Reason: fmt.Sprintf("it cannot be opened: %v", err), Lost: true})
	return nil
}

// list finds the files of all shards and reads their headers.
func (inv *inventory) list() (segments []*segment, surveys []checkpoint.Survey, err error) {
	entries, err := inv.src.ReadDir(inv.dir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), shardPrefix)
		if !ok {
			continue
		}
		dir := filepath.Join(inv.dir, e.Name())
		if n := shardNumber(text); n >= 0 && dir == recovery.Dir(inv.dir, n) {
			inv.dirs = append(inv.dirs, n)
		}
		paths, err := wal.SegmentFiles(inv.src, dir)
		var found []checkpoint.Survey
		if err == nil {
			found, err = checkpoint.SurveyFiles(inv.src, dir, inv.unopened)
		}
		if errors.Is(err, op.ErrUnsupported) {
			return nil, nil, err
		}
		if err != nil {
			if err := inv.unopened(dir, err); err != nil {
				return nil, nil, err
			}
			continue
		}
		surveys = append(surveys, found...)
		for _, path := range paths {
			s, err := wal.OpenSurvey(inv.src, path)
			if errors.Is(err, op.ErrUnsupported) {
				return nil, nil, err
			}
			if err != nil {
				if err := inv.unopened(path, err); err != nil {
					return nil, nil, err
				}
				continue
			}
			segments = append(segments, &segment{Survey: s, dir: shardNumber(text)})
		}
	}
	return segments, surveys, nil
}

// shardNumber is the number of a shard by the name of its directory; -1 = none.
func shardNumber(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n >= checkpoint.MaxShards {
		return -1
	}
	return n
}

// vote finds out which store this is: the one the manifest names, if a file
// says the same, else the one that most files name.
func (inv *inventory) vote(segments []*segment, surveys []checkpoint.Survey) {
	votes := map[[16]byte]int{}
	for _, s := range segments {
		if s.HeaderFlaw == "" {
			votes[s.Store]++
		}
	}
	for _, s := range surveys {
		if s.Flaw == "" {
			votes[s.Store]++
		}
	}
	if inv.manifest != nil && (votes[inv.manifest.Store] > 0 || len(votes) == 0) {
		inv.store, inv.time = inv.manifest.Store, inv.manifest.Time
		return
	}
	for store, n := range votes {
		if c := cmp.Compare(n, votes[inv.store]); c > 0 || c == 0 && slices.Compare(store[:], inv.store[:]) > 0 {
			inv.store = store
		}
	}
	if inv.manifest != nil {
		inv.damaged(Damage{File: filepath.Join(inv.dir, manifestName), Reason: "the manifest belongs to another store"})
		inv.manifest = nil
	}
}

// foreign reports a file of another store. A header that does not verify is
// believed only where it names a store that does.
func (inv *inventory) foreign(path string, flaw string, store [16]byte, votes map[[16]byte]bool) bool {
	if store == inv.store || flaw != "" && !votes[store] {
		return false
	}
	inv.damaged(Damage{File: path, Reason: "it belongs to another store, and was left out"})
	return true
}

// shard returns what there is of a shard, and makes a place for it.
func (inv *inventory) shard(number int) *shardFiles {
	sh := inv.shards[number]
	if sh == nil {
		sh = &shardFiles{number: number, first: 1, ghosts: map[place]bool{}}
		if m := inv.manifest; m != nil && number < len(m.Shards) {
			sh.first = m.Shards[number].First
		}
		inv.shards[number] = sh
	}
	return sh
}

// readSegments reads the segments of this store.
func (inv *inventory) readSegments(ctx context.Context, segments []*segment) error {
	named := map[[16]byte]bool{}
	of := map[string]int{} // the shard of those in the same directory
	for _, s := range segments {
		if s.HeaderFlaw == "" {
			named[s.Store] = true
			if s.Store == inv.store {
				of[filepath.Dir(s.Path)] = int(s.Shard)
			}
		}
	}
	var ours []*segment
	for _, s := range segments {
		if inv.foreign(s.Path, s.HeaderFlaw, s.Store, named) {
			continue
		}
		if err := s.Frames(ctx, func(f wal.Frame) string { return inv.frame(s, f) }); err != nil {
			return err
		}
		slices.SortFunc(s.frames, func(a, b frame) int { return cmp.Compare(a.sequence, b.sequence) })
		inv.time = max(inv.time, s.Time)
		s.number = int(s.Shard)
		if s.HeaderFlaw != "" {
			sibling, ok := of[filepath.Dir(s.Path)]
			if s.number = max(s.dir, 0); ok {
				s.number = sibling
			}
		}
		ours = append(ours, s)
	}
	n := inv.shardsOf(ours)
	for _, s := range ours {
		if s.HeaderFlaw != "" && n > 0 {
			s.number = s.placed(n)
		}
		sh := inv.shard(s.number)
		sh.segments = append(sh.segments, s)
	}
	return nil
}

// shardsOf returns how many shards the store has, by which runs are placed; 0 =
// that cannot be told.
func (inv *inventory) shardsOf(segments []*segment) int {
	if inv.manifest != nil {
		return len(inv.manifest.Shards)
	}
	n := 0
	for _, number := range inv.dirs {
		n = max(n, number+1)
	}
	for _, s := range segments {
		if s.HeaderFlaw == "" && int(s.Shard) >= n {
			return 0 // there are more than there are directories
		}
	}
	for _, s := range segments {
		if s.HeaderFlaw == "" && s.placed(n) != int(s.Shard) {
			return 0
		}
	}
	return n
}

// placed returns the shard of n that most commits of a segment belong to, or
// the one it has already.
func (s *segment) placed(n int) int {
	votes := map[int]int{}
	for i := range s.frames {
		if r := s.frames[i].run; r != nil {
			votes[shard.Place(r.id, n)]++
		}
	}
	best := s.number
	for _, number := range slices.Sorted(maps.Keys(votes)) {
		if votes[number] > votes[best] {
			best = number
		}
	}
	return best
}

// frame notes a frame, and says what is wrong with what is in it.
func (inv *inventory) frame(s *segment, f wal.Frame) (flaw string) {
	fr := frame{sequence: f.Sequence, offset: f.Offset, hash: xxhash.Sum64(f.Payload) ^ uint64(f.Kind)}
	if f.Kind == wal.Record {
		c := &inv.decoded
		if err := c.Decode(f.Payload); err != nil {
			return err.Error()
		}
		if flaw := unfit(c); flaw != "" {
			return flaw
		}
		inv.time = max(inv.time, c.Time)
		fr.run, fr.version, fr.drop = inv.run(c.Run), c.Version, c.Ops[0].Kind == op.Drop
		fr.begins = shard.Begins(c)
	}
	s.frames = append(s.frames, fr)
	return ""
}

// unfit says why no run can have had the commit.
func unfit(c *op.Commit) string {
	for i := range c.Ops {
		o := &c.Ops[i]
		if o.Kind != op.Put || o.Tag != op.RunMetadata {
			continue
		}
		if _, err := run.DecodeRecord(c.Run, o.Value); err != nil {
			return err.Error()
		}
	}
	if c.Version == 1 && !shard.Begins(c) {
		return "a run that begins without metadata"
	}
	return ""
}

// run returns what there is of a run, and makes a place for it.
func (inv *inventory) run(id run.ID) *runFound {
	r := inv.runs[id]
	if r == nil {
		r = &runFound{id: id}
		inv.runs[id] = r
	}
	return r
}

// readCheckpoints reads the indexes of this store's checkpoints.
func (inv *inventory) readCheckpoints(surveys []checkpoint.Survey) error {
	named := map[[16]byte]bool{}
	for i := range surveys {
		if surveys[i].Flaw == "" {
			named[surveys[i].Store] = true
		}
	}
	type where struct {
		dir   string
		shard int
	}
	found := map[where]*images{}
	restored := checkpoint.NewRestored(inv.src)
	for i := range surveys {
		s := &surveys[i]
		if inv.foreign(s.Path, s.Flaw, s.Store, named) {
			continue
		}
		dir := filepath.Dir(s.Path)
		if s.Flaw != "" {
			inv.damaged(Damage{File: s.Path, Length: min(64, s.Size), Reason: s.Flaw})
			number := max(shardNumber(strings.TrimPrefix(filepath.Base(dir), shardPrefix)), 0)
			s.Header = checkpoint.Header{Store: inv.store, Shard: uint32(number), Sequence: s.Named}
			if s.Named == 0 {
				continue
			}
		}
		at := where{dir, int(s.Shard)}
		im := found[at]
		if im == nil {
			im = &images{dir: dir, surveys: map[uint64]*checkpoint.Survey{}, flaws: map[uint64]*op.CorruptError{}}
			im.files = checkpoint.OpenFiles(restored, dir, inv.store, s.Shard)
			found[at] = im
			sh := inv.shard(at.shard)
			sh.images = append(sh.images, im)
		}
		if old := im.surveys[s.Sequence]; old != nil && old.Named == s.Sequence && s.Named != s.Sequence {
			continue // a copy under another name of a file that has its own
		}
		if s.Flaw != "" || s.Named != s.Sequence {
			restored.Add(s.Path, s.Header)
		}
		im.surveys[s.Sequence] = s
		inv.time = max(inv.time, s.Header.Time)
	}
	for _, sh := range inv.shards {
		for _, im := range sh.images {
			if err := im.readIndexes(); err != nil {
				return err
			}
		}
	}
	return nil
}

// readIndexes reads the indexes of a directory's checkpoints.
func (im *images) readIndexes() error {
	for _, sequence := range descending(im.surveys) {
		x, err := im.files.Index(sequence)
		var corrupt *op.CorruptError
		switch {
		case errors.As(err, &corrupt):
			im.flaws[sequence] = corrupt
		case err != nil:
			return err
		default:
			im.indexes = append(im.indexes, x)
		}
	}
	return nil
}

// descending returns the keys of a map, the highest first.
func descending[V any](m map[uint64]V) []uint64 {
	var list []uint64
	for k := range m {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b uint64) int { return cmp.Compare(b, a) })
	return list
}

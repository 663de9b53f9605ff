package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// bursts are how many operations of the owner come between two calls of a
// reader.
var bursts = []int{1, 2, 3, 4, 6, 9, 14, 22, 40, 80, math.MaxInt32}

// every says to look at one of n only: at more with a large INMEM_CRASHES, of
// which 20 is the usual, and at fewer with -short.
func every(t testing.TB, n int) int {
	t.Helper()
	if s := os.Getenv("INMEM_CRASHES"); s != "" {
		rounds, err := strconv.Atoi(s)
		require.NoError(t, err, "INMEM_CRASHES")
		return max(1, n*20/max(1, rounds))
	}
	switch {
	case testing.Short() && raceEnabled:
		return n * 24
	case testing.Short() || raceEnabled:
		return n * 8
	}
	return n
}

// look scans a log that grows, and holds the result against its life: all that
// was written before, nothing that was never written, no part of a frame. It
// returns the calls it took.
func (tl *timeline) look(scan scanFunc, after uint64, v *traveller) (calls int, err error) {
	from := &tl.moments[v.now]
	bounds := Bounds{First: 1, Synced: from.synced, After: min(after, from.synced)}
	got := slices.Collect(tl.after(bounds.After))
	n, wrong := 0, ""
	sc, err := scan(v, logDir, testID, bounds, func(f Frame) error {
		if wrong == "" && (n >= len(got) || got[n].seq != f.Sequence || !bytes.Equal(got[n].payload, f.Payload)) {
			wrong = fmt.Sprintf("sequence %d was not appended so", f.Sequence)
		}
		n++
		return nil
	})
	calls = v.calls
	if err != nil {
		return calls, err
	}
	until := &tl.moments[min(v.now+1, len(tl.moments)-1)]
	switch {
	case wrong != "":
		return calls, errors.New(wrong)
	case sc.Last < from.written:
		return calls, fmt.Errorf("read up to %d, but %d was written before", sc.Last, from.written)
	case sc.Last > until.written:
		return calls, fmt.Errorf("read up to %d, but only %d was ever written", sc.Last, until.written)
	case n != tl.upTo(sc.Last)-tl.upTo(bounds.After):
		return calls, fmt.Errorf("%d records up to %d", n, sc.Last)
	case int(sc.Frames) != n:
		return calls, fmt.Errorf("%d frames, the verdict says %d", n, sc.Frames)
	}
	if (calls+int(sc.Last))%13 == 0 {
		err = tl.later(v, sc)
	}
	return calls, err
}

// scanAndMore reads what there is, and then, twice, what was added.
func scanAndMore(fsys vfs.FS, dir string, id Identity, bounds Bounds, fn func(Frame) error) (*Scanned, error) {
	sc, err := Scan(fsys, dir, id, bounds, fn)
	for range 2 {
		if err != nil {
			return nil, err
		}
		frames := sc.Frames
		if sc, err = sc.More(fsys, dir, id, fn); err == nil {
			sc.Frames += frames
		}
	}
	return sc, err
}

// after yields the records behind a sequence.
func (tl *timeline) after(seq uint64) func(func(rec) bool) {
	return slices.Values(tl.recs[tl.upTo(seq):])
}

// upTo counts the records up to a sequence.
func (tl *timeline) upTo(seq uint64) int {
	n, _ := slices.BinarySearchFunc(tl.recs, seq+1, func(r rec, s uint64) int { return int(int64(r.seq) - int64(s)) })
	return n
}

// later wants what was scanned to stay as it is, whatever became of the log: a
// copy of its extents, and its history.
func (tl *timeline) later(v *traveller, sc *Scanned) error {
	for _, m := range []*moment{&tl.moments[v.now], &tl.moments[len(tl.moments)-1]} {
		disk := fstest.MapFS{}
		for _, part := range sc.Extents() {
			disk[part.Path] = &fstest.MapFile{Data: m.files[part.Path].Data[:part.Length]}
		}
		recs, copied, err := readBy(Verify, &traveller{moments: []moment{{files: disk}}}, logDir, Bounds{First: 1, Synced: sc.Last})
		switch {
		case err != nil:
			return fmt.Errorf("a copy: %w", err)
		case copied.Torn != 0 || copied.Last != sc.Last || len(recs) != tl.upTo(sc.Last):
			return fmt.Errorf("a copy has %d records up to %d, and %d torn bytes", len(recs), copied.Last, copied.Torn)
		}
	}
	h := sc.History(&traveller{moments: tl.moments, now: len(tl.moments) - 1}, logDir, testID)
	for stream := range byte(3) {
		var want, got []rec
		for _, r := range tl.recs[:tl.upTo(sc.Last)] {
			if r.payload[streamSize-1] == stream {
				want = append(want, r)
			}
		}
		err := h.Stream(context.Background(), streamOf(stream), 0, math.MaxUint64, func(f Frame) error {
			got = append(got, rec{f.Sequence, f.Payload})
			return nil
		})
		if err != nil || !slices.EqualFunc(want, got, func(a, b rec) bool { return a.seq == b.seq && bytes.Equal(a.payload, b.payload) }) {
			return fmt.Errorf("history: %w, %d records instead of %d", err, len(got), len(want))
		}
	}
	return nil
}

// once lets a burst happen right before the n-th call.
func once(n, to int) func(call, now int) int {
	return func(call, now int) int {
		if call == n {
			return to
		}
		return now
	}
}

// eachBurst calls look with one of step moments to begin at, every call, and bursts of
// several lengths before that call. look returns the calls its scan took.
func (tl *timeline) eachBurst(first, step int, look func(from, n, to int) (calls int)) {
	for from := first % step; from < len(tl.moments)-1; from += step {
		tl.fromOne(from, func(n, to int) int { return look(from, n, to) })
	}
}

// fromOne is eachBurst for one moment.
func (tl *timeline) fromOne(from int, look func(n, to int) (calls int)) {
	last := len(tl.moments) - 1
	for _, burst := range bursts {
		to := min(from+burst, last)
		for n, calls := 1, 1; n <= calls; n++ {
			calls = look(n, to)
		}
		if to == last {
			return
		}
	}
}

// TestScanWhileTheLogGrows lets a burst of the owner's operations happen before
// each call of a reader. A sound log never gives an error, not even ErrChanged.
func TestScanWhileTheLogGrows(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		tl := wholeLife(t, opts)
		scans, first := 0, 0
		for name, scan := range map[string]scanFunc{"Scan": Scan, "Verify": Verify, "More": scanAndMore} {
			for _, after := range []uint64{0, 9, math.MaxUint64} {
				first++ // each combination begins at other moments
				tl.eachBurst(first, every(t, 9), func(from, n, to int) int {
					scans++
					calls, err := tl.look(scan, after, &traveller{moments: tl.moments, now: from, jump: once(n, to)})
					if err != nil {
						require.NoError(t, err, "%s after %d, moment %d (%s); %d (%s) at call %d", name, after, from, tl.moments[from].next, to, tl.moments[to].next, n)
					}
					return calls
				})
			}
		}
		t.Logf("%d scans", scans)
	})
}

// TestScanWhileTheLogGrowsAndGrows has several bursts of random lengths.
func TestScanWhileTheLogGrowsAndGrows(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		tl := wholeLife(t, opts)
		for _, seed := range seeds(t, max(1, 180/every(t, 6))) {
			rng := rand.New(rand.NewPCG(seed, 4))
			for range 300 {
				often, far := 1+rng.IntN(12), 1+rng.IntN(30)
				from := rng.IntN(len(tl.moments))
				jump := func(_, now int) int {
					if rng.IntN(often) == 0 {
						now = min(now+rng.IntN(far), len(tl.moments)-1)
					}
					return now
				}
				scan := []scanFunc{Scan, Verify, scanAndMore}[rng.IntN(3)]
				_, err := tl.look(scan, []uint64{0, 15, math.MaxUint64}[rng.IntN(3)], &traveller{moments: tl.moments, now: from, jump: jump})
				if err != nil {
					require.NoError(t, err, "from moment %d (%s): repeat with %s=%d", from, tl.moments[from].next, seedEnv, seed)
				}
			}
		}
	})
}

// part is a write of which a reader sees some bytes only.
type part struct {
	what  string
	files fstest.MapFS
}

// parts returns the ways in which the change from a moment to the next can be
// half seen: its beginning, its end, and with holes.
func (tl *timeline) parts(i int) (list []part) {
	before, after := tl.moments[i].files, tl.moments[i+1].files
	if !strings.Contains(tl.moments[i].next, " write ") {
		return nil // what else changes a file does it at once
	}
	for name, f := range after {
		was := before[name]
		if was == nil || was == f || len(was.Data) > len(f.Data) || filepath.Ext(name) != segmentSuffix {
			continue
		}
		old := append(bytes.Clone(was.Data), make([]byte, len(f.Data)-len(was.Data))...)
		from, to := changes(old, f.Data)
		first, end := int(from), int(to)
		for visible := 1; visible < 255; visible += 1 + visible%3 { // a bit for each eighth
			if visible > 127 && visible%16 != 0 {
				continue
			}
			b := bytes.Clone(old)
			for k := range 8 {
				if visible>>k&1 == 1 {
					at := func(k int) int { return first + (end-first)*k/8 }
					copy(b[at(k):at(k+1)], f.Data[at(k):at(k+1)])
				}
			}
			files := maps.Clone(before)
			files[name] = &fstest.MapFile{Data: b}
			list = append(list, part{fmt.Sprintf("%08b of %s", visible, tl.moments[i].next), files})
		}
		for k := 1; k < 8; k++ { // every beginning, also cut where the file ended
			files := maps.Clone(before)
			b := append(bytes.Clone(f.Data[:first+(end-first)*k/8]), old[first+(end-first)*k/8:]...)
			files[name] = &fstest.MapFile{Data: b[:max(len(was.Data), first+(end-first)*k/8)]}
			list = append(list, part{fmt.Sprintf("%d/8 of %s", k, tl.moments[i].next), files})
		}
	}
	return list
}

// TestScanSeesPartOfAWrite shows a reader part of a write at one call or two,
// and at the next one all of it, with what came later: frames, too, which know
// that it was synced.
func TestScanSeesPartOfAWrite(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		tl := wholeLife(t, opts)
		writes, scans, step := 0, 0, every(t, 24)
		for i := range len(tl.moments) - 1 {
			list := tl.parts(i)
			if len(list) > 0 {
				writes++
			}
			for k := i % step; k < len(list); k += step {
				scans += tl.halfSeen(t, i, list[k])
			}
		}
		t.Logf("%d writes, %d scans", writes, scans)
		require.Greater(t, writes, 20)
	})
}

// halfSeen shows the part at the n-th call, for every n, beginning right before
// the write, in its middle, or some time before.
func (tl *timeline) halfSeen(t *testing.T, i int, p part) (scans int) {
	half := moment{next: p.what, files: p.files, written: tl.moments[i].written, synced: tl.moments[i].synced}
	with := &timeline{moments: slices.Insert(slices.Clone(tl.moments), i+1, half), recs: tl.recs}
	for n, calls := 1, 1; n <= calls; n++ {
		from := max(0, i+[]int{0, 1, -4}[n%3])
		to := min(i+[]int{2, 3, 4, 7, 13, math.MaxInt32}[(n+i)%6], len(with.moments)-1)
		for _, stay := range []int{1, 2, math.MaxInt32} {
			jump := func(call, now int) int {
				switch {
				case call < n:
					return now
				case call-n < stay:
					return i + 1
				}
				return to
			}
			var err error
			calls, err = with.look([]scanFunc{Scan, scanAndMore}[i%2], []uint64{0, math.MaxUint64}[n%2], &traveller{moments: with.moments, now: from, jump: jump})
			if scans++; err != nil {
				require.NoError(t, err, "%s; from moment %d, at call %d, for %d calls, then %d", p.what, from, n, stay, to)
			}
		}
	}
	return scans
}

// changes returns where two contents begin to differ, and where they end to.
func changes(before, after []byte) (first, end int64) {
	for first < int64(len(before)) && before[first] == after[first] {
		first++
	}
	end = int64(len(after))
	for end > first && end <= int64(len(before)) && before[end-1] == after[end-1] {
		end--
	}
	return first, end
}

// TestScanSeesHolesInOneRead lets a burst happen in the middle of a read: its
// first bytes are those from before, so that what the burst wrote there is not
// seen, and what it wrote behind them is.
func TestScanSeesHolesInOneRead(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		tl := wholeLife(t, opts)
		scans := 0
		for eighth := int64(1); eighth < 8; eighth++ {
			cut := func(before, after []byte) int64 {
				first, end := changes(before, after)
				return first + (end-first)*eighth/8
			}
			tl.eachBurst(int(eighth), every(t, 12), func(from, n, to int) int {
				scans++
				v := &traveller{moments: tl.moments, now: from, jump: once(n, to), cut: cut}
				calls, err := tl.look(Scan, []uint64{0, math.MaxUint64}[n%2], v)
				if err != nil {
					require.NoError(t, err, "from moment %d (%s) to %d in call %d, from %d/8 of the change on", from, tl.moments[from].next, to, n, eighth)
				}
				return calls
			})
		}
		t.Logf("%d scans", scans)
	})
}

// spoilt is a timeline in which a byte of a frame is wrong, at all times.
func (tl *timeline) spoilt(name string, off int64) *timeline {
	bad := &timeline{recs: tl.recs}
	copies := map[*fstest.MapFile]*fstest.MapFile{}
	for _, m := range tl.moments {
		if f := m.files[name]; f != nil && off < int64(len(f.Data)) {
			if copies[f] == nil {
				b := bytes.Clone(f.Data)
				b[off] ^= 0x40
				copies[f] = &fstest.MapFile{Data: b}
			}
			m.files = maps.Clone(m.files)
			m.files[name] = copies[f]
		}
		bad.moments = append(bad.moments, m)
	}
	return bad
}

// TestDamageInALogThatGrows spoils frames that a log has witnesses for, in its
// older segments and in its last one: whatever the owner does meanwhile, the
// damage is found, and where it is. ErrChanged comes with it exactly when the
// log got another segment since the reader had looked.
func TestDamageInALogThatGrows(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		tl := wholeLife(t, opts)
		changed, scans := 0, 0
		for i := 3; i < len(tl.moments)-1; i += min(every(t, 36), 60) {
			for name, offsets := range tl.vouched(t, i) {
				for k, off := range offsets {
					bad := tl.spoilt(name, off+int64(frameHeader)*int64(k%2)+4)
					bad.fromOne(i, func(n, to int) int {
						v := &traveller{moments: bad.moments, now: i, jump: once(n, to)}
						overtaken, err := v.damage(name, off)
						if err != nil {
							require.NoError(t, err, "%s at %d; from moment %d, %d at call %d", name, off, i, to, n)
						}
						if scans++; overtaken {
							changed++
						}
						return v.calls
					})
				}
			}
		}
		t.Logf("%d scans, of which %d saw the log change", scans, changed)
		require.Positive(t, changed)
	})
}

// damage wants a scan to find damage there, and to say so when the log got
// another segment meanwhile.
func (v *traveller) damage(name string, off int64) (overtaken bool, err error) {
	bounds := Bounds{First: 1, Synced: v.moments[v.now].synced * uint64(off/align%2)}
	_, err = Scan(v, logDir, testID, bounds, func(Frame) error { return nil })
	overtaken = v.lists[0] != v.lists[len(v.lists)-1]
	var corrupt *op.CorruptError
	switch {
	case !errors.As(err, &corrupt) || !errors.Is(err, op.ErrCorrupt):
		return overtaken, fmt.Errorf("no damage was found: %w", err)
	case corrupt.File != name || corrupt.Offset != off:
		return overtaken, fmt.Errorf("it was found elsewhere: %w", err)
	case errors.Is(err, ErrChanged) != overtaken:
		return overtaken, fmt.Errorf("%q were the segments: %w", v.lists, err)
	}
	return overtaken, nil
}

// vouched returns where frames begin that are known to have been on the device,
// by file: those before the last segment, and those that a later frame knows of.
func (tl *timeline) vouched(t *testing.T, i int) map[string][]int64 {
	t.Helper()
	out := map[string][]int64{}
	_, sc, err := read(&traveller{moments: tl.moments, now: i}, Bounds{First: 1})
	require.NoError(t, err)
	for k, part := range sc.Extents() {
		var offsets, synced []int64
		b := tl.moments[i].files[part.Path].Data
		for off := int64(segmentHeader); off+frameHeader <= sc.segments[k].end; {
			h := parseHeader(b[off:])
			offsets, synced = append(offsets, off), append(synced, h.synced)
			off += frameSize(int(h.length))
		}
		for j, off := range offsets {
			older := k < len(sc.segments)-1
			if older || slices.ContainsFunc(synced[j+1:], func(s int64) bool { return s > off }) {
				out[part.Path] = append(out[part.Path], off)
			}
		}
	}
	return out
}

// unstatable is a disk that cannot describe its files.
type unstatable struct{ vfs.FS }

func (unstatable) Stat(string) (fs.FileInfo, error) { return nil, syscall.EIO }

// TestScanWithoutStat: where the disk fails nobody can say that a segment is
// missing.
func TestScanWithoutStat(t *testing.T) {
	mem := chain(t, 3)
	list, _, err := listSegments(mem, logDir)
	require.NoError(t, err)
	require.NoError(t, mem.Remove(list[len(list)-1]))
	_, _, err = read(mem, Bounds{First: 1})
	require.ErrorIs(t, err, op.ErrCorrupt)
	_, _, err = read(unstatable{mem}, Bounds{First: 1})
	require.ErrorIs(t, err, syscall.EIO)
	require.NotErrorIs(t, err, op.ErrCorrupt)
}

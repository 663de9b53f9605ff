package wal

import (
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// moment is what a reader finds on the disk between two operations of a log's
// owner.
type moment struct {
	next    string       // the operation that comes next
	files   fstest.MapFS // never changed
	written uint64       // the frames up to here were handed to the operating system …
	synced  uint64       // … and up to here synced
}

// timeline is the life of a log, moment by moment.
type timeline struct {
	moments []moment
	recs    []rec // all that were ever appended

	mu   sync.Mutex
	gate chan struct{} // while it is not nil the background waits for it
	log  *Log
	mem  *vfs.Mem
}

// see notes the moment before an operation.
func (tl *timeline) see(o vfs.Op) error {
	tl.mu.Lock()
	gate := tl.gate
	tl.mu.Unlock()
	if gate != nil && o.Kind == vfs.Truncate {
		<-gate // only sealing begins with a truncation, but for Close
	}
	tl.note(o.String())
	return nil
}

func (tl *timeline) note(next string) {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	m := moment{next: next, files: fstest.MapFS{}}
	var before fstest.MapFS
	if n := len(tl.moments); n > 0 {
		before, m.written, m.synced = tl.moments[n-1].files, tl.moments[n-1].written, tl.moments[n-1].synced
	}
	disk := tl.mem.Clone()
	for _, name := range disk.Files() {
		b, err := disk.ReadFile(name)
		if err != nil {
			panic(err)
		}
		if f := before[name]; f != nil && string(f.Data) == string(b) {
			m.files[name] = f
		} else {
			m.files[name] = &fstest.MapFile{Data: b}
		}
	}
	if tl.log != nil {
		tl.log.mu.Lock()
		m.written, m.synced = tl.log.disk.writtenSeq, tl.log.disk.syncedSeq
		tl.log.mu.Unlock()
	}
	tl.moments = append(tl.moments, m)
}

// add appends records in one batch. What the background does comes in between,
// so that a timeline is the same each time.
func (tl *timeline) add(t *testing.T, mode op.Durability, sizes ...int) {
	for _, size := range sizes {
		require.NoError(t, tl.log.Reserve(FrameSize(size)))
		synctest.Wait()
		r, err := tryAdd(tl.log, byte(len(tl.recs)%3), size)
		require.NoError(t, err)
		tl.recs = append(tl.recs, r)
	}
	require.NoError(t, tl.log.Commit(mode))
	synctest.Wait()
}

func (tl *timeline) open(t *testing.T, opts Options) {
	tl.mem.SetFault(tl.see)
	recs, sc := mustRead(t, tl.mem)
	requireRecs(t, tl.recs, recs)
	l, err := Open(tl.mem, logDir, testID, sc, opts)
	require.NoError(t, err)
	tl.mu.Lock()
	tl.log = l
	tl.mu.Unlock()
}

func (tl *timeline) close(t *testing.T) {
	_, err := tl.log.Close()
	require.NoError(t, err)
	tl.note("closed")
}

// hold lets the background stop before it seals the next segment.
func (tl *timeline) hold() {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.gate = make(chan struct{})
}

func (tl *timeline) release() {
	tl.mu.Lock()
	gate := tl.gate
	tl.gate = nil
	tl.mu.Unlock()
	close(gate)
	synctest.Wait()
}

// kill lets the owner die in the middle of a write, and while a segment waits
// for its index and another one is half made: the first frame of the write is
// spoilt, and the second one whole, of a size that the next owner's frames have
// too.
func (tl *timeline) kill(t *testing.T) {
	tl.hold()
	for require.NoError(t, tl.log.Reserve(FrameSize(40))); tl.log.active.end != segmentHeader; {
		tl.add(t, op.Batched, 40)
		require.NoError(t, tl.log.Reserve(FrameSize(40)))
	}
	tl.add(t, op.Batched, 40)
	tl.note("the kill")
	left, dead := tl.mem.Clone(), tl.log
	tl.mem.SetFault(nil)
	tl.release()
	mustClose(t, dead)

	r := raw{salt: dead.active.salt, next: tl.recs[len(tl.recs)-1].seq + 1}
	r.frame(Record, payloadOf(r.next, 9, 40), segmentHeader)
	r.b[frameHeader+20] ^= 1
	r.frame(Record, payloadOf(r.next, 9, 40), segmentHeader)
	end := at(1)
	name := segmentPath(logDir, dead.active.first)
	b, err := left.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, left.WriteFile(name, append(append(b[:end:end], r.b...), b[min(int(end)+len(r.b), len(b)):]...)))
	require.NoError(t, left.WriteFile(segmentPath(logDir, 0xff)+temporary, []byte("half")))
	tl.mem, tl.log = left, nil
	tl.note("killed")
}

// wholeLife is a life with everything that happens to a log: batches, syncs, seals
// of an idle log, rotations, indexes that fall behind, a clean end and a kill.
func wholeLife(t *testing.T, opts Options) *timeline {
	t.Helper()
	opts.SegmentSize = segmentHeader + 6*testFrame + 10
	tl := &timeline{mem: newDisk(t, opts)}
	synctest.Test(t, func(t *testing.T) {
		tl.open(t, opts)
		tl.add(t, op.Batched, 40, 40, 40)
		tl.add(t, op.Strict, 40)
		tl.add(t, op.Strict, 60, 24)
		for range 3 {
			tl.hold() // what is written in a new segment is no moment of the background's
			require.NoError(t, tl.log.Tick())
			tl.release()
		}
		tl.add(t, op.Async, 40)
		tl.add(t, op.Strict, 300, 40, 40)
		tl.hold()
		for range 12 {
			tl.add(t, op.Batched, 40)
			if len(tl.log.seals) > 0 {
				break // one more would wait for the background
			}
		}
		tl.release()
		tl.add(t, op.Strict, 40, 90)
		tl.close(t)
		tl.open(t, opts)
		tl.add(t, op.Strict, 40, 40)
		tl.kill(t)
		tl.open(t, opts)
		tl.add(t, op.Batched, 40)
		tl.add(t, op.Strict, 40)
		tl.add(t, op.Batched, 40, 40, 40, 40, 40)
		tl.close(t)
	})
	return tl
}

// traveller is a disk of the past, on which time goes on at a reader's calls.
type traveller struct {
	vfs.FS  // there is none: what changes something panics
	moments []moment
	now     int
	calls   int
	// jump returns the moment at which a call finds the disk.
	jump func(call, now int) int
	// cut says from which offset on a read finds a file as it is after the jump;
	// what lies before was read already.
	cut   func(before, after []byte) int64
	lists []string // what was found in the directory, at each listing
}

func (v *traveller) step() fstest.MapFS {
	v.calls++
	if v.jump != nil {
		v.now = v.jump(v.calls, v.now)
	}
	return v.moments[v.now].files
}

func (v *traveller) ReadDir(dir string) ([]fs.DirEntry, error) {
	entries, err := v.step().ReadDir(dir)
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), segmentSuffix) {
			names = append(names, e.Name())
		}
	}
	v.lists = append(v.lists, strings.Join(names, " "))
	return entries, err
}

func (v *traveller) Stat(name string) (fs.FileInfo, error) { return v.step().Stat(name) }

func (v *traveller) OpenFile(name string, flag int, _ fs.FileMode) (vfs.File, error) {
	if flag != 0 {
		panic("a reader opens a file to write")
	}
	if files := v.step(); files[name] == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &travelFile{on: v, name: name}, nil
}

// travelFile is an open segment. Segments keep their names, and are not removed.
type travelFile struct {
	vfs.File
	on   *traveller
	name string
}

func (f *travelFile) Name() string { return f.name }
func (f *travelFile) Close() error { return nil }

func (f *travelFile) Size() (int64, error) { return int64(len(f.on.step()[f.name].Data)), nil }

func (f *travelFile) ReadAt(p []byte, off int64) (int, error) {
	before := f.on.moments[f.on.now].files[f.name].Data
	b := f.on.step()[f.name].Data
	n := copy(p, b[min(off, int64(len(b))):])
	if f.on.cut != nil && len(before) <= len(b) {
		copy(p, before[min(off, int64(len(before))):max(min(off, int64(len(before))), min(f.on.cut(before, b), int64(len(before))))])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestTimeline holds the tests of live logs to their word: what is to happen in
// a whole life does.
func TestTimeline(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		tl := wholeLife(t, opts)
		var all []string
		unsealed, torn := 0, 0
		for i := range tl.moments {
			m := &tl.moments[i]
			all = append(all, m.next)
			_, sc, err := read(&traveller{moments: tl.moments, now: i}, Bounds{First: 1, Synced: m.synced})
			require.NoError(t, err, m.next)
			require.Equal(t, m.written, sc.Last, m.next)
			unsealed = max(unsealed, sc.Unsealed)
			if sc.Torn > 0 {
				torn++
			}
		}
		t.Logf("%d moments, %d records", len(tl.moments), len(tl.recs))
		require.Equal(t, 2, unsealed)
		require.Positive(t, torn)
		for _, what := range []string{"rename", "truncate", "sync", "write", "remove", "closed", "killed"} {
			require.True(t, slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, what) }), what)
		}
	})
}

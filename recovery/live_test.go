package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/vfs"
	"inmem/wal"
)

// moment is what a reader finds on the disk between two operations of a store
// at work.
type moment struct {
	next  string            // the operation that comes next
	files fstest.MapFS      // never changed
	acked map[run.ID]uint64 // the versions acknowledged by then
}

// timeline is the life of a store, moment by moment.
type timeline struct {
	moments []moment
	digests map[run.ID][]op.Digest // by version - 1; the zero digest stands for the deletion

	mu    sync.Mutex
	acked map[run.ID]uint64
	disk  *vfs.Mem
	e     *engine
}

func (tl *timeline) see(o vfs.Op) error {
	tl.note(o.String())
	return nil
}

func (tl *timeline) note(next string) {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	m := moment{next: next, files: fstest.MapFS{}, acked: maps.Clone(tl.acked)}
	var before fstest.MapFS
	if n := len(tl.moments); n > 0 {
		before = tl.moments[n-1].files
	}
	disk := tl.disk.Clone()
	for _, name := range disk.Files() {
		b, err := disk.ReadFile(name)
		if err != nil {
			panic(err)
		}
		if f := before[name]; f != nil && bytes.Equal(f.Data, b) {
			m.files[name] = f
		} else {
			m.files[name] = &fstest.MapFile{Data: b}
		}
	}
	tl.moments = append(tl.moments, m)
}

// did notes that a commit was acknowledged.
func (tl *timeline) did(id run.ID, err error) error {
	if err != nil {
		return err
	}
	digest := op.Digest{}
	if h, err := tl.e.shard(id).Find(id); err == nil {
		digest = loaded(tl.e.shard(id), h).Digest()
	}
	tl.mu.Lock()
	defer tl.mu.Unlock()
	tl.acked[id]++
	tl.digests[id] = append(tl.digests[id], digest)
	return nil
}

func (tl *timeline) fill(from, to, puts int) error {
	for n := from; n < to; n++ {
		id := runID(n)
		if err := tl.did(id, tl.e.begin(id)); err != nil {
			return err
		}
		if err := tl.more(id, puts); err != nil {
			return err
		}
	}
	return nil
}

func (tl *timeline) more(id run.ID, puts int) error {
	for k := range puts {
		v := tl.acked[id]
		if err := tl.did(id, tl.e.put(id, fmt.Sprint("key ", k), strings.Repeat("v", 30+int(v)))); err != nil {
			return err
		}
	}
	return nil
}

// wholeLife is a life with several checkpoints, of which the later ones make
// files of the earlier ones go, with runs that end and are deleted, and with a
// clean end and another beginning in the middle.
func wholeLife(t *testing.T, shards int) *timeline {
	t.Helper()
	tl := &timeline{disk: vfs.NewMem(), acked: map[run.ID]uint64{}, digests: map[run.ID][]op.Digest{}}
	cfg := config(tl.disk)
	cfg.Shards = shards
	tl.disk.SetFault(tl.see)
	tl.e = start(t, cfg)
	again := func() error {
		if err := tl.e.stop(); err != nil {
			return err
		}
		e, err := tryStart(cfg)
		tl.e = e
		return err
	}
	checkpoint := func() error { return tl.e.checkpoint() }
	for _, step := range []func() error{
		func() error { return tl.fill(0, 4, 3) },
		checkpoint,
		func() error { return tl.more(runID(0), 4) },
		func() error { return tl.did(runID(1), tl.e.shard(runID(1)).Drop(bg, runID(1), op.Default)) },
		checkpoint,
		func() error { return errors.Join(tl.more(runID(2), 3), tl.more(runID(3), 3)) },
		checkpoint,
		again,
		func() error { return tl.fill(4, 7, 4) },
		func() error {
			return tl.did(runID(2), tl.e.shard(runID(2)).SetStatus(bg, runID(2), run.Completed, op.Expect{}, op.Default))
		},
		func() error { return tl.did(runID(4), tl.e.shard(runID(4)).Drop(bg, runID(4), op.Default)) },
		checkpoint,
		func() error { return tl.more(runID(5), 6) },
		checkpoint,
		func() error { return tl.more(runID(6), 6) },
		func() error { return tl.e.stop() },
	} {
		require.NoError(t, step())
	}
	tl.note("the end")
	tl.disk.SetFault(nil)
	return tl
}

// seen holds what a reader found against the life: each run at one of its
// versions, of those acknowledged at the moment from or later, as it was.
func (tl *timeline) seen(from, to int, versions map[run.ID]uint64, digests map[run.ID]op.Digest) error {
	until := tl.moments[to].acked
	for id, life := range tl.digests {
		least, most := tl.moments[from].acked[id], min(until[id]+1, uint64(len(life))) // one may be under way
		v, ok := versions[id]
		dropped := life[len(life)-1] == (op.Digest{})
		switch {
		case !ok && least == 0:
		case !ok && dropped && most == uint64(len(life)):
		case !ok:
			return fmt.Errorf("run %v is not there, though %d versions were acknowledged", id, least)
		case v < least || v > most:
			return fmt.Errorf("run %v is at version %d, not in %d … %d", id, v, least, most)
		case digests[id] != life[v-1]:
			return fmt.Errorf("run %v is not as it was at version %d", id, v)
		}
	}
	for id := range versions {
		if tl.digests[id] == nil {
			return fmt.Errorf("nobody began run %v", id)
		}
	}
	return nil
}

// traveller is a disk on which time goes on while a store on it is read. What
// is not in the store's directory is in the present.
type traveller struct {
	*vfs.Mem // the present
	moments  []moment

	mu    sync.Mutex // shards are read at the same time
	now   int
	calls int
	jump  func(call, now int) int
}

func (v *traveller) step() fstest.MapFS {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	if v.jump != nil {
		v.now = v.jump(v.calls, v.now)
	}
	return v.moments[v.now].files
}

func past(name string) bool { return name == testDir || strings.HasPrefix(name, testDir+"/") }

func (v *traveller) ReadDir(dir string) ([]fs.DirEntry, error) {
	if !past(dir) {
		return v.Mem.ReadDir(dir)
	}
	return v.step().ReadDir(dir)
}

func (v *traveller) Stat(name string) (fs.FileInfo, error) {
	if !past(name) {
		return v.Mem.Stat(name)
	}
	return v.step().Stat(name)
}

func (v *traveller) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if !past(name) {
		return v.Mem.OpenFile(name, flag, perm)
	}
	if flag != os.O_RDONLY {
		panic("a reader opens a file to write: " + name)
	}
	f := v.step()[name]
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &travelFile{on: v, name: name, file: f}, nil
}

// travelFile is an open file. Segments grow; all others are replaced or removed,
// which those do not see who have them open.
type travelFile struct {
	vfs.File
	on   *traveller
	name string
	file *fstest.MapFile
}

func (f *travelFile) Name() string { return f.name }
func (f *travelFile) Close() error { return nil }

func (f *travelFile) data() []byte {
	if files := f.on.step(); path.Ext(f.name) == ".wal" {
		return files[f.name].Data
	}
	return f.file.Data
}

func (f *travelFile) Size() (int64, error) { return int64(len(f.data())), nil }

func (f *travelFile) ReadAt(p []byte, off int64) (int, error) {
	b := f.data()
	n := copy(p, b[min(off, int64(len(b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// reader is a store that was opened for reading only, as package inmem does it.
func reader(st *Store) *engine {
	e := &engine{st: st}
	for _, c := range st.Shards {
		c.Forget = func(run.ID) {}
		e.shards = append(e.shards, shard.NewReadOnly(c))
	}
	return e
}

// versions returns the versions of all runs.
func (e *engine) versions() map[run.ID]uint64 {
	all := map[run.ID]uint64{}
	for id := range e.digests() {
		h, err := e.shard(id).Find(id)
		if err == nil {
			all[id] = h.Head().Version
		}
	}
	return all
}

// histories wants the history of each run to have all its versions.
func (e *engine) histories() error {
	for id, version := range e.versions() {
		h, err := e.shard(id).Find(id)
		if err != nil {
			return err
		}
		snap, next := h.Head(), uint64(1)
		log, err := e.shard(id).History(bg)
		if err != nil {
			return err
		}
		err = log.Stream(bg, id, snap.FirstSeq, snap.LastSeq, func(f wal.Frame) error {
			c, err := op.DecodeCommit(f.Payload)
			if err == nil && c.Version != next {
				err = fmt.Errorf("version %d after %d", c.Version, next-1)
			}
			next++
			return err
		})
		if err == nil && next != version+1 {
			err = fmt.Errorf("the history has %d versions of %d", next-1, version)
		}
		if err != nil {
			return fmt.Errorf("run %v: %w", id, err)
		}
	}
	return nil
}

// rounds returns how often a random test repeats: n times, as many times that
// as INMEM_CRASHES is of 20, and fewer with -short.
func rounds(t *testing.T, n int) int {
	t.Helper()
	if s := os.Getenv("INMEM_CRASHES"); s != "" {
		factor, err := strconv.Atoi(s)
		require.NoError(t, err, "INMEM_CRASHES")
		return max(1, n*factor/20)
	}
	if testing.Short() {
		return max(1, n/8)
	}
	return n
}

// journeys calls fn with disks on which time goes on in every manner: not until
// some call and then far, or a little at many calls.
func (tl *timeline) journeys(t *testing.T, n int, fn func(v *traveller, from int) error) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seedOf(t), 9))
	last := len(tl.moments) - 1
	for range rounds(t, n) {
		from := rng.IntN(last + 1)
		at, far := 1+rng.IntN(120), 1+rng.IntN(1+rng.IntN(last))
		often, pace := 1+rng.IntN(20), 1+rng.IntN(12)
		dice := rand.New(rand.NewPCG(rng.Uint64(), 1))
		jump := func(call, now int) int {
			if call == at {
				return min(now+far, last)
			}
			return now
		}
		if rng.IntN(2) == 0 {
			jump = func(_, now int) int {
				if dice.IntN(often) == 0 {
					now = min(now+dice.IntN(pace), last)
				}
				return now
			}
		}
		v := &traveller{Mem: vfs.NewMem(), moments: tl.moments, now: from, jump: jump}
		if err := fn(v, from); err != nil {
			require.NoError(t, err, "from moment %d (%s) to %d (%s), %d calls", from, tl.moments[from].next, v.now, tl.moments[v.now].next, v.calls)
		}
	}
}

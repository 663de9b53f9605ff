package inmem_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"inmem"
	"inmem/run"
	"inmem/vfs"
)

// newTmpfs mounts a file system in memory that is as small as the options of
// mount say.
func newTmpfs(t *testing.T, options string) *powerDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root: run the test as root")
	}
	d := &powerDisk{t: t, kind: "tmpfs", device: "tmpfs", options: options, dir: t.TempDir()}
	if err := unix.Mount(d.device, d.dir, d.kind, 0, options); err != nil {
		t.Skipf("mounting a tmpfs: %v: allow mounts in the container", err)
	}
	d.mounted = true
	t.Cleanup(d.letGo)
	return d
}

// ballast takes n bytes, or all there are, in a file beside the store.
func (d *powerDisk) ballast(name string, n int) {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, name))
	require.NoError(d.t, err)
	block := make([]byte, 4<<10)
	for left := n; left > 0; left -= len(block) {
		if _, err := f.Write(block); err != nil {
			require.ErrorIs(d.t, err, syscall.ENOSPC)
			break
		}
	}
	require.NoError(d.t, f.Close())
}

// drop removes what ballast made.
func (d *powerDisk) drop(name string) {
	d.t.Helper()
	require.NoError(d.t, os.RemoveAll(filepath.Join(d.dir, name)))
	if d.kind != "tmpfs" {
		f, err := os.Open(d.dir) // its blocks are free once the journal is written
		require.NoError(d.t, err)
		require.NoError(d.t, unix.Syncfs(int(f.Fd())))
		require.NoError(d.t, f.Close())
	}
}

// filler writes until the disk is full, and knows what was acknowledged.
type filler struct {
	mu    sync.Mutex
	next  int
	sizes map[run.ID]map[string]int
	long  []byte // what every value begins like
}

func newFiller() *filler {
	return &filler{sizes: map[run.ID]map[string]int{}, long: big(64 << 10)}
}

// fill puts values until nothing fits any more, also when the background is
// done with what it had to cut off.
func (f *filler) fill(t *testing.T, runs []*inmem.Run) {
	t.Helper()
	for last := -1; last < f.count(); {
		last = f.count()
		f.pass(t, runs)
		require.False(t, t.Failed())
	}
}

// pass puts values from several goroutines, smaller ones when large ones do not
// fit. Every refusal must be an ErrDiskFull.
func (f *filler) pass(t *testing.T, runs []*inmem.Run) {
	var writers sync.WaitGroup
	for w := range 2 * len(runs) {
		r := runs[w%len(runs)]
		writers.Go(func() {
			for size := 24 << 10; ; {
				err := f.put(r, size)
				switch {
				case err == nil:
				case !assert.ErrorIs(t, err, inmem.ErrDiskFull) || !assert.ErrorIs(t, err, syscall.ENOSPC) || size == 0:
					return
				default:
					size /= 2
				}
			}
		})
	}
	writers.Wait()
}

func (f *filler) put(r *inmem.Run, size int) error {
	f.mu.Lock()
	key := fmt.Sprint("filler ", f.next)
	f.next++
	f.mu.Unlock()
	_, err := r.KV().Put(ctx, key, f.long[:size])
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.took(r.ID(), key, size)
	}
	return err
}

func (f *filler) took(id run.ID, key string, size int) {
	if f.sizes[id] == nil {
		f.sizes[id] = map[string]int{}
	}
	f.sizes[id][key] = size
}

func (f *filler) count() (n int) {
	for _, keys := range f.sizes {
		n += len(keys)
	}
	return n
}

// verify holds a store against what was acknowledged, and refused.
func (f *filler) verify(s *store) {
	s.t.Helper()
	for id, keys := range f.sizes {
		r := s.run(id)
		for key, size := range keys {
			got, err := r.KV().Get(ctx, key)
			require.NoError(s.t, err, key)
			if !bytes.Equal(got, f.long[:size]) {
				s.t.Fatalf("%s has %d bytes that are not the %d that were put", key, len(got), size)
			}
		}
		require.Len(s.t, list(s.t, r, "filler "), len(keys), "what was refused has happened")
		next := uint64(1)
		for _, c := range history(s.t, r, 0) {
			require.Equal(s.t, next, c.Version)
			next++
		}
	}
}

var allModes = []inmem.Durability{inmem.Strict, inmem.Batched, inmem.Async}

// smallDisks are disks of which each runs out of something else.
var smallDisks = map[string]struct {
	make func(t *testing.T) *powerDisk
	// ballast is what is given up when it is full, twice.
	ballast func(d *powerDisk, name string)
	modes   []inmem.Durability
}{
	"tmpfs, bytes": {
		func(t *testing.T) *powerDisk {
			if testing.Short() {
				return newTmpfs(t, "size=4m")
			}
			return newTmpfs(t, "size=8m")
		},
		func(d *powerDisk, name string) { d.ballast(name, 1<<20) },
		allModes,
	},
	"tmpfs, files": {
		func(t *testing.T) *powerDisk { return newTmpfs(t, "size=64m,nr_inodes=24") },
		func(d *powerDisk, name string) {
			require.NoError(d.t, os.Mkdir(filepath.Join(d.dir, name), 0o700))
			for i := range 4 {
				d.ballast(filepath.Join(name, fmt.Sprint(i)), 0)
			}
		},
		allModes,
	},
	"ext4": {
		func(t *testing.T) *powerDisk { return newPowerDisk(t, "ext4", "", 16) },
		func(d *powerDisk, name string) { d.ballast(name, 1<<20) },
		[]inmem.Durability{inmem.Strict, inmem.Batched}, // they reserve in two ways
	},
}

// A real disk that is full, by what it runs out of, in each mode: writes are
// refused and have not happened, reads go on, writes succeed again once there
// is space; and a store that is closed, and opened, while the disk is full has
// lost nothing.
func TestSmallDisk(t *testing.T) {
	watchdog(t)
	for name, small := range smallDisks {
		for _, mode := range small.modes {
			t.Run(fmt.Sprint(name, " ", mode), func(t *testing.T) {
				if name == "ext4" && testing.Short() {
					t.Skip("not with -short")
				}
				d := small.make(t)
				small.ballast(d, "first")
				small.ballast(d, "second")
				s := openStore(t, vfs.OS, filepath.Join(d.dir, "store"), func(o *inmem.Options) {
					o.Durability, o.Shards, o.SegmentSize, o.CheckpointBytes = mode, 2, 256<<10, -1
				})
				runs, f := s.oneOfEach(), newFiller()
				put(t, runs[0], "k", "v")
				f.fill(t, runs)
				f.refused(t, s, runs)
				f.verify(s)

				first := f.count()
				d.drop("first")
				put(t, runs[0], "k", "w")
				f.fill(t, runs)
				require.Greater(t, f.count(), first)
				require.Greater(t, first, 20)
				reopenOnFullDisk(t, d, s)
				runs = []*inmem.Run{s.run(runs[0].ID()), s.run(runs[1].ID())}
				f.verify(s)
				assert.Equal(t, "w", get(t, runs[0], "k"))
				require.NoError(t, f.put(runs[0], 100))
				require.NoError(t, s.DeleteRun(ctx, runs[1].ID()))
				t.Logf("full after %d puts, and again after %d", first, f.count())
			})
		}
	}
}

// refused checks that no call that needs space does anything, and that all
// others go on.
func (f *filler) refused(t *testing.T, s *store, runs []*inmem.Run) {
	t.Helper()
	meta := metaNamed("refused")
	meta.Tags = map[string]string{}
	for i := range 20 { // a small run may still find room in a last block
		meta.Tags[fmt.Sprint(i)] = strings.Repeat("x", 200)
	}
	for range 20 {
		before := s.pictures()
		errs := map[string]error{"Checkpoint": s.DB.Checkpoint(ctx)}
		for i, r := range runs {
			_, errs[fmt.Sprint("Put ", i)] = r.KV().Put(ctx, "refused", big(24<<10))
		}
		_, errs["BeginRun"] = s.BeginRun(ctx, meta)
		done := false
		for name, err := range errs {
			fullOrNil(t, name, err)
			done = done || err == nil
		}
		require.NoError(t, s.Flush(ctx))
		if !done {
			s.same(before)
			return
		}
		f.fill(t, runs) // the background had something to give back
	}
	t.Fatal("the disk does not stay full")
}

// reopenOnFullDisk closes a store and opens it again while the disk is full,
// which may or may not work out, and at the latest when there is space.
func reopenOnFullDisk(t *testing.T, d *powerDisk, s *store) {
	t.Helper()
	before := s.pictures()
	s.ended = true
	fullOrNil(t, "Close", s.Close())
	s.sound()
	db, err := inmem.Open(s.dir, &s.opts)
	fullOrNil(t, "Open", err)
	if err == nil {
		s.DB = db
		s.same(before)
		for info, err := range s.Runs(ctx, run.Filter{}) {
			require.NoError(t, err)
			_, err = s.run(info.ID).KV().Put(ctx, "again", big(24<<10))
			fullOrNil(t, "Put", err)
		}
		before = s.pictures()
		fullOrNil(t, "Close", s.Close())
	}
	d.drop("second")
	s.open()
	s.same(before)
}

// fullOrNil accepts that a disk is full, and nothing worse.
func fullOrNil(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		require.ErrorIs(t, err, inmem.ErrDiskFull, what)
		require.NotErrorIs(t, err, inmem.ErrPoisoned, what)
	}
}

// Space that the log has reserved and the file system gives away nevertheless,
// as one that copies on write may do: the write that finds out stops the store,
// and what was acknowledged is there when it is opened again, on the full disk.
func TestDiskFullUnderAReservation(t *testing.T) {
	watchdog(t)
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched} {
		t.Run(mode.String(), func(t *testing.T) {
			d := newTmpfs(t, "size=8m")
			s := openStore(t, vfs.OS, filepath.Join(d.dir, "store"), func(o *inmem.Options) {
				o.Durability, o.Shards, o.CheckpointBytes = mode, 1, -1
			})
			runs, f := s.oneOfEach(), newFiller()
			put(t, runs[0], "k", "v")
			require.NoError(t, f.put(runs[0], 10<<10))
			require.NoError(t, s.Flush(ctx))
			punchReserved(t, s.dir)
			d.ballast("all there is", 1<<30)
			var err error
			for err == nil { // what fits in the block that the log is in the middle of is no trouble
				err = f.put(runs[0], 500)
			}
			require.ErrorIs(t, err, inmem.ErrPoisoned)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.NotErrorIs(t, err, inmem.ErrDiskFull)
			s.stopped(runs[0], syscall.ENOSPC)
			s.open()
			f.verify(s)
			err = f.put(s.run(runs[0].ID()), 64<<10)
			require.ErrorIs(t, err, inmem.ErrDiskFull)
			d.drop("all there is")
			require.NoError(t, f.put(s.run(runs[0].ID()), 64<<10))
			f.verify(s)
		})
	}
}

// punchReserved gives back the blocks behind the end of the only segment.
func punchReserved(t *testing.T, dir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "shard-*", "*.wal"))
	require.NoError(t, err)
	require.Len(t, segments, 1)
	f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	used := len(strings.TrimRight(string(b), "\x00"))
	from := (used + 4<<10) &^ (4<<10 - 1)
	require.Greater(t, len(b), from+16<<10, "hardly anything is reserved")
	require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(from), int64(len(b)-from)))
}

// With a disk that is too full to create a store on, Open says so, leaves no
// store half made that a later Open could not complete, and works in the end.
func TestCreationOnASmallDisk(t *testing.T) {
	watchdog(t)
	d := newTmpfs(t, "size=256k")
	const blocks = 40
	for i := range blocks {
		d.ballast(fmt.Sprint(i), 4<<10)
	}
	d.ballast("the rest", 1<<20)
	dir, refused := filepath.Join(d.dir, "store"), 0
	opts := inmem.Options{Shards: 2}
	for i := range blocks {
		db, err := inmem.Open(dir, &opts)
		if err == nil {
			fullOrNil(t, "Close", db.Close())
			break
		}
		require.ErrorIs(t, err, inmem.ErrDiskFull)
		refused++
		d.drop(fmt.Sprint(i))
	}
	assert.Greater(t, refused, 2)
	d.drop("the rest")
	s := openStore(t, vfs.OS, dir, func(o *inmem.Options) { o.Shards = 2 })
	put(t, s.begin(), "k", "v")
}

// The programs of TestKilledOnAFullDisk and TestFileSizeLimit: they put values
// until they are refused, and say what was acknowledged and why they stopped.
func init() {
	children["fills the disk"] = func() {
		fillAndTell(&inmem.Options{Shards: 2, SegmentSize: 256 << 10, Durability: modeOfChild()})
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
	}
	children["limited file size"] = func() {
		limit := unix.Rlimit{Cur: 300 << 10, Max: 300 << 10}
		must(unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
		db := fillAndTell(&inmem.Options{Shards: 2, Durability: modeOfChild()})
		fmt.Println("closed", errors.Is(db.Close(), inmem.ErrPoisoned))
	}
}

const modeOfChildEnv = "INMEM_TEST_MODE"

func modeOfChild() (mode inmem.Durability) {
	for mode = inmem.Strict; mode.String() != os.Getenv(modeOfChildEnv); mode++ {
	}
	return mode
}

func fillAndTell(opts *inmem.Options) *inmem.DB {
	db, err := inmem.Open(os.Getenv(dirEnv), opts)
	must(err)
	var runs []*inmem.Run
	for range 4 {
		r, err := db.BeginRun(ctx, run.Meta{})
		must(err)
		runs = append(runs, r)
	}
	for i, size := 0, 20<<10; ; i++ {
		r, key := runs[i%len(runs)], fmt.Sprint("filler ", i)
		_, err := r.KV().Put(ctx, key, big(size))
		switch {
		case err == nil:
			fmt.Println("acked", r.ID(), i, size)
		case errors.Is(err, inmem.ErrDiskFull) && size > 0:
			size /= 2
		default:
			fmt.Println("refused", errors.Is(err, inmem.ErrDiskFull), errors.Is(err, inmem.ErrPoisoned), errors.Is(err, syscall.EFBIG))
			return db
		}
	}
}

// listen reads what a child says until it stops being acknowledged, which is
// the last line.
func (f *filler) listen(t *testing.T, lines *bufio.Scanner) (last string) {
	t.Helper()
	for lines.Scan() {
		var id string
		var key, size int
		if n, _ := fmt.Sscanf(lines.Text(), "acked %s %d %d", &id, &key, &size); n < 3 {
			return lines.Text()
		}
		parsed, err := run.ParseID(id)
		require.NoError(t, err)
		f.took(parsed, fmt.Sprint("filler ", key), size)
	}
	t.Fatal("the child ended without a word")
	return ""
}

// A process that is killed when the disk is full: what was acknowledged is
// there, as soon as the store can be opened.
func TestKilledOnAFullDisk(t *testing.T) {
	watchdog(t)
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched} {
		t.Run(mode.String(), func(t *testing.T) {
			d := newTmpfs(t, "size=4m")
			d.ballast("ballast", 1<<20)
			dir, f := filepath.Join(d.dir, "store"), newFiller()
			cmd, lines := startChild(t, "fills the disk", dirEnv+"="+dir, modeOfChildEnv+"="+mode.String())
			assert.Equal(t, "refused true false false", f.listen(t, lines))
			kill(t, cmd, lines, func(note) {})
			opts := &inmem.Options{}
			db, err := inmem.Open(dir, opts)
			fullOrNil(t, "Open", err)
			if err == nil {
				fullOrNil(t, "Close", db.Close())
			}
			d.drop("ballast")
			s := openStore(t, vfs.OS, dir, func(o *inmem.Options) { o.Shards = 0 })
			f.verify(s)
		})
	}
}

// A limit on the size of files is no full disk: the store stops. What was
// acknowledged is there when it is opened without the limit.
func TestFileSizeLimit(t *testing.T) {
	watchdog(t)
	for _, mode := range []inmem.Durability{inmem.Strict, inmem.Batched} {
		t.Run(mode.String(), func(t *testing.T) {
			dir, f := t.TempDir(), newFiller()
			cmd, lines := startChild(t, "limited file size", dirEnv+"="+dir, modeOfChildEnv+"="+mode.String())
			assert.Equal(t, "refused false true true", f.listen(t, lines))
			require.True(t, lines.Scan())
			assert.Equal(t, "closed true", lines.Text())
			require.NoError(t, cmd.Wait())
			s := openStore(t, vfs.OS, dir, func(o *inmem.Options) { o.Shards = 0 })
			f.verify(s)
			assert.Greater(t, f.count(), 4)
		})
	}
}

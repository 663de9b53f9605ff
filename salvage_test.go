package inmem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

const salvageDir = "salvaged"

// salvageFlipped salvages a store with a wrong bit, and says what is wrong with
// what came of it. It runs beside others, so it does not end the test.
func salvageFlipped(disk *vfs.Mem, l *ledger, opts inmem.Options) (complete bool, err error) {
	opts.FS = disk
	before := map[string][]byte{}
	for _, name := range disk.Files() {
		before[name], _ = disk.ReadFile(name)
	}
	got, err := inmem.Salvage(bg, storeDir, salvageDir, &opts)
	if err != nil {
		return false, err
	}
	for name, b := range before {
		if now, err := disk.ReadFile(name); err != nil || !slices.Equal(b, now) {
			return false, fmt.Errorf("%s was changed: %w", name, err)
		}
	}
	checked, err := recovery.Check(disk, salvageDir)
	if err == nil {
		err = errors.Join(checked.Problems...)
	}
	if err != nil {
		return false, err
	}
	db, err := inmem.Open(salvageDir, &opts)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for id, e := range l.runs {
		if err := salvagedRun(db, id, e, got); err != nil {
			return false, fmt.Errorf("run %v: %w; %+v", id, err, got)
		}
	}
	return got.Complete(), nil
}

// salvagedRun holds a run that came out of a damaged store against the ledger.
func salvagedRun(db *inmem.DB, id run.ID, e *entry, got *inmem.Salvaged) error {
	var loss *struct{ kept, known, from uint64 }
	for _, l := range got.Losses {
		if l.Run == id {
			loss = &struct{ kept, known, from uint64 }{l.Kept, l.Known, l.From}
		}
	}
	last := uint64(len(e.history))
	if loss != nil && loss.known > last {
		return fmt.Errorf("version %d is said to be known, of %d", loss.known, last)
	}
	r, err := db.Run(id)
	if e.dropped {
		if err == nil {
			return errors.New("it was deleted")
		}
		return nil
	}
	if errors.Is(err, inmem.ErrRunNotFound) {
		if loss == nil || loss.kept != 0 {
			return errors.New("it is gone, and nobody says so")
		}
		return nil
	}
	if err != nil {
		return err
	}
	digest, version, err := r.Digest()
	if err != nil {
		return err
	}
	if version > last || digest != newState(e.history[:version]).digest() {
		return fmt.Errorf("version %d of %d is not what it was", version, last)
	}
	var commits []inmem.Commit
	for c, err := range r.History(bg, 0) {
		if err != nil {
			return err
		}
		for i := range c.Ops {
			if len(c.Ops[i].Value) == 0 {
				c.Ops[i].Value = nil
			}
		}
		commits = append(commits, *c)
	}
	first := version + 1 - uint64(len(commits))
	for i, c := range commits {
		if !sameCommit(c, e.history[first-1+uint64(i)]) {
			return fmt.Errorf("its history is not what it was, at %d", i)
		}
	}
	switch {
	case loss != nil && loss.kept != version, loss != nil && len(commits) > 0 && loss.from != first:
		return fmt.Errorf("it is at version %d with a history from %d on", version, first)
	case loss == nil && first != 1:
		return fmt.Errorf("its history begins with version %d, and nobody says so", first)
	case loss == nil && (version+1 < last || version < last && len(got.Gaps) == 0):
		return fmt.Errorf("it is at version %d of %d, and nobody says so", version, last)
	}
	return nil
}

// TestSalvageGolden salvages the stores of every format there ever was.
func TestSalvageGolden(t *testing.T) {
	stores, err := filepath.Glob("testdata/golden/*/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, stores)
	for _, path := range stores {
		t.Run(path, func(t *testing.T) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			var want golden
			require.NoError(t, json.Unmarshal(b, &want))
			to := filepath.Join(t.TempDir(), "new")
			got, err := inmem.Salvage(bg, strings.TrimSuffix(path, ".json"), to, nil)
			require.NoError(t, err)
			require.True(t, got.Complete(), "%+v", got)
			require.Equal(t, want.Runs, openGolden(t, to).Runs)
		})
	}
}

// TestSalvageWhatOpenCutsOff: damage in frames that nothing vouches for is
// taken for a torn write by Open, which cuts off all that is behind it. Salvage
// has what verifies there.
func TestSalvageWhatOpenCutsOff(t *testing.T) {
	v := newVictim(t, batchedStore)
	b := v.read(v.segment())
	b[v.at[4]+40] ^= 1
	v.write(v.segment(), b)
	to := filepath.Join(t.TempDir(), "new")
	got, err := inmem.Salvage(bg, v.dir, to, nil)
	require.NoError(t, err)
	require.Equal(t, victimCommits-1, got.Shards[0].Commits)
	require.Equal(t, []inmem.SalvageGap{{Shard: 0, First: 5, Last: 5}}, got.Gaps)
	require.Equal(t, []uint64{4, victimCommits}, []uint64{got.Losses[0].Kept, got.Losses[0].Known})
	require.True(t, got.Damage[0].Lost)
	v.torn(v.at[4], 4) // and the old store is as it was
}

func TestSalvageRefuses(t *testing.T) {
	s := newStore(t)
	salvaged := func(from, to string, opts inmem.Options) error {
		opts.FS = s.fs
		got, err := inmem.Salvage(bg, from, to, &opts)
		require.Nil(t, got)
		return err
	}
	require.ErrorIs(t, salvaged(s.dir, "/new", inmem.Options{}), inmem.ErrLocked)
	require.NoError(t, s.Close())
	require.ErrorIs(t, salvaged(s.dir, "/new", inmem.Options{Shards: -1}), inmem.ErrInvalidOption)
	require.ErrorIs(t, salvaged(s.dir, s.dir+"/new", inmem.Options{}), inmem.ErrInvalidOption)
	require.ErrorIs(t, salvaged(s.dir, "/data", inmem.Options{}), inmem.ErrNotEmpty)
	require.ErrorIs(t, salvaged("/nowhere", "/new", inmem.Options{}), inmem.ErrNoStore)
	ended, cancel := context.WithCancel(bg)
	cancel()
	s.open()
	put(t, s.begin(), "k", "v")
	require.NoError(t, s.Close())
	_, err := inmem.Salvage(ended, s.dir, "/new", &inmem.Options{FS: s.fs})
	require.ErrorIs(t, err, context.Canceled)
	s.open()
}

// With ErrNothingSalvaged comes what was found.
func TestSalvageNothing(t *testing.T) {
	v := newVictim(t, closedStore)
	v.write(v.segment(), make([]byte, 4000))
	to := filepath.Join(t.TempDir(), "new")
	got, err := inmem.Salvage(bg, v.dir, to, nil)
	require.ErrorIs(t, err, inmem.ErrNothingSalvaged)
	require.ErrorContains(t, err, v.dir)
	require.NotEmpty(t, got.Damage)
	_, err = os.Stat(to)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A damaged store, and what comes out of it.
func ExampleSalvage() {
	dir, err := os.MkdirTemp("", "inmem-example")
	must(err)
	defer os.RemoveAll(dir)
	old, repaired := filepath.Join(dir, "old"), filepath.Join(dir, "new")

	db, err := inmem.Open(old, &inmem.Options{Shards: 1})
	must(err)
	r, err := db.BeginRun(bg, run.Meta{Name: "ticket 42"})
	must(err)
	for _, step := range []string{"think", "search", "answer"} {
		_, err = r.KV().Put(bg, "plan", []byte(step))
		must(err)
	}
	must(db.Close())

	// The last bytes of the log go bad: the seal, and the third step before it.
	log := filepath.Join(old, "shard-0000", "0000000000000001.wal")
	info, err := os.Stat(log)
	must(err)
	must(os.Truncate(log, info.Size()-60))
	_, err = inmem.Open(old, nil)
	fmt.Println("damaged:", errors.Is(err, inmem.ErrCorrupt))

	got, err := inmem.Salvage(bg, old, repaired, nil)
	must(err)
	for _, gap := range got.Gaps {
		fmt.Println("lost:", gap)
	}
	db, err = inmem.Open(repaired, nil)
	must(err)
	defer db.Close()
	r, err = db.Run(r.ID())
	must(err)
	value, err := r.KV().Get(bg, "plan")
	fmt.Printf("%s %v\n", value, err)
	// Output:
	// damaged: true
	// lost: shard 0: sequences 4 to 5 of the log
	// search <nil>
}

// TestSalvageEveryBit flips every bit of every file, one at a time.
func TestSalvageEveryBit(t *testing.T) {
	disk, l, opts := fullStore(t, 2)
	type flip struct {
		file string
		bit  int64
	}
	var total, complete atomic.Int64
	work := make(chan flip, 64)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for f := range work {
				copied := disk.Clone()
				err := copied.Flip(f.file, f.bit)
				whole := false
				if err == nil {
					whole, err = salvageFlipped(copied, l, opts)
				}
				if err != nil {
					t.Errorf("%s bit %d: %v", f.file, f.bit, err)
				}
				total.Add(1)
				if whole {
					complete.Add(1)
				}
			}
		})
	}
	step := int64(31)
	if testing.Short() || raceEnabled {
		step = 211
	}
	for _, file := range disk.Files() {
		if filepath.Base(file) == "LOCK" {
			continue
		}
		b, err := disk.ReadFile(file)
		require.NoError(t, err)
		for bit := int64(0); bit < int64(len(b))*8; bit += step {
			work <- flip{file, bit}
		}
	}
	close(work)
	workers.Wait()
	t.Logf("%d flips, of which %d lost nothing", total.Load(), complete.Load())
	require.Positive(t, complete.Load())
}

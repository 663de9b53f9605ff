package inmem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/kv"
	"inmem/op"
	"inmem/run"
	files "inmem/transfer"
	"inmem/vfs"
)

func exported(t testing.TB, db *inmem.DB, id run.ID, opts *inmem.ExportOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, db.Export(ctx, id, &b, opts))
	return b.Bytes()
}

// pipe is a reader that cannot seek.
type pipe struct{ io.Reader }

// TestExportImport takes random lives to other stores: there they are the same,
// from whichever form of the file, and export the same.
func TestExportImport(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, seed := range crashSeeds(t, 8) {
		t.Run(fmt.Sprint(seedEnv, "=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 13))
			s := newStore(t, func(o *inmem.Options) { o.SegmentSize, o.CheckpointBytes = 8<<10, 16<<10 })
			r := s.begin(run.Meta{Name: "a life", Namespace: run.Namespace{Tenant: "t", App: "a"}, Tags: map[string]string{"k": "ä<"}})
			for range 400 + rng.IntN(200) {
				randomWrite(t, r, rng)
			}
			if rng.IntN(2) == 0 {
				require.NoError(t, r.End(ctx, run.Failed))
			}
			file := exported(t, s.DB, r.ID(), nil)
			require.Equal(t, file, exported(t, s.DB, r.ID(), &inmem.ExportOptions{}), "the same each time")
			packed := exported(t, s.DB, r.ID(), &inmem.ExportOptions{Zstd: true})
			require.Less(t, len(packed), len(file)/2)
			for name, in := range map[string]io.Reader{
				"a file": bytes.NewReader(file), "a compressed one": bytes.NewReader(packed),
				"a pipe": pipe{bytes.NewReader(file)}, "a compressed pipe": pipe{bytes.NewReader(packed)},
			} {
				other := newStore(t, func(o *inmem.Options) { o.Shards = 1 + rng.IntN(4) })
				got, err := other.Import(ctx, in)
				require.NoError(t, err, name)
				sameRun(t, s.DB, other.DB, r.ID())
				require.Equal(t, file, exported(t, other.DB, got.ID(), nil))
				other.reopen()
				sameRun(t, s.DB, other.DB, r.ID())
				_, err = other.Verify(ctx, r.ID(), 50)
				require.NoError(t, err)
			}
			reader, err := inmem.OpenReadOnly(s.dir, &s.opts)
			require.NoError(t, err)
			require.Equal(t, file, exported(t, reader, r.ID(), nil))
			require.NoError(t, reader.Close())
		})
	}
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left, "temporary files")
}

// sameRun wants a run to be the same in two stores, to its last commit.
func sameRun(t testing.TB, a, b *inmem.DB, id run.ID) {
	t.Helper()
	var infos [2]*run.Info
	var digests [2]inmem.Digest
	for i, db := range []*inmem.DB{a, b} {
		r, err := db.Run(id)
		require.NoError(t, err)
		infos[i], err = r.Info()
		require.NoError(t, err)
		digests[i], _, err = r.Digest()
		require.NoError(t, err)
	}
	require.Equal(t, infos[0], infos[1])
	require.Equal(t, digests[0], digests[1])
	require.Equal(t, historyFrom(t, a, id), historyFrom(t, b, id))
}

func historyFrom(t testing.TB, db *inmem.DB, id run.ID) []*inmem.Commit {
	t.Helper()
	r, err := db.Run(id)
	require.NoError(t, err)
	return history(t, r, 0)
}

// long is a run whose import takes several messages to its shard.
func long(t testing.TB, s *store, puts int) *inmem.Run {
	t.Helper()
	r := s.begin()
	for i := range puts {
		put(t, r, key(i%30), fmt.Sprint(i))
	}
	return r
}

// torn is a file that can be read once, and the second time up to a place.
type torn struct {
	io.ReadSeeker
	reads, limit int
}

var errTorn = errors.New("torn")

func (f *torn) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekStart {
		f.reads++
	}
	return f.ReadSeeker.Seek(offset, whence)
}

func (f *torn) Read(b []byte) (int, error) {
	if f.reads < 2 {
		return f.ReadSeeker.Read(b)
	}
	n, err := f.ReadSeeker.Read(b[:min(len(b), f.limit)])
	if f.limit -= n; f.limit == 0 {
		err = errTorn
	}
	return n, err
}

// TestImportGoesOn: an import that was cut short, also by the end of its process,
// goes on where it was, and one that was whole adds nothing.
func TestImportGoesOn(t *testing.T) {
	s := newStore(t)
	r := long(t, s, 1000)
	file := exported(t, s.DB, r.ID(), nil)
	parts := map[uint64]bool{}
	for _, limit := range []int{1, len(file) / 3, len(file) / 2, len(file) - 300, len(file)} {
		other := newStore(t, func(o *inmem.Options) { o.Shards = 1 })
		_, err := other.Import(ctx, &torn{ReadSeeker: bytes.NewReader(file), limit: limit})
		require.ErrorIs(t, err, errTorn)
		killed := openStore(t, other.mem.Clone(), other.dir, func(o *inmem.Options) { o.Shards = 0 }) // as the process left it, that died
		for _, db := range []*store{other, killed} {
			if part, err := db.Run(r.ID()); err == nil {
				version := versionOf(t, part)
				require.Zero(t, version%256, "so many commits at a time")
				parts[version] = true
			} else {
				require.ErrorIs(t, err, inmem.ErrRunNotFound)
				parts[0] = true
			}
			for range 2 {
				_, err := db.Import(ctx, bytes.NewReader(file))
				require.NoError(t, err)
				sameRun(t, s.DB, db.DB, r.ID())
			}
		}
	}
	require.GreaterOrEqual(t, len(parts), 3, "of several lengths: %v", parts)
}

// A file that changes while it is imported is noticed.
func TestImportOfAFileThatChanges(t *testing.T) {
	s := newStore(t)
	r := long(t, s, 10)
	file := exported(t, s.DB, r.ID(), nil)
	put(t, r, "k", "more")
	longer := exported(t, s.DB, r.ID(), nil)
	other := newStore(t)
	_, err := other.Import(ctx, &swapped{files: [][]byte{file, longer}})
	require.ErrorIs(t, err, inmem.ErrInvalidExport)
	require.ErrorContains(t, err, "has changed")
}

// swapped is another file each time it is read.
type swapped struct {
	bytes.Reader
	files [][]byte
}

func (f *swapped) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekStart {
		f.Reset(f.files[0])
		f.files = f.files[1:]
	}
	return f.Reader.Seek(offset, whence)
}

// What is damaged changes nothing.
func TestImportOfDamage(t *testing.T) {
	s := newStore(t)
	r := long(t, s, 600)
	file := exported(t, s.DB, r.ID(), nil)
	other := newStore(t)
	refused := func(damaged []byte) {
		t.Helper()
		for _, in := range []io.Reader{bytes.NewReader(damaged), pipe{bytes.NewReader(damaged)}} {
			_, err := other.Import(ctx, in)
			var wrong *inmem.ExportError
			require.ErrorAs(t, err, &wrong)
			require.ErrorIs(t, err, inmem.ErrInvalidExport)
			_, err = other.Run(r.ID())
			require.ErrorIs(t, err, inmem.ErrRunNotFound)
		}
	}
	rng := dice(1)
	for range 100 {
		damaged := bytes.Clone(file)
		damaged[len(damaged)/2+rng.IntN(len(damaged)/2-100)] ^= 1 << rng.IntN(5)
		refused(damaged)
		refused(file[:rng.IntN(len(file))])
	}
	refused(nil)

	// A file whose checksum is right, and whose header lies.
	source, err := files.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	defer source.Close()
	var commits []*op.Commit
	for c, err := range source.Commits() {
		require.NoError(t, err)
		commits = append(commits, c)
	}
	digest, _, err := r.Digest()
	require.NoError(t, err)
	for name, lie := range map[string]func(*run.Info, *inmem.Digest){
		"digest": func(_ *run.Info, d *inmem.Digest) { d[0]++ },
		"status": func(i *run.Info, _ *inmem.Digest) { i.Status = run.Completed },
		"name":   func(i *run.Info, _ *inmem.Digest) { i.Name = "other" },
		"space":  func(i *run.Info, _ *inmem.Digest) { i.Space = true },
	} {
		info, d := source.Run(), digest
		lie(info, &d)
		var b bytes.Buffer
		require.NoError(t, files.Write(&b, info, d, each(commits)), name)
		refused(b.Bytes())
	}
	var b bytes.Buffer
	require.NoError(t, files.Write(&b, source.Run(), digest, each(commits)))
	require.Equal(t, string(file), b.String(), "and without a lie")
	info := source.Run()
	info.FirstVersion = 2
	b.Reset()
	require.NoError(t, files.Write(&b, info, digest, each(commits[1:])))
	refused(b.Bytes()) // no run begins so
}

func each(commits []*op.Commit) iter.Seq2[*op.Commit, error] {
	return func(yield func(*op.Commit, error) bool) {
		for _, c := range commits {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// A run of the store is never changed by an import, only continued.
func TestImportIntoARunThatIsThere(t *testing.T) {
	s := newStore(t)
	r := long(t, s, 300)
	early := exported(t, s.DB, r.ID(), nil)
	copied := newStore(t)
	_, err := copied.Import(ctx, bytes.NewReader(early))
	require.NoError(t, err)
	put(t, r, "k", "here")
	late := exported(t, s.DB, r.ID(), nil)
	mine := copied.run(r.ID())
	put(t, mine, "k", "there") // an active run goes on in either store

	before := exported(t, copied.DB, r.ID(), nil)
	_, err = copied.Import(ctx, bytes.NewReader(early))
	require.NoError(t, err, "all of that is there, and more")
	_, err = copied.Import(ctx, bytes.NewReader(late))
	var other *inmem.HistoryError
	require.ErrorAs(t, err, &other)
	require.Equal(t, inmem.HistoryError{ID: r.ID(), Version: 302}, *other)
	require.ErrorIs(t, err, inmem.ErrOtherHistory)
	require.ErrorIs(t, err, inmem.ErrRunExists)
	require.Equal(t, before, exported(t, copied.DB, r.ID(), nil))

	_, err = s.Import(ctx, bytes.NewReader(late))
	require.NoError(t, err, "its own export")
	require.NoError(t, copied.DeleteRun(ctx, r.ID()))
	_, err = copied.Import(ctx, bytes.NewReader(late))
	require.ErrorIs(t, err, inmem.ErrRunDeleted)

	reader, err := inmem.OpenReadOnly(s.dir, &s.opts)
	require.NoError(t, err)
	_, err = reader.Import(ctx, bytes.NewReader(late))
	require.ErrorIs(t, err, inmem.ErrReadOnly)
	require.NoError(t, reader.Close())
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = newStore(t).Import(cancelled, bytes.NewReader(late))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Export(cancelled, r.ID(), io.Discard, nil), context.Canceled)
	require.ErrorIs(t, s.Export(ctx, run.ID{1}, io.Discard, nil), inmem.ErrRunNotFound)
	s.end()
	_, err = s.Import(ctx, bytes.NewReader(late))
	require.ErrorIs(t, err, inmem.ErrClosed)
	require.ErrorIs(t, s.Export(ctx, r.ID(), io.Discard, nil), inmem.ErrClosed)
}

// Many may import the same file at the same time.
func TestImportAtTheSameTime(t *testing.T) {
	s := newStore(t)
	r := long(t, s, 2000)
	file := exported(t, s.DB, r.ID(), nil)
	other := newStore(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			_, err := other.Import(ctx, bytes.NewReader(file))
			assert.NoError(t, err)
		})
	}
	all.Wait()
	sameRun(t, s.DB, other.DB, r.ID())
}

// Deadlines that have passed where the run comes to take effect when all of it
// is there.
func TestImportOfDeadlines(t *testing.T) {
	s := newStore(t)
	r := s.begin()
	put(t, r, "short", "v", kv.TTL(time.Second))
	for i := range 600 {
		put(t, r, key(i%10), fmt.Sprint(i))
	}
	require.NoError(t, r.End(ctx, run.Completed))
	file := exported(t, s.DB, r.ID(), nil)
	digest, version, err := r.Digest()
	require.NoError(t, err)

	other := newStore(t)
	other.wall.move(time.Hour)
	mine, err := other.Import(ctx, bytes.NewReader(file))
	require.NoError(t, err)
	require.Equal(t, "-", get(t, mine, "short"))
	soon(t, "the key expires", func() bool { return versionOf(t, mine) == version+1 })
	require.Equal(t, digest, at(t, mine, version).Digest())
	_, err = other.Import(ctx, bytes.NewReader(file))
	require.NoError(t, err)
	_, err = other.Verify(ctx, r.ID(), 100)
	require.NoError(t, err)
}

// A run that begins at a later version, with keys as they were, is like any other.
func TestImportOfARunThatBeginsLater(t *testing.T) {
	id := run.ID{7, 15: 7}
	info := &run.Info{Meta: run.Meta{ID: id, Name: "later"}, Status: run.Active, Created: epoch, FirstVersion: 41}
	commits := []*op.Commit{
		{Run: id, Version: 41, Time: epoch, Ops: []op.Op{
			{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)},
			{Kind: op.Put, Tag: op.KV, Key: "a", Value: []byte("old"), Version: 12},
			{Kind: op.Put, Tag: op.KV, Key: "b", Value: []byte("older"), Version: 3},
		}},
		{Run: id, Version: 42, Time: epoch + 5, Ops: []op.Op{{Kind: op.Put, Tag: op.KV, Key: "b", Value: []byte("new")}}},
		{Run: id, Version: 43, Time: epoch + 5, Ops: []op.Op{{Kind: op.Delete, Tag: op.KV, Key: "a"}}},
	}
	var digest op.Digester
	digest.Add(op.MapKey(op.RunMetadata, ""), op.Item{Value: info.AppendRecord(nil), Version: 41})
	digest.Add(op.MapKey(op.KV, "b"), op.Item{Value: []byte("new"), Version: 42})
	info.LastVersion = 43
	var file bytes.Buffer
	require.NoError(t, files.Write(&file, info, digest.Sum(43), each(commits)))

	s := newStore(t, func(o *inmem.Options) { o.Shards = 1 })
	r, err := s.Import(ctx, bytes.NewReader(file.Bytes()))
	require.NoError(t, err)
	check := func() {
		r := s.run(id)
		got, err := r.Info()
		require.NoError(t, err)
		require.Equal(t, info, got)
		a, err := at(t, r, 42).KV().GetItem(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, kv.Item{Key: "a", Value: []byte("old"), Version: 12}, a)
		seen, _ := replayOf(t, s.DB, id, nil)
		require.Equal(t, history(t, r, 0), seen)
		require.Len(t, seen, 3)
		part, _ := replayOf(t, s.DB, id, &inmem.ReplayOptions{From: 42})
		require.Len(t, part, 2)
		var gone *inmem.VersionGoneError
		require.ErrorAs(t, replayError(t, s.DB, id, &inmem.ReplayOptions{To: 40}), &gone)
		require.Equal(t, inmem.VersionGoneError{Version: 40, First: 41, Last: 43}, *gone)
		found, err := s.Verify(ctx, id, 1)
		require.NoError(t, err)
		require.Equal(t, inmem.Verification{ID: id, First: 41, Last: 43, Commits: 3, Compared: 3, Image: found.Image, Digest: digest.Sum(43)}, *found)
		require.Equal(t, file.String(), string(exported(t, s.DB, id, nil)))
	}
	check()
	require.NoError(t, s.DB.Checkpoint(ctx))
	check()
	s.reopen()
	check()
	require.EqualValues(t, 44, put(t, s.run(r.ID()), "c", "on"))
}

// Spaces are exported like runs, and the place in a file counts.
func TestExportOfASpace(t *testing.T) {
	s := newStore(t)
	space, err := s.Space(ctx, run.Namespace{Tenant: "t"})
	require.NoError(t, err)
	_, err = space.KV().Put(ctx, "\xff", []byte("\x00\xfe"))
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "space")
	require.NoError(t, os.WriteFile(name, append([]byte("before"), exported(t, s.DB, space.ID(), nil)...), 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	_, err = f.Seek(6, io.SeekStart)
	require.NoError(t, err)
	other := newStore(t)
	_, err = other.Import(ctx, f)
	require.NoError(t, err)
	sameRun(t, s.DB, other.DB, space.ID())
	again, err := other.Space(ctx, run.Namespace{Tenant: "t"})
	require.NoError(t, err)
	require.Equal(t, "\x00\xfe", get(t, again, "\xff"))
}

// What cannot be written is said, and what was is refused.
func TestExportToAFullDisk(t *testing.T) {
	s := newStore(t)
	r := long(t, s, 50)
	full := errors.New("full")
	for _, opts := range []*inmem.ExportOptions{nil, {Zstd: true}} {
		var b strings.Builder
		err := s.Export(ctx, r.ID(), &smallDisk{&b, 300, full}, opts)
		require.ErrorIs(t, err, full)
		_, err = newStore(t).Import(ctx, strings.NewReader(b.String()))
		require.ErrorIs(t, err, inmem.ErrInvalidExport)
	}
}

type smallDisk struct {
	io.Writer
	left int
	err  error
}

func (w *smallDisk) Write(b []byte) (int, error) {
	if len(b) > w.left {
		n, _ := w.Writer.Write(b[:w.left])
		w.left = 0
		return n, w.err
	}
	w.left -= len(b)
	return w.Writer.Write(b)
}

// TestExportDocument: what docs/export.md shows is what is exported.
func TestExportDocument(t *testing.T) {
	opts := formatOptions()
	opts.FS = vfs.NewMem()
	writeFormat(t, "s", opts)
	opts.Shards = 0
	db, err := inmem.OpenReadOnly("s", opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	text, err := os.ReadFile(filepath.Join("docs", "export.md"))
	require.NoError(t, err)
	_, shown, found := strings.Cut(string(text), "```json\n")
	require.True(t, found)
	shown, _, found = strings.Cut(shown, "```")
	require.True(t, found)
	require.Equal(t, shown, string(exported(t, db, formatRun, nil)))
}

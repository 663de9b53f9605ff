package inmem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"

	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/transfer"
	"inmem/wal"
)

// The errors of Import.
var (
	// ErrInvalidExport: what was to be imported is no export, or a damaged one.
	// The error is an *ExportError.
	ErrInvalidExport = transfer.ErrInvalid
	// ErrOtherHistory: the error is a *HistoryError.
	ErrOtherHistory = errors.New("inmem: the run is there with another history")
)

// ExportError says which line of an export is wrong.
type ExportError = transfer.LineError

// HistoryError says from which version on a run of the store is another than the
// one to import. It is an ErrRunExists.
type HistoryError struct {
	ID      run.ID
	Version uint64 // the first that differs
}

func (e *HistoryError) Error() string {
	return fmt.Sprintf("%v: run %v differs from the export in version %d", ErrOtherHistory, e.ID, e.Version)
}

func (e *HistoryError) Unwrap() []error { return []error{ErrOtherHistory, ErrRunExists} }

// ExportOptions says how a run is exported. The zero value, or nil, means the
// defaults.
type ExportOptions struct {
	Zstd bool // compress
}

// Export writes the run, as of now, with its whole history, as one file that
// Import reads: see docs/export.md. The same versions give the same bytes. It
// holds one commit at a time in memory. After an error what was written is no
// whole export, and Import refuses it.
//
// Errors: ErrRunNotFound; *VersionGoneError where the history is not kept from
// its beginning on; ErrBatchTooLarge where a commit is longer than a line may
// be; *CorruptError; ErrClosed; ctx.Err(); those of w.
func (db *DB) Export(ctx context.Context, id run.ID, w io.Writer, opts *ExportOptions) error {
	r, snap, err := db.newest(id)
	if err != nil {
		return err
	}
	if opts == nil || !opts.Zstd {
		return r.export(ctx, snap, w)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	return errors.Join(r.export(ctx, snap, z), z.Close())
}

func (r *Run) export(ctx context.Context, snap *shard.Snapshot, w io.Writer) error {
	info := snap.Info.Clone()
	info.LastVersion = snap.Version
	commits := func(yield func(*op.Commit, error) bool) {
		next := uint64(0)
		for c, err := range r.commits(ctx, &snap.Head, 0) {
			if err == nil && (next == 0 && !shard.Begins(c) || next != 0 && c.Version != next) {
				c, err = nil, &VersionGoneError{Version: max(next, info.FirstVersion), First: c.Version, Last: snap.Version}
			}
			if err == nil {
				next = c.Version + 1
			}
			if !yield(c, err) {
				return
			}
		}
		if next == 0 { // not even its newest commit is kept
			yield(nil, &VersionGoneError{Version: info.FirstVersion, First: snap.Version, Last: snap.Version})
		}
	}
	return transfer.Write(w, info, snap.Digest(), commits)
}

// Import makes the run that Export wrote, compressed or not: with its ID, its
// versions and their times, its status, and so its digest. It reads all of r
// first, and checks it, so that what is damaged changes nothing; where r cannot
// be read twice, as a file can, it is copied to a temporary one. A file must not
// change meanwhile.
//
// Where the store has the run already, as the export has it, Import adds what is
// missing: it goes on where it was interrupted, and adds nothing the second
// time. A run that has gone on since is left as it is. Keys that are past their
// deadline by this store's clock are removed, as they would have been.
//
// Errors: *ExportError, an ErrInvalidExport; *UnsupportedError; *HistoryError;
// ErrRunDeleted; a *SizeError; ErrReadOnly; ErrDiskFull, after which Import
// may be called again; ErrClosed, ErrPoisoned; ctx.Err(); those of r.
func (db *DB) Import(ctx context.Context, r io.Reader) (*Run, error) {
	if err := db.check(); err != nil {
		return nil, err
	}
	if db.readOnly() {
		return nil, ErrReadOnly
	}
	file, done, err := again(r)
	if err != nil {
		return nil, err
	}
	imported, err := db.importFile(ctx, file)
	return imported, errors.Join(err, done())
}

// again returns r as what can be read from its present place once more, and what
// to call in the end.
func again(r io.Reader) (file io.ReadSeeker, done func() error, err error) {
	if s, ok := r.(io.ReadSeeker); ok {
		if at, err := s.Seek(0, io.SeekCurrent); err == nil { // a pipe cannot
			return &fromPlace{s, at}, func() error { return nil }, nil
		}
	}
	f, err := os.CreateTemp("", "inmem-import-*")
	if err != nil {
		return nil, nil, err
	}
	done = func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
	if _, err := io.Copy(f, r); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return f, done, nil
}

// fromPlace is a file that begins where it was.
type fromPlace struct {
	io.ReadSeeker
	at int64
}

func (f *fromPlace) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekStart {
		offset += f.at
	}
	return f.ReadSeeker.Seek(offset, whence)
}

func (db *DB) importFile(ctx context.Context, file io.ReadSeeker) (*Run, error) {
	sum, err := read(file, func(f *transfer.Reader) error { return inspect(ctx, f) })
	for err == nil {
		im := &importer{db: db, sum: sum}
		_, err = read(file, func(f *transfer.Reader) error { return im.adopt(ctx, f) })
		if err == nil {
			return im.run, nil
		}
		// Whoever else imports it was faster: then it is there. Whatever else was
		// written to it, the next round sees.
		if errors.Is(err, errOvertaken) {
			err = nil
		}
	}
	return nil, err
}

// read hands the file to fn, from its beginning, and returns its checksum.
func read(file io.ReadSeeker, fn func(*transfer.Reader) error) (sum string, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	f, err := transfer.NewReader(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	err = fn(f)
	return f.Sum(), err
}

// maxImportedKey is more than any face makes of a key.
const maxImportedKey = 2 * maxKeyBound

// inspect reads an export to its end, and makes sure that it gives the run it
// says it does.
func inspect(ctx context.Context, f *transfer.Reader) error {
	state, info := shard.NewState(), f.Run()
	for c, err := range f.Commits() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if size := c.Size(); size > wal.MaxPayload {
			return &op.SizeError{Err: op.ErrBatchTooLarge, Size: size, Max: wal.MaxPayload}
		}
		for i := range c.Ops {
			if n := len(c.Ops[i].Key); n > maxImportedKey {
				return &op.SizeError{Err: op.ErrKeyTooLarge, Size: n, Max: maxImportedKey}
			}
		}
		if c.Version == info.FirstVersion && !shard.Begins(c) {
			return f.Invalid(errors.New("no run begins so"))
		}
		if err := state.Replay(c, c.Version); err != nil {
			return f.Invalid(err)
		}
	}
	snap := state.Snapshot(info.ID)
	if digest := snap.Digest().String(); digest != f.Digest() {
		return f.Invalid(fmt.Errorf("the commits give digest %s, the header says %s", digest, f.Digest()))
	}
	if info.Space != snap.Info.Space || !bytes.Equal(info.AppendRecord(nil), snap.Info.AppendRecord(nil)) {
		return f.Invalid(errors.New("the run in the header is not what its commits give"))
	}
	return nil
}

// errOvertaken ends an import that somebody else was faster than.
var errOvertaken = errors.New("overtaken")

// importer carries out the commits of an export that the store does not have.
type importer struct {
	db    *DB
	sum   string // of the file that was inspected
	run   *Run
	chunk []*op.Commit
	bytes int
	// whole: no commit is carried out before all are there, because a key with a
	// deadline could be removed in between, by a commit that the export has not.
	whole bool
}

// The bounds of what is handed to a shard at once: it does nothing else as long.
const (
	chunkCommits = 256
	chunkBytes   = 4 << 20
)

func (im *importer) adopt(ctx context.Context, f *transfer.Reader) error {
	id := f.Run().ID
	r, snap, err := im.db.newest(id)
	there := uint64(0) // the store has the versions up to here, if not what led to them
	has := func(func(*op.Commit, error) bool) {}
	switch {
	case err == nil:
		im.run, there, has = r, snap.Version, r.commits(ctx, &snap.Head, 0)
	case !errors.Is(err, ErrRunNotFound) || errors.Is(err, ErrRunDeleted):
		return err
	}
	stored, stop := iter.Pull2(iter.Seq2[*op.Commit, error](has))
	defer stop()
	var have *op.Commit // the next that the store has kept
	for c, err := range f.Commits() {
		if err != nil {
			return err
		}
		if c.Version <= there {
			im.mark(c)
			if have == nil || have.Version < c.Version {
				if have, err, _ = stored(); err != nil {
					return err
				}
			}
			if have != nil && have.Version == c.Version && !bytes.Equal(op.AppendCommit(nil, have), op.AppendCommit(nil, c)) {
				return &HistoryError{ID: id, Version: c.Version}
			}
			continue
		}
		if err := im.add(ctx, c); err != nil {
			return err
		}
	}
	if err := im.flush(ctx); err != nil {
		return err
	}
	if f.Sum() != im.sum {
		return f.Invalid(errors.New("the file has changed while it was read"))
	}
	return im.check(ctx, f)
}

// add hands a commit to the shard, with others.
func (im *importer) add(ctx context.Context, c *op.Commit) error {
	im.chunk = append(im.chunk, c)
	im.bytes += c.Size()
	im.mark(c)
	if im.whole || len(im.chunk) < chunkCommits && im.bytes < chunkBytes {
		return nil
	}
	return im.flush(ctx)
}

// mark takes down whether a commit gives a key a deadline.
func (im *importer) mark(c *op.Commit) {
	for i := range c.Ops {
		im.whole = im.whole || c.Ops[i].Deadline != 0
	}
}

func (im *importer) flush(ctx context.Context) error {
	if len(im.chunk) == 0 {
		return nil
	}
	s := im.db.place(im.chunk[0].Run)
	h, err := s.Adopt(ctx, im.chunk, op.Default)
	if errors.Is(err, ErrWrongVersion) || errors.Is(err, ErrRunExists) {
		return errOvertaken
	}
	if err != nil {
		return err
	}
	im.run = &Run{db: im.db, shard: s, handle: h}
	im.chunk, im.bytes = nil, 0 // the shard may keep it
	return nil
}

// check holds what the store has now against what the file says.
func (im *importer) check(ctx context.Context, f *transfer.Reader) error {
	last := f.Run().LastVersion
	past, err := im.run.At(ctx, last)
	if err != nil {
		return err
	}
	if digest := past.Digest(); digest.String() != f.Digest() {
		return &VerifyError{ID: im.run.ID(), Version: last, Err: fmt.Errorf("it has digest %v, the export %s", digest, f.Digest())}
	}
	return nil
}

package inmem

import (
	"context"

	"inmem/recovery"
	"inmem/shard"
	"inmem/vfs"
)

// OpenReadOnly opens the store in dir for reading. It takes no lock, waits for
// nobody and changes nothing, so the store may be open, in this process or
// another, and its files may be read-only.
//
// What it shows is the store as of its opening, until Refresh: of each shard
// everything that was written to the log before the call. That is every
// commit that was acknowledged, Async ones apart; a Strict commit may be seen
// before its sync, and so before it is acknowledged. Everything that reads
// works; what writes returns ErrReadOnly, Flush and Checkpoint too. Of the
// options only Now, FS, Logger and OnEvent matter.
//
// Errors: ErrInvalidOption; ErrNoStore; ErrNotDirectory; *CorruptError;
// *UnsupportedError; and what the operating system says.
func OpenReadOnly(dir string, options *Options) (*DB, error) {
	return opened(dir, options, (*DB).openReadOnly)
}

func (db *DB) openReadOnly() (err error) {
	db.store, err = recovery.OpenReadOnly(recovery.Config{FS: db.opts.FS, Dir: db.dir, Wall: db.opts.Now})
	if err != nil {
		return err
	}
	db.events.tell(Recovered{db.store.Report})
	for _, cfg := range db.store.Shards {
		db.shards = append(db.shards, shard.NewReadOnly(cfg))
	}
	db.openVectors()
	return nil
}

// Refresh brings a store that OpenReadOnly has opened up to date: from then on
// it shows everything that was written to the logs before the call, in O(what
// was written since). Those who watch get it. What was read before stays as it
// is: a run's values, a transaction, a loop. A store that Open has opened is up
// to date always.
//
// Errors: ErrClosed; ErrPruned where retention has removed what was written in
// the meantime: open it again; a *CorruptError, also where the store is not the one
// that was opened; and what the operating system says. Some of the shards may be up to date then.
func (db *DB) Refresh(ctx context.Context) error {
	if !db.readOnly() {
		return db.check()
	}
	return db.each(func(s *shard.Shard) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return s.Refresh()
	})
}

// readOnly reports whether OpenReadOnly made the DB.
func (db *DB) readOnly() bool { return db.store.Lock == nil }

// Check reads a whole store, verifies every checksum, and compares a replay of
// the log with the checkpoint. It takes no lock and changes nothing; of a store
// that is open it checks what was written before the call. What is wrong is in
// the result; an error means that nothing could be checked: ErrNoStore,
// ErrNotDirectory, or what the operating system says.
func Check(dir string) (*Checked, error) { return recovery.Check(vfs.OS, dir) }

// Backup copies the store in from, as it is now, into the directory to, and
// checks the copy like Check: what it returns has no problems. It takes no lock
// on from and changes nothing there; that store may be open and written to. The
// copy has what OpenReadOnly would have shown, with the whole history, is
// synced, and is the same store at an earlier moment: it is for taking the
// place of the original, not for going on beside it.
//
// Errors: those of OpenReadOnly; ErrNotEmpty where there is something in to;
// ErrDiskFull; ctx.Err(). After an error what is in to is for removing: Open
// refuses it, unless only the very last step failed, with all of it there.
func Backup(ctx context.Context, from, to string) (*Checked, error) {
	return recovery.Backup(ctx, vfs.OS, from, to, holder())
}

// Backup copies the store as it is now, what is still in memory under Async
// included, into a directory, while writes go on. See the function Backup.
// More errors: ErrClosed, ErrPoisoned.
func (db *DB) Backup(ctx context.Context, to string) (*Checked, error) {
	if err := db.check(); err != nil {
		return nil, err
	}
	if !db.readOnly() {
		if err := db.Flush(ctx); err != nil {
			return nil, err
		}
	}
	return recovery.Backup(ctx, db.opts.FS, db.dir, to, holder())
}

package inmem

import (
	"context"
	"errors"
	"runtime"

	"golang.org/x/sync/errgroup"

	"inmem/run"
)

// Warm loads the runs that the filter chooses into memory, as many at once as
// there are processors, so that their first use does not wait for the disk. A
// run that is in memory already costs next to nothing. Without Warm a run is
// loaded by who uses it first, which takes about as long as reading its image.
//
// Errors: *CorruptError where the image of a run is damaged, after all others
// were loaded; ctx.Err(); ErrClosed; and what the operating system says.
func (db *DB) Warm(ctx context.Context, filter run.Filter) error {
	if err := db.check(); err != nil {
		return err
	}
	var loads errgroup.Group
	loads.SetLimit(runtime.GOMAXPROCS(0))
	left := filter.Limit
	for info := range db.merged(&filter) {
		if ctx.Err() != nil || db.closed.Load() {
			break
		}
		r, err := db.Run(info.ID)
		if err != nil {
			continue // deleted meanwhile
		}
		loads.Go(func() error {
			if _, err := r.snapshot(); !errors.Is(err, ErrRunNotFound) {
				return err
			}
			return nil
		})
		if left--; left == 0 {
			break
		}
	}
	if err := loads.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.check()
}

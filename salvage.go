package inmem

import (
	"context"
	"fmt"

	"inmem/salvage"
)

// ErrNothingSalvaged says that nothing in a store verifies that a new one could
// be made of.
var ErrNothingSalvaged = salvage.ErrNothing

// Salvaged says what was got out of a damaged store, and what was not.
type Salvaged = salvage.Report

// What a Salvaged lists: parts of files that cannot be used, parts of the log
// of which nothing is left, and what is missing of runs.
type (
	SalvageDamage = salvage.Damage
	SalvageGap    = salvage.Gap
	SalvageLoss   = salvage.Loss
)

// Salvage gets out of the store in the directory from, which nobody may have
// open, whatever still verifies, and makes a new store of it in the directory
// to, which must be empty or not exist. It changes nothing in from.
//
// Each run comes out at the highest version that can be proved: from its
// commits, beginning with the first, or from an image of it and the commits
// behind that. Commits behind a gap are left out, because the state they would
// give never was. What is missing is in the result. A store that is sound comes
// out whole.
//
// Of the options only Shards (of the new store; 0 = as many as the old one
// has), SegmentSize, Now and FS are used.
//
// Errors: ErrInvalidOption, also where one directory is inside the other;
// ErrNoStore, ErrNotDirectory, ErrLocked; ErrNotEmpty; *UnsupportedError;
// ErrNothingSalvaged, with which the result says what was found all the same;
// ErrDiskFull; one that wraps ctx.Err(); and what the operating system says.
// After an error there is no store in to.
func Salvage(ctx context.Context, from, to string, options *Options) (*Salvaged, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	report, err := salvage.Store(ctx, salvage.Config{
		FS: opts.FS, From: from, To: to, Shards: opts.Shards, DefaultShards: autoShards(),
		SegmentSize: opts.SegmentSize, Holder: holder(), Wall: opts.Now,
	})
	if err != nil {
		return report, fmt.Errorf("inmem: salvaging %s: %w", from, err)
	}
	return report, nil
}

package inmem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"inmem/op"
	"inmem/retry"
	"inmem/run"
)

// Resume takes a run up: it returns a handle by which an agent goes on with it,
// and from now on everything that is written by an older one, of BeginRun or of
// an earlier Resume, is refused with a *FencedError, wherever that is: an agent
// that was thought dead cannot get in the way of the one that goes on. Handles
// of DB.Run are not concerned: they are for those who look on, or send signals.
//
// The agent function begins anew. Its steps that are recorded return what they
// returned; see Do.
//
// Errors: ErrRunNotFound, ErrRunNotActive, and those of a put.
func (db *DB) Resume(ctx context.Context, id run.ID) (*Run, error) {
	r, err := db.Run(id)
	if err != nil {
		return nil, err
	}
	err = retry.Conflicts(ctx, func() error {
		epoch, version, err := r.epoch()
		if err != nil {
			return err
		}
		res, err := (*face)(r).Commit(ctx, &op.Request{Writes: []op.Write{{
			Kind: op.Put, Tag: op.Epoch.Tag, Key: op.Epoch.Key,
			Value: binary.AppendUvarint(nil, epoch+1), Expect: op.AtVersion(version),
		}}})
		if err == nil {
			r.takenUp(res.Version)
		}
		return err
	}, op.ErrWrongVersion)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// epoch returns how often the run was resumed, and the version of the record.
func (r *Run) epoch() (n, version uint64, err error) {
	it, err := (*face)(r).Get(op.Epoch.Tag, op.Epoch.Key)
	if errors.Is(err, op.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	n, size := binary.Uvarint(it.Value)
	if size != len(it.Value) {
		return 0, 0, fmt.Errorf("%w: the epoch of run %v", ErrCorrupt, r.ID())
	}
	return n, it.Version, nil
}

// Epoch returns how often the run was resumed.
func (r *Run) Epoch() (uint64, error) {
	n, _, err := r.epoch()
	return n, err
}

// takenUp makes the handle the one of an agent that begins at a version.
func (r *Run) takenUp(version uint64) {
	r.fence = op.AtVersion(version)
	r.work = &work{run: r}
	r.work.root.work = r.work
}

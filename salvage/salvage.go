package salvage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"inmem/checkpoint"
	"inmem/op"
	"inmem/recovery"
	"inmem/vfs"
)

// ErrNothing says that nothing in the source verifies that a store could be
// made of.
var ErrNothing = errors.New("inmem: nothing that could be salvaged")

// Config says what to salvage, and how.
type Config struct {
	FS            vfs.FS
	From, To      string // directories
	Shards        int    // of the new store; 0 = as many as the source has
	DefaultShards int    // where nothing says how many that is
	SegmentSize   int64  // of the new store, bytes
	Holder        string // who we are, for others who find the new store locked
	Wall          func() time.Time
}

// Store gets out of the store in cfg.From whatever verifies, and makes a new
// store of it in cfg.To. Memory is needed for about 100 bytes for each commit,
// and for the live keys of one shard at a time.
//
// Errors: op.ErrNoStore, op.ErrNotDirectory; vfs.ErrLocked where somebody has
// the source or the target open; op.ErrNotEmpty where the target has something
// in it; op.ErrInvalidOption where one directory is inside the other;
// *op.UnsupportedError; ErrNothing, with which the report is there all the
// same; op.ErrDiskFull; and what the operating system says. After an error the
// target holds nothing but its lock file, if that can be brought about.
func Store(ctx context.Context, cfg Config) (*Report, error) {
	report, err := cfg.store(ctx)
	if vfs.IsNoSpace(err) && !errors.Is(err, op.ErrDiskFull) {
		err = fmt.Errorf("%w: %w", op.ErrDiskFull, err)
	}
	return report, err
}

func (cfg *Config) store(ctx context.Context) (_ *Report, err error) {
	for _, sure := range []func() error{cfg.apart, cfg.readable, cfg.vacant} {
		if err := sure(); err != nil {
			return nil, err
		}
	}
	inv := newInventory(newSource(cfg.FS), cfg.From)
	defer func() { err = errors.Join(err, inv.close()) }()
	if err := inv.gather(ctx); err != nil {
		return nil, err
	}
	if err := inv.merge(); err != nil {
		return nil, err
	}
	runs := inv.decide()
	report := inv.finishReport(runs)
	if nothing(runs) && !report.Complete() {
		return report, fmt.Errorf("%w: %s", ErrNothing, cfg.From)
	}
	t := newTarget(cfg, cmp.Or(cfg.Shards, inv.shardCount(), cfg.DefaultShards), inv.time)
	if err := cfg.create(ctx, t, runs, report); err != nil {
		return nil, err
	}
	return report, nil
}

// create writes the new store and checks it, or leaves nothing of it.
func (cfg *Config) create(ctx context.Context, t *target, runs []*runFound, report *Report) (err error) {
	if err := cfg.FS.MkdirAll(cfg.To, 0o755); err != nil {
		return err
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.To, lockName), cfg.Holder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := cfg.vacant(); err != nil {
		return err // somebody came in between
	}
	err = t.write(ctx, runs)
	if err == nil {
		err = report.check(cfg)
	}
	if err != nil {
		t.undo()
	}
	return err
}

// check holds what was written to what the engine takes for a sound store.
func (r *Report) check(cfg *Config) error {
	checked, err := recovery.Check(cfg.FS, cfg.To)
	if err != nil {
		return err
	}
	if len(checked.Problems) > 0 {
		return fmt.Errorf("salvage: the new store is not sound, which is a bug: %w", errors.Join(checked.Problems...))
	}
	runs := 0
	for _, s := range checked.Shards {
		runs += s.Runs
		r.Keys += s.Keys
	}
	if runs != r.Runs {
		return fmt.Errorf("salvage: the new store has %d runs, not %d, which is a bug", runs, r.Runs)
	}
	return nil
}

// readable makes sure that there may be something to salvage, and that nobody
// is at work on it.
func (cfg *Config) readable() error {
	name := filepath.Join(cfg.From, lockName)
	holder, locked, err := cfg.FS.Locked(name)
	var entries []fs.DirEntry
	if err == nil {
		entries, err = cfg.FS.ReadDir(cfg.From)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s", op.ErrNoStore, cfg.From)
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %s", op.ErrNotDirectory, cfg.From)
	case err != nil:
		return err
	case locked:
		return &vfs.LockedError{Name: name, Holder: holder}
	}
	ours := func(e fs.DirEntry) bool {
		return e.Name() == manifestName || strings.HasPrefix(e.Name(), shardPrefix)
	}
	if !slices.ContainsFunc(entries, ours) {
		return fmt.Errorf("%w: %s", op.ErrNoStore, cfg.From)
	}
	return nil
}

// vacant makes sure that there is nothing where the new store is to be. A lock
// file may be left of an earlier attempt.
func (cfg *Config) vacant() error {
	err := recovery.Vacant(cfg.FS, cfg.To)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w: %s", op.ErrNotDirectory, cfg.To)
	}
	return err
}

// apart makes sure that the new store is not to be inside the old one.
func (cfg *Config) apart() error {
	from, to := cfg.real(cfg.From), cfg.real(cfg.To)
	if from == to || strings.HasPrefix(to, strings.TrimSuffix(from, string(filepath.Separator))+string(filepath.Separator)) {
		return fmt.Errorf("%w: the new store %s would be inside the old one, %s", op.ErrInvalidOption, cfg.To, cfg.From)
	}
	return nil
}

// real is the one path of a file that may not exist yet. Where it cannot be
// found out it is the path as it is.
func (cfg *Config) real(path string) string {
	if cfg.FS != vfs.OS {
		return filepath.Join(string(filepath.Separator), path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// nothing reports whether no run came to anything.
func nothing(runs []*runFound) bool {
	return !slices.ContainsFunc(runs, func(r *runFound) bool { return len(r.keep) > 0 || r.image != nil || r.dead })
}

// shardCount is how many shards the source has; 0 = nothing says so.
func (inv *inventory) shardCount() int {
	if inv.manifest != nil {
		return len(inv.manifest.Shards)
	}
	n := 0
	for number := range inv.shards {
		n = max(n, number+1)
	}
	return min(n, checkpoint.MaxShards)
}

// finishReport fills in what is known before the new store is written.
func (inv *inventory) finishReport(runs []*runFound) *Report {
	r := inv.report
	r.Damage = append(r.Damage, inv.unreadable()...)
	slices.SortFunc(r.Damage, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Reason, b.Reason))
	})
	damaged := map[string]int64{}
	for i := range r.Damage {
		damaged[r.Damage[i].File] += r.Damage[i].Length
	}
	for _, sh := range inv.ordered() {
		out := Shard{Number: sh.number, Segments: len(sh.segments), Images: sh.verified}
		for _, s := range sh.segments {
			out.Damaged += damaged[s.Path]
			for i := range s.frames {
				if s.frames[i].run != nil {
					out.Commits++
				}
			}
		}
		for _, im := range sh.images {
			out.Checkpoints += len(im.surveys)
			for _, s := range im.surveys {
				out.Damaged += damaged[s.Path]
			}
		}
		r.Shards = append(r.Shards, out)
	}
	for _, found := range runs {
		r.Commits += uint64(len(found.keep))
		if found.image != nil {
			r.Images++
		}
		if found.image != nil || len(found.keep) > 0 && !found.dead && !found.keep[len(found.keep)-1].drop {
			r.Runs++
		}
	}
	return r
}

// unreadable reports what the device could not read. Behind the last frame of
// a log that may have been more frames, of which nobody knows.
func (inv *inventory) unreadable() []Damage {
	list := inv.src.damage()
	for i := range list {
		for _, sh := range inv.shards {
			for _, s := range sh.segments {
				if s.Path == list[i].File && sh.successor(s) == 0 && list[i].Offset+list[i].Length > s.End {
					list[i].Lost = true
				}
			}
		}
	}
	return list
}

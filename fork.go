package inmem

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"inmem/op"
	"inmem/run"
	"inmem/shard"
	"inmem/step"
	"inmem/trace"
	"inmem/wal"
)

// TagFork is the tag of a run's metadata that says what it was forked from, as
// "<run ID>@<version>". See ForkOf.
const TagFork = "inmem.fork"

// ErrForkResult: the error is a *ForkResultError.
var ErrForkResult = errors.New("inmem: the result that a fork is to give a step cannot be stored")

// ForkResultError says which result of WithStep cannot be stored as JSON.
type ForkResultError struct {
	Step string
	Err  error // what is wrong with it
}

func (e *ForkResultError) Error() string {
	return fmt.Sprintf("%v: step %.100q: %v", ErrForkResult, e.Step, e.Err)
}

func (e *ForkResultError) Unwrap() []error { return []error{ErrForkResult, e.Err} }

// ForkOption changes what a fork begins with.
type ForkOption func(*forkOptions)

type forkOptions struct {
	results map[string]any // of steps, by name
}

// WithStep gives the next step of the name that is not recorded in the fork this
// result, as JSON, instead of executing it: so a fork tells what would have
// happened if. It is used once. A result that JSON cannot hold is a
// *ForkResultError, and a name that no step can have ErrInvalidStep.
func WithStep(name string, result any) ForkOption {
	return func(o *forkOptions) { o.results[name] = result }
}

// Fork begins a run that has what another one had at a version, and goes on from
// there by itself: keys, events, states, spans and recorded steps are as they
// were, with their versions, and its first commit of its own makes the version
// behind. 0 stands for the newest version. The other run may have any status, be
// written to meanwhile, or be a space; the fork is an active run. It stands by
// itself: nothing that becomes of the other one, not even its deletion, touches
// it. Values lie in memory once for both. Keys that are past their deadline by
// now are left out, and nobody has taken the fork up before: see Resume.
//
// A meta without an ID gets a new one, one without a name or a namespace that of
// the other run, and one without a parent the other run itself. Where the fork
// came from is in its tags: see ForkOf. The handle is one of an agent, as that of
// BeginRun.
//
// It takes O(state), whatever the history, where the version is the newest; an
// older one is rebuilt as by Run.At.
//
// Errors: ErrRunNotFound; *VersionGoneError; ErrRunExists and ErrRunDeleted for
// an ID that is taken; *run.MetaError; *SizeError with ErrBatchTooLarge where the
// state is larger than one commit may be, 1 GiB, whatever Options.MaxCommitSize
// is; those of WithStep; ErrReadOnly, ErrDiskFull, ErrClosed, ErrPoisoned.
func (db *DB) Fork(ctx context.Context, id run.ID, at uint64, meta run.Meta, opts ...ForkOption) (*Run, error) {
	source, err := db.Run(id)
	if err != nil {
		return nil, err
	}
	if db.readOnly() {
		return nil, ErrReadOnly
	}
	if meta.ID == id {
		return nil, fmt.Errorf("%w: %v", ErrRunExists, id)
	}
	snap, err := source.snapshot()
	if err == nil && at != 0 {
		var past *Past
		if past, err = source.At(ctx, at); err == nil {
			snap = past.snap
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := forked(snap, meta)
	if err != nil {
		return nil, err
	}
	given, err := db.givenResults(opts)
	if err != nil {
		return nil, err
	}
	c := forkCommit(snap, info, db.store.Clock.Now(), given)
	if size := c.Size(); size > wal.MaxPayload {
		return nil, &SizeError{Err: ErrBatchTooLarge, Size: size, Max: wal.MaxPayload}
	}
	s := db.place(info.ID)
	h, err := s.Fork(ctx, c, snap, op.Default)
	if err != nil {
		return nil, err
	}
	r := &Run{db: db, shard: s, handle: h}
	r.takenUp(0)
	return r, nil
}

// forked returns the metadata of a run that is forked from a snapshot.
func forked(snap *shard.Snapshot, meta run.Meta) (*run.Info, error) {
	from := snap.Info
	if meta.ID.IsZero() {
		id, err := run.NewID()
		if err != nil {
			return nil, err
		}
		meta.ID = id
	}
	if meta.Parent.IsZero() {
		meta.Parent = from.ID
	}
	if meta.Namespace == (run.Namespace{}) {
		meta.Namespace = from.Namespace
	}
	meta.Name = cmp.Or(meta.Name, from.Name)
	if meta.Tags = maps.Clone(meta.Tags); meta.Tags == nil {
		meta.Tags = map[string]string{}
	}
	meta.Tags[TagFork] = from.ID.String() + "@" + strconv.FormatUint(snap.Version, 10)
	return &run.Info{Meta: meta, Status: run.Active, FirstVersion: snap.Version}, meta.Validate()
}

// givenResults returns the puts by which steps are given results, in order of
// their names.
func (db *DB) givenResults(opts []ForkOption) ([]op.Op, error) {
	o := forkOptions{results: map[string]any{}}
	for _, set := range opts {
		set(&o)
	}
	var puts []op.Op
	limit := max(db.limits.MaxValue-spanOverhead, 0) // as for a result that is recorded
	for _, name := range slices.Sorted(maps.Keys(o.results)) {
		if name == "" || len(name) > trace.MaxName || !utf8.ValidString(name) {
			return nil, fmt.Errorf("%w: %.100q", ErrInvalidStep, name)
		}
		value, err := json.Marshal(o.results[name])
		if err != nil {
			return nil, &ForkResultError{name, err}
		}
		if len(value) > limit {
			return nil, &SizeError{Err: ErrValueTooLarge, Size: len(value), Max: limit}
		}
		key := step.OverrideKey(name)
		puts = append(puts, op.Op{Kind: op.Put, Tag: key.Tag, Key: key.Key, Value: value})
	}
	return puts, nil
}

// forkCommit returns the commit that a fork begins with: its metadata, what the
// snapshot has that goes over to it, and the results given to steps.
func forkCommit(snap *shard.Snapshot, info *run.Info, now int64, given []op.Op) *op.Commit {
	now = max(now, snap.Time) // which may be by the clock of another store
	info.Created = now
	c := &op.Commit{Run: info.ID, Version: snap.Version, Time: now, Ops: make([]op.Op, 1, snap.Len()+len(given)+1)}
	c.Ops[0] = op.Op{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)}
	left := map[string]bool{
		op.MapKey(op.Epoch.Tag, op.Epoch.Key): true, op.MapKey(op.RunMetadata, ""): true,
		op.MapKey(step.OutcomeKey.Tag, step.OutcomeKey.Key): true, // the fork's own agent is to say
	}
	for i := range given {
		left[op.MapKey(given[i].Tag, given[i].Key)] = true
	}
	for key, it := range snap.All() {
		if it.Expired(now) || left[key] {
			continue
		}
		c.Ops = append(c.Ops, op.Op{
			Kind: op.Put, Tag: op.Tag(key[0]), Key: key[1:], Value: it.Value, Deadline: it.Deadline, Version: it.Version,
		})
	}
	c.Ops = append(c.Ops, given...)
	return c
}

// ForkOf returns what a run was forked from; ok is false where it was not.
func ForkOf(info *run.Info) (id run.ID, version uint64, ok bool) {
	from, at, found := strings.Cut(info.Tags[TagFork], "@")
	if !found {
		return run.ID{}, 0, false
	}
	id, err := run.ParseID(from)
	version, err2 := strconv.ParseUint(at, 10, 64)
	if err != nil || err2 != nil || id.IsZero() || version == 0 {
		return run.ID{}, 0, false
	}
	return id, version, true
}

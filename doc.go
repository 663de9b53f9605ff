// Package inmem is an embedded, durable, in-memory state engine for AI agents.
//
// A program opens a directory and has, inside its own process, a database
// whose unit is the run: one execution of an agent. A run's keys, events, state
// cells and spans change atomically, survive a crash, and can be read as of any
// version.
//
//	db, err := inmem.Open("data", nil)
//	r, err := db.BeginRun(ctx, run.Meta{Namespace: ns})
//	_, err = r.KV().Put(ctx, "plan", plan)
//	err = r.Update(ctx, func(tx *inmem.Tx) error { … })
//	past, err := r.At(ctx, 2)
//	err = r.End(ctx, run.Completed)
//
// Keys, events, cells and spans are faces: packages kv, event, state and trace.
// Run.KV, Tx.KV and Past.KV return the same kind of thing, over the run, over a
// transaction and over a version of the past, and so for the others.
//
// # How it works
//
// A store is N shards. Each is one goroutine that owns its runs and its own
// write-ahead log; a run lives in one shard for ever. Writes are messages to
// the shard, which carries out many at once: validate and apply, append to the
// log, sync as the durability mode says, publish new immutable snapshots,
// answer. An idle shard is lent to its caller, who then does this itself. Reads load the run's newest snapshot and never wait for anything.
//
// # What is promised
//
// Nothing is acknowledged, or visible to a reader, before it is as durable as
// its mode promises: see Strict, Batched and Async. After a crash Open
// restores for each run a prefix of its commits that holds every one that was
// acknowledged as durable. Damage in stored data is an error, never a wrong
// value. docs/guarantees.md has it all, with the tests that prove it.
//
// # What is kept
//
// Everything, unless Options.Retention or a run's own SetHistory says otherwise,
// but for what deleted runs had. What is not kept is removed in the background, or
// by Prune; of a run's state nothing is ever lost by that.
//
// # Errors
//
// Sentinels are for errors.Is: ErrNotFound, ErrClosed and so on. Types are for
// errors.As where there is data: *CorruptError, *ConflictError, *VersionError,
// *VersionGoneError, *SizeError, *LockedError, *ShardCountError,
// *UnsupportedError, and run.TransitionError, run.StatusError, run.MetaError.
//
// A context that ends before a shard accepted the call: nothing happened.
// After that the error wraps ctx.Err() and the outcome is unknown.
//
// Everything in DB and Run may be used by any number of goroutines; a Tx is for
// one.
package inmem

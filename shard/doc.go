// Package shard owns runs: a goroutine, fed through a mailbox, or for a moment
// the caller to whom it is lent while it is idle, is the only one to touch the
// runs' live state and to append to their log. Who has the turn is in turn.go.
//
// state.go is the pure half: it decides what a request does and applies it,
// with no clock, disk or goroutine. shard.go drives it, in this order for
// each batch of commands: read the clock once; decide, append one frame for
// each commit and apply it; write the batch; sync as the mode says; publish
// the new snapshots; reply. imager.go writes checkpoints beside it, and sweep.go
// removes beside it what retention does not keep of the log.
//
// Readers never meet the owner: they load a run's published Snapshot. Those who
// list runs have an index (catalog.go), which one of them brings up to date.
//
// Invariants: what is published is as durable as its mode promises and is
// never taken back; a run's commits become visible in their order; after a
// failed write or sync nothing is published or acknowledged any more.
//
// shard carries no compatibility promise; package inmem does.
package shard

import (
	"github.com/cespare/xxhash/v2"

	"inmem/run"
)

// Place returns which of n shards a run belongs to.
func Place(id run.ID, n int) int { return int(xxhash.Sum64(id[:]) % uint64(n)) }

// Package recovery opens a store's directory: it creates it, or finds out what
// is there and brings every shard to the state that its checkpoint and its log
// say, all shards at once, and reports what it found.
//
// It decides and coordinates; what a file holds is known by wal and
// checkpoint, what a commit does by shard. The decisions are the table Rows.
//
// Invariants: recovery never invents, never reorders, and gives the same
// result every time, also when it was interrupted itself; what it cannot
// explain by a crash it refuses, and then it has changed nothing.
//
// recovery carries no compatibility promise; package inmem does.
package recovery

// Package wal is one shard's write-ahead log: frames in segments, the policy
// that says when they are synced, and the verdict over what a crash left.
//
// It knows nothing of what its records mean, but for two things: the first 16
// bytes of a record's payload name the stream (the run) it belongs to, so that
// a stream's records can be found again, and the kinds from 128 on are the
// log's own.
//
// Reading and changing are apart: Scan only reads and gives the verdict, Open
// mends what the verdict allows and appends from there.
//
// Older segments can be compacted, by whoever knows what of them is kept, and
// trimmed off: Compact, Trim, and Replaced and Trimmed of the log itself.
//
// Invariants: sequence numbers have no gaps, in a segment and across segments,
// but in one that was compacted, which says how far it goes; a segment is begun
// only after everything before it is synced; bytes that were ever acknowledged as
// synced are never written again.
//
// The byte layout is drawn beside the encoders and in docs/format.md.
//
// wal carries no compatibility promise; package inmem does.
package wal

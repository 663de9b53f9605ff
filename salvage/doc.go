// Package salvage gets out of a damaged store whatever still verifies, into a
// new store, and says exactly what could not be had.
//
// It reads every file by itself: segments frame by frame, also behind damage,
// and every image of every checkpoint; believes nothing but checksums and
// digests; decides for each run which of its commits and images fit together;
// writes them as a new store; and has recovery check the result. survey.go
// reads, merge.go and decide.go decide, write.go writes.
//
// Invariants: the source is never touched, because it is read through a disk
// that cannot write; a run comes out at a version it once had, with the state
// it had then, or not at all; the manifest of the new store is written last, so
// what is unfinished is no store; what is missing and is known by anything that
// is left is in the report.
//
// salvage carries no compatibility promise; package inmem does.
package salvage

// Package diff compares two runs, or one run at two of its versions: which keys
// and state cells one has and the other has not, or has with another value;
// which collections and vectors; which events and spans belong together, by their
// names, and which of these differ; and where the two first diverge. Values that are JSON are compared by
// path.
//
// It works on what the faces return, and reads nothing itself: no store, no
// clock, no disk. The same two sides give the same result, always, and the other
// way round the same result mirrored.
//
// Not compared is what is never the same in two runs: times, deadlines, versions,
// and the IDs of runs, events and spans. Nor are the machines of cells.
//
// Invariant: the work is bounded. It grows with the size of the sides, not with
// how much they differ; what is cut short for that is marked or counted.
package diff

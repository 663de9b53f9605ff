// Package matrix finds the nearest of a collection's vectors, exactly: it keeps
// copies of them one behind the other, as a scan wants them, brings them up to
// date by what was changed since they were made, and keeps them within a bound of
// memory.
//
// It does not know how vectors are stored, nor runs, shards and disks: whoever
// searches says which view, which keys, and how a vector is read from a value.
// What it keeps can be dropped at any time; the next search makes it anew.
//
// Invariants: what a search returns is what a look at every vector of its view
// would, computed in float64 in one order, on every machine and whatever is kept.
// A Matrix never changes: rows are appended behind those that anybody knows of,
// and a row that is gone is marked in a copy of its marks.
//
// # How a search is exact and fast
//
// Scores are first computed in float32, which memory feeds as fast as it can. The
// error of such a score is bounded (package distance), so a vector whose score
// plus that bound is below what k others have for certain is out. The few that are
// left are computed again in float64, and these scores alone decide.
//
// It carries no compatibility promise; package inmem does.
package matrix

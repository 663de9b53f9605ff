// Package checkpoint holds a store's manifest and the images of its runs: what
// recovery starts from, so that it need not replay the whole log.
//
// A checkpoint is a file of a shard with the images of the runs that changed
// since the one before, and an index of all runs of the shard, which may point
// into older checkpoint files. Every image is whole: no run needs another's
// bytes. The package knows nothing of shards' live state or of the log, only
// that a checkpoint covers the log up to a sequence, which is its name.
//
// Invariant: a checkpoint counts from the moment the manifest names it, and by
// then it is on the device, name and contents. Files that no manifest names,
// directly or through the named checkpoint's index, are nobody's.
//
// checkpoint carries no compatibility promise; package inmem does.
package checkpoint

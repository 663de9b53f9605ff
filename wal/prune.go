package wal

import "slices"

// What the owner does for those who compact and trim the log's older segments.

// Rotate begins a new segment, so that the one that was appended to can be
// compacted, unless there are no records in it. With op.ErrDiskFull nothing has
// changed; any other error is final.
func (l *Log) Rotate() error {
	if err := l.err(); err != nil || len(l.active.entries) == 0 {
		return err
	}
	return l.rotate()
}

// AwaitSealed returns once all segments that have a successor have their index,
// or the log has failed. Any goroutine may call it.
func (l *Log) AwaitSealed() {
	ask := make(chan struct{})
	select {
	case l.asks <- ask:
		select {
		case <-ask:
		case <-l.ended:
		}
	case <-l.ended:
	}
}

// Replaced takes a segment that Compact has made in place of others.
func (l *Log) Replaced(by Sealed) {
	i := slices.IndexFunc(l.segments, func(s segment) bool { return s.first == by.First })
	n := i
	for n < len(l.segments) && l.segments[n].first <= by.Last {
		n++
	}
	// Others have the old list.
	now := segment{path: by.Path, first: by.First, last: by.Last, size: by.Size, indexed: true, compacted: true}
	l.segments = slices.Concat(l.segments[:i], []segment{now}, l.segments[n:])
}

// Trimmed takes it that the log begins with a sequence by now, as the manifest
// says: what was before that is gone, or will be.
func (l *Log) Trimmed(first uint64) {
	l.trimmed.Store(first)
	n := 0
	for n < len(l.segments) && l.segments[n].last < first {
		n++
	}
	l.segments = slices.Clone(l.segments[n:])
}

package wal

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"inmem/op"
	"inmem/vfs"
)

// Commit makes the frames appended so far as durable as mode promises. An
// error is final.
//
//   - Strict: written and synced.
//   - Batched: written; a sync is begun in the background when three quarters of
//     the window are used up, and waited for when all of it is.
//   - Async: kept in memory until there is enough of it, or until Tick.
func (l *Log) Commit(mode op.Durability) error {
	if err := l.err(); err != nil {
		return err
	}
	l.arm()
	l.weigh()
	if mode == op.Async && l.Buffered() < asyncBuffer {
		return nil
	}
	if err := l.write(); err != nil {
		return err
	}
	if mode == op.Async {
		return nil // no window of commits is promised, only Tick's of time
	}
	pending := l.next - 1 - l.Synced()
	switch {
	case mode == op.Strict || pending >= uint64(l.opts.Commits):
		return l.Sync()
	case pending >= uint64(l.opts.Commits)*3/4 && l.wanted <= l.Synced():
		// The one before has ended. Later would be cheaper: a sync holds up a
		// processor; but the last quarter must do for what comes meanwhile.
		l.kickSync()
	}
	return nil
}

// Flush writes and syncs everything appended so far.
func (l *Log) Flush() error {
	if err := l.write(); err != nil {
		return err
	}
	return l.Sync()
}

// write hands the buffer to the operating system, in one call if nothing belongs
// in between.
func (l *Log) write() error {
	if l.cutShort {
		return l.fail(errCutShort)
	}
	if err := l.err(); err != nil || len(l.buf) == 0 {
		return err
	}
	n, err := l.writeOut()
	if err != nil {
		return l.fail(fmt.Errorf("writing the log: %w", err))
	}
	l.bytes.Add(uint64(n))
	l.active.end += int64(n)
	l.ahead = max(l.ahead, l.active.end)
	l.buf = l.buf[:0]
	if cap(l.buf) > maxAhead {
		l.buf = nil // one huge batch must not hold its memory for ever
	}
	clear(l.gaps)
	l.gaps, l.outside = l.gaps[:0], 0
	l.mu.Lock()
	l.disk.written, l.disk.writtenSeq = l.active.end, l.next-1
	l.mu.Unlock()
	return nil
}

// writeOut writes the buffer and what belongs in between, in order: what a crash
// leaves of it is a beginning, as of one call.
func (l *Log) writeOut() (n int, err error) {
	from := 0
	for _, g := range l.gaps {
		for _, part := range [...][]byte{l.buf[from:g.At], g.Bytes} {
			if n, err = l.writeAt(part, n); err != nil {
				return n, err
			}
		}
		from = g.At
	}
	return l.writeAt(l.buf[from:], n)
}

// writeAt writes behind n bytes of the buffer, and returns how many there are then.
func (l *Log) writeAt(part []byte, n int) (int, error) {
	if len(part) == 0 {
		return n, nil
	}
	m, err := l.disk.file.WriteAt(part, l.active.end+int64(n))
	return n + m, err
}

// kickSync asks the background for a sync of everything written by now.
func (l *Log) kickSync() {
	l.wanted = l.next - 1
	select {
	case l.kick <- struct{}{}:
	default: // a wish that was met in the meantime still lies there: it serves
	}
}

// Sync syncs everything written before the call. Any goroutine may call it;
// callers at the same time share one sync. An error is final.
func (l *Log) Sync() error {
	l.mu.Lock()
	want := l.disk.writtenSeq
	l.mu.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	return l.syncTo(want)
}

// syncTo needs l.syncing held, so that nobody swaps the file meanwhile.
func (l *Log) syncTo(want uint64) error {
	l.mu.Lock()
	d := l.disk
	l.mu.Unlock()
	if err := l.err(); err != nil || d.syncedSeq >= want {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return l.fail(fmt.Errorf("syncing the log: %w", err))
	}
	l.syncs.Add(1)
	l.mu.Lock()
	l.disk.synced, l.disk.syncedSeq = d.written, d.writtenSeq
	l.mu.Unlock()
	return nil
}

// Synced returns the sequence up to which the log is known to be on the device.
func (l *Log) Synced() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.disk.syncedSeq
}

// Wake delivers when Tick is due. The owner waits on it beside its mailbox.
func (l *Log) Wake() <-chan time.Time { return l.timer.C }

// arm makes sure that Tick comes: half an interval after a change, so that a
// sync begun by it ends within the interval.
func (l *Log) arm() {
	if !l.timerSet {
		l.timer.Reset(l.opts.Interval / 2)
		l.timerSet = true
	}
}

// Tick does what is due by time: it writes what Async left in memory, begins
// the sync of an idle tail, and seals a log that has fallen silent. An error
// is final.
func (l *Log) Tick() error {
	l.timerSet = false
	if l.err() != nil {
		return l.err()
	}
	if err := l.write(); err != nil {
		return err
	}
	if l.Synced() < l.next-1 {
		l.kickSync()
		l.busy = false
		l.arm()
		return nil
	}
	if l.sealed || l.noSeal {
		return nil
	}
	if l.busy {
		l.busy = false
		l.arm()
		return nil
	}
	l.arm()
	return l.writeSeal()
}

// Seal lets the log end with a frame that says that everything before it is on
// the device, unless it does already. Flush must have come before. An error is
// final.
func (l *Log) Seal() error {
	if l.sealed {
		return nil
	}
	return l.writeSeal()
}

// writeSeal seals the log as it is, unless there is no space: a seal helps to
// tell damage apart, nothing depends on it.
func (l *Log) writeSeal() error {
	err := l.reserve(frameSize(8), false) // seals are the same in all formats
	if errors.Is(err, op.ErrDiskFull) {
		l.noSeal = true
		return nil
	}
	if err != nil {
		return err
	}
	l.appendSeal()
	return l.write()
}

// errCutShort ends a log that panicked while it began a segment.
var errCutShort = errors.New("wal: beginning a segment was cut short")

// rotate ends the active segment and begins the next. Where a panic cuts it
// short, nobody knows whether the next one is there by now: then nothing may be
// written behind the end of this one any more, not even by Close.
func (l *Log) rotate() error {
	if err := l.Flush(); err != nil {
		return err
	}
	l.cutShort = true
	err := l.beginSegment()
	l.cutShort = false
	return err
}

// Renew begins a new segment if there is a good deal in the active one: before a
// checkpoint, which then covers whole segments, and who opens the log need not
// read what it covers. With op.ErrDiskFull nothing happened.
func (l *Log) Renew() error {
	if l.active.end+int64(l.Buffered()) < l.opts.RenewFrom {
		return nil
	}
	if err := l.reserve(0, true); err != nil {
		return err
	}
	if l.active.end == segmentHeader {
		l.sealed = false // the seal that there may be is not in this segment
		l.arm()
	}
	return nil
}

// beginSegment makes the next segment and goes over to it.
func (l *Log) beginSegment() error {
	f, seg, err := createSegment(l.fsys, l.dir, l.id, l.next, l.opts.Now())
	if errors.Is(err, op.ErrDiskFull) {
		return err
	}
	if err != nil {
		return l.fail(err)
	}
	l.syncing.Lock()
	old := l.disk.file
	l.mu.Lock()
	l.disk = diskState{
		file: f, first: seg.first, written: segmentHeader, synced: segmentHeader,
		writtenSeq: l.next - 1, syncedSeq: l.next - 1,
	}
	l.mu.Unlock()
	l.syncing.Unlock()
	done := l.active
	done.last = l.next - 1
	l.forget()
	l.segments = append(l.segments, done)
	l.older += cap(done.entries)
	l.active, l.ahead, l.synced, l.outdated = seg, segmentHeader, segmentHeader, false
	l.rotations.Add(1)
	l.opts.OnSegment(seg.path, seg.first, false)
	if err := old.Close(); err != nil {
		return l.fail(err)
	}
	l.seals <- done // the buffer of one bounds how far sealing may fall behind
	return nil
}

// run is the background: syncs that nobody waits for, and the indexes of
// segments that are full.
func (l *Log) run() {
	defer close(l.ended)
	for l.serve() {
	}
	// After a failure nothing touches the disk, but the owner must not get stuck.
	for {
		select {
		case <-l.seals:
		case <-l.kick:
		case ask := <-l.asks:
			close(ask)
		case <-l.stop:
			return
		}
	}
}

// serve does one thing and reports whether to go on. A failure is kept by fail
// and told by OnError.
func (l *Log) serve() bool {
	select {
	case <-l.kick:
		return l.Sync() == nil
	case seg := <-l.seals:
		return l.sealFull(seg) == nil
	case ask := <-l.asks:
		defer close(ask)
		for len(l.seals) > 0 {
			if l.sealFull(<-l.seals) != nil {
				return false
			}
		}
		return true
	case <-l.stop:
		for len(l.seals) > 0 && l.sealFull(<-l.seals) == nil {
		}
		return false
	}
}

// sealFull seals a segment that rotate left, unless the log has failed.
func (l *Log) sealFull(seg segment) error {
	if err := l.err(); err != nil {
		return err
	}
	return l.fail(l.seal(seg))
}

// seal cuts the space reserved ahead off a full segment and writes its index.
// Where there is no space for the index the next Open writes it. The footer
// comes last: without a sync in between a power cut could leave it behind an
// index that never got to the device.
func (l *Log) seal(seg segment) (err error) {
	f, err := l.fsys.OpenFile(seg.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(seg.end); err != nil {
		return err
	}
	off := seg.end
	index, foot := encodeIndex(seg.entries, seg.end, seg.last, seg.salt)
	for _, part := range [][]byte{index, foot} {
		n, err := f.WriteAt(part, off)
		if vfs.IsNoSpace(err) {
			return f.Truncate(seg.end)
		}
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		off += int64(n)
	}
	l.mu.Lock()
	l.indexed[seg.first] = true
	l.mu.Unlock()
	l.opts.OnSegment(seg.path, seg.first, true)
	return nil
}

// forget drops the entries of segments whose index is on disk by now.
func (l *Log) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.older = 0
	for i := range l.segments {
		seg := &l.segments[i]
		if l.indexed[seg.first] {
			seg.indexed, seg.entries = true, nil
		}
		l.older += cap(seg.entries)
	}
	clear(l.indexed)
}

// weigh notes what the positions of records take.
func (l *Log) weigh() {
	l.memory.Store(int64(l.older+cap(l.active.entries)) * int64(unsafe.Sizeof(entry{})))
}

// Close writes, syncs and seals the log, gives back the space reserved ahead,
// and returns the sequence of its last frame. After a failure it only lets go
// of what it holds, and returns that failure and the last sequence known to be
// on the device. A second Close does nothing and returns the same.
func (l *Log) Close() (last uint64, err error) {
	if l.closed {
		return l.Synced(), l.err()
	}
	l.closed = true
	defer func() { last, err = l.release(err) }() // also when finish panics
	return 0, l.finish()
}

// release lets go of what the log holds.
func (l *Log) release(err error) (last uint64, _ error) {
	close(l.stop)
	<-l.ended
	l.timer.Stop()
	if failure := l.err(); failure != nil {
		err = failure // finish's own, or the background's
	}
	l.syncing.Lock() // whoever is in Sync may still use the file
	defer l.syncing.Unlock()
	return l.Synced(), errors.Join(err, l.disk.file.Close())
}

func (l *Log) finish() error {
	if err := l.Flush(); err != nil {
		return err
	}
	if !l.sealed {
		if err := l.writeSeal(); err != nil {
			return err
		}
	}
	if l.ahead > l.active.end {
		if err := l.disk.file.Truncate(l.active.end); err != nil {
			return l.fail(err)
		}
		l.ahead = l.active.end
	}
	return l.Sync()
}

package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"inmem/op"
	"inmem/vfs"
)

// Options says how a log behaves. The zero value of a field with a default
// means the default.
type Options struct {
	SegmentSize int64         // bytes after which a new segment is begun; default 64 MiB
	Interval    time.Duration // Batched: the longest an acknowledged commit stays unsynced; default 100 ms
	Commits     int           // Batched: the most acknowledged commits that stay unsynced; default 1,000
	RenewFrom   int64         // bytes in a segment that are worth a new one before a checkpoint; default 4 MiB
	ZeroAhead   bool          // write zeros ahead instead of reserving: a sync of written blocks is cheaper
	Now         func() int64  // the store's clock, Unix milliseconds
	// OnError is told once what ended the log, on whatever goroutine it failed.
	// It must not call the log, which may hold a lock.
	OnError func(error)
	// OnSegment is told of a segment when it is begun, by the owner, and when it
	// got its index, by the background.
	OnSegment func(path string, first uint64, sealed bool)
}

const (
	defaultSegmentSize = 64 << 20
	defaultRenewFrom   = 4 << 20
	defaultInterval    = 100 * time.Millisecond
	defaultCommits     = 1000
	asyncBuffer        = 256 << 10 // Async: bytes gathered before a write
	minAhead           = 64 << 10  // space reserved ahead of the end: as much as there is …
	maxAhead           = 4 << 20   // … within these bounds, so that small stores stay small
	maxSegmentSize     = 16 << 30  // the index holds offsets / 8 in 4 bytes, of which a last frame needs some more
)

func (o Options) withDefaults() Options {
	if o.SegmentSize <= 0 {
		o.SegmentSize = defaultSegmentSize
	}
	o.SegmentSize = min(o.SegmentSize, maxSegmentSize)
	if o.RenewFrom <= 0 {
		o.RenewFrom = defaultRenewFrom
	}
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	if o.Commits <= 0 {
		o.Commits = defaultCommits
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	if o.OnSegment == nil {
		o.OnSegment = func(string, uint64, bool) {}
	}
	return o
}

// Log is a log open for appending. One goroutine, the owner, calls its
// methods; only Sync, Synced and Stats may be called from others.
type Log struct {
	fsys vfs.FS
	dir  string
	id   Identity
	opts Options

	// The owner's.
	segments []segment // older ones; the index of those with entries is not on disk yet
	older    int       // room for entries in those
	active   segment   // end = what was handed to the operating system
	next     uint64    // sequence of the next frame
	buf      []byte    // frames not handed to the operating system yet, but for …
	gaps     []op.Gap  // … what belongs in between, which is not copied
	outside  int       // bytes of that
	ahead    int64     // the file is this long: space reserved ahead
	synced   int64     // what the frames say is synced: disk.synced when their batch was begun
	wanted   uint64    // the background was last asked to sync up to this sequence
	sealed   bool      // the last frame is a seal, or there is none
	noSeal   bool      // there was no space for a seal: Tick waits for the next frame
	busy     bool      // appended since the last tick
	timer    *time.Timer
	timerSet bool
	closed   bool
	cutShort bool // a segment is being begun, or was and a panic ended it
	outdated bool // the active segment has an older format: the next record begins a new one

	// The background goroutine's.
	stop  chan struct{} // closed by Close
	ended chan struct{}
	kick  chan struct{}
	seals chan segment       // full segments that need their index
	asks  chan chan struct{} // closed once the segments that were full are sealed

	syncing sync.Mutex // held during a sync and while the active file changes
	mu      sync.Mutex // guards disk and indexed
	disk    diskState
	indexed map[uint64]bool // segments, by first sequence, whose index got to the disk since forget
	failed  atomic.Pointer[error]
	trimmed atomic.Uint64 // the log was trimmed up to this sequence, which is its first

	bytes, syncs, rotations atomic.Uint64
	memory                  atomic.Int64 // see Stats
}

// diskState is what owner and background share: how far the active segment is
// written and synced.
type diskState struct {
	file                  vfs.File
	first                 uint64
	written, synced       int64  // offsets in the segment
	writtenSeq, syncedSeq uint64 // sequences
}

// Create makes a new log in dir, which must be an empty directory, beginning
// with sequence 1.
func Create(fsys vfs.FS, dir string, id Identity, opts Options) error {
	f, _, err := createSegment(fsys, dir, id, 1, opts.Now())
	if err != nil {
		return err
	}
	return f.Close()
}

// Open mends what the verdict of Scan allows to be mended, makes everything
// that was read durable, and opens the log for appending.
func Open(fsys vfs.FS, dir string, id Identity, sc *Scanned, opts Options) (*Log, error) {
	n := len(sc.segments) - 1
	l := &Log{
		fsys: fsys, dir: dir, id: id, opts: opts.withDefaults(),
		segments: sc.segments[:n:n], active: sc.segments[n],
		next: sc.Last + 1, sealed: sc.Sealed || sc.Last == 0,
		stop: make(chan struct{}), ended: make(chan struct{}),
		indexed: map[uint64]bool{}, kick: make(chan struct{}, 1), seals: make(chan segment, 1), asks: make(chan chan struct{}),
		timer: time.NewTimer(time.Hour),
	}
	l.timer.Stop()
	for _, path := range sc.halfMade {
		if err := fsys.Remove(path); err != nil {
			return nil, err
		}
	}
	if err := l.mend(sc); err != nil {
		return nil, err
	}
	if !l.sealed {
		l.arm() // the seal that the crash prevented
	}
	l.weigh()
	go l.run()
	return l, nil
}

// mend cuts the torn tail, seals older segments that a crash left unsealed,
// and syncs the last one: what recovery shows to readers must not vanish in
// the next power cut.
func (l *Log) mend(sc *Scanned) error {
	for i := range l.segments {
		if l.segments[i].indexed {
			continue
		}
		if err := l.seal(l.segments[i]); err != nil {
			return err
		}
	}
	l.forget()
	f, err := l.fsys.OpenFile(l.active.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if l.outdated, err = older(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if l.outdated && l.active.end == segmentHeader {
		if err := f.Close(); err != nil {
			return err
		}
		return l.renew()
	}
	size, err := f.Size()
	if err == nil && size > l.active.end {
		// The tail may hold frames of a batch that was never acknowledged;
		// gone now, they cannot be mistaken for later ones.
		size, err = l.active.end, f.Truncate(l.active.end)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fsys.SyncDir(l.dir)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.ahead, l.synced, l.wanted = size, size, sc.Last
	l.disk = diskState{file: f, first: l.active.first, written: size, synced: size, writtenSeq: sc.Last, syncedSeq: sc.Last}
	return nil
}

// renew replaces an active segment of an older format, which has no frames yet,
// by one of the present format.
func (l *Log) renew() error {
	f, err := writeSegment(l.fsys, l.id, l.active, l.opts.Now())
	if err != nil {
		return err
	}
	l.outdated, l.ahead, l.synced, l.wanted = false, segmentHeader, segmentHeader, l.next-1
	l.disk = diskState{
		file: f, first: l.active.first, written: segmentHeader, synced: segmentHeader,
		writtenSeq: l.next - 1, syncedSeq: l.next - 1,
	}
	return nil
}

// createSegment makes the file of a segment durable, under its name, empty.
func createSegment(fsys vfs.FS, dir string, id Identity, first uint64, now int64) (f vfs.File, seg segment, err error) {
	seg = segment{path: segmentPath(dir, first), first: first, salt: rand.Uint32(), end: segmentHeader}
	f, err = writeSegment(fsys, id, seg, now)
	return f, seg, err
}

func writeSegment(fsys vfs.FS, id Identity, seg segment, now int64) (f vfs.File, err error) {
	tmp := seg.path + temporary
	f, err = fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, diskFull(err)
	}
	_, err = f.WriteAt(encodeSegmentHeader(id, seg.first, seg.salt, now), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fsys.Rename(tmp, seg.path)
	}
	if err != nil {
		return nil, errors.Join(diskFull(err), f.Close(), fsys.Remove(tmp))
	}
	// From here on the segment may be found by the next Open, so nothing more
	// can be taken back: no failure is a full disk any more.
	if err := fsys.SyncDir(filepath.Dir(seg.path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// diskFull makes an error that means a full disk an op.ErrDiskFull.
func diskFull(err error) error {
	if vfs.IsNoSpace(err) {
		return fmt.Errorf("%w: %w", op.ErrDiskFull, err)
	}
	return err
}

// Next returns the sequence the next frame will have.
func (l *Log) Next() uint64 { return l.next }

// Reserve makes sure that frames of n bytes in all can be written without
// running out of space, beginning a new segment when the active one is full.
// Where there is no space it returns op.ErrDiskFull, and nothing has changed;
// any other error is final.
func (l *Log) Reserve(n int64) error { return l.reserve(n, l.outdated) }

// reserve is Reserve, and begins a new segment also where that is asked for.
func (l *Log) reserve(n int64, anew bool) error {
	if err := l.err(); err != nil {
		return err
	}
	end := l.active.end + int64(l.Buffered())
	if (anew || end+n > l.opts.SegmentSize) && end > segmentHeader {
		if err := l.rotate(); err != nil {
			return err
		}
		end = l.active.end
	}
	if end+n <= l.ahead {
		return nil
	}
	ahead := min(end+n+min(max(end, minAhead), maxAhead), l.opts.SegmentSize)
	err := l.allocate(max(ahead, end+n))
	if vfs.IsNoSpace(err) {
		err = l.allocate(end + n) // a smaller wish may fit
	}
	if err = diskFull(err); errors.Is(err, op.ErrDiskFull) {
		return err
	}
	return l.fail(err)
}

// Ready reports whether frames of n bytes in all can be appended, and committed
// as Batched or Async, without waiting for the disk.
func (l *Log) Ready(n int64) bool {
	return l.err() == nil && !l.outdated && l.active.end+int64(l.Buffered())+n <= l.ahead &&
		l.next-l.Synced() < uint64(l.opts.Commits)
}

// FrameSize returns the bytes a record of n bytes takes in the log.
func FrameSize(n int) int64 { return frameSize(n) }

var zeros [1 << 20]byte

// allocate makes the active file to bytes long.
func (l *Log) allocate(to int64) error {
	f := l.disk.file // only the owner changes it
	if !l.opts.ZeroAhead {
		if err := f.Allocate(l.ahead, to-l.ahead); err != nil {
			return err
		}
		l.ahead = to
		return nil
	}
	for l.ahead < to {
		n := min(to-l.ahead, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], l.ahead); err != nil {
			return err
		}
		l.ahead += n
	}
	return nil
}

// Begin starts a frame and returns the buffer to append its payload to; End
// takes it back. In between nothing else may be called.
func (l *Log) Begin() []byte {
	if len(l.buf) == 0 {
		l.refresh()
	}
	var space [frameHeader]byte
	return append(l.buf, space[:]...)
}

// End completes the frame begun by Begin with what was appended to b, and
// returns its sequence. The frame is on its way only after Commit. A payload
// shorter than its stream or longer than MaxPayload is a bug of the caller.
func (l *Log) End(b []byte) uint64 { return l.EndAround(b, nil) }

// EndAround is End where parts of the payload are not in b: gaps says where they
// belong, behind the first 16 bytes. They must not change until they are written;
// gaps is the caller's again.
func (l *Log) EndAround(b []byte, gaps []op.Gap) uint64 {
	start := len(l.buf)
	if n := len(b) - start - frameHeader + op.InGaps(gaps); n < streamSize || n > MaxPayload {
		panic(fmt.Sprintf("wal: a record of %d bytes", n))
	}
	stream := [streamSize]byte(b[start+frameHeader:])
	l.active.entries = append(l.active.entries, entry{stream: stream, offset: l.active.end + int64(l.Buffered())})
	return l.end(b, gaps, Record)
}

func (l *Log) end(b []byte, gaps []op.Gap, kind Kind) uint64 {
	sequence := l.next
	l.buf = sealAround(b, len(l.buf), gaps, kind, l.active.salt, sequence, l.synced)
	if len(gaps) > 0 {
		l.gaps, l.outside = append(l.gaps, gaps...), l.outside+op.InGaps(gaps)
	}
	l.next++
	l.sealed, l.noSeal = kind == Seal, false
	l.busy = true
	return sequence
}

// refresh looks how far the segment is synced by now. Frames that knew less
// than that would leave a synced frame before them without a witness.
func (l *Log) refresh() {
	l.mu.Lock()
	l.synced = l.disk.synced
	l.mu.Unlock()
}

// appendSeal appends a frame that says: all before me was on the device.
func (l *Log) appendSeal() {
	l.refresh()
	b := binary.LittleEndian.AppendUint64(l.Begin(), uint64(l.opts.Now()))
	l.end(b, nil, Seal)
}

// Stats are counts since the log was opened.
type Stats struct {
	Bytes    uint64 // handed to the operating system
	Syncs    uint64
	Segments uint64 // begun
	Memory   int64  // bytes that the positions of records take just now whose index is not on disk
}

// Stats may be called from any goroutine.
func (l *Log) Stats() Stats {
	return Stats{Bytes: l.bytes.Load(), Syncs: l.syncs.Load(), Segments: l.rotations.Load(), Memory: l.memory.Load()}
}

// err returns the failure that ended the log, if any.
func (l *Log) err() error {
	if p := l.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// fail makes err the log's end: nothing is written or synced after a failure,
// because nobody knows any more what the disk holds.
func (l *Log) fail(err error) error {
	if err != nil && l.failed.CompareAndSwap(nil, &err) {
		l.opts.OnError(err)
	}
	return err
}

// Buffered returns the bytes appended and not handed to the operating system yet.
func (l *Log) Buffered() int { return len(l.buf) + l.outside }

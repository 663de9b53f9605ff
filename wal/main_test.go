package wal

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/op"
	"inmem/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seedEnv repeats a random test with the seed it printed; so does the flag.
const seedEnv = "INMEM_SEED"

var (
	seedFlag  = flag.Uint64("wal.seed", 0, "run the random tests with this one seed; 0 = "+seedEnv+", or many new ones")
	seedsFlag = flag.Int("wal.seeds", 0, "how many new ones; 0 = as many as the test thinks right")
)

// seeds returns the one seed that was asked for, or n new ones.
func seeds(t tester, n int) []uint64 {
	if *seedFlag != 0 {
		return []uint64{*seedFlag}
	}
	if s := os.Getenv(seedEnv); s != "" {
		seed, err := strconv.ParseUint(s, 0, 64)
		require.NoError(t, err, seedEnv)
		return []uint64{seed}
	}
	if *seedsFlag != 0 {
		n = *seedsFlag
	}
	list := make([]uint64, n)
	for i := range list {
		list[i] = rand.Uint64() | 1
	}
	return list
}

// tester is a testing.TB or a *rapid.T.
type tester interface {
	require.TestingT
	Helper()
}

const logDir = "log"

var testID = Identity{Store: [16]byte{0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f}, Shard: 7}

const testNow = int64(1700000000000)

func testOptions() Options {
	return Options{Now: func() int64 { return testNow }, Interval: time.Hour}
}

// streamOf is the n-th stream of a test.
func streamOf(n byte) [streamSize]byte { return [streamSize]byte{0: 0xee, 15: n} }

// rec is a record of a test.
type rec struct {
	seq     uint64
	payload []byte
}

// payloadOf is a payload of size bytes that no other sequence has.
func payloadOf(seq uint64, stream byte, size int) []byte {
	id := streamOf(stream)
	b := binary.LittleEndian.AppendUint64(id[:], seq)
	rng := rand.New(rand.NewPCG(seq, uint64(size)))
	for len(b) < size {
		b = append(b, byte(rng.Uint32()))
	}
	return b
}

// add appends one record, with space reserved for it.
func add(t tester, l *Log, stream byte, size int) rec {
	t.Helper()
	r, err := tryAdd(l, stream, size)
	require.NoError(t, err)
	return r
}

func tryAdd(l *Log, stream byte, size int) (rec, error) {
	if err := l.Reserve(FrameSize(max(size, streamSize+8))); err != nil {
		return rec{}, err
	}
	p := payloadOf(l.Next(), stream, size)
	return rec{l.End(append(l.Begin(), p...)), p}, nil
}

// tryAddAround is tryAdd of a payload that the log gets in parts: it has some of
// the bytes, and others stay where they are.
func tryAddAround(l *Log, stream byte, size int, rng *rand.Rand) (rec, error) {
	if err := l.Reserve(FrameSize(max(size, streamSize+8))); err != nil {
		return rec{}, err
	}
	p := payloadOf(l.Next(), stream, size)
	b, rest := append(l.Begin(), p[:streamSize]...), p[streamSize:]
	var gaps []op.Gap
	for len(rest) > 0 {
		n, m := rng.IntN(len(rest)+1), 0
		if m = rng.IntN(len(rest) - n + 1); m > 0 {
			gaps = append(gaps, op.Gap{At: len(b) + n, Bytes: rest[n : n+m]})
		}
		b, rest = append(b, rest[:n]...), rest[n+m:]
	}
	return rec{l.EndAround(b, gaps), p}, nil
}

// requireRecs wants two lists to hold the same records.
func requireRecs(t tester, want, got []rec, msg ...any) {
	t.Helper()
	if len(want)+len(got) > 0 {
		require.Equal(t, want, got, msg...)
	}
}

// read scans the log, with all records from bounds.After on.
func read(fsys vfs.FS, bounds Bounds) ([]rec, *Scanned, error) {
	return readBy(Scan, fsys, logDir, bounds)
}

type scanFunc = func(vfs.FS, string, Identity, Bounds, func(Frame) error) (*Scanned, error)

func readBy(scan scanFunc, fsys vfs.FS, dir string, bounds Bounds) ([]rec, *Scanned, error) {
	var recs []rec
	sc, err := scan(fsys, dir, testID, bounds, func(f Frame) error {
		recs = append(recs, rec{f.Sequence, append([]byte(nil), f.Payload...)})
		return nil
	})
	return recs, sc, err
}

func mustRead(t tester, fsys vfs.FS) ([]rec, *Scanned) {
	t.Helper()
	recs, sc, err := read(fsys, Bounds{First: 1})
	require.NoError(t, err)
	return recs, sc
}

// create makes a new log on a new memory disk and opens it.
func create(t tester, opts Options) (*vfs.Mem, *Log) {
	t.Helper()
	mem := newDisk(t, opts)
	_, l := reopen(t, mem, opts)
	return mem, l
}

// newDisk is a memory disk with a new, empty log.
func newDisk(t tester, opts Options) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll(logDir, 0o755))
	require.NoError(t, mem.SyncDir("."))
	require.NoError(t, Create(mem, logDir, testID, opts))
	return mem
}

// reopen scans and opens the log, and returns the records too.
func reopen(t tester, fsys vfs.FS, opts Options) ([]rec, *Log) {
	t.Helper()
	recs, sc := mustRead(t, fsys)
	l, err := Open(fsys, logDir, testID, sc, opts)
	require.NoError(t, err)
	return recs, l
}

func mustClose(t tester, l *Log) {
	t.Helper()
	_, err := l.Close()
	require.NoError(t, err)
}

// contents is all files of a disk.
func contents(t tester, mem *vfs.Mem) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range mem.Files() {
		b, err := mem.ReadFile(name)
		require.NoError(t, err)
		all[name] = b
	}
	return all
}

// raw writes a segment frame by frame, as no Log would.
type raw struct {
	b    []byte
	salt uint32
	next uint64
	at   []int64 // offsets of the frames, and of the end
}

const rawSalt = 0x11223344

func newRaw(first uint64) *raw {
	return &raw{b: encodeSegmentHeader(testID, first, rawSalt, testNow), salt: rawSalt, next: first, at: []int64{segmentHeader}}
}

func (r *raw) frame(kind Kind, payload []byte, synced int64) *raw {
	start := len(r.b)
	r.b = append(append(r.b, make([]byte, frameHeader)...), payload...)
	r.b = sealFrame(r.b, start, kind, r.salt, r.next, synced)
	r.next++
	r.at = append(r.at, int64(len(r.b)))
	return r
}

// witnessed appends a record that knows everything before it to be synced.
func (r *raw) witnessed() *raw {
	return r.frame(Record, payloadOf(r.next, 0, 40), int64(len(r.b)))
}

// unwitnessed appends a record that knows of nothing synced but the header.
func (r *raw) unwitnessed() *raw {
	return r.frame(Record, payloadOf(r.next, 0, 40), segmentHeader)
}

func (r *raw) index() *raw {
	var entries []entry
	for _, off := range r.at[:len(r.at)-1] {
		entries = append(entries, entry{[streamSize]byte(r.b[off+frameHeader:]), off})
	}
	index, foot := encodeIndex(entries, int64(len(r.b)), r.next-1, r.salt)
	r.b = append(append(r.b, index...), foot...)
	return r
}

// noChance is a source of randomness for losses that leave nothing to chance.
func noChance() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

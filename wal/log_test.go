package wal

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/op"
	"inmem/vfs"
)

var modes = []op.Durability{op.Strict, op.Batched, op.Async}

// forms are the two ways to get space ahead.
func forms(t *testing.T, test func(t *testing.T, opts Options)) {
	for _, zero := range []bool{false, true} {
		t.Run(fmt.Sprintf("zero ahead %v", zero), func(t *testing.T) {
			opts := testOptions()
			opts.ZeroAhead = zero
			test(t, opts)
		})
	}
}

func TestAppendAndReopen(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			forms(t, func(t *testing.T, opts Options) { appendAndReopen(t, vfs.NewMem(), "log", mode, opts) })
		})
	}
	t.Run("on the operating system", func(t *testing.T) {
		forms(t, func(t *testing.T, opts Options) {
			appendAndReopen(t, vfs.OS, filepath.Join(t.TempDir(), "log"), op.Strict, opts)
		})
	})
}

func appendAndReopen(t *testing.T, fsys vfs.FS, dir string, mode op.Durability, opts Options) {
	opts.SegmentSize = 2000
	require.NoError(t, fsys.MkdirAll(dir, 0o755))
	require.NoError(t, Create(fsys, dir, testID, opts))
	var want []rec
	for round := range 4 {
		recs, sc, err := readBy(Verify, fsys, dir, Bounds{First: 1})
		require.NoError(t, err)
		require.Equal(t, want, recs)
		require.Zero(t, sc.Torn)
		require.Zero(t, sc.Unsealed)
		require.Equal(t, round > 0, sc.Sealed)
		if round > 0 {
			require.Equal(t, testNow, sc.Time)
		}
		l, err := Open(fsys, dir, testID, sc, opts)
		require.NoError(t, err)
		require.Equal(t, sc.Last+1, l.Next())
		for i := range 20 {
			r := add(t, l, byte(i%3), 24+37*i)
			require.Equal(t, l.Next()-1, r.seq)
			want = append(want, r)
			require.NoError(t, l.Commit(mode))
			if mode == op.Strict {
				require.Equal(t, r.seq, l.Synced())
			}
		}
		stats := l.Stats()
		require.Greater(t, stats.Segments, uint64(2))
		require.Positive(t, stats.Syncs)
		last, err := l.Close()
		require.NoError(t, err)
		require.Equal(t, l.Next()-1, last, "the sequence of the seal")
	}
	entries, err := fsys.ReadDir(dir)
	require.NoError(t, err)
	require.Greater(t, len(entries), 8)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(3000), "%s: space reserved ahead was not given back", e.Name())
	}
}

func TestSequencesHaveNoGaps(t *testing.T) {
	opts := testOptions()
	opts.SegmentSize = 700
	mem, l := create(t, opts)
	var next uint64 = 1
	for i := range 40 {
		require.Equal(t, next, l.Next())
		r := add(t, l, 1, 24+11*i)
		require.Equal(t, next, r.seq)
		next++
		if i%5 == 0 {
			require.NoError(t, l.Commit(op.Batched))
		}
	}
	mustClose(t, l)
	recs, sc := mustRead(t, mem)
	require.Len(t, recs, 40)
	for i, r := range recs {
		require.Equal(t, uint64(i+1), r.seq)
	}
	require.Equal(t, uint64(41), sc.Last)
}

func TestRotation(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		opts.SegmentSize = segmentHeader + 3*testFrame
		begun := map[uint64]bool{}
		opts.OnSegment = func(path string, first uint64, sealed bool) {
			if !sealed {
				require.Equal(t, segmentPath(logDir, first), path)
				begun[first] = true
			}
		}
		mem, l := create(t, opts)
		for range 10 {
			add(t, l, 1, 40)
		}
		mustClose(t, l) // and the seal fits no more into 10 … 12
		require.Equal(t, map[uint64]bool{4: true, 7: true, 10: true}, begun)
		require.Equal(t, []string{"log/0000000000000001.wal", "log/0000000000000004.wal", "log/0000000000000007.wal", "log/000000000000000a.wal"}, mem.Files())
		_, sc := mustRead(t, mem)
		require.Zero(t, sc.Unsealed)
		require.True(t, sc.Sealed)
	})
}

func TestRecordLargerThanASegment(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		opts.SegmentSize = 1000
		mem, l := create(t, opts)
		var want []rec
		for _, size := range []int{50, 5000, 50, 3 << 20, 5 << 20, 50} {
			want = append(want, add(t, l, 1, size))
			require.NoError(t, l.Commit(op.Batched))
		}
		require.LessOrEqual(t, cap(l.buf), maxAhead, "a huge batch does not hold its memory")
		mustClose(t, l)
		recs, _ := mustRead(t, mem)
		require.Equal(t, want, recs)
		require.Len(t, mem.Files(), 6)
	})
}

// A record that the log gets in parts is, on disk, the same as one that it gets
// whole, and the parts are not copied.
func TestRecordsInParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	forms(t, func(t *testing.T, opts Options) {
		whole, a := create(t, opts)
		parts, b := create(t, opts)
		salted := func(l *Log) { l.active.salt = 7 } // else they differ
		salted(a)
		salted(b)
		for i := range 60 {
			size := 24 + rng.IntN(300)
			if i%20 == 7 {
				size = 30_000
			}
			_, err := tryAddAround(b, byte(i%3), size, rng)
			require.NoError(t, err)
			add(t, a, byte(i%3), size)
			require.Equal(t, a.Buffered(), b.Buffered())
			require.Equal(t, a.active.entries, b.active.entries)
			if i%7 == 0 {
				mode := modes[rng.IntN(len(modes))]
				require.NoError(t, a.Commit(mode))
				require.NoError(t, b.Commit(mode))
				require.Equal(t, a.Stats().Bytes, b.Stats().Bytes)
			}
		}
		require.NoError(t, a.Flush())
		require.NoError(t, b.Flush())
		want, got := contents(t, whole), contents(t, parts)
		for name := range want {
			// The headers differ in their salt and checksum.
			require.Equal(t, want[name][segmentHeader:], got[name][segmentHeader:], name)
		}
		mustClose(t, a)
		mustClose(t, b)
	})

	_, l := create(t, testOptions())
	defer mustClose(t, l)
	large := payloadOf(1, 1, 1<<20)
	require.NoError(t, l.Reserve(FrameSize(len(large))))
	l.EndAround(append(l.Begin(), large[:streamSize]...), []op.Gap{{At: frameHeader + streamSize, Bytes: large[streamSize:]}})
	require.Less(t, cap(l.buf), 10_000)
	require.Equal(t, FrameSize(len(large)), int64(l.Buffered()))
	require.NoError(t, l.Commit(op.Async), "which writes so much at once")
	require.Zero(t, l.Buffered())
	require.Empty(t, l.gaps)
	require.Nil(t, l.gaps[:1][0].Bytes, "nothing is held on to")
}

// TestSpaceAhead looks at what Reserve promises: that writing needs no space.
func TestSpaceAhead(t *testing.T) {
	forms(t, func(t *testing.T, opts Options) {
		mem, l := create(t, opts)
		size := func() int {
			b, err := mem.ReadFile(segmentPath(logDir, 1))
			require.NoError(t, err)
			return len(b)
		}
		add(t, l, 1, 40)
		require.Equal(t, segmentHeader+testFrame+minAhead, size(), "a small store takes little space ahead")
		mem.SetFault(func(o vfs.Op) error {
			require.NotEqual(t, vfs.Allocate, o.Kind)
			return nil
		})
		for range minAhead / testFrame {
			add(t, l, 1, 40)
		}
		require.NoError(t, l.Flush())
		mem.SetFault(nil)
		add(t, l, 1, 9<<20)
		require.NoError(t, l.Flush())
		add(t, l, 1, 4096)
		require.LessOrEqual(t, size(), int(l.active.end)+4200+maxAhead, "a large store takes no more than it may")
		mustClose(t, l)
		require.Equal(t, int(l.active.end), size())
	})
	t.Run("not beyond the segment", func(t *testing.T) {
		opts := testOptions()
		opts.SegmentSize = 1000
		mem, l := create(t, opts)
		defer mustClose(t, l)
		add(t, l, 1, 40)
		b, err := mem.ReadFile(segmentPath(logDir, 1))
		require.NoError(t, err)
		require.Len(t, b, 1000)
	})
}

func TestDefaults(t *testing.T) {
	o := Options{Commits: -1, Interval: -1, SegmentSize: -1}.withDefaults()
	require.Equal(t, defaultCommits, o.Commits)
	require.Equal(t, defaultInterval, o.Interval)
	require.Equal(t, int64(defaultSegmentSize), o.SegmentSize)
	o.OnError(nil)
	o.OnSegment("", 0, false)
	// The last frame of the largest segment can still be named by an index.
	o = Options{SegmentSize: 1 << 60}.withDefaults()
	require.LessOrEqual(t, (o.SegmentSize+frameSize(MaxPayload))/align, int64(1)<<32)
}

// TestTornTailIsGone builds the trap of a tail whose later frames are whole: if
// the bad one is written anew, in the same size, they must not follow it.
func TestTornTailIsGone(t *testing.T) {
	for _, spoil := range []string{"payload flip", "zeroed", "length 0xFFFFFFFF"} {
		t.Run(spoil, func(t *testing.T) {
			r := unwitnessed(6)
			flaws[spoil](r.b, 2)
			mem := segmentOn(t, r.b)
			recs, sc := mustRead(t, mem)
			require.Len(t, recs, 2)
			require.Equal(t, int64(4*testFrame), sc.Torn+int64(len(r.b))-at(2)-nonZeroAfter(r.b, at(2)))
			l, err := Open(mem, logDir, testID, sc, testOptions())
			require.NoError(t, err)
			r3 := add(t, l, 1, 40)
			require.NoError(t, l.Commit(op.Strict))
			want := append(recs, r3)
			for seed := range uint64(50) {
				recs, sc := mustRead(t, mem.Crash(rand.New(rand.NewPCG(seed, 1))))
				require.Equal(t, want, recs)
				require.Zero(t, sc.Torn)
			}
			recs, _ = mustRead(t, mem.Clone())
			require.Equal(t, want, recs)
			mustClose(t, l)
		})
	}
}

func TestCreateIsDurable(t *testing.T) {
	mem := newDisk(t, testOptions())
	b, err := mem.CrashWith(rand.New(rand.NewPCG(1, 1)), vfs.DropAll).ReadFile(segmentPath(logDir, 1))
	require.NoError(t, err, "a new log is durable")
	require.Len(t, b, segmentHeader)
}

func TestCloseOfAnEmptyLogWritesNothing(t *testing.T) {
	mem, l := create(t, testOptions())
	last, err := l.Close()
	require.NoError(t, err)
	require.Zero(t, last)
	b, err := mem.ReadFile(segmentPath(logDir, 1))
	require.NoError(t, err)
	require.Len(t, b, segmentHeader)
	before := contents(t, mem)
	for range 3 { // nor does opening and closing a sealed one
		_, l := reopen(t, mem, testOptions())
		mustClose(t, l)
	}
	require.Equal(t, before, contents(t, mem))
}

// TestModel drives a log and a list of what was appended side by side. Kills
// leave everything that was written, and power cuts what was synced.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		opts := testOptions()
		opts.SegmentSize = rapid.Int64Range(100, 3000).Draw(rt, "segment size")
		opts.Commits = rapid.IntRange(1, 20).Draw(rt, "commits")
		opts.ZeroAhead = rapid.Bool().Draw(rt, "zero ahead")
		m := &model{opts: opts}
		m.mem, m.log = create(rt, opts)
		defer func() { mustClose(rt, m.log) }() // also when a check is given up
		rt.Repeat(map[string]func(*rapid.T){
			"append":  m.append,
			"commit":  m.commit,
			"sync":    func(*rapid.T) { require.NoError(rt, m.log.Sync()) },
			"tick":    func(rt *rapid.T) { require.NoError(rt, m.log.Tick()); m.written = len(m.recs) },
			"history": m.history,
			"kill":    m.kill,
			"power":   m.power,
			"close":   m.close,
			"":        m.check,
		})
	})
}

type model struct {
	opts    Options
	mem     *vfs.Mem
	log     *Log
	recs    []rec
	written int // of recs, in a kill
}

func (m *model) append(rt *rapid.T) {
	was := m.log.Stats().Segments
	r := add(rt, m.log, rapid.ByteMax(3).Draw(rt, "stream"), rapid.IntRange(24, 600).Draw(rt, "size"))
	if m.log.Stats().Segments != was {
		m.written = len(m.recs) // the one before is whole before the next begins
	}
	m.recs = append(m.recs, r)
}

func (m *model) commit(rt *rapid.T) {
	mode := rapid.SampledFrom(modes).Draw(rt, "mode")
	require.NoError(rt, m.log.Commit(mode))
	if mode != op.Async {
		m.written = len(m.recs)
	}
	if mode == op.Strict {
		require.Equal(rt, m.log.Next()-1, m.log.Synced())
	}
	if mode == op.Batched {
		require.Less(rt, m.log.Next()-1-m.log.Synced(), uint64(m.opts.Commits))
	}
}

func (m *model) history(rt *rapid.T) {
	h, err := m.log.History()
	require.NoError(rt, err)
	m.written = len(m.recs)
	stream := rapid.ByteMax(4).Draw(rt, "stream")
	from := rapid.Uint64Range(0, m.log.Next()+1).Draw(rt, "from")
	to := rapid.Uint64Range(0, m.log.Next()+1).Draw(rt, "to")
	require.Equal(rt, pick(m.recs, stream, from, to), streamed(rt, h, stream, from, to))
}

func (m *model) kill(rt *rapid.T) { m.restart(rt, m.mem.Clone(), m.written) }

func (m *model) power(rt *rapid.T) {
	synced := m.log.Synced()
	n := 0
	for n < len(m.recs) && m.recs[n].seq <= synced {
		n++
	}
	seed := rapid.Uint64().Draw(rt, "seed")
	m.restart(rt, m.mem.Crash(rand.New(rand.NewPCG(seed, seed))), n)
}

func (m *model) close(rt *rapid.T) {
	mustClose(rt, m.log)
	m.restart(rt, m.mem, len(m.recs))
}

// restart goes on with another disk, on which at least n records must be.
func (m *model) restart(rt *rapid.T, disk *vfs.Mem, n int) {
	mustClose(rt, m.log)
	m.mem = disk
	recs, l := reopen(rt, disk, m.opts)
	require.GreaterOrEqual(rt, len(recs), n)
	require.LessOrEqual(rt, len(recs), len(m.recs))
	requireRecs(rt, m.recs[:len(recs)], recs)
	m.log, m.recs, m.written = l, m.recs[:len(recs):len(recs)], len(recs)
}

func (m *model) check(rt *rapid.T) {
	require.LessOrEqual(rt, m.log.Synced(), m.log.Next()-1)
	if n := len(m.recs); n > 0 {
		require.Less(rt, m.recs[n-1].seq, m.log.Next())
	}
}

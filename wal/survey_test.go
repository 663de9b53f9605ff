package wal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// surveyed is what a survey of a file finds.
func surveyed(t tester, name string, b []byte) (*Survey, []Frame) {
	t.Helper()
	mem := vfs.NewMem()
	path := filepath.Join(logDir, name)
	require.NoError(t, mem.WriteFile(path, b))
	s, err := OpenSurvey(mem, path)
	require.NoError(t, err)
	var frames []Frame
	require.NoError(t, s.Frames(context.Background(), func(f Frame) string {
		f.Payload = bytes.Clone(f.Payload)
		frames = append(frames, f)
		return ""
	}))
	require.Equal(t, uint64(len(frames)), s.Good)
	return s, frames
}

func firstName() string { return filepath.Base(segmentPath("", 1)) }

// mixed is a segment with records of several streams and lengths, and seals.
func mixed() *raw {
	r := newRaw(1)
	for i := range 6 {
		r.frame(Record, payloadOf(r.next, byte(i%3), 20+17*i), int64(len(r.b)))
		if i%2 == 1 {
			r.frame(Seal, binary.LittleEndian.AppendUint64(nil, uint64(testNow)+uint64(i)), int64(len(r.b)))
		}
	}
	return r
}

// indexed appends the index of the records.
func (r *raw) indexed() *raw {
	var entries []entry
	for _, off := range r.at[:len(r.at)-1] {
		if parseHeader(r.b[off:]).kind == uint32(Record) {
			entries = append(entries, entry{[streamSize]byte(r.b[off+frameHeader:]), off})
		}
	}
	index, foot := encodeIndex(entries, int64(len(r.b)), r.next-1, r.salt)
	r.b = append(append(r.b, index...), foot...)
	return r
}

func TestSurveySound(t *testing.T) {
	for _, r := range []*raw{mixed(), mixed().indexed()} {
		for _, ahead := range []int{0, 5000} {
			s, frames := surveyed(t, firstName(), append(r.b[:len(r.b):len(r.b)], make([]byte, ahead)...))
			if s.Indexed {
				require.Equal(t, uint64(9), s.IndexLast)
				require.Empty(t, s.IndexFlaw)
			}
			if ahead > 0 && len(r.b) > int(r.at[9]) {
				require.Len(t, s.Bad, 1, "an index with something behind it is none")
				continue
			}
			require.Empty(t, s.HeaderFlaw)
			require.Equal(t, []uint64{1, 1, 9, 9}, []uint64{s.Named, s.First, s.Last, s.Good})
			require.Equal(t, r.at[9], s.End)
			require.Equal(t, testID, s.Identity)
			require.Equal(t, testNow, s.Created)
			require.Equal(t, testNow+5, s.Time)
			require.Empty(t, s.Bad)
			require.Empty(t, s.Missing)
			for i, f := range frames {
				require.Equal(t, []int64{int64(i + 1), r.at[i]}, []int64{int64(f.Sequence), f.Offset})
			}
		}
	}
}

// TestSurveyEveryBit: one wrong bit costs at most the frame that it is in.
func TestSurveyEveryBit(t *testing.T) {
	for _, r := range []*raw{mixed(), mixed().indexed()} {
		_, whole := surveyed(t, firstName(), r.b)
		end := r.at[9]
		step := int64(1)
		if raceEnabled || testing.Short() {
			step = 7
		}
		for bit := int64(0); bit < int64(len(r.b))*8; bit += step {
			b := bytes.Clone(r.b)
			b[bit/8] ^= 1 << (bit % 8)
			s, frames := surveyed(t, firstName(), b)
			what := fmt.Sprint("bit ", bit)
			at := bit / 8
			if at < segmentHeader || at >= end {
				require.Equal(t, whole, frames, what)
			}
			switch {
			case at < segmentHeader:
				require.NotEmpty(t, s.HeaderFlaw, what)
				require.Empty(t, s.Bad, what)
			case at < end:
				i := 0
				for r.at[i+1] <= at {
					i++
				}
				rest := append(append([]Frame{}, whole[:i]...), whole[i+1:]...)
				require.Equal(t, rest, frames, what)
				require.Len(t, s.Bad, 1, what)
				require.Equal(t, r.at[i], s.Bad[0].Offset, what)
				require.Equal(t, whole[i].Kind == Seal, s.Bad[0].SealOnly, what)
				require.Equal(t, uint64(i), s.Bad[0].After, what)
				if i < 8 {
					require.Equal(t, []int64{r.at[i+1] - r.at[i], int64(i + 2)}, []int64{s.Bad[0].Length, int64(s.Bad[0].Before)}, what)
				}
				if s.Indexed && whole[i].Kind == Record {
					require.Equal(t, []Missing{{[streamSize]byte(whole[i].Payload), r.at[i]}}, s.Missing, what)
				} else {
					require.Empty(t, s.Missing, what)
				}
			case s.Indexed:
				require.NotEmpty(t, s.IndexFlaw, what)
			default:
				require.Equal(t, []BadRange{{Offset: end, Length: int64(len(r.b)) - end, Reason: s.Bad[0].Reason, After: 9}}, s.Bad, what)
			}
		}
	}
}

// TestSurveyWithoutHeader: the salt is that of the frames, whatever the header
// says, and whatever a damaged frame has in its payload.
func TestSurveyWithoutHeader(t *testing.T) {
	foreign := newRaw(7)
	foreign.salt ^= 0xffff
	foreign.frame(Record, payloadOf(70, 1, 30), 64)
	r := newRaw(1)
	r.frame(Record, append(payloadOf(1, 1, 16+8+24), foreign.b[segmentHeader:]...), 64)
	r.witnessed().witnessed()
	for name, spoil := range map[string]func(b []byte){
		"zeros":       func(b []byte) { clear(b[:segmentHeader]) },
		"wrong salt":  func(b []byte) { b[40] ^= 1 },
		"right salt":  func(b []byte) { b[20] ^= 1 },
		"wrong magic": func(b []byte) { b[0] ^= 1 },
	} {
		b := bytes.Clone(r.b)
		spoil(b)
		s, frames := surveyed(t, "some.wal", b)
		require.NotEmpty(t, s.HeaderFlaw, name)
		require.Zero(t, s.Named)
		require.Zero(t, s.First)
		require.Len(t, frames, 3, name)

		b[segmentHeader+frameHeader+3] ^= 1 // now the foreign frame is the first that verifies
		s, frames = surveyed(t, "some.wal", b)
		require.Len(t, frames, 2, name)
		require.Equal(t, uint64(2), frames[0].Sequence, name)
		require.Equal(t, r.at[1]-r.at[0], s.Bad[0].Length, name)
	}
	for _, n := range []int{0, 1, 63, 64, 65, 96, 1000} {
		s, frames := surveyed(t, firstName(), make([]byte, n))
		require.NotEmpty(t, s.HeaderFlaw)
		require.Empty(t, frames)
		require.Empty(t, s.Bad, "zeros are nothing")
	}
}

// TestSurveyNested: what looks like a frame inside a damaged one is taken for
// one only if it is a copy of one of this segment's.
func TestSurveyNested(t *testing.T) {
	inner := unwitnessed(3)
	r := newRaw(1)
	r.witnessed()
	other := bytes.Clone(inner.b[at(1):at(2)])
	binary.LittleEndian.PutUint32(other[12:], rawSalt+1)
	reseal(other)
	earlier := inner.b[at(0):at(1)]
	payload := append(payloadOf(2, 1, 24), append(other, earlier...)...)
	r.frame(Record, payload, 64)
	r.witnessed()
	b := bytes.Clone(r.b)
	b[r.at[1]+frameHeader] ^= 1
	_, frames := surveyed(t, firstName(), b)
	require.Len(t, frames, 2)
	require.Equal(t, []uint64{1, 3}, []uint64{frames[0].Sequence, frames[1].Sequence})
}

// reseal makes a frame's checksum right again.
func reseal(frame []byte) {
	binary.LittleEndian.PutUint32(frame, crc32.Checksum(frame[4:], castagnoli))
}

// TestSurveyFlaws: frames with a right checksum and wrong contents are damage,
// and what comes behind them is read.
func TestSurveyFlaws(t *testing.T) {
	r := newRaw(1).witnessed()
	r.frame(77, payloadOf(2, 0, 40), 64)
	r.frame(Seal, make([]byte, 9), 64)
	r.frame(Record, make([]byte, 15), 64)
	r.witnessed()
	mem := segmentOn(t, r.b)
	s, err := OpenSurvey(mem, segmentPath(logDir, 1))
	require.NoError(t, err)
	require.NoError(t, s.Frames(context.Background(), func(f Frame) string {
		if f.Sequence == 1 {
			return "not wanted"
		}
		return ""
	}))
	require.Equal(t, uint64(1), s.Good)
	var reasons []string
	for i, b := range s.Bad {
		reasons = append(reasons, b.Reason)
		require.Equal(t, BadRange{Offset: r.at[i], Length: r.at[i+1] - r.at[i], Reason: b.Reason, Before: 5}, b)
	}
	require.Equal(t, []string{"not wanted", "a frame of unknown kind 77", "a seal of the wrong length", "a record too short for its stream"}, reasons)
}

// TestSurveyJumps: a segment may begin, and go on, with a later sequence than
// it should; the caller sees what is missing.
func TestSurveyJumps(t *testing.T) {
	r := newRaw(1)
	r.next = 5
	r.witnessed()
	r.next = 9
	r.witnessed()
	r.next = 9
	r.witnessed() // no frame comes twice
	s, frames := surveyed(t, firstName(), r.b)
	require.Len(t, frames, 2)
	require.Equal(t, []uint64{5, 9}, []uint64{frames[0].Sequence, frames[1].Sequence})
	require.Equal(t, r.at[2], s.Bad[0].Offset)
}

// TestSurveyOutOfOrder: a frame that was overwritten with another one costs
// that frame, and not those in between. The index names it.
func TestSurveyOutOfOrder(t *testing.T) {
	r := newRaw(1)
	for i := range 8 {
		r.frame(Record, payloadOf(r.next, byte(i), 40), segmentHeader)
	}
	whole := r.index().b
	for from := range 8 {
		for to := range 8 {
			b := bytes.Clone(whole)
			copy(b[at(to):at(to+1)], whole[at(from):])
			s, frames := surveyed(t, firstName(), b)
			if from == to {
				require.Empty(t, s.Bad)
				continue
			}
			var found []int
			for _, f := range frames {
				found = append(found, int(f.Sequence))
			}
			slices.Sort(found)
			all := []int{1, 2, 3, 4, 5, 6, 7, 8}
			require.Equal(t, slices.Delete(all, to, to+1), found, "%d over %d", from, to)
			require.Equal(t, uint64(slices.Max(found)), s.Last)
			require.Equal(t, from > to, s.Mixed)
			require.Len(t, s.Bad, 1)
			require.Equal(t, testFrame, int(s.Bad[0].Length))
			require.Equal(t, at(max(from, to)), s.Bad[0].Offset)
			missing := []Missing{{streamOf(byte(to)), at(to)}}
			if from > to { // it was taken from the wrong place, and the right one is not looked at
				missing = append(missing, Missing{streamOf(byte(from)), at(from)})
			}
			require.Equal(t, missing, s.Missing)
		}
	}
}

// TestSurveyCutOff: what is left of a record at the end of a file is not taken
// for a seal, and a damaged seal is.
func TestSurveyCutOff(t *testing.T) {
	r := unwitnessed(3)
	for n := at(2) + 1; n < at(3); n++ {
		s, frames := surveyed(t, firstName(), r.b[:n])
		require.Len(t, frames, 2)
		require.Len(t, s.Bad, 1)
		require.False(t, s.Bad[0].SealOnly, "%d bytes", n-at(2))
	}
	r.frame(Seal, make([]byte, 8), at(3))
	for i := range frameSize(8) {
		b := bytes.Clone(r.b)
		clear(b[at(3)+i : min(at(3)+i+4, int64(len(b)))])
		b[at(3)+i] ^= 0x5a
		s, _ := surveyed(t, firstName(), b)
		require.Equal(t, uint64(3), s.Good)
		says := i+4 <= 4 || i >= 8 || i+4 <= 8 || i >= 12 // its length or its kind is as it was
		require.Equal(t, says, s.Bad[0].SealOnly, "byte %d", i)
		s, _ = surveyed(t, firstName(), b[:len(b)-1])
		require.False(t, s.Bad[0].SealOnly, "byte %d", i)
	}
}

func TestSurveyRefuses(t *testing.T) {
	b := mixed().b
	binary.LittleEndian.PutUint32(b[8:], FormatVersion+1)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	mem := segmentOn(t, b)
	path := segmentPath(logDir, 1)
	_, err := OpenSurvey(mem, path)
	var unsupported *op.UnsupportedError
	require.ErrorAs(t, err, &unsupported)
	require.Equal(t, path, unsupported.File)

	broken := errors.New("broken")
	mem = segmentOn(t, append(mixed().b, make([]byte, 3<<20)...))
	s, err := OpenSurvey(mem, path)
	require.NoError(t, err)
	mem.SetReadFault(func(vfs.Op) error { return broken })
	require.ErrorIs(t, s.Frames(context.Background(), func(Frame) string { return "" }), broken)
	_, err = OpenSurvey(mem, path)
	require.ErrorIs(t, err, broken)
	mem.SetReadFault(nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Frames(ctx, func(Frame) string { return "" }), context.Canceled)
	_, err = OpenSurvey(mem, path+"x")
	require.Error(t, err)
}

func TestSegmentFiles(t *testing.T) {
	mem := vfs.NewMem()
	for _, name := range []string{"b.wal", "0000000000000001.wal", "x.wal.tmp", "x.ckpt"} {
		require.NoError(t, mem.WriteFile(filepath.Join(logDir, name), nil))
	}
	require.NoError(t, mem.MkdirAll(filepath.Join(logDir, "dir.wal"), 0o755))
	files, err := SegmentFiles(mem, logDir)
	require.NoError(t, err)
	require.Equal(t, []string{segmentPath(logDir, 1), filepath.Join(logDir, "b.wal")}, files)
	_, err = SegmentFiles(mem, "nowhere")
	require.Error(t, err)
}

func TestSurveyReader(t *testing.T) {
	r := mixed()
	mem := segmentOn(t, r.b)
	s, err := OpenSurvey(mem, segmentPath(logDir, 1))
	require.NoError(t, err)
	reader, err := s.Open()
	require.NoError(t, err)
	for i := 8; i >= 0; i-- {
		f, err := reader.Frame(r.at[i])
		require.NoError(t, err)
		require.Equal(t, uint64(i+1), f.Sequence)
	}
	for _, off := range []int64{0, 72, r.at[9], 1 << 30} {
		_, err = reader.Frame(off)
		require.ErrorIs(t, err, op.ErrCorrupt)
	}
	require.NoError(t, reader.Close())
}

// TestCreateAt: a log that begins with a later sequence goes on from there.
func TestCreateAt(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll(logDir, 0o755))
	require.NoError(t, CreateAt(mem, logDir, testID, 42, testOptions()))
	bounds := Bounds{First: 42, After: 41, Synced: 41}
	_, sc, err := read(mem, bounds)
	require.NoError(t, err)
	l, err := Open(mem, logDir, testID, sc, testOptions())
	require.NoError(t, err)
	want := []rec{add(t, l, 1, 40)}
	require.Equal(t, uint64(42), want[0].seq)
	mustClose(t, l)
	got, sc, err := read(mem, bounds)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.True(t, sc.Sealed)
	require.Error(t, CreateAt(mem, "nowhere", testID, 1, testOptions()))
}

// FuzzSurvey surveys arbitrary bytes, with and without a good header. What it
// hands out are frames of the file, in order, and it accounts for every byte
// that is not zero. Where Scan finds nothing wrong it finds the same.
func FuzzSurvey(f *testing.F) {
	f.Add(mixed().b, false)
	f.Add(mixed().indexed().b, false)
	f.Add(mixed().b[segmentHeader:], true)
	b := mixed().indexed().b
	b[200] ^= 1
	f.Add(b, false)
	rng := rand.New(rand.NewPCG(1, 2))
	b = bytes.Clone(mixed().b)
	for i := range 64 {
		b[i] = byte(rng.Uint32())
	}
	f.Add(b, false)
	f.Fuzz(func(t *testing.T, b []byte, header bool) {
		if header {
			b = append(newRaw(1).b, b...)
		}
		mem := vfs.NewMem()
		path := segmentPath(logDir, 1)
		require.NoError(t, mem.WriteFile(path, b))
		s, err := OpenSurvey(mem, path)
		if err != nil {
			require.ErrorIs(t, err, op.ErrUnsupported)
			return
		}
		covered := make([]bool, len(b))
		cover := func(from, n int64) {
			for i := from; i < from+n; i++ {
				if covered[i] {
					t.Fatalf("byte %d twice", i)
				}
				covered[i] = true
			}
		}
		var recs []rec
		last, seen := uint64(0), map[uint64]bool{}
		require.NoError(t, s.Frames(context.Background(), func(f Frame) string {
			require.False(t, seen[f.Sequence])
			seen[f.Sequence] = true
			last = max(last, f.Sequence)
			cover(f.Offset, frameSize(len(f.Payload)))
			require.Equal(t, b[f.Offset+frameHeader:][:len(f.Payload)], f.Payload)
			if f.Kind == Record {
				recs = append(recs, rec{f.Sequence, bytes.Clone(f.Payload)})
			}
			return ""
		}))
		require.Equal(t, last, s.Last)
		for _, bad := range s.Bad {
			require.NotEmpty(t, bad.Reason)
			cover(bad.Offset, bad.Length)
		}
		end := int64(len(b))
		if s.Indexed {
			end = s.IndexEnd
		}
		for i := int64(segmentHeader); i < end; i++ {
			if !covered[i] && b[i] != 0 {
				t.Fatalf("byte %d is not accounted for", i)
			}
		}
		requireAsScanned(t, mem, b, recs)
	})
}

// requireAsScanned wants a survey to have found what Scan finds, where that
// finds nothing wrong.
func requireAsScanned(t *testing.T, mem *vfs.Mem, b []byte, recs []rec) {
	if len(b) < segmentHeader {
		return
	}
	id := Identity{Store: [16]byte(b[16:32]), Shard: binary.LittleEndian.Uint32(b[12:])}
	var scanned []rec
	_, err := Scan(mem, logDir, id, Bounds{First: 1}, func(f Frame) error {
		scanned = append(scanned, rec{f.Sequence, bytes.Clone(f.Payload)})
		return nil
	})
	if err == nil {
		require.GreaterOrEqual(t, len(recs), len(scanned))
		requireRecs(t, scanned, recs[:len(scanned)])
	}
}

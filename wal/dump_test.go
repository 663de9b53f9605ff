package wal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/vfs"
)

// dumped is what ReadSegment makes of a file with these bytes.
func dumped(t tester, b []byte) (*Dump, []Frame, error) {
	t.Helper()
	mem := vfs.NewMem()
	require.NoError(t, mem.WriteFile("copy.bin", b)) // no segment's name
	var frames []Frame
	d, err := ReadSegment(mem, "copy.bin", func(f Frame) error {
		f.Payload = append([]byte(nil), f.Payload...)
		frames = append(frames, f)
		return nil
	})
	after, readErr := mem.ReadFile("copy.bin")
	require.NoError(t, readErr)
	require.Equal(t, b, after, "reading changes nothing")
	return d, frames, err
}

func TestReadSegmentGivesAllFrames(t *testing.T) {
	seal := make([]byte, 8)
	r := newRaw(5).witnessed().frame(Seal, seal, segmentHeader).witnessed()
	d, frames, err := dumped(t, append(r.b, make([]byte, 100)...)) // space reserved ahead
	require.NoError(t, err)
	require.Len(t, frames, 3)
	require.Equal(t, Frame{Kind: Record, Sequence: 5, Synced: segmentHeader, Offset: segmentHeader, Payload: payloadOf(5, 0, 40)}, frames[0])
	require.Equal(t, Seal, frames[1].Kind)
	require.Equal(t, r.at[2], frames[2].Offset)
	require.Equal(t, &Dump{
		Identity: testID, Path: "copy.bin", Created: testNow,
		First: 5, Last: 7, End: int64(len(r.b)), Size: int64(len(r.b)) + 100,
	}, d)
}

func TestReadSegmentOfAnEmptyOne(t *testing.T) {
	d, frames, err := dumped(t, newRaw(9).b)
	require.NoError(t, err)
	require.Empty(t, frames)
	require.Equal(t, uint64(8), d.Last)
	require.Empty(t, d.Flaw)
}

func TestReadSegmentWithItsIndex(t *testing.T) {
	r := witnessed(4)
	end := int64(len(r.b))
	sealed := r.index().b
	d, frames, err := dumped(t, sealed)
	require.NoError(t, err)
	require.Len(t, frames, 4)
	require.True(t, d.Indexed)
	require.Equal(t, []any{uint32(1), uint32(4), end, ""}, []any{d.Streams, d.Positions, d.End, d.Flaw})

	for name, c := range map[string]struct{ flip, end int64 }{
		"a frame":   {at(2) + 50, at(2)},
		"the index": {end + 3, end},
	} {
		t.Run(name, func(t *testing.T) {
			bad := append([]byte(nil), sealed...)
			bad[c.flip] ^= 1
			d, _, err := dumped(t, bad)
			require.NoError(t, err)
			require.Equal(t, c.end, d.End)
			require.NotEmpty(t, d.Flaw)
			require.NotEmpty(t, d.Evidence, "a file with an index has no write that was cut short")
		})
	}
}

func TestReadSegmentTellsTornFromDamaged(t *testing.T) {
	torn := unwitnessed(4).b
	d, frames, err := dumped(t, torn[:len(torn)-9])
	require.NoError(t, err)
	require.Len(t, frames, 3)
	require.Equal(t, at(3), d.End)
	require.NotEmpty(t, d.Flaw)
	require.Empty(t, d.Evidence)
	require.Positive(t, d.Tail)

	damaged := witnessed(4).b
	damaged[at(1)+40] ^= 0x10
	d, frames, err = dumped(t, damaged)
	require.NoError(t, err)
	require.Len(t, frames, 1)
	require.Equal(t, at(1), d.End)
	require.Contains(t, d.Flaw, "checksum")
	require.NotEmpty(t, d.Evidence)
	require.Equal(t, int64(len(damaged))-at(1), d.Tail)
}

func TestReadSegmentAgreesWithScan(t *testing.T) {
	whole := witnessed(6).b
	for cut := segmentHeader; cut <= len(whole); cut += 7 {
		d, frames, err := dumped(t, whole[:cut])
		require.NoError(t, err)
		recs, sc, err := read(segmentOn(t, whole[:cut]), Bounds{First: 1})
		require.NoError(t, err)
		require.Len(t, frames, len(recs), "cut at %d", cut)
		require.Equal(t, sc.Torn, d.Tail, "cut at %d", cut)
		require.Equal(t, sc.Last, d.Last, "cut at %d", cut)
	}
}

func TestReadSegmentRefusesWhatIsNone(t *testing.T) {
	newer := newRaw(1).b
	newer[8] = FormatVersion + 1
	binary.LittleEndian.PutUint32(newer[60:], crc32.Checksum(newer[:60], castagnoli))
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":          {[]byte{}, op.ErrCorrupt},
		"garbage":          {[]byte("this is no segment, but it is as long as the header of one is, and more"), op.ErrCorrupt},
		"half a header":    {newRaw(1).b[:40], op.ErrCorrupt},
		"a newer format":   {newer, op.ErrUnsupported},
		"a damaged header": {append([]byte("inmemWAL!"), newRaw(1).b[9:]...), op.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := dumped(t, c.b)
			require.ErrorIs(t, err, c.want)
			require.Contains(t, err.Error(), "copy.bin", "the error names the file that was read")
		})
	}

	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("dir", 0o755))
	_, err := ReadSegment(mem, "dir", nil)
	require.ErrorContains(t, err, "not a regular file")
	_, err = ReadSegment(mem, "none", nil)
	require.Error(t, err)
}

func TestReadSegmentHandsOnWhatFnSays(t *testing.T) {
	mem := segmentOn(t, witnessed(3).b)
	stop := errors.New("stop")
	calls := 0
	_, err := ReadSegment(mem, segmentPath(logDir, 1), func(Frame) error { calls++; return stop })
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, calls)
}

// FuzzReadSegment: whatever a file holds, nothing panics, the frames that come
// out are in order, and End lies within the file.
func FuzzReadSegment(f *testing.F) {
	f.Add(witnessed(3).b)
	f.Add(unwitnessed(2).b[:150])
	f.Add(witnessed(3).index().b)
	f.Add([]byte("inmemWAL"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, frames, err := dumped(t, b)
		if err != nil {
			return
		}
		require.LessOrEqual(t, d.End, d.Size)
		for i, fr := range frames {
			require.Equal(t, d.First+uint64(i), fr.Sequence)
		}
	})
}

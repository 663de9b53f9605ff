package kv_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"inmem/kv"
	"inmem/op"
)

// roomy is a fake that takes values of up to 1 MiB.
type roomy struct{ *fake }

func (roomy) Limits() op.Limits { return op.Limits{MaxKey: 10, MaxValue: 1 << 20, MaxCommit: 2 << 20} }

func newRoomy() (kv.Store, *fake) {
	f := &fake{items: map[string]op.Item{}}
	return kv.New(roomy{f}), f
}

// pattern is a value that no other size has.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i*7 + i>>8 + size)
	}
	return b
}

// Whatever a reader gives is what is put, in whatever pieces it comes.
func TestPutReader(t *testing.T) {
	readers := map[string]func(io.Reader) io.Reader{
		"whole":          func(r io.Reader) io.Reader { return r },
		"half":           iotest.HalfReader,
		"data and EOF":   iotest.DataErrReader,
		"nothing first":  func(r io.Reader) io.Reader { return &hesitant{r: r} },
		"only a Reader":  func(r io.Reader) io.Reader { return io.MultiReader(r) },
		"in three parts": func(r io.Reader) io.Reader { return io.MultiReader(io.LimitReader(r, 70_000), io.LimitReader(r, 1), r) },
	}
	for name, reader := range readers {
		for _, size := range []int{0, 1, 100, op.Large - 1, op.Large, op.Large + 1, 3 * op.Large, 1<<20 - 1, 1 << 20} {
			for _, known := range []bool{true, false} {
				s, f := newRoomy()
				want, said := pattern(size), int64(-1)
				if known {
					said = int64(size)
				}
				version, err := s.PutReader(ctx, "k", reader(bytes.NewReader(want)), said, kv.TTL(time.Second))
				require.NoError(t, err, "%s, %d bytes, size known: %v", name, size, known)
				require.Equal(t, uint64(1), version)
				got := f.items["\x01k"]
				require.True(t, bytes.Equal(want, got.Value), "%s, %d bytes, size known: %v", name, size, known)
				require.Equal(t, int64(1000), got.Deadline)
				w := f.asked[0].Writes[0]
				require.Equal(t, size >= op.Large, w.Block != nil, "a large value is a block, and only that")
				if w.Block != nil {
					require.True(t, w.Block.Holds(w.Value))
				}
			}
		}
	}
}

// hesitant gives nothing now and then.
type hesitant struct {
	r    io.Reader
	gave bool
}

func (h *hesitant) Read(b []byte) (int, error) {
	if h.gave = !h.gave; h.gave {
		return 0, nil
	}
	return h.r.Read(b[:min(len(b), 10_000)])
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// A reader that does not give what was said leaves nothing behind.
func TestPutReaderFails(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		r    io.Reader
		size int64
		read int64
		err  error
	}{
		"too short":             {strings.NewReader("abc"), 4, 3, io.ErrUnexpectedEOF},
		"nothing":               {strings.NewReader(""), 4, 0, io.ErrUnexpectedEOF},
		"too short, large":      {bytes.NewReader(pattern(op.Large)), op.Large + 1, op.Large, io.ErrUnexpectedEOF},
		"too long":              {strings.NewReader("abc"), 2, 2, kv.ErrLonger},
		"not empty":             {strings.NewReader("abc"), 0, 0, kv.ErrLonger},
		"too long, large":       {bytes.NewReader(pattern(op.Large + 1)), op.Large, op.Large, kv.ErrLonger},
		"fails":                 {io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), 4, 3, broken},
		"fails behind the end":  {io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), 3, 3, broken},
		"fails, size unknown":   {io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), -1, 3, broken},
		"gives nothing forever": {readerFunc(func([]byte) (int, error) { return 0, nil }), 4, 0, io.ErrNoProgress},
		"wrong count":           {readerFunc(func(b []byte) (int, error) { return len(b) + 1, nil }), 4, 0, nil},
		"negative count":        {readerFunc(func([]byte) (int, error) { return -1, nil }), -1, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newRoomy()
			_, err := s.PutReader(ctx, "k", c.r, c.size)
			var source *kv.SourceError
			require.ErrorAs(t, err, &source)
			require.Equal(t, c.size, source.Size)
			require.Equal(t, c.read, source.Read)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
			}
			require.Contains(t, err.Error(), source.Err.Error())
			require.Empty(t, f.asked, "nothing was asked of the run")
		})
	}
}

// What cannot be is refused before anything is read.
func TestPutReaderBounds(t *testing.T) {
	s, f := newRoomy()
	unread := readerFunc(func([]byte) (int, error) { t.Error("it was read"); return 0, io.EOF })
	put := func(key string, r io.Reader, size int64, opts ...kv.WriteOption) error {
		_, err := s.PutReader(ctx, key, r, size, opts...)
		return err
	}
	require.ErrorIs(t, put("", unread, 1), op.ErrKeyEmpty)
	require.ErrorIs(t, put(strings.Repeat("k", 11), unread, 1), op.ErrKeyTooLarge)
	require.ErrorIs(t, put("k", unread, -2), op.ErrInvalidOption)
	require.ErrorIs(t, put("k", unread, 1, kv.TTL(-1)), op.ErrInvalidTTL)
	var size *op.SizeError
	require.ErrorAs(t, put("k", unread, 1<<20+1), &size)
	require.ErrorIs(t, size, op.ErrValueTooLarge)
	require.Equal(t, 1<<20, size.Max)
	require.ErrorIs(t, put("k", readerFunc(func(b []byte) (int, error) { return len(b), nil }), -1), op.ErrValueTooLarge,
		"a value without an end")
	require.Empty(t, f.asked)
}

func TestPutReaderContext(t *testing.T) {
	s, f := newRoomy()
	over, cancel := context.WithCancel(ctx)
	for _, size := range []int64{-1, 1 << 20} {
		reads := 0
		over, cancel = context.WithCancel(ctx)
		_, err := s.PutReader(over, "k", readerFunc(func(b []byte) (int, error) {
			if reads++; reads == 3 {
				cancel()
			}
			return min(len(b), 1000), nil
		}), size)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 3, reads)
	}
	_, err := s.PutReader(over, "k", readerFunc(func([]byte) (int, error) { t.Error("it was read"); return 0, nil }), 10)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.GetReader(over, "k")
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, f.asked)
	cancel()
}

func TestGetReader(t *testing.T) {
	s, f := newRoomy()
	_, err := s.GetReader(ctx, "k")
	require.ErrorIs(t, err, op.ErrNotFound)
	want := pattern(200_000)
	_, err = s.PutReader(ctx, "k", bytes.NewReader(want), int64(len(want)), kv.TTL(time.Second))
	require.NoError(t, err)
	v, err := s.GetReader(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, int64(len(want)), v.Size())
	require.Equal(t, uint64(1), v.Version())
	require.Equal(t, time.UnixMilli(1000), v.Deadline())
	require.NoError(t, iotest.TestReader(v, want))

	_, err = v.Seek(-1000, io.SeekEnd)
	require.NoError(t, err)
	var out bytes.Buffer
	n, err := io.Copy(&out, v)
	require.NoError(t, err)
	require.Equal(t, int64(1000), n)
	require.Equal(t, want[199_000:], out.Bytes())
	part := make([]byte, 10)
	_, err = v.ReadAt(part, 50)
	require.NoError(t, err)
	require.Equal(t, want[50:60], part)

	// A newer value is another one.
	_, err = s.Put(ctx, "k", []byte("new"))
	require.NoError(t, err)
	_, err = v.ReadAt(part, 50)
	require.NoError(t, err)
	require.Equal(t, want[50:60], part)

	require.NoError(t, v.Close())
	require.NoError(t, v.Close())
	for _, err := range []error{
		second(v.Read(part)), second(v.ReadAt(part, 0)), second64(v.Seek(0, 0)), second64(v.WriteTo(io.Discard)),
	} {
		require.ErrorIs(t, err, fs.ErrClosed)
	}
	v, err = s.GetReader(ctx, "k")
	require.NoError(t, err)
	require.Zero(t, v.Deadline())
	f.err = errors.New("broken")
	_, err = s.GetReader(ctx, "k")
	require.ErrorIs(t, err, f.err)
}

func second(_ int, err error) error     { return err }
func second64(_ int64, err error) error { return err }

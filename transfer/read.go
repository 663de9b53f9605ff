package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"

	"inmem/op"
	"inmem/run"
)

// ErrInvalid: the error is a *LineError.
var ErrInvalid = errors.New("inmem: not the export of a run, or a damaged one")

// LineError says which line of a file is wrong, and why.
type LineError struct {
	Line int // 1 is the first
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%v: line %d: %v", ErrInvalid, e.Line, e.Err) }

func (e *LineError) Unwrap() []error { return []error{ErrInvalid, e.Err} }

// Reader reads a file.
type Reader struct {
	in      *bufio.Reader
	zstd    *zstd.Decoder // nil where the file is not compressed
	source  *source
	max     int // bytes of a line
	number  int // of the line read last
	sum     hash.Hash
	header  Header
	trailer trailer
}

// source keeps the errors of a file apart from those of what is in it.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// maxWindow bounds what decompressing holds in memory, beside a line.
const maxWindow = 128 << 20

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// NewReader begins to read a file, and reads its header. Close it.
//
// Errors: *LineError; *op.UnsupportedError for a format that is newer; those of r.
func NewReader(r io.Reader) (*Reader, error) { return newReader(r, MaxLine) }

func newReader(r io.Reader, maxLine int) (*Reader, error) {
	f := &Reader{source: &source{r: r}, sum: sha256.New(), max: maxLine}
	f.in = bufio.NewReaderSize(f.source, 64<<10)
	if magic, _ := f.in.Peek(len(zstdMagic)); bytes.Equal(magic, zstdMagic) { // what is shorter is no header
		d, err := zstd.NewReader(f.in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		f.zstd, f.in = d, bufio.NewReaderSize(d, 64<<10)
	}
	if err := f.readHeader(); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Close gives up what reading needed. It does not close what is read.
func (f *Reader) Close() {
	if f.zstd != nil {
		f.zstd.Close()
	}
}

// Run returns what the file says of the run, as of its last version.
func (f *Reader) Run() *run.Info { return f.header.Run.Clone() }

// Digest returns the digest that the file says its last version has.
func (f *Reader) Digest() string { return f.header.Digest }

// Sum returns the checksum of the file, once all commits were read.
func (f *Reader) Sum() string { return f.trailer.SHA256 }

// Invalid returns the error of the line that was read last, for who knows more
// of what must be in it.
func (f *Reader) Invalid(err error) error { return f.fail("%w", err) }

// fail makes an error one of the line that was read last.
func (f *Reader) fail(format string, args ...any) error {
	return &LineError{Line: f.number, Err: fmt.Errorf(format, args...)}
}

func (f *Reader) readHeader() error {
	b, err := f.next()
	if err != nil {
		return err
	}
	// The format first: a newer one may have other fields.
	var kind struct {
		Tool   string `json:"tool"`
		Format uint32 `json:"format"`
	}
	if err := json.Unmarshal(b, &kind); err != nil || kind.Tool != tool || kind.Format == 0 {
		return f.fail("not the header of an export")
	}
	if kind.Format > Format {
		return &op.UnsupportedError{File: "the export", Version: kind.Format, Known: Format}
	}
	if err := unmarshal(b, &f.header); err != nil {
		return f.fail("%w", err)
	}
	info := f.header.Run
	if info == nil || info.ID.IsZero() || !info.Status.Valid() || info.FirstVersion == 0 || info.LastVersion < info.FirstVersion {
		return f.fail("the run has no ID, status or versions")
	}
	if err := info.Validate(); err != nil {
		return f.fail("%w", err)
	}
	if d, err := hex.DecodeString(f.header.Digest); err != nil || len(d) != len(op.Digest{}) {
		return f.fail("no digest: %.40q", f.header.Digest)
	}
	f.sum.Write(b)
	return nil
}

// Commits returns the commits, in order, each as soon as it was read; they
// belong to the caller. Only a loop that ends by itself, without an error, has
// seen the whole file, with the right checksum. There is one loop for each
// Reader.
//
// Errors: *LineError; those of the file.
func (f *Reader) Commits() iter.Seq2[*op.Commit, error] {
	return func(yield func(*op.Commit, error) bool) {
		next, time := f.header.Run.FirstVersion, int64(0)
		for {
			c, err := f.commit(next, time)
			if err != nil {
				yield(nil, err)
				return
			}
			if c == nil || !yield(c, nil) {
				return
			}
			next, time = next+1, c.Time
		}
	}
}

// commit reads the next commit; nil at the end.
func (f *Reader) commit(version uint64, time int64) (*op.Commit, error) {
	b, err := f.next()
	if err != nil {
		return nil, err
	}
	var l line
	if err := unmarshal(b, &l); err != nil {
		return nil, f.fail("%w", err)
	}
	if l.Commits != nil || l.SHA256 != nil {
		return nil, f.end(&l, version)
	}
	switch {
	case l.Version != version || version > f.header.Run.LastVersion:
		return nil, f.fail("version %d, after %d of %d", l.Version, version-1, f.header.Run.LastVersion)
	case l.Time < time:
		return nil, f.fail("its time is before that of the line before")
	}
	c, err := l.fromLine(f.header.Run.ID)
	if err != nil {
		return nil, f.fail("%w", err)
	}
	f.sum.Write(b)
	return c, nil
}

// end checks the trailer, after which nothing follows.
func (f *Reader) end(l *line, next uint64) error {
	info := f.header.Run
	sum := hex.EncodeToString(f.sum.Sum(nil))
	switch {
	case l.Commits == nil || l.SHA256 == nil || l.Version != 0 || l.Time != 0 || l.Ops != nil:
		return f.fail("neither a commit nor the trailer")
	case next-1 != info.LastVersion || *l.Commits != next-info.FirstVersion:
		return f.fail("commits are missing: there are %d, up to version %d of %d; the trailer says %d", next-info.FirstVersion, next-1, info.LastVersion, *l.Commits)
	case *l.SHA256 != sum:
		return f.fail("the checksum is wrong: what was read has %s, the trailer says %.64q", sum, *l.SHA256)
	}
	f.trailer = trailer{*l.Commits, sum}
	switch _, err := f.in.ReadByte(); {
	case err == nil:
		f.number++
		return f.fail("something follows the trailer")
	case err != io.EOF:
		return f.broken(err)
	}
	return nil
}

// next reads a line, with its newline. Its memory grows with what is there.
func (f *Reader) next() ([]byte, error) {
	var b []byte
	f.number++
	for {
		part, err := f.in.ReadSlice('\n')
		if len(b)+len(part) > f.max {
			return nil, f.fail("longer than %d bytes", f.max)
		}
		b = append(b, part...)
		switch {
		case err == nil:
			return b, nil
		case err == io.EOF:
			return nil, f.fail("the file ends here")
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, f.broken(err)
		}
	}
}

// broken says whose error it is: the file's, or that of its compression.
func (f *Reader) broken(err error) error {
	if f.source.err != nil {
		return f.source.err
	}
	return f.fail("%w", err)
}

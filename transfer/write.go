package transfer

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"

	"inmem/op"
	"inmem/run"
)

// Write writes a file: the run as info describes it, its commits from
// info.FirstVersion to info.LastVersion, and its digest at the last. It writes
// each commit as it comes and keeps none. After an error what was written is no
// whole file, which a Reader tells.
func Write(w io.Writer, info *run.Info, digest op.Digest, commits iter.Seq2[*op.Commit, error]) error {
	out := bufio.NewWriterSize(w, 64<<10)
	sum := sha256.New()
	lines := io.MultiWriter(out, sum)
	h := Header{Tool: tool, Format: Format, Run: info, Digest: digest.String()}
	if err := put(lines, h); err != nil {
		return err
	}
	t, next := trailer{}, info.FirstVersion
	for c, err := range commits {
		if err == nil && c.Version != next {
			err = fmt.Errorf("inmem: exporting run %v: version %d is followed by %d", info.ID, next-1, c.Version)
		}
		if err == nil {
			err = put(lines, toLine(c))
		}
		if err != nil {
			return err
		}
		t.Commits++
		next++
	}
	if next-1 != info.LastVersion {
		return fmt.Errorf("inmem: exporting run %v: the commits end with version %d, not %d", info.ID, next-1, info.LastVersion)
	}
	t.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if err := put(out, t); err != nil {
		return err
	}
	return out.Flush()
}

func put(w io.Writer, v any) error {
	b, err := marshal(v)
	if err == nil && len(b) > MaxLine {
		err = &op.SizeError{Err: op.ErrBatchTooLarge, Size: len(b), Max: MaxLine}
	}
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

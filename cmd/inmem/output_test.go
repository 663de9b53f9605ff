package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/run"
)

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB",
		1 << 20: "1.0 MiB", 5 << 30: "5.0 GiB", 3 << 40: "3.0 TiB", 5000 << 40: "5000.0 TiB",
	} {
		require.Equal(t, want, bytesText(n), n)
	}
}

func TestCountAndPlural(t *testing.T) {
	require.Equal(t, []string{"0", "999", "1,000", "1,234,567", "-1,000", "-100"},
		[]string{count(0), count(999), count(1000), count(1234567), count(-1000), count(-100)})
	require.Equal(t, []string{"0 runs", "1 run", "2,000 runs"}, []string{plural(0, "run"), plural(1, "run"), plural(2000, "run")})
}

func TestPlainQuotesWhatCouldMislead(t *testing.T) {
	for s, want := range map[string]string{
		"plan": "plan", "a b/ü.1": "a b/ü.1", "": `""`, " a": `" a"`, "a\n": `"a\n"`,
		"\x1b[31m": `"\x1b[31m"`, "\xff": `"\xff"`, `"a"`: `"\"a\""`, "\u202e": `"\u202e"`,
	} {
		require.Equal(t, want, plain(s))
	}
}

func TestPreview(t *testing.T) {
	require.Equal(t, "`abc`", preview([]byte("abc"), 5))
	require.Equal(t, "`abcde`…", preview([]byte("abcdef"), 5))
	require.Equal(t, "`ab`…", preview([]byte("abü"), 3), "not in the middle of a character")
	require.Equal(t, `"\xff\xfe"…`, preview([]byte("\xff\xfe\xfd"), 8))
	require.LessOrEqual(t, len(preview(make([]byte, 1000), 60)), 65, "what is no text takes no more room")
	require.Equal(t, "``", preview(nil, 5))
	require.Equal(t, `"\x1b[2J"`, preview([]byte("\x1b[2J"), 9), "a value does not command the terminal")
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1500: "2µs", 12345678: "12.3ms", 2345 * time.Millisecond: "2.35s", 90500 * time.Millisecond: "1m31s",
	} {
		require.Equal(t, want, span(d))
	}
}

func TestTableAlignsWideCharacters(t *testing.T) {
	var out bytes.Buffer
	a := newApp(context.Background(), strings.NewReader(""), &out, io.Discard)
	tab := newTable("NAME", ">N")
	tab.row("日本", 1)
	tab.row(cell{"x", style(true).green}, "23")
	tab.print(a)
	require.NoError(t, a.out.Flush())
	require.Equal(t, "NAME   N\n日本   1\n\x1b[32mx\x1b[0m     23\n", out.String())
}

// TestClassify: each kind of error has its exit code.
func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{errors.New("whatever"), exitFailed},
		{usage("", "wrong"), exitUsage},
		{inmem.ErrNoStore, exitNotFound}, {inmem.ErrRunNotFound, exitNotFound}, {inmem.ErrRunDeleted, exitNotFound}, {inmem.ErrNotFound, exitNotFound},
		{&inmem.CorruptError{}, exitDamaged},
		{&inmem.UnsupportedError{}, exitFailed},
		{&inmem.LockedError{}, exitLocked},
		{inmem.ErrNotEmpty, exitFailed}, {inmem.ErrNotDirectory, exitFailed},
		{&inmem.VersionError{}, exitRefused}, {&run.StatusError{Status: run.Completed}, exitRefused},
		{fmt.Errorf("%w: no space", inmem.ErrDiskFull), exitFailed}, {inmem.ErrPoisoned, exitFailed},
		{fmt.Errorf("x: %w", context.Canceled), exitInterrupted},
	} {
		code, _ := classify(fmt.Errorf("doing: %w", c.err))
		require.Equal(t, c.code, code, c.err)
	}
}

// TestInterruptedBackup leaves nothing that opens, and says what to do with it.
func TestInterruptedBackup(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errOut bytes.Buffer
	a := newApp(ctx, strings.NewReader(""), &out, &errOut)
	code := a.fail((&backupCmd{store: store{Dir: dir}, To: to}).Run(a))
	require.Equal(t, exitInterrupted, code)
	require.Contains(t, errOut.String(), "interrupted\n")
	require.Contains(t, errOut.String(), to+" is no whole copy: remove it")
	_, err = inmem.Open(to, nil)
	require.ErrorIs(t, err, inmem.ErrCorrupt)
}

// TestPanicIsNotSuccess: only kong's exits are caught.
func TestPanicIsNotSuccess(t *testing.T) {
	dir := t.TempDir()
	db, err := inmem.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.PanicsWithValue(t, "a bug", func() {
		execute([]string{"kv", "put", "--dir", dir, "--run", "0000", "key", "-"}, buggyReader{}, io.Discard, io.Discard)
	})
}

type buggyReader struct{}

func (buggyReader) Read([]byte) (int, error) { panic("a bug") }

// TestOutputThatCannotBeWritten is a failure, not silence.
func TestOutputThatCannotBeWritten(t *testing.T) {
	var errOut bytes.Buffer
	require.Equal(t, exitFailed, execute([]string{"--help"}, strings.NewReader(""), brokenWriter{}, &errOut))
	require.Contains(t, errOut.String(), "writing the output: broken")
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestColoursOnlyWhereTheyAreWanted(t *testing.T) {
	require.Equal(t, "x", style(false).red("x"))
	require.Equal(t, "\x1b[31;1mx\x1b[0m", style(true).red("x"))
	a := newApp(context.Background(), strings.NewReader(""), io.Discard, io.Discard)
	require.False(t, bool(a.style) || bool(a.errStyle) || a.inTerm || a.outTerm || a.errTerm)
}

func TestParseAgo(t *testing.T) {
	for s, want := range map[string]time.Duration{"90m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "0.5d": 12 * time.Hour} {
		d, err := parseAgo(s)
		require.NoError(t, err)
		require.Equal(t, want, d)
	}
	for _, s := range []string{"", "-1h", "-1d", "xd", "1e9d", "NaNd", "2025"} {
		_, err := parseAgo(s)
		require.Error(t, err, s)
	}
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("y", 1<<20)
	r := newLineReader(strings.NewReader("\xef\xbb\xbfone\r\n\n  \ntwo\n" + long + "\nlast"))
	var lines []string
	var numbers []int
	for {
		line, n, err := r.next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		lines, numbers = append(lines, string(line)), append(numbers, n)
	}
	require.Equal(t, []string{"one", "two", long, "last"}, lines)
	require.Equal(t, []int{1, 4, 5, 6}, numbers)
}

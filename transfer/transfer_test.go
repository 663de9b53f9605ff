package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
)

var testRun = run.ID{1, 2, 3, 15: 9}

// life is a run with some of everything that a commit can hold.
func life() (*run.Info, []*op.Commit) {
	info := &run.Info{
		Meta:    run.Meta{ID: testRun, Name: "na<me>", Namespace: run.Namespace{Tenant: "t", App: "a"}, Tags: map[string]string{"k": "v"}},
		Status:  run.Active,
		Created: 1000, FirstVersion: 7, LastVersion: 10,
	}
	commit := func(version uint64, time int64, ops ...op.Op) *op.Commit {
		return &op.Commit{Run: testRun, Version: version, Time: time, Ops: ops}
	}
	return info, []*op.Commit{
		commit(7, 5000,
			op.Op{Kind: op.Put, Tag: op.RunMetadata, Value: info.AppendRecord(nil)},
			op.Op{Kind: op.Put, Tag: op.KV, Key: "old", Value: []byte("v\n\u2028"), Version: 3}),
		commit(8, 5000,
			op.Op{Kind: op.Put, Tag: op.KV, Key: "k\xff\x00", Value: []byte{0xfe}, Deadline: 9000},
			op.Op{Kind: op.Put, Tag: op.Event, Key: "e", Value: []byte{}}),
		commit(9, 5001, op.Op{Kind: op.Delete, Tag: op.KV, Key: "old"}),
		commit(10, 9000, op.Op{Kind: op.Expire, Tag: op.KV, Key: "k\xff\x00"}),
	}
}

func all(commits []*op.Commit) iter.Seq2[*op.Commit, error] {
	return func(yield func(*op.Commit, error) bool) {
		for _, c := range commits {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func write(t testing.TB, info *run.Info, commits []*op.Commit) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Write(&b, info, op.Digest{0xd1}, all(commits)))
	return b.String()
}

// readAll reads a file to its end, or up to what is wrong with it.
func readAll(r io.Reader) (*run.Info, string, []*op.Commit, error) {
	f, err := NewReader(r)
	if err != nil {
		return nil, "", nil, err
	}
	defer f.Close()
	var list []*op.Commit
	for c, err := range f.Commits() {
		if err != nil {
			return f.Run(), f.Digest(), list, err
		}
		list = append(list, c)
	}
	return f.Run(), f.Digest(), list, nil
}

// The format as it was settled: what is written today will be read.
const golden = `{"tool":"inmem","format":1,"run":{"id":"01020300-0000-0000-0000-000000000009","name":"na<me>","namespace":{"tenant":"t","app":"a","agent":""},"tags":{"k":"v"},"status":"active","created":1000,"first_version":7,"last_version":10},"digest":"d1000000000000000000000000000000"}
{"version":7,"time":5000,"ops":[{"kind":"put","tag":"meta","key":"","value_base64":"AQEA6AcABwZuYTxtZT4BdAFhAAEBawF2"},{"kind":"put","tag":"kv","key":"old","value":"v\n\u2028","version":3}]}
{"version":8,"time":5000,"ops":[{"kind":"put","tag":"kv","key_base64":"a/8A","value_base64":"/g==","deadline":9000},{"kind":"put","tag":"event","key":"e","value":""}]}
{"version":9,"time":5001,"ops":[{"kind":"delete","tag":"kv","key":"old"}]}
{"version":10,"time":9000,"ops":[{"kind":"expire","tag":"kv","key_base64":"a/8A"}]}
{"commits":4,"sha256":"SUM"}
`

func TestFormat(t *testing.T) {
	info, commits := life()
	file := write(t, info, commits)
	body, _, _ := strings.Cut(golden, `{"commits"`)
	sum := sha256.Sum256([]byte(body))
	require.Equal(t, strings.Replace(golden, "SUM", hex.EncodeToString(sum[:]), 1), file)
	require.Equal(t, file, write(t, info, commits), "the same each time")

	for name, in := range map[string]io.Reader{
		"plain": strings.NewReader(file), "byte by byte": iotest.OneByteReader(strings.NewReader(file)),
		"compressed": bytes.NewReader(compressed(t, file)),
	} {
		gotInfo, digest, got, err := readAll(in)
		require.NoError(t, err, name)
		require.Equal(t, info, gotInfo, name)
		require.Equal(t, op.Digest{0xd1}.String(), digest, name)
		require.Equal(t, commits, got, name)
	}
}

func compressed(t testing.TB, file string) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	defer func() { require.NoError(t, z.Close()) }()
	return z.EncodeAll([]byte(file), nil)
}

// A reader may stop anywhere.
func TestLoopEndsEarly(t *testing.T) {
	info, commits := life()
	f, err := NewReader(bytes.NewReader(compressed(t, write(t, info, commits))))
	require.NoError(t, err)
	defer f.Close()
	for c, err := range f.Commits() {
		require.NoError(t, err)
		require.EqualValues(t, 7, c.Version)
		break
	}
	require.Empty(t, f.Sum())
}

// Every byte counts: whichever is changed, taken away or doubled, the file is
// refused, with the line.
func TestDamage(t *testing.T) {
	info, commits := life()
	file := write(t, info, commits)
	refused := func(what, damaged string, line int) {
		t.Helper()
		_, _, _, err := readAll(strings.NewReader(damaged))
		var newer *op.UnsupportedError
		if errors.As(err, &newer) { // by chance
			require.NotContains(t, damaged, `"format":1,`, what)
			return
		}
		var wrong *LineError
		require.ErrorAs(t, err, &wrong, "%s:\n%s", what, damaged)
		require.ErrorIs(t, err, ErrInvalid)
		require.GreaterOrEqual(t, line+1, wrong.Line, what)
	}
	lines := strings.SplitAfter(file, "\n")
	for i := range file {
		line := 1 + strings.Count(file[:i], "\n")
		last := len(lines) - 1
		for _, bit := range []byte{0x01, 0x20, 0x80} {
			b := []byte(file)
			b[i] ^= bit
			// What package json takes for the same is the same.
			if strings.EqualFold(string(b), file) && line == last {
				continue
			}
			refused(fmt.Sprintf("byte %d changed", i), string(b), last)
		}
		refused(fmt.Sprintf("cut before byte %d", i), file[:i], line)
	}
	for i := range len(lines) - 1 {
		refused(fmt.Sprintf("without line %d", i+1), strings.Join(slices.Delete(slices.Clone(lines), i, i+1), ""), len(lines))
		refused(fmt.Sprintf("line %d twice", i+1), strings.Join(slices.Insert(slices.Clone(lines), i, lines[i]), ""), len(lines))
	}
	whole := compressed(t, file)
	for i := range whole {
		_, _, _, err := readAll(bytes.NewReader(whole[:i]))
		require.ErrorIs(t, err, ErrInvalid, "compressed, cut at %d", i)
	}
}

// sealed gives lines a trailer that fits them.
func sealed(lines ...string) string {
	body := strings.Join(lines, "\n") + "\n"
	sum := sha256.Sum256([]byte(body))
	return body + fmt.Sprintf(`{"commits":%d,"sha256":"%x"}`, len(lines)-1, sum) + "\n"
}

// What has the right checksum and is no export all the same is refused too.
func TestRefused(t *testing.T) {
	const id = "01020300-0000-0000-0000-000000000009"
	header := func(change string) string {
		return `{"tool":"inmem","format":1,"run":{"id":"` + id + `","namespace":{},"status":"active","created":1,"first_version":1,"last_version":1},"digest":"00000000000000000000000000000000"` + change + `}`
	}
	commit := func(ops string) string { return `{"version":1,"time":5,"ops":[` + ops + `]}` }
	const good = `{"kind":"put","tag":"kv","key":"k","value":"v"}`
	_, _, got, err := readAll(strings.NewReader(sealed(header(""), commit(good))))
	require.NoError(t, err)
	require.Equal(t, []*op.Commit{{Run: testRun, Version: 1, Time: 5, Ops: []op.Op{{Kind: op.Put, Tag: op.KV, Key: "k", Value: []byte("v")}}}}, got)

	for name, c := range map[string]struct {
		line int
		file string
	}{
		"nothing":                {1, ""},
		"another file":           {1, "\x00\x01\x02"},
		"another object":         {1, sealed(`{}`)},
		"another tool":           {1, sealed(strings.Replace(header(""), "inmem", "other", 1), commit(good))},
		"format 0":               {1, sealed(strings.Replace(header(""), `"format":1`, `"format":0`, 1), commit(good))},
		"a field nobody knows":   {1, sealed(header(`,"more":1`), commit(good))},
		"no run":                 {1, sealed(`{"tool":"inmem","format":1,"digest":"00000000000000000000000000000000"}`)},
		"no ID":                  {1, sealed(strings.Replace(header(""), id, "", 1), commit(good))},
		"no status":              {1, sealed(strings.Replace(header(""), `"status":"active",`, "", 1), commit(good))},
		"no first version":       {1, sealed(strings.Replace(header(""), `"first_version":1`, `"first_version":0`, 1), commit(good))},
		"metadata out of bounds": {1, sealed(strings.Replace(header(""), `"namespace":{}`, `"namespace":{},"tags":{"":"x"}`, 1), commit(good))},
		"half a digest":          {1, sealed(strings.Replace(header(""), "0000000000000000", "", 1), commit(good))},
		"no commits":             {2, sealed(header(""))},
		"too many commits":       {3, sealed(header(""), commit(good), strings.Replace(commit(good), `"version":1`, `"version":2`, 1))},
		"another version":        {2, sealed(header(""), strings.Replace(commit(good), `"version":1`, `"version":2`, 1))},
		"a negative time":        {2, sealed(header(""), strings.Replace(commit(good), `"time":5`, `"time":-5`, 1))},
		"a fraction":             {2, sealed(header(""), strings.Replace(commit(good), `"time":5`, `"time":5.5`, 1))},
		"no operations":          {2, sealed(header(""), commit(""))},
		"null":                   {2, sealed(header(""), "null")},
		"two objects":            {2, sealed(header(""), commit(good)+"{}")},
		"a commit and trailer":   {2, sealed(header(""), `{"version":1,"time":5,"ops":[`+good+`],"commits":1}`)},
		"a drop":                 {2, sealed(header(""), commit(`{"kind":"drop","tag":"kv","key":"k"}`))},
		"no such tag":            {2, sealed(header(""), commit(`{"kind":"put","tag":"","key":"k","value":""}`))},
		"no key":                 {2, sealed(header(""), commit(`{"kind":"put","tag":"kv","value":""}`))},
		"an empty key":           {2, sealed(header(""), commit(`{"kind":"put","tag":"kv","key":"","value":""}`))},
		"two keys":               {2, sealed(header(""), commit(`{"kind":"put","tag":"kv","key":"k","key_base64":"aw==","value":""}`))},
		"no value":               {2, sealed(header(""), commit(`{"kind":"put","tag":"kv","key":"k"}`))},
		"no base64":              {2, sealed(header(""), commit(`{"kind":"put","tag":"kv","key":"k","value_base64":"x"}`))},
		"base64 with odd bits":   {2, sealed(header(""), commit(`{"kind":"put","tag":"kv","key":"k","value_base64":"/h=="}`))},
		"a deadline on events":   {2, sealed(header(""), commit(`{"kind":"put","tag":"event","key":"k","value":"","deadline":1}`))},
		"a negative deadline":    {2, sealed(header(""), commit(`{"kind":"put","tag":"kv","key":"k","value":"","deadline":-1}`))},
		"a version to come":      {2, sealed(header(""), commit(`{"kind":"put","tag":"kv","key":"k","value":"","version":2}`))},
		"deleted with a value":   {2, sealed(header(""), commit(`{"kind":"delete","tag":"kv","key":"k","value":""}`))},
		"metadata under a key":   {2, sealed(header(""), commit(`{"kind":"put","tag":"meta","key":"k","value":""}`))},
		"metadata deleted":       {2, sealed(header(""), commit(`{"kind":"delete","tag":"meta","key":""}`))},
		"no UTF-8":               {2, sealed(header(""), commit("{\"kind\":\"put\",\"tag\":\"kv\",\"key\":\"\xff\",\"value\":\"\"}"))},
		"more behind it":         {4, sealed(header(""), commit(good)) + "\n"},
	} {
		_, _, _, err := readAll(strings.NewReader(c.file))
		var wrong *LineError
		require.ErrorAs(t, err, &wrong, name)
		require.Equal(t, c.line, wrong.Line, "%s: %v", name, err)
		require.ErrorIs(t, err, ErrInvalid)
		require.Contains(t, err.Error(), fmt.Sprintf("line %d: ", c.line), name)
	}

	_, _, _, err = readAll(strings.NewReader(sealed(strings.Replace(header(`,"more":1`), `"format":1`, `"format":2`, 1))))
	var newer *op.UnsupportedError
	require.ErrorAs(t, err, &newer)
	require.EqualValues(t, 2, newer.Version)
	require.NotErrorIs(t, err, ErrInvalid)
}

// Lines are bounded, and what is not of the file is said as it is.
func TestReadFails(t *testing.T) {
	info, commits := life()
	file := write(t, info, commits)
	f, err := NewReader(strings.NewReader(file))
	require.NoError(t, err)
	f.max = 100
	for _, err := range f.Commits() {
		require.ErrorContains(t, err, "longer than 100 bytes")
		require.ErrorIs(t, err, ErrInvalid)
	}
	broken := errors.New("the disk is gone")
	for _, content := range []string{file, string(compressed(t, file))} {
		for i := range content {
			_, _, _, err := readAll(io.MultiReader(strings.NewReader(content[:i]), iotest.ErrReader(broken)))
			require.ErrorIs(t, err, broken, "behind %d bytes", i)
			require.NotErrorIs(t, err, ErrInvalid)
		}
	}
}

// What cannot be written whole is an error.
func TestWriteFails(t *testing.T) {
	info, commits := life()
	for name, list := range map[string][]*op.Commit{
		"none": nil, "cut short": commits[:3], "without its beginning": commits[1:], "with a gap": {commits[0], commits[2]},
	} {
		require.Error(t, Write(io.Discard, info, op.Digest{}, all(list)), name)
	}
	broken := errors.New("no more")
	err := Write(io.Discard, info, op.Digest{}, func(yield func(*op.Commit, error) bool) { yield(nil, broken) })
	require.ErrorIs(t, err, broken)
	size := len(write(t, info, commits))
	for limit := range size {
		require.ErrorIs(t, Write(&full{left: limit}, info, op.Digest{0xd1}, all(commits)), io.ErrShortWrite)
	}
	require.NoError(t, Write(&full{left: size}, info, op.Digest{0xd1}, all(commits)))
}

// full is a disk with so much space.
type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	n := min(len(b), f.left)
	if f.left -= n; n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// FuzzReader: nothing makes it panic, and what it accepts can be written and
// reads the same.
func FuzzReader(f *testing.F) {
	info, commits := life()
	file := write(f, info, commits)
	f.Add([]byte(file))
	f.Add(compressed(f, file))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := newReader(bytes.NewReader(file), 1<<20)
		if err != nil {
			return
		}
		defer r.Close()
		var list []*op.Commit
		for c, err := range r.Commits() {
			if err != nil {
				return
			}
			list = append(list, c)
		}
		digest, err := hex.DecodeString(r.Digest())
		require.NoError(t, err)
		var b bytes.Buffer
		require.NoError(t, Write(&b, r.Run(), op.Digest(digest), all(list)))
		info, _, again, err := readAll(&b)
		require.NoError(t, err)
		require.Equal(t, r.Run(), info)
		require.Equal(t, list, again)
		for _, c := range list {
			_, err := op.DecodeCommit(op.AppendCommit(nil, c))
			require.NoError(t, err)
		}
	})
}

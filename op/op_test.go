package op

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	names := map[string]string{}
	for i := range 256 {
		for _, v := range []fmt.Stringer{Tag(i), Kind(i), Durability(i)} {
			names[fmt.Sprintf("%T %d", v, i)] = v.String()
		}
		if i > 6 {
			assert.Equal(t, fmt.Sprintf("tag(%d)", i), Tag(i).String())
		}
	}
	for v, want := range map[string]string{
		"op.Tag 0": "tag(0)", "op.Tag 1": "kv", "op.Tag 2": "event", "op.Tag 3": "state",
		"op.Tag 4": "trace", "op.Tag 5": "meta", "op.Tag 6": "vector", "op.Tag 255": "tag(255)",
		"op.Kind 0": "kind(0)", "op.Kind 1": "put", "op.Kind 2": "delete", "op.Kind 3": "expire",
		"op.Kind 4": "drop", "op.Kind 5": "kind(5)",
		"op.Durability 0": "default", "op.Durability 1": "strict", "op.Durability 2": "batched",
		"op.Durability 3": "async", "op.Durability 4": "durability(4)",
	} {
		assert.Equal(t, want, names[v], v)
	}
}

func TestValid(t *testing.T) {
	var tags, kinds, perishable []int
	for i := range 256 {
		if Tag(i).Valid() {
			tags = append(tags, i)
			if Tag(i).Perishable() {
				perishable = append(perishable, i)
			}
		}
		if Kind(i).Valid() {
			kinds = append(kinds, i)
		}
	}
	assert.Equal(t, []int{1, 2, 3, 4, 5, 6}, tags)
	assert.Equal(t, []int{1, 2, 3, 4}, kinds)
	assert.Equal(t, []int{int(KV), int(StateMachine), int(Vector)}, perishable)
}

func TestExpired(t *testing.T) {
	assert.False(t, Item{}.Expired(1<<62), "no deadline")
	i := Item{Deadline: 100}
	assert.False(t, i.Expired(99))
	assert.True(t, i.Expired(100), "a value lives until its deadline, not at it")
	assert.True(t, i.Expired(101))
}

func TestDeadlineNeverOverflows(t *testing.T) {
	for _, c := range []struct {
		now  int64
		in   time.Duration
		want int64
	}{
		{1000, 1, 1001},
		{1000, time.Millisecond, 1001},
		{1000, time.Millisecond + 1, 1002},
		{1000, math.MaxInt64, 1000 + math.MaxInt64/1_000_000},
		{1000, math.MaxInt64 - 500_000, 1000 + math.MaxInt64/1_000_000},
		{1000, math.MaxInt64 - 1_000_000, 1000 + math.MaxInt64/1_000_000},
		{math.MaxInt64 - 1, time.Hour, math.MaxInt64},
		{math.MaxInt64, 1, math.MaxInt64},
	} {
		assert.Equal(t, c.want, Deadline(c.now, c.in), "%d + %v", c.now, c.in)
	}
}

func TestStronger(t *testing.T) {
	for _, c := range []struct{ a, b, want Durability }{
		{Default, Default, Default}, {Default, Async, Async}, {Async, Default, Async},
		{Async, Batched, Batched}, {Batched, Strict, Strict}, {Strict, Async, Strict},
	} {
		assert.Equal(t, c.want, Stronger(c.a, c.b), "%v, %v", c.a, c.b)
	}
}

func TestChoose(t *testing.T) {
	for _, d := range []Durability{Default, Strict, Batched, Async} {
		for _, next := range []Durability{Strict, Batched, Async} {
			got, err := d.Choose(next)
			require.NoError(t, err)
			require.Equal(t, next, got)
		}
		got, err := d.Choose(Default)
		require.NoError(t, err)
		require.Equal(t, d, got)
		_, err = d.Choose(Async + 1)
		require.ErrorIs(t, err, ErrInvalidOption)
	}
}

func TestExpect(t *testing.T) {
	_, ok := Expect{}.Get()
	assert.False(t, ok, "the zero value demands nothing")
	for _, want := range []uint64{0, 1, 1 << 63} {
		v, ok := AtVersion(want).Get()
		assert.True(t, ok)
		assert.Equal(t, want, v)
	}
	assert.NotEqual(t, Expect{}, AtVersion(0), "absence is a demand")
}

func TestTags(t *testing.T) {
	var valid []Tag
	for tag := range Tag(255) {
		if tag.Valid() {
			valid = append(valid, tag)
		}
	}
	assert.Equal(t, valid, Tags())
}

func TestMapKey(t *testing.T) {
	assert.Equal(t, "\x01plan", MapKey(KV, "plan"))
	assert.Equal(t, "\x06", MapKey(Vector, ""))
	assert.Equal(t, "\xc8\xff", MapKey(Tag(200), "\xff"), "a tag is a byte, not a rune")
	key := strings.Repeat("k", 100)
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { _ = MapKey(KV, key) }), 1.0)
	rapid.Check(t, func(t *rapid.T) {
		a, b := genOp().Draw(t, "a"), genOp().Draw(t, "b")
		want := strings.Compare(a.Key, b.Key)
		if a.Tag != b.Tag {
			want = int(a.Tag) - int(b.Tag)
		}
		require.Equal(t, want < 0, MapKey(a.Tag, a.Key) < MapKey(b.Tag, b.Key), "one tag's keys lie together, in order")
	})
}

func TestPrefix(t *testing.T) {
	for p, to := range map[string]string{
		"":             "",
		"a":            "b",
		"a/":           "a0",
		"a\xff":        "b",
		"a\xff\xff":    "b",
		"a\xffb":       "a\xffc",
		"\xfe":         "\xff",
		"\xfe\xff":     "\xff",
		"\xff":         "",
		"\xff\xff":     "",
		"\xff\x00\xff": "\xff\x01",
		"\x00":         "\x01",
		"\x7f":         "\x80", // no rune, a byte
	} {
		assert.Equal(t, Range{From: p, To: to}, Prefix(p), "%q", p)
	}
}

func TestPrefixHoldsExactlyTheKeysWithIt(t *testing.T) {
	// Few and extreme bytes, so that prefixes are met and missed by little.
	text := rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xfe, 0xff}), 0, 4).Draw(t, "bytes"))
	})
	rapid.Check(t, func(t *rapid.T) {
		p, key := text.Draw(t, "prefix"), text.Draw(t, "key")
		r := Prefix(p)
		in := key >= r.From && (r.To == "" || key < r.To)
		require.Equal(t, strings.HasPrefix(key, p), in, "%q in %q", key, r)
	})
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		is   error
		says string
	}{
		{
			&SizeError{Err: ErrKeyTooLarge, Size: 70_000, Max: 65_536}, ErrKeyTooLarge,
			"inmem: key too large: 70000 bytes, the limit is 65536",
		},
		{
			&SizeError{Err: ErrValueTooLarge, Size: 2, Max: 1}, ErrValueTooLarge,
			"inmem: value too large: 2 bytes, the limit is 1",
		},
		{
			&SizeError{Err: ErrBatchTooLarge, Size: 2, Max: 1}, ErrBatchTooLarge,
			"inmem: commit too large; split it: 2 bytes, the limit is 1",
		},
		{
			&ShardCountError{Stored: 4, Wanted: 8}, ErrShardCount,
			"inmem: the store has another number of shards: it was created with 4, not 8; leave Options.Shards 0",
		},
		{
			&VersionError{Key: "a\x00b", Expected: 3, Actual: 0}, ErrWrongVersion,
			`inmem: key is not at the expected version: key "a\x00b": expected 3, is 0 (0 = absent)`,
		},
		{
			&CorruptError{File: "0/log", Offset: 64, Reason: "checksum"}, ErrCorrupt,
			"inmem: stored data is damaged: 0/log at offset 64: checksum",
		},
		{
			&UnsupportedError{File: "MANIFEST", Version: 2, Known: 1}, ErrUnsupported,
			"inmem: stored format is newer than this program: MANIFEST has format 2, this program reads up to 1: use a newer inmem",
		},
		{
			&ConflictError{Tag: Event, Key: "a\x00b", Seen: 3, Now: 0}, ErrConflict,
			`inmem: what the transaction read was changed; try it again: event key "a\x00b" was at version 3 and is at 0`,
		},
		{
			&VersionGoneError{Version: 9, First: 2, Last: 5}, ErrVersionGone,
			"inmem: no such version of the run: 9 was asked for, there are 2 … 5",
		},
	} {
		assert.EqualError(t, c.err, c.says)
		wrapped := fmt.Errorf("opening: %w", c.err)
		for _, sentinel := range sentinels() {
			assert.Equal(t, sentinel == c.is, errors.Is(wrapped, sentinel), "%v is %v", c.err, sentinel)
		}
	}
}

func TestErrorsAs(t *testing.T) {
	var size *SizeError
	require.ErrorAs(t, fmt.Errorf("put: %w", &SizeError{ErrKeyTooLarge, 2, 1}), &size)
	assert.Equal(t, 2, size.Size)
	var version *VersionError
	require.ErrorAs(t, fmt.Errorf("put: %w", &VersionError{"k", 1, 2}), &version)
	assert.EqualValues(t, 2, version.Actual)
	var shards *ShardCountError
	require.ErrorAs(t, fmt.Errorf("open: %w", &ShardCountError{4, 8}), &shards)
	assert.Equal(t, 4, shards.Stored)
	var corrupt *CorruptError
	require.ErrorAs(t, fmt.Errorf("open: %w", &CorruptError{"f", 9, "r"}), &corrupt)
	assert.Equal(t, "f", corrupt.File)
	var unsupported *UnsupportedError
	require.ErrorAs(t, fmt.Errorf("open: %w", &UnsupportedError{"f", 2, 1}), &unsupported)
	assert.EqualValues(t, 2, unsupported.Version)
}

func sentinels() []error {
	return []error{
		ErrNotFound, ErrClosed, ErrPoisoned, ErrDiskFull, ErrWrongVersion, ErrKeyEmpty, ErrKeyTooLarge,
		ErrValueTooLarge, ErrBatchTooLarge, ErrInvalidTTL, ErrInvalidOption, ErrCorrupt, ErrUnsupported,
		ErrNotDirectory, ErrShardCount, ErrNoStore, ErrNotEmpty, ErrReadOnly,
		ErrConflict, ErrMemoryLimit, ErrTxDone, ErrTxExpired, ErrInvalidCursor, ErrVersionGone,
	}
}

func TestSentinelsSayWhoseTheyAre(t *testing.T) {
	var texts []string
	for _, err := range sentinels() {
		assert.True(t, strings.HasPrefix(err.Error(), "inmem: "), err)
		texts = append(texts, err.Error())
	}
	slices.Sort(texts)
	assert.Len(t, slices.Compact(texts), len(sentinels()), "no two read the same")
}

package op

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"inmem/run"
)

var goldenRun = run.ID{0x01, 0x90, 0xa5, 0xd0, 0xac, 0x96, 0x77, 0x4b, 0xbc, 0xce, 0xb3, 0x02, 0x09, 0x9a, 0x80, 0x57}

// goldens pins the format: bytes in a log of any age must mean the same.
var goldens = map[string]struct {
	commit Commit
	hex    string
}{
	"put, delete, expire": {
		Commit{
			Run: goldenRun, Version: 300, Time: 1_700_000_000_000,
			Ops: []Op{
				{Kind: Put, Tag: KV, Key: "plan", Value: []byte("go"), Deadline: 1_700_000_060_000},
				{Kind: Put, Tag: Event, Key: "", Value: []byte{}},
				{Kind: Put, Tag: StateMachine, Key: "s", Value: []byte{0}},
				{Kind: Delete, Tag: Vector, Key: "\xff\x00"},
				{Kind: Expire, Tag: KV, Key: "old"},
			},
		},
		"0190a5d0ac96774bbcceb302099a8057" + "ac02" + "80d095ffbc31" + "05" +
			"0101" + "04706c616e" + "02676f" + "e0a499ffbc31" +
			"0102" + "00" + "00" + "00" +
			"0103" + "0173" + "0100" + "00" +
			"0206" + "02ff00" +
			"0301" + "036f6c64",
	},
	"drop": {
		Commit{Run: goldenRun, Version: 1, Time: 0, Ops: []Op{{Kind: Drop}}},
		"0190a5d0ac96774bbcceb302099a8057" + "01" + "00" + "01" + "04",
	},
}

func TestCommitGolden(t *testing.T) {
	for name, g := range goldens {
		t.Run(name, func(t *testing.T) {
			b := AppendCommit(nil, &g.commit)
			assert.Equal(t, g.hex, hex.EncodeToString(b))
			assert.Equal(t, append([]byte("before"), b...), AppendCommit([]byte("before"), &g.commit))
			got, err := DecodeCommit(b)
			require.NoError(t, err)
			assert.Equal(t, g.commit, got)
		})
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for _, g := range goldens {
		b := AppendCommit(nil, &g.commit)
		for n := range b {
			_, err := DecodeCommit(b[:n])
			assert.ErrorIsf(t, err, errMalformed, "the first %d bytes", n)
		}
	}
}

// payload puts a commit together from its parts, as no encoder would.
func payload(version, time, count []byte, ops ...[]byte) []byte {
	return slices.Concat(append([][]byte{goldenRun[:], version, time, count}, ops...)...)
}

func TestDecodeRefuses(t *testing.T) {
	one, big := []byte{1}, binary.AppendUvarint(nil, math.MaxUint64)
	past := binary.AppendUvarint(nil, math.MaxInt64+1)
	overflow := bytes.Repeat([]byte{0xff}, 10)
	put := []byte{1, 1, 1, 'k', 1, 'v', 0}
	del := []byte{2, 1, 1, 'k'}
	for name, c := range map[string]struct {
		b    []byte
		says string
	}{
		"nothing":                       {nil, "longer than what is left"},
		"zero run":                      {slices.Concat(make([]byte, 16), one, one, one, put), "run or version"},
		"zero version":                  {payload([]byte{0}, one, one, put), "run or version"},
		"no operation":                  {payload(one, one, []byte{0}), "count"},
		"no operation, but bytes":       {payload(one, one, []byte{0}, put), "count"},
		"count of 2^64-1":               {payload(one, one, big, put), "count"},
		"count one too high":            {payload(one, one, []byte{3}, del, del), "count"},
		"count too high, room for it":   {payload(one, one, []byte{3}, put, put), "longer than what is left"},
		"count too low":                 {payload(one, one, one, put, put), "after the last"},
		"trailing byte":                 {payload(one, one, one, put, []byte{0}), "after the last"},
		"trailing byte after drop":      {payload(one, one, one, []byte{4, 0}), "after the last"},
		"drop not alone, last":          {payload(one, one, []byte{2}, put, []byte{4}), "drop"},
		"drop not alone, first":         {payload(one, one, []byte{2}, []byte{4}, put), "drop"},
		"time after the end of time":    {payload(one, past, one, put), "number is out of range"},
		"version not shortest":          {payload([]byte{0x81, 0}, one, one, put), "shortest"},
		"version 0 not shortest":        {payload([]byte{0x80, 0}, one, one, put), "shortest"},
		"version overflows":             {payload(overflow, one, one, put), "shortest"},
		"time not shortest":             {payload(one, []byte{0x81, 0}, one, put), "shortest"},
		"count not shortest":            {payload(one, one, []byte{0x81, 0}, put), "shortest"},
		"kind 0":                        {payload(one, one, one, []byte{0, 1, 1, 'k', 1, 'v', 0}), "kind(0)"},
		"kind 6":                        {payload(one, one, one, []byte{6, 1, 1, 'k', 1, 'v', 0}), "kind(6)"},
		"put of no version":             {payload(one, one, one, []byte{5, 1, 1, 'k', 1, 'v', 0}), "a number is not a shortest uvarint"},
		"put of version 0":              {payload(one, one, one, []byte{5, 1, 1, 'k', 1, 'v', 0, 0}), "the version of a put"},
		"put of a later version":        {payload(one, one, one, []byte{5, 1, 1, 'k', 1, 'v', 0, 2}), "the version of a put"},
		"tag 0":                         {payload(one, one, one, []byte{1, 0, 1, 'k', 1, 'v', 0}), "tag(0)"},
		"tag 7":                         {payload(one, one, one, []byte{2, 7, 1, 'k'}), "tag(7)"},
		"no tag":                        {payload(one, one, one, []byte{2}), "longer than what is left"},
		"key length of 2^64-1":          {payload(one, one, one, []byte{2, 1}, big, []byte("k")), "longer than what is left"},
		"key length one too high":       {payload(one, one, one, []byte{2, 1, 2, 'k'}), "longer than what is left"},
		"key length not shortest":       {payload(one, one, one, []byte{2, 1, 0x81, 0, 'k'}), "shortest"},
		"value length of 2^64-1":        {payload(one, one, one, []byte{1, 1, 1, 'k'}, big, []byte{'v', 0}), "longer than what is left"},
		"value length not shortest":     {payload(one, one, one, []byte{1, 1, 1, 'k', 0x81, 0, 'v', 0}), "shortest"},
		"no deadline":                   {payload(one, one, one, put[:6]), "shortest"},
		"deadline not shortest":         {payload(one, one, one, put[:6], []byte{0x80, 0}), "shortest"},
		"deadline after the end":        {payload(one, one, one, put[:6], past), "number is out of range"},
		"deadline on an event":          {payload(one, one, one, []byte{1, 2, 1, 'k', 1, 'v', 1}), "deadline on event"},
		"deadline on a trace":           {payload(one, one, one, []byte{1, 4, 1, 'k', 1, 'v', 1}), "deadline on trace"},
		"deadline on the run's record":  {payload(one, one, one, []byte{1, 5, 1, 'k', 1, 'v', 1}), "deadline on meta"},
		"a good one, then one unfinish": {payload(one, one, []byte{2}, put, del[:3]), "longer than what is left"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeCommit(c.b)
			require.ErrorIs(t, err, errMalformed)
			assert.ErrorContains(t, err, c.says)
		})
	}
	_, err := DecodeCommit(payload(one, one, one, put))
	assert.NoError(t, err, "the case that the others spoil")
	_, err = DecodeCommit(payload(one, one, []byte{2}, del, del))
	assert.NoError(t, err, "the case that the others spoil")
}

// allocated is the number of bytes that fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestDecodeAllocatesWithinTheInput(t *testing.T) {
	const size = 1 << 20
	one := []byte{1}
	smallest := bytes.Repeat([]byte{2, 1, 0}, size/3)
	for name, b := range map[string][]byte{
		"huge count":     payload(one, one, binary.AppendUvarint(nil, math.MaxUint64), smallest),
		"possible count": payload(one, one, binary.AppendUvarint(nil, size/3), make([]byte, size)),
		"huge key":       payload(one, one, one, []byte{2, 1}, binary.AppendUvarint(nil, math.MaxInt64), smallest),
		"huge value":     payload(one, one, one, []byte{1, 1, 0}, binary.AppendUvarint(nil, math.MaxInt64), smallest),
		"many small":     payload(one, one, binary.AppendUvarint(nil, size/3), smallest),
		"one large":      payload(one, one, one, []byte{1, 1, 0}, binary.AppendUvarint(nil, size-10), make([]byte, size-9)),
		"many short puts": payload(one, one, binary.AppendUvarint(nil, size/6),
			bytes.Repeat([]byte{1, 1, 1, 'k', 0, 0}, size/6)),
	} {
		t.Run(name, func(t *testing.T) {
			n := allocated(func() { _, _ = DecodeCommit(b) })
			assert.LessOrEqual(t, n, uint64(22*len(b)+64<<10), "from %d bytes", len(b))
		})
	}
}

func TestDecodedDoesNotAliasTheInput(t *testing.T) {
	for _, g := range goldens {
		b := AppendCommit(nil, &g.commit)
		got, err := DecodeCommit(b)
		require.NoError(t, err)
		for i := range b {
			b[i] ^= 0xff
		}
		assert.Equal(t, g.commit, got)
	}
}

func TestDecodeUsesTheOperationsAgain(t *testing.T) {
	g := goldens["put, delete, expire"].commit
	b := AppendCommit(nil, &g)
	var c Commit
	require.NoError(t, c.Decode(b))
	first, value := &c.Ops[0], c.Ops[0].Value
	require.NoError(t, c.Decode(b))
	assert.Same(t, first, &c.Ops[0])
	assert.Equal(t, g, c, "nothing of the commit before is left")
	c.Ops[0].Value[0] ^= 0xff
	assert.Equal(t, []byte("go"), value, "the values are not used again")

	drop := goldens["drop"].commit
	require.NoError(t, c.Decode(AppendCommit(nil, &drop)))
	assert.Equal(t, drop, c)
	require.Error(t, c.Decode(b[:20]))
	assert.Empty(t, c.Ops)
}

func genOp() *rapid.Generator[Op] {
	return rapid.Custom(func(t *rapid.T) Op {
		o := Op{
			Kind: rapid.SampledFrom([]Kind{Put, Delete, Expire}).Draw(t, "kind"),
			Tag:  Tag(rapid.Uint8Range(uint8(KV), uint8(Vector)).Draw(t, "tag")),
			Key:  string(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "key")),
		}
		if o.Kind == Put {
			o.Value = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
			if o.Tag.Perishable() {
				o.Deadline = rapid.Int64Range(0, math.MaxInt64).Draw(t, "deadline")
			}
		}
		return o
	})
}

func genCommit() *rapid.Generator[Commit] {
	return rapid.Custom(func(t *rapid.T) Commit {
		c := Commit{
			Version: rapid.Uint64Range(1, math.MaxUint64).Draw(t, "version"),
			Time:    rapid.Int64Range(0, math.MaxInt64).Draw(t, "time"),
		}
		copy(c.Run[:], rapid.SliceOfN(rapid.ByteRange(1, 255), 16, 16).Draw(t, "run"))
		if rapid.IntRange(0, 9).Draw(t, "drop") == 0 {
			c.Ops = []Op{{Kind: Drop}}
		} else {
			c.Ops = rapid.SliceOfN(genOp(), 1, 20).Draw(t, "ops")
		}
		for i := range c.Ops {
			if c.Ops[i].Kind == Put && rapid.Bool().Draw(t, "as of a version") {
				c.Ops[i].Version = rapid.Uint64Range(1, c.Version).Draw(t, "version of a put")
			}
		}
		return c
	})
}

func TestCommitRoundTrip(t *testing.T) {
	var reused Commit
	rapid.Check(t, func(t *rapid.T) {
		c := genCommit().Draw(t, "commit")
		b := AppendCommit(nil, &c)
		require.LessOrEqual(t, len(b), c.Size(), "Size is an upper bound")
		got, err := DecodeCommit(b)
		require.NoError(t, err)
		require.Equal(t, c, got)
		require.NoError(t, reused.Decode(b))
		require.Equal(t, c, reused)
	})
}

func TestSizeIsAnUpperBoundOfTheLargest(t *testing.T) {
	c := Commit{
		Run: goldenRun, Version: math.MaxUint64, Time: math.MaxInt64,
		Ops: []Op{{Kind: Put, Tag: KV, Key: strings.Repeat("k", 1<<14), Value: make([]byte, 1<<21), Deadline: math.MaxInt64}},
	}
	c.Ops = slices.Repeat(c.Ops, 3)
	n := len(AppendCommit(nil, &c))
	assert.LessOrEqual(t, n, c.Size())
	assert.Less(t, c.Size()-n, 200, "and not far off")
	one := len(AppendCommit(nil, &Commit{Run: goldenRun, Version: 1, Ops: c.Ops[:1]})) - len(goldenRun) - 3
	assert.LessOrEqual(t, one, OpSize(1<<14, 1<<21))
}

func FuzzDecodeCommit(f *testing.F) {
	for _, g := range goldens {
		f.Add(AppendCommit(nil, &g.commit))
	}
	one := []byte{1}
	f.Add([]byte{})
	f.Add(payload(one, one, []byte{2}, []byte{4}, []byte{4}))
	f.Add(payload(one, one, binary.AppendUvarint(nil, math.MaxUint64), []byte{4}))
	f.Add(payload(one, one, one, []byte{2, 1}, binary.AppendUvarint(nil, math.MaxUint64)))
	f.Fuzz(func(t *testing.T, b []byte) {
		original := bytes.Clone(b)
		c, err := DecodeCommit(b)
		require.Equal(t, original, b, "the input is not written to")
		if err != nil {
			require.ErrorIs(t, err, errMalformed)
			return
		}
		require.NotEmpty(t, c.Ops)
		require.False(t, c.Run.IsZero() || c.Version == 0 || c.Time < 0)
		clear(b) // from here on an alias shows
		require.Equal(t, original, AppendCommit(nil, &c))
		require.LessOrEqual(t, len(original), c.Size())
	})
}

package run

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var testID = ID{0: 0xaa, 15: 1}

// fullInfo has every field set.
func fullInfo() *Info {
	return &Info{
		Meta: Meta{
			ID: testID, Name: "n", Namespace: Namespace{"t", "a", "g"}, Parent: ID{15: 9},
			Tags: map[string]string{"b": "2", "a": "1"},
		},
		Status: Failed, Space: true, Created: 300, Ended: 2, FirstVersion: 3,
	}
}

func TestRecordLayout(t *testing.T) {
	want := "\x01" + "\x04" + "\x03" +
		strings.Repeat("\x00", 15) + "\x09" +
		"\xac\x02" + "\x02" + "\x03" +
		"\x01n" + "\x01t" + "\x01a" + "\x01g" +
		"\x02" + "\x01a\x011" + "\x01b\x012"
	assert.Equal(t, []byte("before"+want), fullInfo().AppendRecord([]byte("before")))

	smallest := &Info{Status: Active}
	assert.Equal(t, []byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, smallest.AppendRecord(nil))
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genInfo().Draw(t, "info")
		b := want.AppendRecord(nil)
		got, err := DecodeRecord(want.ID, b)
		require.NoError(t, err)
		want.LastVersion = 0
		require.Equal(t, want, got)
	})
}

func TestRecordAtTheLimits(t *testing.T) {
	long := strings.Repeat("x", MaxNamespacePart)
	want := &Info{
		Meta:   Meta{ID: testID, Name: strings.Repeat("n", MaxName), Namespace: Namespace{long, long, long}, Tags: map[string]string{}},
		Status: Archived, Created: math.MaxInt64, Ended: math.MaxInt64, FirstVersion: math.MaxUint64,
	}
	for c := range MaxTags {
		want.Tags[strings.Repeat(string(rune('0'+c)), MaxTagKey)] = strings.Repeat("v", MaxTagValue)
	}
	require.NoError(t, want.Validate())
	got, err := DecodeRecord(testID, want.AppendRecord(nil))
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

// What was decoded does not change with the bytes it came from.
func TestDecodedRecordOwnsItsBytes(t *testing.T) {
	b := fullInfo().AppendRecord(nil)
	got, err := DecodeRecord(testID, b)
	require.NoError(t, err)
	clear(b)
	assert.Equal(t, fullInfo(), got)
}

func TestDecodeRefusesEveryPrefix(t *testing.T) {
	b := fullInfo().AppendRecord(nil)
	for n := range b {
		_, err := DecodeRecord(testID, b[:n])
		assert.ErrorIs(t, err, ErrInvalidRecord, "%d bytes", n)
	}
}

func TestDecodeRefuses(t *testing.T) {
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	head := []byte{1, byte(Active), 0, 0, 0, 0} // up to the name
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	for name, c := range map[string]struct {
		record []byte
		says   string
	}{
		"status 0":              {[]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "status(0)"},
		"unknown status":        {[]byte{1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "status(7)"},
		"unknown flags":         {[]byte{1, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0}, "unknown flags"},
		"zero parent":           {join([]byte{1, 1, flagParent}, make([]byte, 16+8)), "parent is zero"},
		"negative time":         {join([]byte{1, 1, 0}, huge, make([]byte, 7)), "number is out of range"},
		"a longer zero":         {[]byte{1, 1, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0}, "shortest uvarint"},
		"a number too large":    {join([]byte{1, 1, 0}, bytes.Repeat([]byte{0xff}, 10), make([]byte, 8)), "shortest uvarint"},
		"text beyond the end":   {join(head, huge), "longer than what is left"},
		"more tags than ever":   {join(head, make([]byte, 4), huge), "too many tags"},
		"more tags than bytes":  {join(head, make([]byte, 4), []byte{MaxTags}), "shortest uvarint"},
		"tags out of order":     {join(head, make([]byte, 4), []byte("\x02\x01b\x00\x01a\x00")), "do not ascend"},
		"a tag twice":           {join(head, make([]byte, 4), []byte("\x02\x01a\x00\x01a\x00")), "do not ascend"},
		"a tag without key":     {join(head, make([]byte, 4), []byte("\x01\x00\x00")), "do not ascend"},
		"trailing bytes":        {join(head, make([]byte, 5), []byte{0}), "after the last tag"},
		"name not UTF-8":        {join(head, []byte("\x01\xff\x00\x00\x00\x00")), "UTF-8"},
		"slash in the tenant":   {join(head, []byte("\x00\x01/\x00\x00\x00")), "contains '/'"},
		"its own parent":        {join([]byte{1, 1, flagParent}, testID[:], make([]byte, 8)), "own parent"},
		"tag value beyond size": {join(head, make([]byte, 4), []byte("\x01\x01a\x81\x20"), make([]byte, 0x1001)), "the limit is 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			i, err := DecodeRecord(testID, c.record)
			assert.Nil(t, i)
			assert.ErrorIs(t, err, ErrInvalidRecord)
			assert.ErrorContains(t, err, c.says)
		})
	}

	_, err := DecodeRecord(testID, []byte{2, 1, 0})
	assert.ErrorIs(t, err, ErrUnsupportedRecord)
	assert.NotErrorIs(t, err, ErrInvalidRecord)
	_, err = DecodeRecord(ID{}, fullInfo().AppendRecord(nil))
	assert.ErrorIs(t, err, ErrInvalidID)
}

// Equal infos give equal bytes, whatever order their tags were set in.
func TestRecordIgnoresTagOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := genInfo().Draw(t, "info")
		want := i.AppendRecord(nil)
		keys := rapid.Permutation(slices.Sorted(maps.Keys(i.Tags))).Draw(t, "order")
		again := i.Clone()
		again.Tags = make(map[string]string)
		for _, k := range keys {
			again.Tags[k] = i.Tags[k]
		}
		require.Equal(t, want, again.AppendRecord(nil))
	})
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(fullInfo().AppendRecord(nil))
	f.Add((&Info{Status: Active}).AppendRecord(nil))
	f.Add((&Info{Meta: Meta{Name: "é", Parent: testID}, Status: Paused, Created: math.MaxInt64}).AppendRecord(nil))
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Add([]byte{1, 1, 0, 0x80, 0})
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x01b\x00\x01a\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := DecodeRecord(ID{15: 1}, b)
		if err != nil {
			require.Nil(t, i)
			return
		}
		require.NoError(t, i.Validate())
		require.True(t, i.Status.Valid())
		require.Equal(t, b, i.AppendRecord(nil))
	})
}

package step

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var golden = Record{
	Status: Failed, Kind: Await, Name: "approve", Fingerprint: [16]byte{1, 15: 2}, Span: 300, Attempts: 2, At: 1000,
	Result: []byte("no"),
}

const goldenBytes = "\x01\x03\x04" + "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\xac\x02\x02\xe8\x07" + "\x07approve" + "\x02no"

// Stored data depends on it: it never changes.
func TestRecordGolden(t *testing.T) {
	require.Equal(t, goldenBytes, string(golden.encode()))
	r, err := decode([]byte(goldenBytes))
	require.NoError(t, err)
	require.Equal(t, golden, r)
}

func TestRecordsOfOthers(t *testing.T) {
	change := func(at int, to byte) []byte {
		b := []byte(goldenBytes)
		b[at] = to
		return b
	}
	_, err := decode(change(0, 2))
	require.ErrorIs(t, err, ErrUnsupportedRecord)
	for name, b := range map[string][]byte{
		"nothing": {}, "status 0": change(1, 0), "status 4": change(1, 4), "kind 0": change(2, 0), "kind 7": change(2, 7),
		"a byte too many": append([]byte(goldenBytes), 0), "a byte too few": []byte(goldenBytes[:len(goldenBytes)-1]),
	} {
		_, err := decode(b)
		require.ErrorIs(t, err, ErrInvalidRecord, name)
	}
}

func TestPath(t *testing.T) {
	p := Path("").Child(3).Child(1 << 30)
	require.Equal(t, "3.1073741824", p.String())
	require.Empty(t, Path("").String())
	require.Equal(t, Path("").Child(3), p.Parent())
	require.Empty(t, p.Parent().Parent().Parent())
	require.Less(t, Path("").Child(9), Path("").Child(256), "in the order in which steps begin")
	require.Less(t, Path("").Child(1), Path("").Child(1).Child(1))
}

func TestNames(t *testing.T) {
	for k, name := range map[Kind]string{Call: "step", Value: "value", Sleep: "sleep", Await: "await", Child: "child", Join: "join", 0: "kind(0)", 9: "kind(9)"} {
		require.Equal(t, name, k.String())
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(goldenBytes))
	f.Add([]byte{1, 1, 1})
	f.Add(append((&Record{Status: Open, Kind: Call, At: math.MaxInt64}).encode(), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err == nil {
			require.True(t, bytes.Equal(b, r.encode()))
		}
	})
}

package run

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// CheckRecord says of every record what DecodeRecord does.
func TestCheckRecord(t *testing.T) {
	whole := fullInfo().AppendRecord(nil)
	same := func(b []byte) {
		before := bytes.Clone(b)
		i, want := DecodeRecord(testID, b)
		got := CheckRecord(testID, b)
		require.Equal(t, before, b)
		if want == nil {
			require.NoError(t, got)
			require.Equal(t, i.Status, RecordStatus(b))
			return
		}
		require.EqualError(t, got, want.Error())
	}
	for n := range whole {
		same(whole[:n])
		for _, x := range []byte{1, 0x80, 0xff} {
			changed := bytes.Clone(whole)
			changed[n] ^= x
			same(changed)
		}
	}
	same(whole)
	require.ErrorIs(t, CheckRecord(ID{}, whole), ErrInvalidID)

	info := fullInfo()
	info.Tags = nil
	plain := info.AppendRecord(nil)
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = CheckRecord(testID, plain) }))
}

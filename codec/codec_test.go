package codec_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJSON(t *testing.T) {
	type plan struct {
		Step int `json:"s"`
	}
	c := codec.JSON[plan]()
	b, err := c.Encode(plan{7})
	require.NoError(t, err)
	require.JSONEq(t, `{"s": 7}`, string(b))
	v, err := c.Decode(b)
	require.NoError(t, err)
	require.Equal(t, plan{7}, v)
	_, err = c.Decode([]byte("{"))
	require.Error(t, err)
	_, err = codec.JSON[chan int]().Encode(make(chan int))
	require.Error(t, err)
}

type decimal struct{}

func (decimal) Encode(n int) ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }
func (decimal) Decode(b []byte) (int, error) { return strconv.Atoi(string(b)) }

func TestChoose(t *testing.T) {
	require.Equal(t, codec.JSON[int](), codec.Choose[int](nil))
	require.Equal(t, codec.JSON[int](), codec.Choose([]codec.Codec[int]{nil}))
	require.Equal(t, decimal{}, codec.Choose([]codec.Codec[int]{codec.JSON[int](), decimal{}}))
}

package ordered

import (
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
)

// FuzzOperations reads its input as a program: each byte is an operation and the
// length of a key, which follows.
func FuzzOperations(f *testing.F) {
	f.Add([]byte{0x01, 'a', 0x42, 'a', 0, 0x81, 'a', 0xc0})
	f.Add([]byte{0x00, 0x01, 0, 0x02, 0, 0, 0x03, 0xff, 0xff, 0xff, 0xc1, 0, 0x80})
	many := []byte{}
	for i := range 400 {
		many = append(many, 0x02, byte(i>>3), byte(i*37))
	}
	f.Add(many)
	f.Fuzz(func(t *testing.T, program []byte) {
		program = program[:min(len(program), 4096)]
		m, live := &Map{}, &model{}
		var past []pair
		for at := 0; at < len(program); at++ {
			do, n := program[at]>>6, int(program[at]&0x3f)
			n = min(n, len(program)-at-1)
			key := string(program[at+1 : at+1+n])
			at += n
			switch do {
			case 0, 1: // with a value of some or of many bytes
				it := op.Item{Value: make([]byte, at%(40+int(do)*2000)), Version: uint64(at)}
				was, existed := live.Set(key, it)
				got, ok := m.Set(key, it)
				require.Equal(t, existed, ok)
				require.Equal(t, was, got)
			case 2:
				was, existed := live.Delete(key)
				got, ok := m.Delete(key)
				require.Equal(t, existed, ok)
				require.Equal(t, was, got)
			case 3:
				past = append(past, pair{m.Snapshot(), live.Copy()})
				if len(past) > 16 {
					past = past[1:]
				}
			}
			require.NoError(t, m.Check())
		}
		past = append(past, pair{m.Snapshot(), live})
		for i := range past {
			past[i].requireEqual(t)
		}
	})
}

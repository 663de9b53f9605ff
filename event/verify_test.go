package event_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem/event"
	"inmem/op"
)

func eventKey(stream string, seq uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte("e"+stream+"\x00"), seq))
}

func idKey(stream, id string) string { return "i" + stream + "\x00" + id }

// write stores what it likes among the events, as no store would.
func write(t testing.TB, s event.Store, writes ...op.Write) {
	t.Helper()
	for i := range writes {
		writes[i].Tag = op.Event
	}
	_, err := s.Run().Commit(ctx, &op.Request{Writes: writes})
	require.NoError(t, err)
}

// encode is the stored form of an event, as the format says.
func encode(e event.Event) []byte {
	b := binary.AppendUvarint([]byte{1}, uint64(e.Time.UnixMilli()))
	for _, text := range []string{e.Type, e.ID, string(e.Payload)} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return append(b, e.Prev[:]...)
}

// overwrite changes an event where it lies.
func overwrite(t testing.TB, s event.Store, stream string, seq uint64, change func(*event.Event)) {
	t.Helper()
	e, err := s.Get(ctx, stream, seq)
	require.NoError(t, err)
	change(&e)
	write(t, s, op.Write{Kind: op.Put, Key: eventKey(stream, seq), Value: encode(e)})
}

// TestHash: anybody can compute it from what is documented.
func TestHash(t *testing.T) {
	s := newWorld(t).run.Events()
	var prev [sha256.Size]byte
	for i := range 3 {
		e := add(t, s, "s", event.New{Type: "a", ID: fmt.Sprint(i)})
		assert.Equal(t, prev, e.Prev)
		prev = sha256.Sum256(append([]byte(eventKey("s", e.Sequence)), encode(e)...))
		assert.Equal(t, prev, e.Hash())
		stored, err := s.Run().Get(op.Event, eventKey("s", e.Sequence))
		require.NoError(t, err)
		assert.Equal(t, encode(e), stored.Value)
	}
	e, err := s.Last(ctx, "s")
	require.NoError(t, err)
	for name, change := range map[string]func(*event.Event){
		"stream":   func(e *event.Event) { e.Stream = "t" },
		"sequence": func(e *event.Event) { e.Sequence++ },
		"type":     func(e *event.Event) { e.Type = "b" },
		"ID":       func(e *event.Event) { e.ID = "" },
		"time":     func(e *event.Event) { e.Time = e.Time.Add(time.Millisecond) },
		"payload":  func(e *event.Event) { e.Payload = []byte(`{ }`) },
		"prev":     func(e *event.Event) { e.Prev[31] ^= 1 },
	} {
		other := e
		change(&other)
		assert.NotEqual(t, e.Hash(), other.Hash(), name)
	}
	other := e
	other.Version++
	assert.Equal(t, e.Hash(), other.Hash(), "a copy of the stream in another run has the same hashes")
}

// chained is how many events a stream has that is damaged.
const chained = 5

// damages are all ways to damage an event, and where it is found: beyond the
// last means not at all.
var damages = map[string]struct {
	damage func(t *testing.T, s event.Store, seq uint64)
	found  func(seq uint64) uint64
}{
	"type": {func(t *testing.T, s event.Store, seq uint64) {
		overwrite(t, s, "s", seq, func(e *event.Event) { e.Type = "b" })
	}, untilLast},
	"payload": {func(t *testing.T, s event.Store, seq uint64) {
		overwrite(t, s, "s", seq, func(e *event.Event) { e.Payload = []byte(`{"a":2}`) })
	}, untilLast},
	"time, later": {func(t *testing.T, s event.Store, seq uint64) {
		overwrite(t, s, "s", seq, func(e *event.Event) { e.Time = e.Time.Add(time.Hour) })
	}, untilLast},
	"time, before": {func(t *testing.T, s event.Store, seq uint64) {
		overwrite(t, s, "s", seq, func(e *event.Event) { e.Time = e.Time.Add(-time.Hour) })
	}, itself},
	"prev": {func(t *testing.T, s event.Store, seq uint64) { overwrite(t, s, "s", seq, flip) }, func(seq uint64) uint64 {
		return min(seq, chained-1) // it or the last: nothing tells
	}},
	"payload, no JSON": {func(t *testing.T, s event.Store, seq uint64) {
		overwrite(t, s, "s", seq, func(e *event.Event) { e.Payload = []byte(`{"a":1]`) })
	}, itself},
	"payload, no object": {func(t *testing.T, s event.Store, seq uint64) {
		overwrite(t, s, "s", seq, func(e *event.Event) { e.Payload = []byte(`[]`) })
	}, itself},
	"ID, another": {func(t *testing.T, s event.Store, seq uint64) {
		overwrite(t, s, "s", seq, func(e *event.Event) { e.ID = "x" })
	}, itself},
	"ID, of another event": {func(t *testing.T, s event.Store, seq uint64) {
		overwrite(t, s, "s", seq, func(e *event.Event) { e.ID = fmt.Sprint(seq%chained + 1) })
	}, itself},
	"ID leads elsewhere": {func(t *testing.T, s event.Store, seq uint64) {
		write(t, s, op.Write{Kind: op.Put, Key: idKey("s", fmt.Sprint(seq)), Value: []byte{1, 99}})
	}, itself},
	"ID leads nowhere": {func(t *testing.T, s event.Store, seq uint64) {
		write(t, s, op.Write{Kind: op.Delete, Key: idKey("s", fmt.Sprint(seq))})
	}, itself},
	"ID cannot be read": {func(t *testing.T, s event.Store, seq uint64) {
		write(t, s, op.Write{Kind: op.Put, Key: idKey("s", fmt.Sprint(seq)), Value: []byte{1}})
	}, itself},
	"removed": {func(t *testing.T, s event.Store, seq uint64) {
		write(t, s, op.Write{Kind: op.Delete, Key: eventKey("s", seq)})
	}, itself}, // of the last one its ID tells
	"removed without a trace": {func(t *testing.T, s event.Store, seq uint64) {
		write(t, s, op.Write{Kind: op.Delete, Key: eventKey("s", seq)}, op.Write{Kind: op.Delete, Key: idKey("s", fmt.Sprint(seq))})
	}, untilLast},
	"not an event": {func(t *testing.T, s event.Store, seq uint64) {
		write(t, s, op.Write{Kind: op.Put, Key: eventKey("s", seq), Value: []byte{1, 2, 3}})
	}, itself},
	"two changed places": {func(t *testing.T, s event.Store, seq uint64) {
		a, err := s.Run().Get(op.Event, eventKey("s", seq))
		require.NoError(t, err)
		b, err := s.Run().Get(op.Event, eventKey("s", seq%chained+1))
		require.NoError(t, err)
		write(t, s, op.Write{Kind: op.Put, Key: eventKey("s", seq), Value: b.Value}, op.Write{Kind: op.Put, Key: eventKey("s", seq%chained+1), Value: a.Value})
	}, func(seq uint64) uint64 {
		if seq == chained {
			return 1
		}
		return seq
	}},
}

// TestVerify damages each event of a stream in every way there is.
func TestVerify(t *testing.T) {
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			for seq := uint64(1); seq <= chained; seq++ {
				w := newWorld(t)
				s := w.run.Events()
				for i := range chained {
					add(t, s, "s", event.New{Type: "a", ID: fmt.Sprint(i + 1), Payload: []byte(`{"a":1}`)})
					add(t, s, "r", event.New{Type: "a"})
				}
				require.NoError(t, s.Verify(ctx, "s"))
				c.damage(t, s, seq)
				err := s.Verify(ctx, "s")
				want := c.found(seq)
				if want > chained {
					assert.NoError(t, err, "of the last event the chain does not tell")
					continue
				}
				assert.ErrorIs(t, err, event.ErrBrokenChain)
				var broken *event.ChainError
				require.ErrorAs(t, err, &broken)
				assert.Equal(t, want, broken.Sequence, "%d was damaged: %v", seq, err)
				assert.Equal(t, "s", broken.Stream)
				assert.ErrorContains(t, err, fmt.Sprintf("event %d of stream \"s\"", want))
				assert.NoError(t, s.Verify(ctx, "r"))
			}
		})
	}
}

func itself(seq uint64) uint64 { return seq }

// untilLast is for what an event's successor tells: nothing follows the last.
func untilLast(seq uint64) uint64 {
	if seq == chained {
		return chained + 1
	}
	return seq
}

func flip(e *event.Event) { e.Prev[0] ^= 1 }

func TestVerifyOtherDamage(t *testing.T) {
	for name, c := range map[string]struct {
		key   string
		value []byte
		seq   uint64
	}{
		"an event 0":                  {eventKey("s", 0), nil, 1},
		"a gap":                       {eventKey("s", 4), nil, 3},
		"the last number":             {eventKey("s", 1<<64-1), nil, 3},
		"a key too long":              {eventKey("s", 1) + "x", nil, 2},
		"a key too short":             {"es\x00", nil, 1},
		"an ID too many":              {idKey("s", "x"), []byte{1, 2}, 2},
		"an ID of an event to come":   {idKey("s", "x"), []byte{1, 3}, 3},
		"an ID that cannot be read":   {idKey("s", "x"), []byte{1, 0}, 0},
		"an ID longer than it can be": {idKey("s", "x"), []byte{1, 2, 2}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.run.Events()
			e := add(t, s, "s", event.New{Type: "a"})
			add(t, s, "s", event.New{Type: "a"})
			if c.value == nil {
				c.value = encode(e)
			}
			write(t, s, op.Write{Kind: op.Put, Key: c.key, Value: c.value})
			var broken *event.ChainError
			require.ErrorAs(t, s.Verify(ctx, "s"), &broken)
			assert.Equal(t, c.seq, broken.Sequence, broken)
		})
	}
}

// damaged is a stream of three events, with IDs, and something written over it.
func damaged(t *testing.T, key string, value []byte) event.Store {
	s := newWorld(t).run.Events()
	for i := range 3 {
		add(t, s, "s", event.New{Type: "a", ID: fmt.Sprint(i + 1)})
	}
	write(t, s, op.Write{Kind: op.Put, Key: key, Value: value})
	return s
}

// TestDamageIsToldByReads: nothing that cannot be is handed out or built upon.
func TestDamageIsToldByReads(t *testing.T) {
	e := event.New{Type: "a", ID: "3"}
	t.Run("record", func(t *testing.T) {
		s := damaged(t, eventKey("s", 3), []byte{1})
		_, err := s.Get(ctx, "s", 3)
		assert.ErrorIs(t, err, event.ErrInvalidRecord)
		_, err = s.Last(ctx, "s")
		assert.ErrorIs(t, err, event.ErrInvalidRecord)
		_, err = s.Append(ctx, "s", event.New{Type: "b"})
		assert.ErrorIs(t, err, event.ErrInvalidRecord)
		_, err = s.Append(ctx, "s", e)
		assert.ErrorIs(t, err, event.ErrInvalidRecord)
		assert.ErrorIs(t, failure(t, s.Read(ctx, "s", event.Reverse())), event.ErrInvalidRecord)
		assert.ErrorIs(t, failure(t, s.Read(ctx, "s", event.Since(at(1)))), event.ErrInvalidRecord)
		n, err := s.Len(ctx, "s")
		assert.True(t, n == 3 && err == nil)
	})
	t.Run("newer format", func(t *testing.T) {
		s := damaged(t, eventKey("s", 3), []byte{2, 1, 2, 3})
		_, err := s.Get(ctx, "s", 3)
		assert.ErrorIs(t, err, event.ErrUnsupportedRecord)
		assert.NotErrorIs(t, err, event.ErrInvalidRecord)
		_, err = s.Append(ctx, "s", event.New{Type: "b"})
		assert.ErrorIs(t, err, event.ErrUnsupportedRecord)
		err = s.Verify(ctx, "s")
		assert.ErrorIs(t, err, event.ErrUnsupportedRecord)
		assert.NotErrorIs(t, err, event.ErrBrokenChain)
	})
	t.Run("key of an event", func(t *testing.T) {
		for _, key := range []string{eventKey("s", 9) + "x", eventKey("s", 1<<64-1)} {
			s := damaged(t, key, []byte{1})
			_, err := s.Last(ctx, "s")
			assert.ErrorIs(t, err, event.ErrInvalidRecord)
			_, err = s.Len(ctx, "s")
			assert.ErrorIs(t, err, event.ErrInvalidRecord)
			_, err = s.Append(ctx, "s", event.New{Type: "b"})
			assert.ErrorIs(t, err, event.ErrInvalidRecord)
			assert.ErrorIs(t, failure(t, s.Read(ctx, "s", event.Reverse())), event.ErrInvalidRecord)
			assert.ErrorIs(t, failure(t, s.Read(ctx, "s", event.Since(at(0)))), event.ErrInvalidRecord)
		}
		s := damaged(t, eventKey("t", 0), encode(event.Event{Type: "a"}))
		_, err := s.Len(ctx, "t")
		assert.ErrorIs(t, err, event.ErrInvalidRecord)
		_, err = s.Append(ctx, "t", event.New{Type: "b"})
		assert.ErrorIs(t, err, event.ErrInvalidRecord)
	})
	t.Run("gap", func(t *testing.T) {
		s := damaged(t, eventKey("s", 9), []byte{1})
		assert.ErrorIs(t, failure(t, s.Read(ctx, "s", event.Since(at(1)))), event.ErrInvalidRecord)
	})
}

func TestDamageOfNamesAndIDs(t *testing.T) {
	t.Run("name of a stream", func(t *testing.T) {
		for _, key := range []string{"e", "es", "e\x00", "e\xff\x0012345678"} {
			assert.ErrorIs(t, failure(t, damaged(t, key, nil).Streams(ctx)), event.ErrInvalidRecord, "%q", key)
		}
	})
	t.Run("ID", func(t *testing.T) {
		for _, value := range [][]byte{nil, {1}, {1, 0}, {1, 2}, {1, 7}, {1, 3, 0}, {1, 0x83, 0}} {
			_, err := damaged(t, idKey("s", "3"), value).Append(ctx, "s", event.New{Type: "a", ID: "3"})
			assert.ErrorIs(t, err, event.ErrInvalidRecord, "%x", value)
		}
		_, err := damaged(t, idKey("s", "3"), []byte{2, 3}).Append(ctx, "s", event.New{Type: "a", ID: "3"})
		assert.ErrorIs(t, err, event.ErrUnsupportedRecord)
	})
}

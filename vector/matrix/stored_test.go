package matrix

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem/op"
	"inmem/run"
	"inmem/vector/hnsw"
)

// shelf keeps indexes in memory.
type shelf struct {
	mu      sync.Mutex
	kept    map[string][]byte
	err     error
	saving  func() // called while an index is being saved
	loading func() // … and while one is loaded
}

func keyOf(id run.ID, collection string) string { return fmt.Sprintf("%v %s", id, collection) }

func (s *shelf) Save(id run.ID, collection string, write func(io.Writer) error) (int64, error) {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return 0, err
	}
	if s.saving != nil {
		s.saving()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.kept[keyOf(id, collection)] = b.Bytes()
	return int64(b.Len()), nil
}

func (s *shelf) Load(id run.ID, collection string, read func(r io.Reader, size int64) error) error {
	if s.loading != nil {
		s.loading()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.kept[keyOf(id, collection)]
	if !ok {
		return fs.ErrNotExist
	}
	return read(bytes.NewReader(b), int64(len(b)))
}

func (s *shelf) Remove(id run.ID, collection string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, keyOf(id, collection))
}

// shelved is a world with a shelf, and what it was told.
type shelved struct {
	*world
	shelf *shelf
	mu    sync.Mutex
	told  []IndexEvent
	rng   *rand.Rand
}

func newShelved(t testing.TB, m Metric, dimension int) *shelved {
	s := &shelved{world: newWorld(t, 64<<20, m, dimension), shelf: &shelf{kept: map[string][]byte{}}, rng: rand.New(rand.NewPCG(uint64(m), 9))}
	s.open()
	return s
}

// open makes a new cache, as the next opening would.
func (s *shelved) open() {
	s.cache.Close()
	s.cache = NewCache(Config{
		Limit: 64 << 20, Charge: func(n int64) { s.taken += n }, Guard: func(fn func()) { fn() }, Least: 100, Shelf: s.shelf,
		Told: func(e IndexEvent) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, e)
		},
	})
	s.cache.tail = leastIndexed / leastShare
	s.t.Cleanup(s.cache.Close)
}

// events returns what was told since it was called last.
func (s *shelved) events() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	for _, e := range s.told {
		text += fmt.Sprintf("%s %d", map[IndexKind]string{Made: "made", Saved: "saved", Loaded: "loaded"}[e.Kind], e.Rows)
		if e.Err != nil {
			text += ": " + e.Err.Error()
		}
		text += "\n"
	}
	s.told = nil
	return text
}

// write puts n vectors with numbers below most, and deletes some others.
func (s *shelved) write(n, most, deleted int) {
	s.change(func(items map[string]op.Item) {
		for range n {
			v := make([]float32, s.of.Dimension)
			for i := range v {
				v[i] = float32(s.rng.NormFloat64())
			}
			items[fmt.Sprintf("v/%04d", s.rng.IntN(most))] = s.item(v...)
		}
		for range deleted {
			delete(items, fmt.Sprintf("v/%04d", s.rng.IntN(most)))
		}
	})
}

// same wants searches by the index to find what exact ones find.
func (s *shelved) same() {
	s.t.Helper()
	for range 5 {
		q := Query{Vector: make([]float32, s.of.Dimension), K: 7}
		for i := range q.Vector {
			q.Vector[i] = float32(s.rng.NormFloat64())
		}
		exact := s.keys(s.now, q)
		q.Ef = 10_000
		require.Equal(s.t, exact, s.keys(s.now, q))
	}
	require.Equal(s.t, s.taken, s.cache.Used())
}

// TestIndexIsKept: what was made once is loaded, counts where the vectors are the
// same still, is extended, and saved again.
func TestIndexIsKept(t *testing.T) {
	for _, m := range []Metric{Cosine, Dot, Euclidean} {
		s := newShelved(t, m, 5)
		s.write(600, 800, 50)
		s.ready()
		rows := s.graphOf()
		require.Equal(t, fmt.Sprintf("made %d\nsaved %d\n", rows, rows), s.events())
		for round := range 4 {
			s.open()
			s.write(20, 800, 5)
			s.ready()
			require.Equal(t, fmt.Sprintf("loaded %d\n", rows), s.events(), "round %d", round)
			require.Equal(t, rows, s.graphOf())
			s.same()
		}
		s.write(4000, 9000, 0)
		s.ready()
		more := s.graphOf()
		require.Greater(t, more, rows+2000)
		require.Equal(t, fmt.Sprintf("made %d\nsaved %d\n", more, more), s.events(), "extended")
		s.same()
		s.open()
		s.ready()
		require.Equal(t, fmt.Sprintf("loaded %d\n", more), s.events())
		s.same()

		// Loaded and extended without a search in between.
		s.open()
		s.write(5000, 9000, 0)
		s.ready()
		require.Regexp(t, fmt.Sprintf(`^(loaded %d\nmade \d+\nsaved \d+\n|loaded %d: too much was changed since\nmade \d+\nsaved \d+\n)$`, more, more), s.events())
		s.same()
	}
}

// TestIndexOfOthers: an index of vectors that are gone, of another collection, or
// that is damaged, is made anew.
func TestIndexOfOthers(t *testing.T) {
	s := newShelved(t, Euclidean, 3)
	s.write(500, 600, 0)
	s.ready()
	rows := s.graphOf()
	name := keyOf(s.id, s.of.Name)
	good := s.shelf.kept[name]

	s.open()
	s.write(400, 600, 0)
	s.events()
	s.ready()
	require.Regexp(t, fmt.Sprintf("^loaded %d: too much was changed since\nmade .*\nsaved .*\n$", rows), s.events())
	s.same()

	for what, change := range map[string]func(b []byte) []byte{
		"metric":    func(b []byte) []byte { b[0] = byte(Cosine); return b },
		"dimension": func(b []byte) []byte { b[4]++; return b },
		"rows":      func(b []byte) []byte { b[8]++; return b },
		"no rows":   func(b []byte) []byte { b[8], b[9] = 0, 0; return b },
		"key":       func(b []byte) []byte { b[storedHeader] = 255; return b },
		"header":    func(b []byte) []byte { return b[:5] },
		"short":     func(b []byte) []byte { return b[:len(b)/2] },
		"shorter":   func(b []byte) []byte { return b[:20] },
		"graph":     func(b []byte) []byte { b[len(b)-1]++; return b },
	} {
		s.open()
		s.shelf.kept[name] = change(bytes.Clone(good))
		s.events()
		s.ready()
		require.Regexp(t, "^loaded .*: .*\nmade .*\nsaved .*\n$", s.events(), what)
		s.same()
	}

	// Another collection of the same name.
	s.of.Made = s.now.version + 1
	s.change(func(items map[string]op.Item) { clear(items) })
	s.write(500, 600, 0)
	s.open()
	s.events()
	s.ready()
	require.Regexp(t, "^loaded .*: too much was changed since\nmade .*\nsaved .*\n$", s.events())
	s.same()
}

// TestIndexOfOtherParams: one that a program made that chose others is made anew.
func TestIndexOfOtherParams(t *testing.T) {
	s := newShelved(t, Dot, 3)
	s.write(300, 10_000, 0)
	s.keys(s.now, Query{Vector: []float32{1, 1, 1}, K: 1})
	now := s.cache.entry(s.id, s.of.Name, false).current.Load()
	p := paramsOf(now.Matrix)
	p.M++
	var b bytes.Buffer
	for _, rows := range []int{now.rows.matrix().rows(), 5} {
		builder, err := hnsw.New(p)
		require.NoError(t, err)
		require.NoError(t, builder.Insert(ctx, now.Matrix, rows, 1))
		g := builder.Graph(now.Matrix)
		b.Reset()
		require.NoError(t, encodeIndex(&b, now.Matrix, g))
		s.shelf.kept[keyOf(s.id, s.of.Name)] = bytes.Clone(b.Bytes())
		_, _, err = decodeIndex(bytes.NewReader(b.Bytes()), int64(b.Len()), now.Matrix)
		if rows > 5 {
			require.ErrorIs(t, err, errForeign)
		} else {
			require.NoError(t, err)
		}
		p.M--
	}
	s.ready()
	require.Contains(t, s.events(), "loaded")
	s.same()
	failed := errors.New("no room")
	for _, room := range []int{0, 100, b.Len() - 1} {
		require.ErrorIs(t, encodeIndex(&fullAfter{room, failed}, now.Matrix, now.build(ctx)), failed)
	}
}

type fullAfter struct {
	room int
	err  error
}

func (w *fullAfter) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, w.err
	}
	return len(b), nil
}

// TestChangedWhileLoading: what is written while an index is loaded is there.
func TestChangedWhileLoading(t *testing.T) {
	s := newShelved(t, Euclidean, 4)
	s.write(600, 800, 0)
	s.ready()
	s.open()
	s.events()
	s.shelf.loading = func() {
		s.write(100, 900, 50)
		s.keys(s.now, Query{Vector: []float32{1, 2, 3, 4}, K: 1})
	}
	s.ready()
	require.Regexp(t, "^loaded .*\n$", s.events())
	s.same()

	// And where the rows were compacted, it is for the next one to load it.
	s.open()
	s.events()
	times := 0
	s.shelf.loading = func() {
		if times++; times > 1 {
			return
		}
		for range 6 {
			s.change(func(items map[string]op.Item) {
				for key, it := range items {
					items[key] = op.Item{Value: it.Value, Version: s.now.version + 1}
				}
			})
			s.keys(s.now, Query{Vector: []float32{1, 2, 3, 4}, K: 1})
		}
	}
	s.ready()
	require.Empty(t, s.events())
	s.ready()
	require.Equal(t, 2, times)
	require.NotContains(t, s.events(), ":")
	require.Positive(t, s.graphOf())
	s.same()
}

// TestNotKept: what cannot be saved is told, and what was dropped meanwhile does not
// stay.
func TestNotKept(t *testing.T) {
	s := newShelved(t, Euclidean, 1)
	s.shelf.err = errors.New("the disk is full")
	s.write(300, 10_000, 0)
	s.ready()
	require.Regexp(t, "^made .*\nsaved .*: the disk is full\n$", s.events())
	s.same()

	s.shelf.err = nil
	s.open()
	s.shelf.saving = func() { s.cache.Drop(s.id, s.of.Name) }
	s.ready()
	require.Empty(t, s.shelf.kept)
	require.Zero(t, s.cache.Used())
	s.shelf.saving = nil
	s.ready()
	require.Len(t, s.shelf.kept, 1)
	s.cache.Drop(run.ID{9}, s.of.Name)
	require.Len(t, s.shelf.kept, 1)
	s.cache.Forget(s.id) // it left memory
	require.Len(t, s.shelf.kept, 1)
	s.cache.Drop(s.id, s.of.Name)
	require.Empty(t, s.shelf.kept)
	(*Cache)(nil).Drop(s.id, s.of.Name)

	// One who waits for his turn to load ends with his entry.
	s.cache.loader <- struct{}{}
	s.keys(s.now, Query{Vector: []float32{0}, K: 1, Ef: 10})
	making := s.cache.entry(s.id, s.of.Name, false).indexing.Load()
	s.cache.Forget(s.id)
	<-making.done
	<-s.cache.loader
}

// FuzzIndex: whatever is kept is refused, or can be searched.
func FuzzIndex(f *testing.F) {
	w := newWorld(f, 1<<20, Euclidean, 2)
	rows := newBuilder(Euclidean, 2)
	for i := range 40 {
		rows.put(fmt.Sprint("key ", i), bytesOf([]float32{float32(i), float32(i % 7)}))
	}
	rows.remove("key 7")
	m := rows.matrix()
	now := &current{Matrix: m, rows: rows}
	var b bytes.Buffer
	require.NoError(f, encodeIndex(&b, m, now.build(w.t.Context())))
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:30])
	f.Fuzz(func(t *testing.T, data []byte) {
		list, b, err := decodeIndex(bytes.NewReader(data), int64(len(data)), m)
		if err != nil {
			return
		}
		arranged := arrange(m, list)
		require.Len(t, arranged.places, len(rows.places))
		am := arranged.matrix()
		b.Graph(am).Search(am, []float32{1, 2}, 3, 10, nil)
	})
}

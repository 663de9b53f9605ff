package vector_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/vector"
	"inmem/vfs"
)

// wordVectors are 20,000 English words and their vectors of 100 dimensions, which
// lie beside the repository; it has no copy of them.
func wordVectors(t testing.TB) (words []string, vectors [][]float32) {
	t.Helper()
	const dimension = 100
	base := filepath.Join("..", "..", "shared", "data", "word-vectors-20k")
	f, err := os.Open(base + ".words.txt")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("needs the word vectors: put word-vectors-20k.words.txt and word-vectors-20k.f32 into %s", filepath.Dir(base))
	}
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words = append(words, lines.Text())
	}
	require.NoError(t, lines.Err())
	data, err := os.ReadFile(base + ".f32")
	require.NoError(t, err)
	require.Len(t, data, 4*dimension*len(words))
	for i := range words {
		v := make([]float32, dimension)
		for j := range v {
			v[j] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*(i*dimension+j):]))
		}
		vectors = append(vectors, v)
	}
	return words, vectors
}

func upsertWords(t testing.TB, s vector.Store, collection string, words []string, vectors [][]float32) {
	t.Helper()
	const batch = 1000
	for from := 0; from < len(words); from += batch {
		var list []vector.New
		for i := from; i < min(from+batch, len(words)); i++ {
			list = append(list, vector.New{Key: words[i], Vector: vectors[i]})
		}
		_, err := s.UpsertBatch(ctx, collection, list)
		require.NoError(t, err)
	}
}

// nearestWords were computed by another program, with sums that are rounded once.
var nearestWords = map[string][]string{
	"python":   {"python", "perl", "ruby", "javascript", "monkey", "scripting", "spider", "squirrel", "hummingbird", "yoruba"},
	"berlin":   {"berlin", "germany", "dresden", "paris", "stuttgart", "german", "rome", "brussels", "heidelberg", "bremen"},
	"france":   {"france", "belgium", "french", "spain", "paris", "germany", "italy", "europe", "netherlands", "switzerland"},
	"queen":    {"queen", "royal", "victoria", "monarch", "sister", "mother", "wife", "margaret", "her", "palace"},
	"bread":    {"bread", "cake", "toast", "cheese", "butter", "cakes", "meal", "soup", "sandwich", "cereal"},
	"database": {"database", "databases", "data", "user", "web", "server", "files", "file", "applications", "application"},
}

// TestNearestWords: real vectors give what makes sense, and what a computation of
// its own gives, score by score and in its order; whether copies are kept or not.
func TestNearestWords(t *testing.T) {
	words, vectors := wordVectors(t)
	w := newWorld(t)
	s := w.run.Vectors()
	all := map[string]stored{}
	index := map[string]int{}
	for i, word := range words {
		all[word] = stored{vector: vectors[i]}
		index[word] = i
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, m := range []vector.Metric{vector.Cosine, vector.Dot, vector.Euclidean} {
		name := m.String()
		create(t, s, name, 100, m)
		upsertWords(t, s, name, words, vectors)
		for range 20 {
			q := vectors[rng.IntN(len(vectors))]
			require.Equal(t, nearest(m, all, q, 25, nil), search(t, s, name, q, 25))
			require.Equal(t, nearest(m, all, q, 25, nil), search(t, s, name, q, 25, vector.Workers(2)))
		}
	}
	for word, want := range nearestWords {
		require.Equal(t, want, keysOf(search(t, s, "cosine", all[word].vector, 10)))
	}
	before := search(t, s, "cosine", all["berlin"].vector, 20_000)
	require.Len(t, before, 20_000)
	w.reopen()
	p, err := w.run.At(ctx, w.version())
	require.NoError(t, err)
	require.Equal(t, before, search(t, p.Vectors(), "cosine", all["berlin"].vector, 20_000), "from the records")
	require.Equal(t, before, search(t, w.run.Vectors(), "cosine", all["berlin"].vector, 20_000))
}

func words20k(b *testing.B, change ...func(*inmem.Options)) (*world, vector.Store, [][]float32) {
	words, vectors := wordVectors(b)
	w := newWorld(b, change...)
	s := w.run.Vectors()
	create(b, s, "words", 100, vector.Cosine)
	upsertWords(b, s, "words", words, vectors)
	search(b, s, "words", vectors[0], 10)
	return w, s, vectors
}

// BenchmarkSearch is the exact 10 nearest of 20,000 vectors of 100 dimensions.
func BenchmarkSearch(b *testing.B) {
	_, s, vectors := words20k(b)
	b.Run("unchanged", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			search(b, s, "words", vectors[i%len(vectors)], 10)
		}
	})
	b.Run("after an upsert", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			upsert(b, s, "words", "new", vectors[i%len(vectors)]...)
			search(b, s, "words", vectors[i%len(vectors)], 10)
		}
	})
	b.Run("half of them chosen", func(b *testing.B) {
		i := 0
		half := vector.Where(vector.FilterFunc(func(it vector.Item) (bool, error) { return it.Key[0] < 'm', nil }))
		for b.Loop() {
			i++
			search(b, s, "words", vectors[i%len(vectors)], 10, half)
		}
	})
}

// BenchmarkSearchRecords is a search for which nothing is kept.
func BenchmarkSearchRecords(b *testing.B) {
	_, s, vectors := words20k(b, func(o *inmem.Options) { o.VectorMemory = -1 })
	i := 0
	for b.Loop() {
		i++
		search(b, s, "words", vectors[i%len(vectors)], 10)
	}
}

// BenchmarkBuild is the first search of a collection.
func BenchmarkBuild(b *testing.B) {
	w, _, vectors := words20k(b)
	for b.Loop() {
		w.reopen()
		search(b, w.run.Vectors(), "words", vectors[0], 10)
	}
}

// BenchmarkUpsertBatch is 1,000 vectors of 100 dimensions in a commit.
func BenchmarkUpsertBatch(b *testing.B) {
	_, vectors := wordVectors(b)
	b.Chdir(b.TempDir())
	w := newWorld(b, func(o *inmem.Options) { o.FS = vfs.OS })
	s := w.run.Vectors()
	create(b, s, "words", 100, vector.Cosine)
	list := make([]vector.New, 1000)
	n := 0
	for b.Loop() {
		for i := range list {
			n++
			list[i] = vector.New{Key: fmt.Sprintf("word-%09d", n), Vector: vectors[n%len(vectors)]}
		}
		_, err := s.UpsertBatch(ctx, "words", list)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "vectors/s")
}

// TestApproximateWords: the index finds nearly all of the nearest words, with their
// exact scores, and what is put or deleted counts at once.
func TestApproximateWords(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds to make the index")
	}
	words, vectors := wordVectors(t)
	w := newWorld(t)
	s := w.run.Vectors()
	create(t, s, "words", 100, vector.Cosine)
	upsertWords(t, s, "words", words, vectors)
	require.NoError(t, s.Prepare(ctx, "words"))
	rows := w.db.Metrics().Memory.Vectors
	require.NoError(t, s.Prepare(ctx, "words", vector.Approximate(0)))
	require.Greater(t, w.db.Metrics().Memory.Vectors, rows)

	found, wanted := 0, 0
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		q := vectors[rng.IntN(len(vectors))]
		exact := search(t, s, "words", q, 10)
		near := search(t, s, "words", q, 10, vector.Approximate(0))
		wanted += len(exact)
		for _, h := range near {
			if slices.Contains(exact, h) { // scores and all
				found++
			}
		}
	}
	recall := float64(found) / float64(wanted)
	t.Logf("recall@10 with %d candidates: %.3f", vector.DefaultEf, recall)
	require.GreaterOrEqual(t, recall, 0.95)

	berlin := vectors[slices.Index(words, "berlin")]
	upsert(t, s, "words", "Berlin!", berlin...)
	require.NoError(t, s.Delete(ctx, "words", "germany"))
	near := keysOf(search(t, s, "words", berlin, 5, vector.Approximate(200)))
	require.Equal(t, []string{"Berlin!", "berlin", "dresden", "paris", "stuttgart"}, near)
	require.NoError(t, s.Drop(ctx, "words"))
	_, err := s.Search(ctx, "words", berlin, 5, vector.Approximate(0))
	require.ErrorIs(t, err, vector.ErrNoCollection)
	require.ErrorIs(t, s.Prepare(ctx, "words"), vector.ErrNoCollection)
}

// BenchmarkApproximate is about the 10 nearest of 20,000, by the index.
func BenchmarkApproximate(b *testing.B) {
	_, s, vectors := words20k(b)
	for _, ef := range []int{20, 50, 100, 200} {
		require.NoError(b, s.Prepare(ctx, "words", vector.Approximate(ef)))
		b.Run(fmt.Sprint("ef=", ef), func(b *testing.B) {
			i := 0
			for b.Loop() {
				i++
				search(b, s, "words", vectors[i%len(vectors)], 10, vector.Approximate(ef))
			}
		})
	}
}

package diff

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lcs is the length of a longest common subsequence, the plain way.
func lcs(a, b []string) int {
	row := make([]int, len(b)+1)
	for i := range a {
		before := 0
		for j := range b {
			above := row[j+1]
			if a[i] == b[j] {
				row[j+1] = before + 1
			} else {
				row[j+1] = max(row[j], above)
			}
			before = above
		}
	}
	return row[len(b)]
}

// requirePairs wants a common subsequence.
func requirePairs(t require.TestingT, a, b []string, pairs []pair) {
	last := pair{-1, -1}
	for _, p := range pairs {
		require.True(t, p.a > last.a && p.b > last.b, "%v after %v", p, last)
		require.Equal(t, a[p.a], b[p.b])
		last = p
	}
}

func mirrored(pairs []pair) (list []pair) {
	for _, p := range pairs {
		list = append(list, pair{p.b, p.a})
	}
	return list
}

func TestAlignIsALongestCommonSubsequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		letters := []string{"x", "y", "z", "user.asked", "tool.called"}[:rapid.IntRange(1, 5).Draw(t, "letters")]
		names := rapid.SliceOfN(rapid.SampledFrom(letters), 0, 60)
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		if rapid.Bool().Draw(t, "edited") { // most runs are alike
			b = slices.Clone(a)
			for range rapid.IntRange(0, 5).Draw(t, "edits") {
				i := rapid.IntRange(0, len(b)).Draw(t, "at")
				if i < len(b) && rapid.Bool().Draw(t, "remove") {
					b = slices.Delete(b, i, i+1)
				} else {
					b = slices.Insert(b, i, "new")
				}
			}
		}
		pairs, exact := align(a, b)
		require.True(t, exact)
		requirePairs(t, a, b, pairs)
		require.Len(t, pairs, lcs(a, b))
		reverse, _ := align(b, a)
		require.Equal(t, mirrored(pairs), reverse)
	})
}

func names(rng *rand.Rand, n, kinds int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(rng.IntN(kinds))
	}
	return list
}

// TestAlignDeepIsExact: as long as the search is not cut the length is exact,
// also where the middle lies hundreds of differences away.
func TestAlignDeepIsExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, kinds := range []int{2, 5, 50} {
		a, b := names(rng, 600, kinds), names(rng, 500, kinds)
		pairs, exact := align(a, b)
		require.True(t, exact)
		requirePairs(t, a, b, pairs)
		require.Len(t, pairs, lcs(a, b))
	}
}

// TestAlignIsBounded: however much two long lists differ, it takes seconds, not
// minutes, and what is found is a common subsequence still.
func TestAlignIsBounded(t *testing.T) {
	n := 50_000
	if testing.Short() {
		n = 10_000
	}
	rng := rand.New(rand.NewPCG(2, 2))
	distinct := func(prefix string) (list []string) {
		for i := range n {
			list = append(list, prefix+strconv.Itoa(i))
		}
		return list
	}
	shuffled := distinct("a")
	rng.Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, c := range []struct {
		name  string
		a, b  []string
		exact bool
		least int
	}{
		{"nothing in common", distinct("a"), distinct("b"), true, 0},
		{"few names", names(rng, n, 4), names(rng, n, 4), false, n / 4},
		{"many names", names(rng, n, 1000), names(rng, n, 1000), false, n / 200},
		{"another order", distinct("a"), shuffled, false, 100},
		{"one of them empty", distinct("a"), nil, true, 0},
		{"one name against two", names(rng, n, 1), names(rng, n, 2), true, n / 3},
	} {
		begun := time.Now()
		pairs, exact := align(c.a, c.b)
		took := time.Since(begun)
		requirePairs(t, c.a, c.b, pairs)
		require.Equal(t, c.exact, exact, c.name)
		require.GreaterOrEqual(t, len(pairs), c.least, c.name)
		require.Less(t, took, time.Minute, c.name)
		t.Logf("%s: %d pairs, %v", c.name, len(pairs), took)
		if reverse, _ := align(c.b, c.a); len(pairs) > 0 {
			require.Equal(t, mirrored(pairs), reverse, c.name)
		}
	}
}

func TestAlignTable(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"", "", ""},
		{"x", "", ""},
		{"x y z", "x y z", "x y z"},
		{"x y z", "x z", "x z"},
		{"u a t a u", "u a t t a u", "u a t a u"},
		{"a b c a b b a", "c b a b a c", "? ? ? ?"},
		{"a", "b", ""},
	} {
		a, b := strings.Fields(c.a), strings.Fields(c.b)
		pairs, exact := align(a, b)
		require.True(t, exact)
		requirePairs(t, a, b, pairs)
		require.Len(t, pairs, len(strings.Fields(c.want)), "%v", c)
	}
}

package diff

import "slices"

// searchDepth bounds the search for a longest common subsequence, in differences
// from either end: up to twice as many are found exactly, and with more the
// search takes the best way it has seen so far. So the work is O(n · searchDepth).
const searchDepth = 512

// pair is an index of either side; they belong together.
type pair struct{ a, b int }

// align returns which names of a and b belong together: a common subsequence,
// the longest one unless exact is false. Where there are several the choice
// depends on the names alone: with a and b exchanged it is the same.
func align(a, b []string) (pairs []pair, exact bool) {
	swapped := slices.Compare(a, b) > 0
	if swapped {
		a, b = b, a
	}
	pairs, exact = alignOrdered(a, b)
	if swapped {
		for i, p := range pairs {
			pairs[i] = pair{p.b, p.a}
		}
	}
	return pairs, exact
}

func alignOrdered(a, b []string) (pairs []pair, exact bool) {
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		pairs = append(pairs, pair{head, head})
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	endA, endB := len(a)-tail, len(b)-tail
	m := newMatcher(a[head:endA], b[head:endB])
	m.match(0, len(m.a), 0, len(m.b))
	for _, p := range m.pairs {
		pairs = append(pairs, pair{head + m.indexA[p.a], head + m.indexB[p.b]})
	}
	for i := range tail {
		pairs = append(pairs, pair{endA + i, endB + i})
	}
	return pairs, !m.gaveUp
}

// matcher looks for a longest common subsequence as E. Myers describes it in "An
// O(ND) Difference Algorithm and Its Variations", in linear space.
type matcher struct {
	a, b           []int32 // names as numbers, those that only one side has left out
	indexA, indexB []int   // where they were
	ahead, back    []int   // how far each diagonal was followed, from either end
	pairs          []pair
	gaveUp         bool
}

func newMatcher(a, b []string) *matcher {
	numbers := make(map[string]int32, min(len(a), len(b)))
	for _, name := range a {
		if _, known := numbers[name]; !known {
			numbers[name] = int32(len(numbers))
		}
	}
	shared := make([]bool, len(numbers))
	m := &matcher{}
	for i, name := range b {
		if n, ok := numbers[name]; ok {
			shared[n] = true
			m.b, m.indexB = append(m.b, n), append(m.indexB, i)
		}
	}
	for i, name := range a {
		if n := numbers[name]; shared[n] {
			m.a, m.indexA = append(m.a, n), append(m.indexA, i)
		}
	}
	most := min((len(m.a)+len(m.b)+1)/2, searchDepth)
	m.ahead, m.back = make([]int, 2*most+3), make([]int, 2*most+3)
	return m
}

// match finds the pairs of a[a0:a1] and b[b0:b1], in order.
func (m *matcher) match(a0, a1, b0, b1 int) {
	for a0 < a1 && b0 < b1 && m.a[a0] == m.b[b0] {
		m.pairs = append(m.pairs, pair{a0, b0})
		a0, b0 = a0+1, b0+1
	}
	tail := 0
	for a0 < a1 && b0 < b1 && m.a[a1-1] == m.b[b1-1] {
		a1, b1, tail = a1-1, b1-1, tail+1
	}
	if a0 < a1 && b0 < b1 {
		x, y := m.split(a0, a1, b0, b1)
		m.match(a0, a0+x, b0, b0+y)
		m.match(a0+x, a1, b0+y, b1)
	}
	for i := range tail {
		m.pairs = append(m.pairs, pair{a1 + i, b1 + i})
	}
}

// split returns a point on a shortest way through a[a0:a1] and b[b0:b1], or,
// beyond the depth of the search, on the way that led furthest. Both are not
// empty, and neither begin nor end with the same.
func (m *matcher) split(a0, a1, b0, b1 int) (x, y int) {
	a, b := m.a[a0:a1], m.b[b0:b1]
	most := min((len(a)+len(b)+1)/2, searchDepth)
	ahead := front{v: m.ahead[:2*most+3], zero: most + 1}
	back := front{v: m.back[:2*most+3], zero: most + 1, reverse: true}
	ahead.begin()
	back.begin()
	for d := range most + 1 {
		if x, y, met := ahead.step(d, a, b, &back); met {
			return x, y
		}
		if x, y, met := back.step(d, a, b, &ahead); met {
			return x, y
		}
	}
	m.gaveUp = true
	x, y = ahead.furthest(len(a), len(b))
	if u, v := back.furthest(len(a), len(b)); u+v > x+y {
		x, y = len(a)-u, len(b)-v
	}
	return x, y
}

// front is the search from one end: for each diagonal k = x - y, v has how far,
// in x, it was followed with the differences allowed so far; -1 = not at all.
type front struct {
	v         []int
	zero      int // index of diagonal 0
	low, high int // diagonals that lie outside on this side already
	reverse   bool
	diagonals int // as many were looked at on either side of 0
}

func (f *front) begin() {
	for i := range f.v {
		f.v[i] = -1
	}
	f.v[f.zero+1] = 0
}

// step allows one more difference, the d-th. met says that the other front was
// reached: x, y is a point, from the beginning, that a shortest way leads through.
func (f *front) step(d int, a, b []int32, other *front) (x, y int, met bool) {
	n, m := len(a), len(b)
	f.diagonals = d
	for k := -d + f.low; k <= d-f.high; k += 2 {
		if k == -d || k != d && f.v[f.zero+k-1] < f.v[f.zero+k+1] {
			x = f.v[f.zero+k+1]
		} else {
			x = f.v[f.zero+k-1] + 1
		}
		y = x - k
		for x < n && y < m && f.same(a, b, x, y) {
			x, y = x+1, y+1
		}
		f.v[f.zero+k] = x
		switch {
		case x > n:
			f.high += 2
		case y > m:
			f.low += 2
		case (n-m)&1 == 1 != f.reverse:
			// Where n - m is odd the fronts meet in a step ahead, otherwise in one back.
			at := other.zero + n - m - k
			if at < 0 || at >= len(other.v) || other.v[at] < 0 || x < n-other.v[at] {
				continue
			}
			if f.reverse {
				u := other.v[at]
				return u, u - (n - m - k), true
			}
			return x, y, true
		}
	}
	return 0, 0, false
}

func (f *front) same(a, b []int32, x, y int) bool {
	if f.reverse {
		return a[len(a)-1-x] == b[len(b)-1-y]
	}
	return a[x] == b[y]
}

// furthest returns the point within n and m that is furthest from where the
// front began.
func (f *front) furthest(n, m int) (x, y int) {
	for k := -f.diagonals; k <= f.diagonals; k++ {
		if u := f.v[f.zero+k]; u >= 0 && u <= n && u-k >= 0 && u-k <= m && 2*u-k > x+y {
			x, y = u, u-k
		}
	}
	return x, y
}

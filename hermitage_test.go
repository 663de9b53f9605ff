package inmem_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"inmem"
)

// The anomalies of the Hermitage suite (github.com/ept/hermitage), as fixed
// schedules of transactions on one run with keys 1 = "10" and 2 = "20". The
// comments name them as Adya does. At serializable none of them may happen.

// anomaly is a schedule at work.
type anomaly struct {
	t *testing.T
	r *inmem.Run
}

func newAnomaly(t *testing.T) *anomaly {
	r := newStore(t).begin()
	putAll(t, r, "1", "10", "2", "20")
	return &anomaly{t, r}
}

func putAll(t *testing.T, r *inmem.Run, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		_, err := r.KV().Put(ctx, pairs[i], []byte(pairs[i+1]))
		require.NoError(t, err)
	}
}

func (a *anomaly) begin() *inmem.Tx {
	tx, err := a.r.Begin(ctx)
	require.NoError(a.t, err)
	return tx
}

func (a *anomaly) put(tx *inmem.Tx, key, value string) {
	a.t.Helper()
	_, err := tx.KV().Put(ctx, key, []byte(value))
	require.NoError(a.t, err)
}

func (a *anomaly) sees(tx *inmem.Tx, key, value string) {
	a.t.Helper()
	b, err := tx.KV().Get(ctx, key)
	require.NoError(a.t, err)
	assert.Equal(a.t, value, string(b), "key %s", key)
}

// where returns the keys whose value is among the values: a predicate read.
func (a *anomaly) where(tx *inmem.Tx, values ...string) (keys []string) {
	a.t.Helper()
	for it, err := range tx.KV().List(ctx, "") {
		require.NoError(a.t, err)
		for _, v := range values {
			if string(it.Value) == v {
				keys = append(keys, it.Key)
			}
		}
	}
	return keys
}

func (a *anomaly) commits(tx *inmem.Tx) {
	a.t.Helper()
	_, err := tx.Commit(ctx)
	require.NoError(a.t, err)
}

func (a *anomaly) conflicts(tx *inmem.Tx, key string) {
	a.t.Helper()
	_, err := tx.Commit(ctx)
	var conflict *inmem.ConflictError
	require.ErrorAs(a.t, err, &conflict)
	require.ErrorIs(a.t, err, inmem.ErrConflict)
	assert.Equal(a.t, key, conflict.Key)
}

// holds checks what is left in the end.
func (a *anomaly) holds(pairs ...string) {
	a.t.Helper()
	tx := a.begin()
	defer tx.Rollback()
	for i := 0; i < len(pairs); i += 2 {
		a.sees(tx, pairs[i], pairs[i+1])
	}
}

func TestHermitage(t *testing.T) {
	for name, schedule := range map[string]func(*anomaly){
		"G0 write cycles": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			a.put(t1, "1", "11")
			a.put(t2, "1", "12")
			a.put(t1, "2", "21")
			a.commits(t1)
			a.holds("1", "11", "2", "21")
			a.put(t2, "2", "22")
			a.commits(t2) // blind writes do not conflict; they are not mixed either
			a.holds("1", "12", "2", "22")
		},
		"G1a aborted reads": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			a.put(t1, "1", "101")
			a.sees(t2, "1", "10")
			t1.Rollback()
			a.sees(t2, "1", "10")
			a.commits(t2)
		},
		"G1b intermediate reads": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			a.put(t1, "1", "101")
			a.sees(t2, "1", "10")
			a.put(t1, "1", "11")
			a.commits(t1)
			a.sees(t2, "1", "10")
			a.commits(t2)
		},
		"G1c circular information flow": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			a.put(t1, "1", "11")
			a.put(t2, "2", "22")
			a.sees(t1, "2", "20")
			a.sees(t2, "1", "10")
			a.commits(t1)
			a.conflicts(t2, "1")
		},
		"OTV observed transaction vanishes": func(a *anomaly) {
			t1, t2, t3 := a.begin(), a.begin(), a.begin()
			a.put(t1, "1", "11")
			a.put(t1, "2", "19")
			a.put(t2, "1", "12")
			a.commits(t1)
			a.sees(t3, "1", "10")
			a.put(t2, "2", "18")
			a.sees(t3, "2", "20")
			a.commits(t2)
			a.sees(t3, "2", "20")
			a.sees(t3, "1", "10")
			a.commits(t3)
		},
		"PMP predicate many preceders": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			assert.Empty(a.t, a.where(t1, "30"))
			a.put(t2, "3", "30")
			a.commits(t2)
			assert.Empty(a.t, a.where(t1, "30"))
			a.commits(t1)
		},
		"PMP with a write": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			for _, k := range a.where(t1, "10", "20") {
				a.put(t1, k, "30")
			}
			require.Equal(a.t, []string{"2"}, a.where(t2, "20"))
			_, err := t2.KV().Delete(ctx, "2")
			require.NoError(a.t, err)
			a.commits(t1)
			a.conflicts(t2, "2")
			a.holds("1", "30", "2", "30")
		},
		"P4 lost update": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			a.sees(t1, "1", "10")
			a.sees(t2, "1", "10")
			a.put(t1, "1", "11")
			a.put(t2, "1", "11")
			a.commits(t1)
			a.conflicts(t2, "1")
		},
		"G-single read skew": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			a.sees(t1, "1", "10")
			a.sees(t2, "1", "10")
			a.sees(t2, "2", "20")
			a.put(t2, "1", "12")
			a.put(t2, "2", "18")
			a.commits(t2)
			a.sees(t1, "2", "20")
			a.commits(t1)
		},
		"G-single with a write predicate": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			a.sees(t1, "1", "10")
			a.put(t2, "1", "12")
			a.put(t2, "2", "18")
			a.commits(t2)
			for _, k := range a.where(t1, "20") {
				_, err := t1.KV().Delete(ctx, k)
				require.NoError(a.t, err)
			}
			a.conflicts(t1, "1")
			a.holds("1", "12", "2", "18")
		},
		"G2-item write skew": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			a.sees(t1, "1", "10")
			a.sees(t1, "2", "20")
			a.sees(t2, "1", "10")
			a.sees(t2, "2", "20")
			a.put(t1, "1", "11")
			a.put(t2, "2", "21")
			a.commits(t1)
			a.conflicts(t2, "1")
		},
		"G2 anti-dependency cycles": func(a *anomaly) {
			t1, t2 := a.begin(), a.begin()
			assert.Empty(a.t, a.where(t1, "30"))
			assert.Empty(a.t, a.where(t2, "30"))
			a.put(t1, "3", "30")
			a.put(t2, "4", "42")
			a.commits(t1)
			a.conflicts(t2, "3")
		},
		"G2 two edges and a read-only transaction": func(a *anomaly) {
			t1 := a.begin()
			require.Equal(a.t, []string{"2"}, a.where(t1, "20"))
			t2 := a.begin()
			a.put(t2, "2", "25")
			a.commits(t2)
			t3 := a.begin()
			a.sees(t3, "1", "10")
			a.sees(t3, "2", "25")
			a.commits(t3)
			a.put(t1, "1", "0")
			a.conflicts(t1, "2")
		},
	} {
		t.Run(name, func(t *testing.T) { schedule(newAnomaly(t)) })
	}
}

package inmem_test

import (
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"inmem"
	"inmem/recovery"
	"inmem/run"
	"inmem/vfs"
)

// check recovers from a crash, compares with the ledger, closes, checks every
// byte, and recovers once more. It reports whether there was a torn tail.
func (l *life) check(c *crashed, i int) (torn bool) {
	t := l.t
	t.Helper()
	promised := c.promised.kill
	if c.power {
		promised = c.promised.power
	}
	opts := l.opts
	opts.FS, opts.Now = c.disk, func() time.Time { return time.UnixMilli(c.promised.now) }
	if !c.power || i%4 == 0 { // the check and the opening must agree, also on a crashed store
		l.sound(c.disk, c.what)
	}
	original := c.disk.Clone()
	db := l.openOther(&opts, c.what)
	torn = l.report(db, c)
	got := l.compare(db, c, promised)
	if c.power {
		require.LessOrEqual(t, l.ledger.lost(got, c.promised, opts.Shards), opts.BatchCommits, "%s: more Batched commits were lost than may be unsynced", c.what)
	}
	require.NoError(t, db.Close(), c.what)
	l.sound(c.disk, c.what)
	db = l.openOther(&opts, c.what)
	require.Equal(t, got, l.compare(db, c, promised), c.what)
	require.Empty(t, verdictUnless(db, recovery.Clean, recovery.Created), c.what)
	require.NoError(t, db.Close(), c.what)
	c.disk = original
	return torn
}

// verdictUnless returns the store's verdict, or none where it is expected.
func verdictUnless(db *inmem.DB, fine ...recovery.Verdict) (other recovery.Verdict) {
	for _, v := range fine {
		if db.Recovery().Verdict == v {
			return ""
		}
	}
	return db.Recovery().Verdict
}

func (l *life) compare(db *inmem.DB, c *crashed, promised map[run.ID]uint64) found {
	defer func() {
		if l.t.Failed() {
			l.t.Log(c.what)
		}
	}()
	got := l.ledger.compare(l.t, db, promised)
	for id := range got.kept {
		if r, err := db.Run(id); err == nil {
			searchBothWays(l.t, r)
		}
	}
	return got
}

// sound wants a store without problems.
func (l *life) sound(disk *vfs.Mem, what string) {
	checked, err := recovery.Check(disk, storeDir)
	if err != nil { // the crash came before there was a store
		require.ErrorIs(l.t, err, inmem.ErrNoStore, what)
		return
	}
	require.Empty(l.t, checked.Problems, what)
}

// report wants torn bytes to be reported where they are, and none after a kill,
// which cuts no write short.
func (l *life) report(db *inmem.DB, c *crashed) (torn bool) {
	for i, s := range db.Recovery().Shards {
		require.Equal(l.t, s.Verdict == recovery.Torn, s.TornBytes > 0, c.what)
		if s.TornBytes == 0 {
			continue
		}
		torn = true
		require.True(l.t, c.power, "%s: shard %d has a torn tail", c.what, i)
		info, err := c.disk.Stat(s.TornFile)
		require.NoError(l.t, err)
		require.GreaterOrEqual(l.t, info.Size(), s.TornOffset, c.what)
	}
	return torn
}

// crashInRecovery crashes before every operation of the recovery from a crash,
// and wants the same result each time.
func (l *life) crashInRecovery(c *crashed) int {
	t := l.t
	disk := c.disk.Clone()
	opts := l.opts
	opts.FS, opts.Now = disk, func() time.Time { return time.UnixMilli(c.promised.now) }
	var mu sync.Mutex
	var inside []crashed
	disk.SetFault(func(o vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		what := fmt.Sprintf("%s, then in recovery before %v", c.what, o)
		inside = append(inside, crashed{what + " (killed)", disk.Clone(), c.power, c.promised},
			crashed{what + " (power cut)", disk.Crash(l.dice), c.power, c.promised})
		return nil
	})
	db := l.openOther(&opts, c.what)
	want := l.compare(db, c, nil)
	disk.SetFault(nil)
	require.NoError(t, db.Close())
	for i := range inside {
		opts.FS = inside[i].disk
		db := l.openOther(&opts, inside[i].what)
		require.Equal(t, want, l.compare(db, &inside[i], nil), inside[i].what)
		require.NoError(t, db.Close())
		l.sound(inside[i].disk, inside[i].what)
	}
	return len(inside)
}

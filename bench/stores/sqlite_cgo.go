//go:build cgo

package stores

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/mattn/go-sqlite3"

	"inmem/bench/store"
)

func sqliteVersion() string {
	version, _, _ := sqlite3.Version()
	return fmt.Sprintf("%s (mattn/go-sqlite3 %s)", version, moduleVersion(sqliteModule))
}

func sqliteMissing() string { return "" }

type sqliteStore struct {
	mu      sync.Mutex
	writer  *sqliteConn      // under mu
	readers chan *sqliteConn // that are not in use
	log     *os.File         // to sync it
	syncer  *syncer
}

func openSQLite(dir string, class store.Class) (_ store.Store, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(filepath.Join(dir, "sqlite.db"))
	if err != nil {
		return nil, err
	}
	s := &sqliteStore{readers: make(chan *sqliteConn, 2*runtime.GOMAXPROCS(0))}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.writer, err = openSQLiteConn(path, class); err != nil {
		return nil, err
	}
	for range cap(s.readers) {
		c, err := openSQLiteConn(path, class)
		if err != nil {
			return nil, err
		}
		s.readers <- c
	}
	if s.log, err = os.Open(path + "-wal"); err != nil {
		return nil, err
	}
	if class == store.Batched {
		s.syncer = startSyncer(s.Flush)
	}
	return s, nil
}

// sqliteConn is a connection with its statements: of one goroutine at a time.
type sqliteConn struct {
	conn                                   *sqlite3.SQLiteConn
	get, scan, put, begin, commit, abandon *sqlite3.SQLiteStmt
}

func openSQLiteConn(path string, class store.Class) (_ *sqliteConn, err error) {
	level := "FULL"
	if class == store.Batched {
		level = "NORMAL"
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {level},
		"_busy_timeout": {"10000"},
		"_cache_size":   {"-65536"},
		"_mutex":        {"no"},
	}.Encode()}
	conn, err := new(sqlite3.SQLiteDriver).Open(dsn.String())
	if err != nil {
		return nil, err
	}
	c := &sqliteConn{conn: conn.(*sqlite3.SQLiteConn)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	_, err = c.conn.Exec(`PRAGMA mmap_size=4294967296; PRAGMA wal_autocheckpoint=10000;
		CREATE TABLE IF NOT EXISTS kv (run INTEGER, key TEXT, value BLOB NOT NULL, PRIMARY KEY (run, key)) WITHOUT ROWID`, nil)
	if err != nil {
		return nil, err
	}
	for _, p := range []struct {
		stmt **sqlite3.SQLiteStmt
		text string
	}{
		{&c.get, "SELECT value FROM kv WHERE run = ? AND key = ?"},
		{&c.scan, "SELECT key, value FROM kv WHERE run = ? AND key >= ? ORDER BY key LIMIT ?"},
		{&c.put, "INSERT INTO kv VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"},
		{&c.begin, "BEGIN IMMEDIATE"},
		{&c.commit, "COMMIT"},
		{&c.abandon, "ROLLBACK"},
	} {
		stmt, err := c.conn.Prepare(p.text)
		if err != nil {
			return nil, err
		}
		*p.stmt = stmt.(*sqlite3.SQLiteStmt)
	}
	return c, nil
}

func (c *sqliteConn) close() error {
	var errs []error
	for _, stmt := range []*sqlite3.SQLiteStmt{c.get, c.scan, c.put, c.begin, c.commit, c.abandon} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(append(errs, c.conn.Close())...)
}

func (s *sqliteStore) Begin(int) error { return nil }

func (s *sqliteStore) Put(run int, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sqliteTx{s.writer, run}.Put(key, value)
}

func (s *sqliteStore) Get(run int, key string) ([]byte, error) {
	c := <-s.readers
	defer func() { s.readers <- c }()
	return sqliteTx{c, run}.Get(key)
}

func (s *sqliteStore) Scan(run int, from string, limit int, visit func(string, []byte) bool) (err error) {
	c := <-s.readers
	defer func() { s.readers <- c }()
	rows, err := c.scan.QueryContext(ctx, []driver.NamedValue{
		{Ordinal: 1, Value: int64(run)}, {Ordinal: 2, Value: from}, {Ordinal: 3, Value: int64(limit)},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var row [2]driver.Value
	for {
		if err := rows.Next(row[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if !visit(row[0].(string), row[1].([]byte)) {
			return nil
		}
	}
}

func (s *sqliteStore) Write(run int, pairs []store.Pair) error {
	return s.Update(run, func(tx store.Tx) error { return putAll(tx, pairs) })
}

func (s *sqliteStore) Update(run int, fn func(store.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := ctx
	if _, err := s.writer.begin.ExecContext(ctx, nil); err != nil {
		return err
	}
	err := fn(sqliteTx{s.writer, run})
	if err == nil {
		_, err = s.writer.commit.ExecContext(ctx, nil)
	}
	if err != nil {
		_, abandoned := s.writer.abandon.ExecContext(ctx, nil)
		return errors.Join(err, abandoned)
	}
	return nil
}

type sqliteTx struct {
	c   *sqliteConn
	run int
}

// Get implements store.Tx. The driver copies the value.
func (t sqliteTx) Get(key string) ([]byte, error) {
	rows, err := t.c.get.QueryContext(ctx, []driver.NamedValue{
		{Ordinal: 1, Value: int64(t.run)}, {Ordinal: 2, Value: key},
	})
	if err != nil {
		return nil, err
	}
	var row [1]driver.Value
	if err := errors.Join(rows.Next(row[:]), rows.Close()); errors.Is(err, io.EOF) {
		return nil, store.ErrNotFound
	} else if err != nil {
		return nil, err
	}
	return row[0].([]byte), nil
}

func (t sqliteTx) Put(key string, value []byte) error {
	_, err := t.c.put.ExecContext(ctx, []driver.NamedValue{
		{Ordinal: 1, Value: int64(t.run)}, {Ordinal: 2, Value: key}, {Ordinal: 3, Value: notNil(value)},
	})
	return err
}

// Flush syncs the log. A checkpoint syncs it by itself before it begins, and
// the table before it lets the log be overwritten.
func (s *sqliteStore) Flush() error { return s.log.Sync() }

func (s *sqliteStore) Close() error {
	errs := []error{s.syncer.close()}
	close(s.readers)
	for c := range s.readers {
		errs = append(errs, c.close())
	}
	if s.writer != nil { // the last one: it moves the log into the table
		errs = append(errs, s.writer.close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}

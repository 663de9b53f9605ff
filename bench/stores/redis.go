package stores

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"inmem/bench/store"
)

// Redis is a server of our own on this machine.
func Redis() store.Kind {
	const same = "A server of its own, which dies with this process, over a unix socket. Strings, the run before their keys; " +
		"a Write is one MSET. The client (rueidis) puts calls that come at the same time into one pipeline: " +
		"two to five times as many as with a connection each. Append-only file, no snapshots. Transactions are WATCH, MULTI, EXEC. " +
		"It has no ordered keys: no scans. "
	return store.Kind{
		Name:    "Redis",
		Version: strings.TrimSpace(redisVersion() + " (rueidis " + moduleVersion(rueidisModule) + ")"),
		Classes: []store.Class{store.Strict, store.Batched},
		Notes: map[store.Class]string{
			store.Strict: same + "appendfsync always: pipelines share syncs. A power cut loses nothing.",
			store.Batched: same + "appendfsync everysec: it has nothing nearer to 100 ms. A killed server loses what it holds back " +
				"while a sync runs, up to 2 s; a power cut 1 or 2 s.",
		},
		Open:    openRedis,
		Missing: redisMissing,
	}
}

type redisStore struct {
	server *redisServer
	client rueidis.Client
	class  store.Class
}

func openRedis(dir string, class store.Class) (store.Store, error) {
	server, err := startRedis(dir, class)
	if err != nil {
		return nil, err
	}
	client, err := server.connect()
	if err != nil {
		return nil, errors.Join(err, server.kill())
	}
	return &redisStore{server, client, class}, nil
}

var _ store.Server = (*redisStore)(nil)

// Pid implements store.Server.
func (s *redisStore) Pid() int { return s.server.cmd.Process.Pid }

func (s *redisStore) Begin(int) error { return nil }

func redisKey(run int, key string) string {
	return lent(appendKey(make([]byte, 0, prefixLen+len(key)), run, key))
}

func (s *redisStore) Put(run int, key string, value []byte) error {
	return s.client.Do(ctx, s.client.B().Set().Key(redisKey(run, key)).Value(lent(value)).Build()).Error()
}

func (s *redisStore) Get(run int, key string) ([]byte, error) {
	return redisValue(s.client.Do(ctx, s.client.B().Get().Key(redisKey(run, key)).Build()))
}

// redisValue returns the value of an answer: its bytes are of no one else.
func redisValue(answer rueidis.RedisResult) ([]byte, error) {
	value, err := answer.AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, store.ErrNotFound
	}
	return value, err
}

// Scan implements store.Store. A sorted set beside the strings would make each
// put twice as dear.
func (s *redisStore) Scan(int, string, int, func(string, []byte) bool) error {
	return errors.ErrUnsupported
}

func (s *redisStore) Write(run int, pairs []store.Pair) error {
	if len(pairs) == 0 {
		return nil
	}
	return s.client.Do(ctx, redisSet(s.client.B(), run, pairs)).Error()
}

func redisSet(b rueidis.Builder, run int, pairs []store.Pair) rueidis.Completed {
	set := b.Mset().KeyValue()
	for _, p := range pairs {
		set = set.KeyValue(redisKey(run, p.Key), lent(p.Value))
	}
	return set.Build()
}

func (s *redisStore) Update(run int, fn func(store.Tx) error) error {
	for {
		done := false
		err := s.client.Dedicated(func(conn rueidis.DedicatedClient) error {
			tx := redisTx{conn: conn, run: run}
			err := fn(&tx)
			if err != nil {
				return errors.Join(err, conn.Do(ctx, conn.B().Unwatch().Build()).Error())
			}
			done, err = tx.commit()
			return err
		})
		if done || err != nil {
			return err
		}
	}
}

// redisTx is a transaction: it watches what it reads, and keeps its writes
// until the end.
type redisTx struct {
	conn  rueidis.DedicatedClient
	run   int
	pairs []store.Pair
}

func (t *redisTx) Get(key string) ([]byte, error) {
	for i := len(t.pairs) - 1; i >= 0; i-- {
		if t.pairs[i].Key == key {
			return bytes.Clone(t.pairs[i].Value), nil
		}
	}
	full := redisKey(t.run, key)
	answers := t.conn.DoMulti(ctx, t.conn.B().Watch().Key(full).Build(), t.conn.B().Get().Key(full).Build())
	if err := answers[0].Error(); err != nil {
		return nil, err
	}
	return redisValue(answers[1])
}

func (t *redisTx) Put(key string, value []byte) error {
	t.pairs = append(t.pairs, store.Pair{Key: key, Value: value})
	return nil
}

// commit reports whether nothing that was read has changed.
func (t *redisTx) commit() (bool, error) {
	cmds := []rueidis.Completed{t.conn.B().Multi().Build()}
	if len(t.pairs) > 0 {
		cmds = append(cmds, redisSet(t.conn.B(), t.run, t.pairs))
	}
	answers := t.conn.DoMulti(ctx, append(cmds, t.conn.B().Exec().Build())...)
	err := answers[len(answers)-1].Error()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return err == nil, err
}

// Flush makes the server sync before it answers. Its log must have something
// new for that: the key is of a run that no one has.
func (s *redisStore) Flush() error {
	if s.class == store.Strict {
		return nil
	}
	err := s.appendfsync("always")
	if err == nil {
		err = s.Put(-1, "flush", strconv.AppendInt(nil, int64(s.Pid()), 10))
	}
	return errors.Join(err, s.appendfsync("everysec"))
}

func (s *redisStore) appendfsync(when string) error {
	return s.client.Do(ctx, s.client.B().ConfigSet().ParameterValue().ParameterValue("appendfsync", when).Build()).Error()
}

func (s *redisStore) Close() error {
	// The server goes without an answer: what counts is how it ends.
	_ = s.client.Do(ctx, s.client.B().Shutdown().Nosave().Build()).Error()
	err := s.server.wait()
	s.client.Close()
	return err
}

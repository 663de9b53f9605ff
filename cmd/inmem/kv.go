package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"inmem"
	"inmem/kv"
)

// kvCmd holds the commands about the keys of one run.
type kvCmd struct {
	Get kvGetCmd `cmd:"" help:"Write the value of a key to standard output, byte for byte."`
	Put kvPutCmd `cmd:"" help:"Set a key."`
	Del kvDelCmd `cmd:"" help:"Delete a key."`
	Ls  kvLsCmd  `cmd:"" name:"ls" help:"List keys, in order."`
}

// inRun is the flags of every command about the keys of a run.
type inRun struct {
	store
	RunID  string `name:"run" required:"" help:"The run's ID, or the beginning of it." placeholder:"ID"`
	Quoted bool   `short:"q" help:"The key is in Go's double quotes, as ls prints a key that is no plain text."`
}

// read opens the store for reading and finds the run and the key.
func (c *inRun) read(a *app, key string, fn func(r *inmem.Run, key string) error) error {
	return c.in(a, c.store.read, key, fn)
}

// write opens the store and finds the run and the key.
func (c *inRun) write(a *app, key string, fn func(r *inmem.Run, key string) error) error {
	return c.in(a, c.store.write, key, fn)
}

func (c *inRun) in(a *app, open func(*app, func(*inmem.DB) error) error, key string, fn func(r *inmem.Run, key string) error) error {
	if c.Quoted {
		var err error
		if key, err = strconv.Unquote(key); err != nil {
			return usage(`quote it for the shell too: '"a\x00b"'`, "--quoted: the key %q is not in double quotes", key)
		}
	}
	return open(a, func(db *inmem.DB) error {
		r, err := findRun(a, db, c.RunID)
		if err != nil {
			return err
		}
		err = fn(r, key)
		if errors.Is(err, inmem.ErrNotFound) {
			err = fmt.Errorf("%w: %s", err, plain(key))
		}
		return err
	})
}

// kvGetCmd reads a key.
type kvGetCmd struct {
	inRun
	past
	Key  string `arg:""`
	JSON bool   `name:"json" help:"A JSON object with value, version and deadline."`
}

func (c *kvGetCmd) Run(a *app) error {
	return c.read(a, c.Key, func(r *inmem.Run, key string) error {
		f, err := c.of(a, r)
		if err != nil {
			return err
		}
		if c.JSON {
			it, err := f.KV().GetItem(a.ctx, key)
			if err != nil {
				return err
			}
			return a.json(withValue(it))
		}
		v, err := f.KV().GetReader(a.ctx, key)
		if err != nil {
			return err
		}
		_, err = v.WriteTo(a.out)
		return err
	})
}

// kvPutCmd writes a key.
type kvPutCmd struct {
	inRun
	Key       string         `arg:""`
	Value     *string        `arg:"" optional:"" help:"The value; without it, or with -, standard input is."`
	TTL       *time.Duration `name:"ttl" help:"Let the value expire after this time, such as 90s or 24h." placeholder:"TIME"`
	IfVersion *uint64        `help:"Only if the key has this version; 0 = only if there is no such key." placeholder:"N"`
	JSON      bool           `name:"json" help:"Print the version as a JSON object."`
}

func (c *kvPutCmd) Run(a *app) error {
	if err := c.exists(); err != nil {
		return err // before standard input is waited for
	}
	value, err := c.value(a)
	if err != nil {
		return err
	}
	return c.write(a, c.Key, func(r *inmem.Run, key string) error {
		var opts []kv.WriteOption
		if c.TTL != nil {
			opts = append(opts, kv.TTL(*c.TTL))
		}
		var version uint64
		var err error
		if c.IfVersion != nil {
			version, err = r.KV().PutIf(a.ctx, key, value, *c.IfVersion, opts...)
		} else {
			version, err = r.KV().Put(a.ctx, key, value, opts...)
		}
		if err != nil {
			return err
		}
		if c.JSON {
			return a.json(map[string]any{"version": version})
		}
		a.printf("version %d\n", version)
		return nil
	})
}

func (c *kvPutCmd) value(a *app) ([]byte, error) {
	if c.Value != nil && *c.Value != "-" {
		return []byte(*c.Value), nil
	}
	if c.Value == nil && a.inTerm {
		return nil, usage("give it after the key, or - to type it", "what value?")
	}
	// A byte more than a value may have is enough to be refused.
	return io.ReadAll(io.LimitReader(a.in, maxMessage+1))
}

// kvDelCmd deletes a key.
type kvDelCmd struct {
	inRun
	Key string `arg:""`
}

func (c *kvDelCmd) Run(a *app) error {
	return c.write(a, c.Key, func(r *inmem.Run, key string) error {
		_, err := r.KV().Delete(a.ctx, key)
		return err
	})
}

// kvLsCmd lists keys.
type kvLsCmd struct {
	inRun
	past
	Prefix  string `arg:"" optional:"" help:"Only keys that begin so."`
	Reverse bool   `help:"From the last key to the first."`
	Limit   int    `help:"At most so many." placeholder:"N"`
	Values  bool   `help:"With --json: the values too."`
	JSON    bool   `name:"json" help:"One JSON object a line."`
}

func (c *kvLsCmd) Run(a *app) error {
	if c.Limit < 0 {
		return usage("", "--limit %d is negative", c.Limit)
	}
	if c.Values && !c.JSON {
		return usage("'inmem kv get' prints one value as it is", "--values goes with --json")
	}
	opts := []kv.ListOption{kv.Limit(c.Limit)}
	if c.Reverse {
		opts = append(opts, kv.Reverse())
	}
	prefix := c.Prefix
	if prefix == "" {
		c.Quoted = false
	}
	return c.read(a, prefix, func(r *inmem.Run, prefix string) error { return c.list(a, r, prefix, opts) })
}

func (c *kvLsCmd) list(a *app, r *inmem.Run, prefix string, opts []kv.ListOption) error {
	f, err := c.of(a, r)
	if err != nil {
		return err
	}
	t := keyTable()
	for it, err := range f.KV().List(a.ctx, prefix, opts...) {
		if err != nil {
			return err
		}
		k := infoOf(it)
		if c.Values {
			k = withValue(it)
		}
		if !c.JSON {
			k.addTo(t)
		} else if err := a.json(k); err != nil {
			return err
		}
	}
	t.print(a)
	if !c.JSON && len(t.rows) == 0 {
		a.say("no keys")
	}
	return nil
}

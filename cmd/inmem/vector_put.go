package main

import (
	"bufio"
	"encoding/json"
	"fmt"

	"inmem/vector"
)

// vectorPutCmd puts vectors.
type vectorPutCmd struct {
	ofCollection
	given
	Key      string `arg:"" optional:"" help:"The vector's key; without it standard input has a JSON object a line: key, vector or text, and metadata."`
	Metadata string `help:"A JSON object that belongs to it." placeholder:"JSON"`
	JSON     bool   `name:"json" help:"Print the version as a JSON object."`
}

// vectorLine is a line of standard input.
type vectorLine struct {
	Key      string          `json:"key"`
	Vector   []float32       `json:"vector"`
	Text     string          `json:"text"`
	Metadata json.RawMessage `json:"metadata"`
}

// How many vectors go into one commit, and about how many of their bytes.
const (
	putTogether      = 1000
	putTogetherBytes = 16 << 20
)

func (c *vectorPutCmd) Run(a *app) error {
	if (c.Key == "") != c.none() {
		return usage("give a key with --vector or --text, or none of them and lines on standard input", "which vector?")
	}
	if c.Key == "" && c.Metadata != "" {
		return usage("", "--metadata goes with a key")
	}
	if c.Key == "" && a.inTerm {
		return usage("give a key with --vector or --text, or lines on standard input", "which vectors?")
	}
	return c.change(a, func(s vector.Store) error {
		if c.Key == "" {
			return c.lines(a, s)
		}
		v, err := c.vector(a, s, c.Collection)
		if err != nil {
			return err
		}
		version, err := s.Upsert(a.ctx, c.Collection, c.Key, v, []byte(c.Metadata))
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

// lines puts what standard input has, some lines in a commit.
func (c *vectorPutCmd) lines(a *app, s vector.Store) error {
	of, err := s.Collection(a.ctx, c.Collection)
	if err != nil {
		return err
	}
	in := bufio.NewScanner(a.in)
	in.Buffer(nil, maxMessage)
	var batch []vector.New
	var version uint64
	line, done, size := 0, 0, 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if version, err = s.UpsertBatch(a.ctx, c.Collection, batch); err != nil {
			return fmt.Errorf("the lines after %d, of which nothing is in: %w", line-len(batch), err)
		}
		done += len(batch)
		batch, size = batch[:0], 0
		return nil
	}
	for in.Scan() {
		line++
		n, err := newVector(a, of, in.Bytes())
		if err != nil {
			return &cliError{code: exitBadInput, err: fmt.Errorf("line %d: %w; %s are in", line, err, plural(done, "vector"))}
		}
		size += 4*len(n.Vector) + len(n.Metadata)
		if batch = append(batch, n); len(batch) == putTogether || size >= putTogetherBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("line %d: %w", line+1, err)
	}
	if err := flush(); err != nil {
		return err
	}
	if c.JSON {
		return a.json(map[string]any{"vectors": done, "version": version})
	}
	a.printf("%s\n", plural(done, "vector"))
	return nil
}

// newVector reads a line.
func newVector(a *app, c vector.Collection, b []byte) (vector.New, error) {
	var in vectorLine
	if err := json.Unmarshal(b, &in); err != nil {
		return vector.New{}, err
	}
	n := vector.New{Key: in.Key, Vector: in.Vector, Metadata: in.Metadata}
	if in.Vector == nil && in.Text != "" {
		var err error
		if n.Vector, err = embedded(a, c, in.Text); err != nil {
			return vector.New{}, err
		}
		if n.Metadata == nil {
			n.Metadata, err = json.Marshal(map[string]string{"text": in.Text})
		}
		return n, err
	}
	return n, nil
}

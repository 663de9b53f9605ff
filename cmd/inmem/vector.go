package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"inmem"
	"inmem/query"
	"inmem/vector"
	"inmem/vector/embed"
)

// vectorCmd holds the commands about the vectors of a run.
type vectorCmd struct {
	Ls     vectorLsCmd     `cmd:"" name:"ls" help:"List collections, or the vectors of one."`
	Search vectorSearchCmd `cmd:"" help:"Find the vectors nearest to another."`
	Get    vectorGetCmd    `cmd:"" help:"Show a vector."`
	Create vectorCreateCmd `cmd:"" help:"Make a collection."`
	Put    vectorPutCmd    `cmd:"" help:"Put a vector, or as many as standard input has."`
	Del    vectorDelCmd    `cmd:"" help:"Delete a vector."`
	Drop   vectorDropCmd   `cmd:"" help:"Delete a collection with all its vectors."`
}

// ofCollection is the arguments of the commands about one collection.
type ofCollection struct {
	store
	RunID      string `arg:"" name:"run" help:"The run's ID, or the beginning of it."`
	Collection string `arg:"" help:"The collection's name."`
}

// change opens the store and finds the run.
func (c *ofCollection) change(a *app, fn func(s vector.Store) error) error {
	return c.write(a, func(db *inmem.DB) error {
		r, err := findRun(a, db, c.RunID)
		if err != nil {
			return err
		}
		return fn(r.Vectors())
	})
}

// look opens the store for reading and finds the run, at the version asked for.
func (c *ofCollection) look(a *app, p *past, fn func(s vector.Store) error) error {
	of := ofRun{store: c.store, RunID: c.RunID, past: *p}
	return of.read(a, func(f faces) error { return fn(f.Vectors()) })
}

// vectorMissing is missing for a vector.
func vectorMissing(err error, key string) error {
	return missing(err, "'inmem vector ls' lists the vectors of a collection", "vector not found: %s", plain(key))
}

// vectorCreateCmd makes a collection.
type vectorCreateCmd struct {
	ofCollection
	Dimension int    `help:"Elements of each vector." default:"256" placeholder:"N"`
	Metric    string `help:"What makes vectors near: ${enum}." enum:"cosine,dot,euclidean" default:"cosine"`
	JSON      bool   `name:"json" help:"Print the collection as a JSON object."`
}

func (c *vectorCreateCmd) Run(a *app) error {
	metric, err := vector.ParseMetric(c.Metric)
	if err != nil {
		return err
	}
	return c.change(a, func(s vector.Store) error {
		made, err := s.Create(a.ctx, c.Collection, vector.Config{Dimension: c.Dimension, Metric: metric})
		if err != nil {
			return err
		}
		if c.JSON {
			return a.json(collectionJSON(&made, nil))
		}
		a.printf("version %d\n", made.Version)
		return nil
	})
}

// vectorDropCmd deletes a collection.
type vectorDropCmd struct{ ofCollection }

func (c *vectorDropCmd) Run(a *app) error {
	return c.change(a, func(s vector.Store) error { return s.Drop(a.ctx, c.Collection) })
}

// vectorDelCmd deletes a vector.
type vectorDelCmd struct {
	ofCollection
	Key string `arg:""`
}

func (c *vectorDelCmd) Run(a *app) error {
	return c.change(a, func(s vector.Store) error {
		return vectorMissing(s.Delete(a.ctx, c.Collection, c.Key), c.Key)
	})
}

// jsonCollection is a collection for programs.
type jsonCollection struct {
	Collection string `json:"collection"`
	Dimension  int    `json:"dimension"`
	Metric     string `json:"metric"`
	Vectors    *int   `json:"vectors,omitempty"`
	Version    uint64 `json:"version"`
}

func collectionJSON(c *vector.Collection, vectors *int) jsonCollection {
	return jsonCollection{Collection: c.Name, Dimension: c.Dimension, Metric: c.Metric.String(), Vectors: vectors, Version: c.Version}
}

// jsonVector is a vector for programs.
type jsonVector struct {
	Key       string          `json:"key,omitempty"`
	KeyBase64 string          `json:"key_base64,omitempty"`
	Score     *float64        `json:"score,omitempty"`
	Vector    []float32       `json:"vector,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	Version   uint64          `json:"version"`
}

func vectorJSON(it *vector.Item, score *float64) jsonVector {
	j := jsonVector{Score: score, Vector: it.Vector, Metadata: it.Metadata, Version: it.Version}
	if !json.Valid(it.Metadata) {
		j.Metadata = nil // of a store that was written by other means
	}
	key, inBase64 := jsonText(it.Key)
	if j.KeyBase64 = inBase64; key != nil {
		j.Key = *key
	}
	return j
}

// vectorLsCmd lists collections, or the vectors of one.
type vectorLsCmd struct {
	ofRun
	Collection string `arg:"" optional:"" help:"List the vectors of this collection."`
	Prefix     string `arg:"" optional:"" help:"Only vectors whose keys begin so."`
	Limit      int    `help:"At most so many vectors." placeholder:"N"`
	Vectors    bool   `help:"With --json: the vectors themselves, too."`
	JSON       bool   `name:"json" help:"One JSON object a line."`
}

func (c *vectorLsCmd) Run(a *app) error {
	if err := limited(c.Limit); err != nil {
		return err
	}
	if c.Vectors && !c.JSON {
		return usage("'inmem vector get' prints one", "--vectors goes with --json")
	}
	return c.read(a, func(f faces) error {
		if c.Collection == "" {
			return c.collections(a, f.Vectors())
		}
		return c.vectors(a, f.Vectors())
	})
}

func (c *vectorLsCmd) collections(a *app, s vector.Store) error {
	t := newTable("COLLECTION", ">DIMENSION", "METRIC", ">VECTORS", ">VERSION")
	for made, err := range s.Collections(a.ctx) {
		if err != nil {
			return err
		}
		n, err := s.Len(a.ctx, made.Name)
		if err != nil {
			return err
		}
		if !c.JSON {
			t.row(plain(made.Name), count(made.Dimension), made.Metric, count(n), count(made.Version))
		} else if err := a.json(collectionJSON(&made, &n)); err != nil {
			return err
		}
	}
	t.print(a)
	if !c.JSON && len(t.rows) == 0 {
		a.say("no collections of vectors")
	}
	return nil
}

func (c *vectorLsCmd) vectors(a *app, s vector.Store) error {
	opts := []vector.ListOption{vector.Limit(c.Limit)}
	if !c.Vectors {
		opts = append(opts, vector.WithoutVectors())
	}
	t := newTable("KEY", ">VERSION", "METADATA")
	for it, err := range s.List(a.ctx, c.Collection, c.Prefix, opts...) {
		if err != nil {
			return err
		}
		if !c.JSON {
			t.row(plain(it.Key), count(it.Version), cell{dataText(it.Metadata), a.style.dim})
		} else if err := a.json(vectorJSON(&it, nil)); err != nil {
			return err
		}
	}
	t.print(a)
	if !c.JSON && len(t.rows) == 0 {
		a.say("no vectors")
	}
	return nil
}

// vectorGetCmd shows a vector.
type vectorGetCmd struct {
	ofCollection
	past
	Key  string `arg:""`
	JSON bool   `name:"json" help:"A JSON object with metadata and version, instead of the vector alone."`
}

func (c *vectorGetCmd) Run(a *app) error {
	return c.look(a, &c.past, func(s vector.Store) error {
		it, err := s.Get(a.ctx, c.Collection, c.Key)
		if err != nil {
			return vectorMissing(err, c.Key)
		}
		if c.JSON {
			return a.json(vectorJSON(&it, nil))
		}
		return a.json(it.Vector)
	})
}

// given is the flags for a vector: as it is, or of a text.
type given struct {
	Vector string `help:"The vector, as a JSON array of numbers." placeholder:"JSON" xor:"given"`
	Text   string `help:"A text, of which a vector is made by the words and parts of words in it." xor:"given"`
}

func (g *given) none() bool { return g.Vector == "" && g.Text == "" }

// vector returns what was given, as a vector of a collection.
func (g *given) vector(a *app, s vector.Store, collection string) ([]float32, error) {
	if g.Vector != "" {
		var v []float32
		if err := json.Unmarshal([]byte(g.Vector), &v); err != nil {
			return nil, usage("a vector is like [0.1, -2, 3e-4]", "--vector: %v", err)
		}
		return v, nil
	}
	c, err := s.Collection(a.ctx, collection)
	if err != nil {
		return nil, err
	}
	return embedded(a, c, g.Text)
}

// embedded makes a vector of a text.
func embedded(a *app, c vector.Collection, text string) ([]float32, error) {
	list, err := embed.NGrams(c.Dimension).Embed(a.ctx, []string{text})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// vectorSearchCmd searches.
type vectorSearchCmd struct {
	ofCollection
	past
	given
	Key   string `help:"The vector of this key." xor:"given" placeholder:"KEY"`
	K     int    `short:"k" help:"How many to find." default:"10" placeholder:"N"`
	Where string `help:"Only vectors for which this is true, such as: meta.year >= 2020." placeholder:"CONDITION"`
	// Approximate is the number of candidates; 0 = the search is exact.
	Approximate int  `help:"Find about the nearest by an index that keeps EF candidates, such as 100. Unless somebody has the store open, an index that is not there is made and kept." placeholder:"EF"`
	JSON        bool `name:"json" help:"One JSON object a line."`
}

func (c *vectorSearchCmd) Run(a *app) error {
	if c.K < 1 {
		return usage("", "-k %d is not positive", c.K)
	}
	if c.Approximate < 0 {
		return usage("", "--approximate %d is negative", c.Approximate)
	}
	if c.Approximate > 0 && c.past != (past{}) {
		return usage("", "--approximate searches what is there now, not what was")
	}
	if c.none() && c.Key == "" {
		return usage("give --key KEY, --vector JSON or --text TEXT", "search for what?")
	}
	var opts []vector.SearchOption
	if c.Where != "" {
		filter, err := query.Where(c.Where)
		if err != nil {
			return querySyntax(err)
		}
		opts = append(opts, vector.Where(filter))
	}
	if c.Approximate > 0 {
		opts = append(opts, vector.Approximate(c.Approximate))
	}
	return c.open(a, func(s vector.Store) error {
		near, err := c.near(a, s)
		if err != nil {
			return err
		}
		hits, err := s.Search(a.ctx, c.Collection, near, c.K, opts...)
		if err != nil {
			return err
		}
		t := newTable(">SCORE", "KEY", "METADATA")
		for i := range hits {
			h := &hits[i]
			if !c.JSON {
				t.row(fmt.Sprintf("%.6f", h.Score), plain(h.Key), cell{dataText(h.Metadata), a.style.dim})
			} else if err := a.json(vectorJSON(&h.Item, &h.Score)); err != nil {
				return err
			}
		}
		t.print(a)
		if !c.JSON && len(hits) == 0 {
			a.say("no vectors")
		}
		return nil
	})
}

// open opens the store, for reading unless an index is to be made, and has what is
// searched prepared.
func (c *vectorSearchCmd) open(a *app, fn func(s vector.Store) error) error {
	if c.Approximate == 0 {
		return c.look(a, &c.past, fn)
	}
	search := func(db *inmem.DB, prepare bool) error {
		r, err := findRun(a, db, c.RunID)
		if err == nil && prepare {
			preparing := a.begin("preparing the index of "+c.Collection, -1, false)
			err = r.Vectors().Prepare(a.ctx, c.Collection, vector.Approximate(c.Approximate))
			preparing.end()
		}
		if err != nil {
			return err
		}
		return fn(r.Vectors())
	}
	err := c.write(a, func(db *inmem.DB) error { return search(db, true) })
	if errors.Is(err, inmem.ErrLocked) || errors.Is(err, fs.ErrPermission) {
		// What can only be read may have an index; to make one for this search alone
		// would take longer than to do without.
		return c.read(a, func(db *inmem.DB) error { return search(db, db.Metrics().Indexes.Files > 0) })
	}
	return err
}

// near is the vector to search for.
func (c *vectorSearchCmd) near(a *app, s vector.Store) ([]float32, error) {
	if c.Key == "" {
		return c.vector(a, s, c.Collection)
	}
	it, err := s.Get(a.ctx, c.Collection, c.Key)
	return it.Vector, vectorMissing(err, c.Key)
}

package transfer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"inmem/op"
	"inmem/run"
)

const (
	// Format is the format that is written, and the newest that is read.
	Format = 1
	// MaxLine bounds a line, in bytes, and so the memory that reading takes.
	MaxLine = 1 << 30

	tool = "inmem"
)

// Header is the first line.
type Header struct {
	Tool   string    `json:"tool"`
	Format uint32    `json:"format"`
	Run    *run.Info `json:"run"`
	Digest string    `json:"digest"` // of the run's last version
}

// trailer is the last line.
type trailer struct {
	Commits uint64 `json:"commits"`
	SHA256  string `json:"sha256"` // of all lines before
}

// commit is a line in between.
type commit struct {
	Version uint64      `json:"version"`
	Time    int64       `json:"time"`
	Ops     []operation `json:"ops"`
}

type operation struct {
	Kind        string  `json:"kind"`
	Tag         string  `json:"tag"`
	Key         *string `json:"key,omitempty"`
	KeyBase64   *string `json:"key_base64,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
	Deadline    int64   `json:"deadline,omitempty"`
	Version     uint64  `json:"version,omitempty"`
}

// line is any line but the first: which one, its fields tell.
type line struct {
	commit
	Commits *uint64 `json:"commits"`
	SHA256  *string `json:"sha256"`
}

// marshal returns a line, with its newline.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// unmarshal reads a line that has nothing but what v has.
func unmarshal(b []byte, v any) error {
	if !utf8.Valid(b) { // package json would put something else in its place
		return errors.New("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("not such a JSON object: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}

// toLine returns a commit as a line has it.
func toLine(c *op.Commit) commit {
	l := commit{Version: c.Version, Time: c.Time, Ops: make([]operation, len(c.Ops))}
	for i := range c.Ops {
		o, to := &c.Ops[i], &l.Ops[i]
		to.Kind, to.Tag = o.Kind.String(), o.Tag.String()
		to.Key, to.KeyBase64 = text([]byte(o.Key))
		if o.Kind == op.Put {
			to.Value, to.ValueBase64 = text(o.Value)
			to.Deadline, to.Version = o.Deadline, o.Version
		}
	}
	return l
}

// text returns bytes as a text, or in base64 where they are none.
func text(b []byte) (plain, inBase64 *string) {
	s := string(b)
	if utf8.ValidString(s) {
		return &s, nil
	}
	s = base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

// fromLine returns the commit of a line, checked as a stored one is.
func (l *commit) fromLine(id run.ID) (*op.Commit, error) {
	c := &op.Commit{Run: id, Version: l.Version, Time: l.Time, Ops: make([]op.Op, len(l.Ops))}
	for i := range l.Ops {
		if err := l.Ops[i].into(&c.Ops[i]); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i+1, err)
		}
	}
	// Whatever would not be read back from a log is found by reading it.
	stored, err := op.DecodeCommit(op.AppendCommit(make([]byte, 0, c.Size()), c))
	if err != nil {
		return nil, err
	}
	return &stored, nil
}

func (l *operation) into(o *op.Op) error {
	for _, kind := range []op.Kind{op.Put, op.Delete, op.Expire} { // a deleted run is not exported
		if kind.String() == l.Kind {
			o.Kind = kind
		}
	}
	for _, tag := range op.Tags() {
		if tag.String() == l.Tag {
			o.Tag = tag
		}
	}
	if o.Kind == 0 || o.Tag == 0 {
		return fmt.Errorf("no such operation: %.20q of tag %.20q", l.Kind, l.Tag)
	}
	key, err := bytesOf("key", l.Key, l.KeyBase64)
	if err != nil {
		return err
	}
	o.Key = string(key)
	if (o.Tag == op.RunMetadata) != (o.Key == "") {
		return fmt.Errorf("key %.40q has no place under tag %s", o.Key, l.Tag)
	}
	if o.Kind == op.Put {
		o.Deadline, o.Version = l.Deadline, l.Version
		o.Value, err = bytesOf("value", l.Value, l.ValueBase64)
		return err
	}
	if o.Tag == op.RunMetadata {
		return errors.New("the metadata of a run are only put")
	}
	if l.Value != nil || l.ValueBase64 != nil || l.Deadline != 0 || l.Version != 0 {
		return fmt.Errorf("a %s has no value, deadline and version", l.Kind)
	}
	return nil
}

// bytesOf is the reverse of text.
func bytesOf(name string, plain, inBase64 *string) ([]byte, error) {
	switch {
	case (plain == nil) == (inBase64 == nil):
		return nil, fmt.Errorf("either %s or %s_base64", name, name)
	case plain != nil:
		return []byte(*plain), nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(*inBase64)
	if err != nil {
		return nil, fmt.Errorf("%s_base64: %w", name, err)
	}
	return b, nil
}

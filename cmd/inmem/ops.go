package main

import (
	"fmt"

	"inmem"
	"inmem/op"
	"inmem/run"
)

// jsonOp is an operation of a commit, for programs.
type jsonOp struct {
	Kind      string  `json:"kind"`
	Tag       string  `json:"tag,omitempty"`
	Key       *string `json:"key,omitempty"`
	KeyBase64 string  `json:"key_base64,omitempty"`
	Size      *int    `json:"size,omitempty"` // of a put's value, in bytes
	Deadline  string  `json:"deadline,omitempty"`
	Status    string  `json:"status,omitempty"` // of metadata, and of a span
	Preview   string  `json:"preview,omitempty"`

	// What the faces know.
	Stream   string `json:"stream,omitempty"` // of an event …
	Sequence uint64 `json:"sequence,omitempty"`
	Type     string `json:"type,omitempty"`
	Cell     string `json:"cell,omitempty"` // … of a state cell …
	State    string `json:"state,omitempty"`
	Span     string `json:"span,omitempty"` // … or of a span
	Flaw     string `json:"flaw,omitempty"` // of metadata that cannot be read
}

const previewSize = 60

func jsonOps(c *inmem.Commit) []jsonOp {
	list := make([]jsonOp, len(c.Ops))
	for i := range c.Ops {
		list[i] = jsonOpOf(c, &c.Ops[i])
	}
	return list
}

func jsonOpOf(c *inmem.Commit, o *inmem.Op) jsonOp {
	j := jsonOp{Kind: o.Kind.String()}
	if o.Kind == op.Drop {
		return j
	}
	j.Tag = o.Tag.String()
	if o.Key != "" {
		j.Key, j.KeyBase64 = jsonText(o.Key)
	}
	m := meaningOf(c, o)
	j.Stream, j.Sequence, j.Type, j.Cell, j.State, j.Status = m.stream, m.sequence, m.eventType, m.cell, m.state, m.status
	if m.span != 0 {
		j.Span = m.span.String()
	}
	if o.Kind != op.Put {
		return j
	}
	size := len(o.Value)
	j.Size = &size
	if o.Deadline != 0 {
		j.Deadline = isoTime(o.Deadline)
	}
	if m.verb != "" {
		j.Preview = dataText(m.data)
	} else if o.Tag != op.RunMetadata {
		j.Preview = preview(o.Value, previewSize)
	} else if info, err := run.DecodeRecord(c.Run, o.Value); err != nil {
		j.Flaw = err.Error()
	} else {
		j.Status = statusText(info)
	}
	return j
}

// opText describes an operation for people: what it does, and to what.
func opText(s style, c *inmem.Commit, o *inmem.Op) string {
	switch {
	case o.Kind == op.Drop:
		return s.red("delete the run")
	case o.Tag == op.RunMetadata && o.Kind == op.Put:
		return metadataText(s, c, o)
	}
	m := meaningOf(c, o)
	if m.verb != "" {
		return m.text(s)
	}
	key := plain(o.Key)
	if o.Tag != op.KV {
		key = o.Tag.String() + " " + key
	}
	text := fmt.Sprintf("%s %s", o.Kind, s.bold(key))
	if o.Kind != op.Put {
		return text
	}
	text += fmt.Sprintf("  %s  %s", bytesText(len(o.Value)), s.dim(preview(o.Value, previewSize)))
	if o.Deadline != 0 {
		text += "  until " + timeText(o.Deadline, milliLayout)
	}
	return text
}

// text is an operation as its face sees it.
func (m *meaning) text(s style) string {
	text := m.verb + " " + s.bold(m.subject)
	if m.detail != "" {
		text += "  " + m.detail
	}
	if len(m.data) > 0 {
		text += fmt.Sprintf("  %s  %s", bytesText(len(m.data)), s.dim(preview(m.data, previewSize)))
	}
	return text
}

func metadataText(s style, c *inmem.Commit, o *inmem.Op) string {
	info, err := run.DecodeRecord(c.Run, o.Value)
	switch {
	case err != nil:
		return s.red("metadata that cannot be read: " + plainError(err))
	case info.Space:
		return s.cyan("make the space of " + namespaceText(info.Namespace))
	case c.Version == info.FirstVersion && info.Status == run.Active:
		text := "begin " + plainOr(info.Name, "a run without a name")
		if info.Namespace != (run.Namespace{}) {
			text += " of " + namespaceText(info.Namespace)
		}
		return s.cyan(text)
	}
	return s.cyan("become " + info.Status.String())
}

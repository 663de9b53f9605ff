package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"inmem/event"
)

// eventCmd holds the commands about the events of a run.
type eventCmd struct {
	Ls      eventLsCmd      `cmd:"" name:"ls" help:"List the events of a stream, in order."`
	Get     eventGetCmd     `cmd:"" help:"Write the payload of an event to standard output, byte for byte."`
	Streams eventStreamsCmd `cmd:"" help:"List the streams."`
	Verify  eventVerifyCmd  `cmd:"" help:"Verify that streams are as they were appended, event by event, by their chain of hashes."`
}

// eventLsCmd lists events.
type eventLsCmd struct {
	ofRun
	Stream  string   `help:"The stream; ${default} by default." default:"main" placeholder:"NAME"`
	After   uint64   `help:"Only events behind this one." placeholder:"SEQ"`
	Before  uint64   `help:"Only events before this one." placeholder:"SEQ"`
	Type    []string `help:"Only events of this type; may be repeated." placeholder:"TYPE" sep:"none"`
	Since   moment   `help:"Only events of this time or later: 2006-01-02, 2006-01-02T15:04:05Z, or how long ago, such as 90m or 7d." placeholder:"TIME"`
	Until   moment   `help:"Only events before this time." placeholder:"TIME"`
	Limit   int      `help:"At most so many." placeholder:"N"`
	Reverse bool     `help:"The newest first."`
	JSON    bool     `name:"json" help:"One JSON object a line, with the payload."`
}

// jsonEvent is an event for programs.
type jsonEvent struct {
	Stream   string          `json:"stream"`
	Sequence uint64          `json:"sequence"`
	Type     string          `json:"type"`
	ID       *string         `json:"id,omitempty"`
	IDBase64 string          `json:"id_base64,omitempty"`
	Time     string          `json:"time"`
	Version  uint64          `json:"version"`
	Hash     string          `json:"hash"`
	Prev     string          `json:"prev,omitempty"`
	Payload  json.RawMessage `json:"payload"`
}

func eventJSON(e *event.Event) jsonEvent {
	hash := e.Hash()
	j := jsonEvent{
		Stream: e.Stream, Sequence: e.Sequence, Type: e.Type, Time: isoTime(e.Time.UnixMilli()),
		Version: e.Version, Hash: hex.EncodeToString(hash[:]), Payload: e.Payload,
	}
	if e.ID != "" {
		j.ID, j.IDBase64 = jsonText(e.ID)
	}
	if e.Sequence > 1 {
		j.Prev = hex.EncodeToString(e.Prev[:])
	}
	return j
}

func (c *eventLsCmd) options() []event.ReadOption {
	opts := []event.ReadOption{event.After(c.After), event.Limit(c.Limit), event.Types(c.Type...)}
	if c.Before > 0 {
		opts = append(opts, event.Before(c.Before))
	}
	if !c.Since.IsZero() {
		opts = append(opts, event.Since(c.Since.Time))
	}
	if !c.Until.IsZero() {
		opts = append(opts, event.Until(c.Until.Time))
	}
	if c.Reverse {
		opts = append(opts, event.Reverse())
	}
	return opts
}

func (c *eventLsCmd) Run(a *app) error {
	if err := limited(c.Limit); err != nil {
		return err
	}
	return c.read(a, func(f faces) error {
		t := newTable(">SEQ", "TIME", "TYPE", "ID", ">SIZE", "PAYLOAD")
		for e, err := range f.Events().Read(a.ctx, c.Stream, c.options()...) {
			switch {
			case err != nil:
				return err
			case c.JSON:
				if err := a.json(eventJSON(&e)); err != nil {
					return err
				}
			default:
				t.row(count(e.Sequence), timeText(e.Time.UnixMilli(), milliLayout), plain(e.Type), plainOr(e.ID, "-"),
					bytesText(len(e.Payload)), cell{preview(e.Payload, dataPreview), a.style.dim})
			}
		}
		t.print(a)
		if !c.JSON && len(t.rows) == 0 {
			a.say("no events")
		}
		return nil
	})
}

// eventGetCmd writes a payload.
type eventGetCmd struct {
	ofRun
	Sequence uint64 `arg:"" name:"seq" help:"The event's sequence in its stream."`
	Stream   string `help:"The stream; ${default} by default." default:"main" placeholder:"NAME"`
	JSON     bool   `name:"json" help:"The event as a JSON object."`
}

func (c *eventGetCmd) Run(a *app) error {
	return c.read(a, func(f faces) error {
		e, err := f.Events().Get(a.ctx, c.Stream, c.Sequence)
		if err != nil {
			return missing(err, "'inmem event ls' lists them", "event not found: %d of stream %s", c.Sequence, plain(c.Stream))
		}
		if c.JSON {
			return a.json(eventJSON(&e))
		}
		_, err = a.out.Write(e.Payload)
		return err
	})
}

// eventStreamsCmd lists streams.
type eventStreamsCmd struct {
	ofRun
	JSON bool `name:"json" help:"One JSON object a line."`
}

func (c *eventStreamsCmd) Run(a *app) error {
	return c.read(a, func(f faces) error {
		t := newTable("STREAM", ">EVENTS", "LAST", "TYPE", "HASH")
		for name, err := range f.Events().Streams(a.ctx) {
			if err != nil {
				return err
			}
			last, err := f.Events().Last(a.ctx, name)
			if err != nil {
				return err
			}
			if c.JSON {
				err = a.json(chainOf(&last))
			} else {
				hash := last.Hash()
				t.row(plain(name), count(last.Sequence), timeText(last.Time.UnixMilli(), milliLayout), plain(last.Type), hex.EncodeToString(hash[:]))
			}
			if err != nil {
				return err
			}
		}
		t.print(a)
		if !c.JSON && len(t.rows) == 0 {
			a.say("no events")
		}
		return nil
	})
}

// jsonChain is a stream up to its last event.
type jsonChain struct {
	Stream string `json:"stream"`
	Events uint64 `json:"events"`
	Hash   string `json:"hash"` // of the last one
	Time   string `json:"time"` // of the last one
}

func chainOf(last *event.Event) jsonChain {
	hash := last.Hash()
	return jsonChain{last.Stream, last.Sequence, hex.EncodeToString(hash[:]), isoTime(last.Time.UnixMilli())}
}

// eventVerifyCmd verifies streams.
type eventVerifyCmd struct {
	ofRun
	Stream string `help:"Only this stream." placeholder:"NAME"`
	JSON   bool   `name:"json" help:"One JSON object a line."`
}

// Help says what a verified stream is; kong shows it with --help.
func (c *eventVerifyCmd) Help() string {
	return `Each event holds the hash of the one before. The hash of the last one, which is printed, so vouches for all of
them: whoever has kept it knows that nothing was changed, taken out or cut off. A stream that is not as it was
appended ends the command with exit code 4.`
}

func (c *eventVerifyCmd) Run(a *app) error {
	return c.read(a, func(f faces) error { return verifyStreams(a, f.Events(), c.Stream, c.JSON) })
}

// verifyStreams verifies one stream, or all where no name is given.
func verifyStreams(a *app, events event.Store, only string, json bool) error {
	if only != "" {
		return verifyStream(a, events, only, json)
	}
	streams := 0
	for name, err := range events.Streams(a.ctx) {
		if err == nil {
			err = verifyStream(a, events, name, json)
		}
		if err != nil {
			return err
		}
		streams++
	}
	if streams == 0 && !json {
		a.say("no events")
	}
	return nil
}

func verifyStream(a *app, events event.Store, name string, json bool) error {
	if err := events.Verify(a.ctx, name); err != nil {
		return err
	}
	last, err := events.Last(a.ctx, name)
	if err != nil {
		return missing(err, "'inmem event streams' lists them", "no events in stream %s", plain(name))
	}
	chain := chainOf(&last)
	if json {
		return a.json(chain)
	}
	a.printf("%s\n", a.style.green(fmt.Sprintf("%s: %s as appended, the last hash is %s", plain(name), plural(chain.Events, "event"), chain.Hash)))
	return nil
}

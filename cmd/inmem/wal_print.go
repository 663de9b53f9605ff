package main

import (
	"encoding/binary"
	"fmt"
	"path/filepath"

	"inmem"
	"inmem/wal"
)

// walLine is a line of wal dump for programs. Line says which of the rest is
// there.
type walLine struct {
	Line string `json:"line"` // "segment", "frame" or "end"
	File string `json:"file"`

	// A frame.
	Offset   *int64   `json:"offset,omitempty"`
	Sequence uint64   `json:"sequence,omitempty"`
	Synced   *int64   `json:"synced,omitempty"`
	Kind     string   `json:"kind,omitempty"` // "record", "base", "seal" or a number
	Run      string   `json:"run,omitempty"`
	Version  uint64   `json:"version,omitempty"`
	Time     string   `json:"time,omitempty"`
	Ops      []jsonOp `json:"ops,omitempty"`

	// An end.
	Shard   *uint32 `json:"shard,omitempty"`
	First   uint64  `json:"first,omitempty"` // sequences
	Last    *uint64 `json:"last,omitempty"`
	Created string  `json:"created,omitempty"`
	Size    int64   `json:"size,omitempty"`
	Indexed bool    `json:"indexed,omitempty"`
	Verdict string  `json:"verdict,omitempty"` // "sound", "torn" or "damaged"
	Tail    int64   `json:"tail,omitempty"`    // bytes behind the last good frame
	Reason  string  `json:"reason,omitempty"`
}

// begin prints what comes before the first frame of a file.
func (d *dumper) begin() error {
	if d.cmd.JSON {
		return d.app.json(walLine{Line: "segment", File: d.path})
	}
	d.app.printf("%s\n", d.app.style.bold(d.path))
	return nil
}

func (d *dumper) frame(f wal.Frame, c *inmem.Commit, flaw string) error {
	d.damaged = d.damaged || flaw != "" // its checksum is right: it was written so
	if d.cmd.JSON {
		return d.app.json(frameLine(d.path, f, c, flaw))
	}
	s := d.app.style
	where := fmt.Sprintf("  @%-9d seq %-6d synced %-9d", f.Offset, f.Sequence, f.Synced)
	switch {
	case f.Kind == wal.Seal && len(f.Payload) == 8:
		d.app.printf("%s %s  %s\n", s.dim(where), timeText(sealTime(f), milliLayout), s.dim("seal: everything before is on the device"))
	case c == nil:
		d.app.printf("%s %s\n", s.dim(where), s.red(fmt.Sprintf("kind %d, %s that cannot be read: %s", f.Kind, plural(len(f.Payload), "byte"), flaw)))
	default:
		base := ""
		if f.Kind == wal.Base {
			base = s.dim("  base: what led to it, in place of the commits")
		}
		d.app.printf("%s %s  %v  version %d%s\n", s.dim(where), timeText(c.Time, milliLayout), c.Run, c.Version, base)
		for i := range c.Ops {
			d.app.printf("      %s\n", opText(s, c, &c.Ops[i]))
		}
	}
	return nil
}

func sealTime(f wal.Frame) int64 { return int64(binary.LittleEndian.Uint64(f.Payload)) }

func frameLine(path string, f wal.Frame, c *inmem.Commit, flaw string) walLine {
	line := walLine{Line: "frame", File: path, Offset: &f.Offset, Sequence: f.Sequence, Synced: &f.Synced, Reason: flaw}
	switch {
	case f.Kind == wal.Seal && len(f.Payload) == 8:
		line.Kind, line.Time = "seal", isoTime(sealTime(f))
	case c == nil:
		line.Kind = fmt.Sprint(f.Kind)
	default:
		line.Kind = "record"
		if f.Kind == wal.Base {
			line.Kind = "base"
		}
		line.Run, line.Version, line.Time, line.Ops = c.Run.String(), c.Version, isoTime(c.Time), jsonOps(c)
	}
	return line
}

// noSegment prints that a file has no header that can be read.
func (d *dumper) noSegment(err *inmem.CorruptError) error {
	if d.cmd.JSON {
		return d.app.json(walLine{Line: "end", File: d.path, Offset: &err.Offset, Verdict: "damaged", Reason: err.Reason})
	}
	d.app.printf("  %s at offset %d: %s\n\n", d.app.style.red("damaged"), err.Offset, err.Reason)
	return nil
}

// end prints what comes after the last frame of a file.
func (d *dumper) end(found *wal.Dump, damaged bool) error {
	verdict, reason := "sound", found.Flaw
	switch {
	case damaged:
		verdict = "damaged"
		reason += "; " + found.Evidence
	case found.Flaw != "":
		verdict = "torn"
	}
	if d.cmd.JSON {
		return d.app.json(walLine{
			Line: "end", File: d.path, Offset: &found.End, Shard: &found.Shard, First: found.First, Last: &found.Last,
			Created: isoTime(found.Created), Size: found.Size, Indexed: found.Indexed,
			Verdict: verdict, Tail: found.Tail, Reason: reason,
		})
	}
	s := d.app.style
	switch verdict {
	case "damaged":
		d.app.printf("  @%-9d %s %s\n", found.End, s.red("damaged:"), reason)
	case "torn":
		d.app.printf("  @%-9d %s %s of a write that was cut short (%s), as far as this file tells\n", found.End, s.yellow("torn:"), plural(found.Tail, "byte"), reason)
		if note := lockNote(filepath.Dir(filepath.Dir(d.path))); note != "" {
			d.app.printf("             %s\n", note)
		}
	}
	d.app.printf("  %s\n\n", s.dim(summary(found)))
	return nil
}

// summary is a segment in one line.
func summary(d *wal.Dump) string {
	text := fmt.Sprintf("shard %d, begun %s, ", d.Shard, timeText(d.Created, timeLayout))
	if d.Last < d.First {
		text += "no frames"
	} else {
		text += fmt.Sprintf("sequences %d to %d", d.First, d.Last)
	}
	text += fmt.Sprintf(" in %s of %s", bytesText(d.End), bytesText(d.Size))
	if d.Compacted {
		text += ", compacted"
	}
	if d.Indexed {
		text += fmt.Sprintf(", complete with an index of %s and %s", plural(uint64(d.Streams), "run"), plural(uint64(d.Positions), "record"))
	}
	return text
}

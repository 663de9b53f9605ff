package report

import (
	"fmt"
	"slices"
	"strings"
)

// table is one of Markdown.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) write(b *strings.Builder) {
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	line(slices.Repeat([]string{"---"}, len(t.head)))
	for _, row := range t.rows {
		line(row)
	}
	b.WriteByte('\n')
}

// notes are footnotes, each told once.
type notes struct{ list []string }

// mark returns the mark of a footnote.
func (n *notes) mark(text string) string {
	text = strings.Join(strings.Fields(text), " ") // a footnote is a line
	if len(text) > 600 {
		text = strings.ToValidUTF8(text[:600], "") + " …"
	}
	i := slices.Index(n.list, text)
	if i < 0 {
		i = len(n.list)
		n.list = append(n.list, text)
	}
	return fmt.Sprintf("failed[^%d]", i+1)
}

func (n *notes) write(b *strings.Builder) {
	for i, text := range n.list {
		fmt.Fprintf(b, "[^%d]: %s\n", i+1, strings.ReplaceAll(text, "|", "\\|"))
	}
	if len(n.list) > 0 {
		b.WriteByte('\n')
	}
}

package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// cell is a field of a table.
type cell struct {
	text  string
	paint func(string) string // nil = as it is
}

// table prints rows in columns. A column whose header begins with '>' is
// aligned to the right.
type table struct {
	headers []string
	right   []bool
	rows    [][]cell
}

func newTable(headers ...string) *table {
	t := &table{}
	for _, h := range headers {
		name, right := strings.CutPrefix(h, ">")
		t.headers = append(t.headers, name)
		t.right = append(t.right, right)
	}
	return t
}

// row adds a row of strings, cells and whatever fmt.Sprint prints.
func (t *table) row(fields ...any) {
	row := make([]cell, len(fields))
	for i, f := range fields {
		switch f := f.(type) {
		case cell:
			row[i] = f
		case string:
			row[i].text = f
		default:
			row[i].text = fmt.Sprint(f)
		}
	}
	t.rows = append(t.rows, row)
}

// print writes the table, the header only where there is a row.
func (t *table) print(a *app) {
	if len(t.rows) == 0 {
		return
	}
	width := make([]int, len(t.headers))
	header := make([]cell, len(t.headers))
	for i, h := range t.headers {
		header[i] = cell{h, a.style.dim}
		width[i] = uniseg.StringWidth(h)
		for _, row := range t.rows {
			width[i] = max(width[i], uniseg.StringWidth(row[i].text))
		}
	}
	if strings.Join(t.headers, "") != "" {
		t.line(a, header, width)
	}
	for _, row := range t.rows {
		t.line(a, row, width)
	}
}

func (t *table) line(a *app, row []cell, width []int) {
	var b strings.Builder
	gap := ""
	for i, c := range row {
		space := strings.Repeat(" ", width[i]-uniseg.StringWidth(c.text))
		text := c.text
		if c.paint != nil {
			text = c.paint(text)
		}
		if t.right[i] {
			text = space + text
			space = ""
		}
		b.WriteString(gap + text)
		gap = space + "  "
	}
	a.printf("%s\n", strings.TrimRight(b.String(), " "))
}

// plain is text as it may be shown on a terminal: as it is where it is
// printable and cannot be mistaken, in Go's quotes otherwise.
func plain(s string) string {
	if s == "" || s[0] == '"' || !utf8.ValidString(s) || strings.TrimSpace(s) != s ||
		strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// preview is the beginning of a value, quoted, in at most about n characters.
func preview(value []byte, n int) string {
	head := string(value[:min(len(value), n)])
	for cut := 1; cut < utf8.UTFMax && len(head) < len(value) && !utf8.ValidString(head); cut++ {
		if whole := head[:len(head)-min(cut, len(head))]; utf8.ValidString(whole) {
			head = whole // not in the middle of a character
		}
	}
	quoted := "`" + head + "`" // JSON is unreadable with its quotes escaped
	if !strconv.CanBackquote(head) {
		// What is no text takes up to four characters a byte.
		for quoted = strconv.Quote(head); len(quoted) > n+2 && len(head) > 1; quoted = strconv.Quote(head) {
			head = head[:len(head)*3/4]
		}
	}
	if len(head) < len(value) {
		quoted += "…"
	}
	return quoted
}

// whole is all of a value, quoted.
func whole(value []byte) string { return preview(value, 4*len(value)) } // the most that quoting makes of it

// bytesText is a number of bytes for people.
func bytesText[T int | int64 | uint64](n T) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	size := float64(n) / 1024
	for len(units) > 1 && size >= 1023.95 { // what would be printed as 1024.0
		size /= 1024
		units = units[1:]
	}
	return fmt.Sprintf("%.1f %s", size, units[0])
}

// count is a number for people: 1,234,567.
func count[T int | int64 | uint64](n T) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// plural is a number and its noun.
func plural[T int | int64 | uint64](n T, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + one + "s"
}

const (
	timeLayout  = "2006-01-02 15:04:05"
	milliLayout = "2006-01-02 15:04:05.000"
)

// timeText is a time of the store, in Unix milliseconds, by the local clock.
func timeText(ms int64, layout string) string { return time.UnixMilli(ms).Format(layout) }

// isoTime is a time of the store for programs.
func isoTime(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }

// span is a duration for people.
func span(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return d.String()
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond / 10).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// jsonText is a string of the store for JSON: keys and values are any bytes,
// JSON strings are not. One of the results is empty.
func jsonText(s string) (text *string, inBase64 string) {
	if utf8.ValidString(s) {
		return &s, ""
	}
	return nil, base64.StdEncoding.EncodeToString([]byte(s))
}

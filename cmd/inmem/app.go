package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// app is what every command is given: where it reads, where it writes.
type app struct {
	ctx    context.Context
	in     io.Reader
	out    *bufio.Writer // flushed at the end
	raw    io.Writer     // standard output itself, for what must be seen at once
	errOut io.Writer

	inTerm, outTerm, errTerm bool
	style, errStyle          style

	mu  sync.Mutex // guards errOut and bar
	bar *bar
}

func newApp(ctx context.Context, in io.Reader, out, errOut io.Writer) *app {
	a := &app{ctx: ctx, in: in, raw: out, errOut: errOut, out: bufio.NewWriterSize(out, 64<<10)}
	a.inTerm, a.outTerm, a.errTerm = isTerminal(in), isTerminal(out), isTerminal(errOut)
	color := os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	a.style, a.errStyle = style(a.outTerm && color), style(a.errTerm && color)
	return a
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// say writes a line to standard error, and keeps it apart from a progress bar.
func (a *app) say(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bar.clear()
	fmt.Fprintf(a.errOut, format+"\n", args...)
}

// ask writes a question to standard error.
func (a *app) ask(format string, args ...any) { fmt.Fprintf(a.errOut, format, args...) }

// printf writes to standard output.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// json writes a value as one line to standard output.
func (a *app) json(v any) error {
	b, err := marshalLine(v)
	if err == nil {
		_, err = a.out.Write(b)
	}
	return err
}

// marshalLine is a value as a JSON line, '<' and '&' left as they are.
func marshalLine(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return []byte(b.String()), err
}

// style colours text, or leaves it alone.
type style bool

func (s style) paint(code, text string) string {
	if !s || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string   { return s.paint("1", text) }
func (s style) dim(text string) string    { return s.paint("2", text) }
func (s style) red(text string) string    { return s.paint("31;1", text) }
func (s style) green(text string) string  { return s.paint("32", text) }
func (s style) yellow(text string) string { return s.paint("33", text) }
func (s style) cyan(text string) string   { return s.paint("36", text) }

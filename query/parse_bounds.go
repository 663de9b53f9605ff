package query

import (
	"errors"
	"strconv"
	"strings"
)

// bounds reads limit, offset and after, in any order.
func (p *textParser) bounds(q *Query) (err error) {
	head, cursorAt := p.i, -1
	for seen := map[string]bool{}; ; {
		word := p.now().text
		if p.now().kind != tokenWord || seen[word] {
			break
		}
		seen[word] = true
		switch word {
		case "limit":
			p.i++
			q.limit, err = p.count(word)
		case "offset":
			p.i++
			q.offset, err = p.count(word)
		case "after":
			p.i++
			cursorAt = p.i
			q.after, err = p.cursor()
		default:
			word = ""
		}
		if err != nil {
			return err
		}
		if word == "" {
			break
		}
	}
	q.head, q.fingerprint = p.written(head), fingerprint(p.tokens[:head], q.offset)
	if q.after != nil {
		return p.cursorError(cursorAt, q.owns(q.after))
	}
	return nil
}

// cursor reads a cursor in quotes; an empty one is none.
func (p *textParser) cursor() (*cursor, error) {
	t := p.now()
	text, ok := t.value.(string)
	if !ok && !(t.isArgument() && t.value == nil) {
		return nil, p.fail("expected a cursor in quotes behind after, and found %s", p.found())
	}
	p.i++
	if text == "" {
		return nil, nil
	}
	c, err := parseCursor(text)
	return c, p.cursorError(p.i-1, err)
}

// cursorError is an error of the cursor at a token, with its place.
func (p *textParser) cursorError(at int, err error) error {
	var wrong *CursorError
	if !errors.As(err, &wrong) {
		return err
	}
	return &SyntaxError{Text: p.whole, Column: p.tokens[at].from + 1, Reason: "the cursor: " + wrong.Reason, Cursor: wrong}
}

func (p *textParser) count(of string) (int, error) {
	t := p.now()
	n, err := strconv.ParseInt(strings.ReplaceAll(t.text, "_", ""), 10, 32)
	if given, ok := t.value.(int64); ok && t.kind == tokenLiteral {
		n, err = given, nil
	} else if t.kind != tokenNumber {
		err = strconv.ErrSyntax
	}
	if err != nil || n < 0 || n > 1<<31-1 {
		return 0, p.fail("expected a whole number behind %s, and found %s", of, p.found())
	}
	p.i++
	return int(n), nil
}

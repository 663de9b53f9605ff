package query

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxText bounds a query's text, in bytes.
const MaxText = 64 << 10

// maxNesting bounds how deep brackets may lie in each other.
const maxNesting = 100

// tokenKind says what a token is, as far as clauses are told apart by it.
type tokenKind uint8

const (
	tokenEnd     tokenKind = iota
	tokenWord              // a name, a keyword, an operator in letters
	tokenNumber            // as expr reads it
	tokenText              // in quotes
	tokenLiteral           // a time, a duration or an argument: expr does not know these
	tokenSign              // anything else
)

// token is a piece of a query. From and to count characters.
type token struct {
	kind     tokenKind
	from, to int
	depth    int    // how many brackets are open around it
	text     string // as it is written
	value    any    // of a literal, or of a text
	member   bool   // a word behind a dot
}

// lexer takes a text apart. It knows just enough of the language of expressions
// to see where a clause ends, and reads the literals that expr has not.
type lexer struct {
	whole string
	runes []rune
	at    int
	args  []any
	open  []rune // the brackets that are to close what is open
	list  []token
}

// twoSigns are the signs of two characters.
var twoSigns = []string{"==", "!=", "<=", ">=", "&&", "||", "..", "**", "??", "?."}

// lex returns the tokens of a text, the last of which is its end.
func lex(text string, args []any) ([]token, []rune, error) {
	l := &lexer{whole: text, runes: []rune(text), args: args}
	if len(text) > MaxText {
		l.whole = text[:80]
		return nil, nil, l.fail(0, fmt.Sprintf("%d bytes, the limit is %d", len(text), MaxText))
	}
	for l.at < len(l.runes) {
		if err := l.next(); err != nil {
			return nil, nil, err
		}
	}
	if len(l.open) > 0 {
		return nil, nil, l.fail(l.at, fmt.Sprintf("the query ends where %q is missing", string(l.open[len(l.open)-1])))
	}
	l.add(tokenEnd, l.at, nil)
	return l.list, l.runes, nil
}

func (l *lexer) fail(at int, reason string) error {
	return &SyntaxError{Text: l.whole, Column: at + 1, Reason: reason}
}

func (l *lexer) add(kind tokenKind, from int, value any) {
	t := token{kind: kind, from: from, to: l.at, depth: len(l.open), value: value}
	t.text = string(l.runes[from:l.at])
	if n := len(l.list); kind == tokenWord && n > 0 {
		t.member = l.list[n-1].text == "." || l.list[n-1].text == "?."
	}
	l.list = append(l.list, t)
}

func (l *lexer) peek(ahead int) rune {
	if l.at+ahead < len(l.runes) {
		return l.runes[l.at+ahead]
	}
	return 0
}

func isDigit(r rune) bool  { return '0' <= r && r <= '9' }
func isLetter(r rune) bool { return r == '_' || unicode.IsLetter(r) }

// next reads one token.
func (l *lexer) next() error {
	from := l.at
	switch r := l.runes[from]; {
	case unicode.IsSpace(r):
		l.at++
	case r == '"' || r == '\'' || r == '`':
		return l.quoted(r)
	case r == '$':
		return l.argument()
	case isDigit(r):
		return l.number()
	case isLetter(r):
		for isLetter(l.peek(0)) || unicode.IsDigit(l.peek(0)) {
			l.at++
		}
		if q := l.peek(0); (q == '"' || q == '\'') && strings.EqualFold(string(l.runes[from:l.at]), "b") {
			return l.fail(from, "there are no byte strings; write a text in quotes")
		}
		l.add(tokenWord, from, nil)
		if t := &l.list[len(l.list)-1]; t.text == "let" && !t.member {
			return l.fail(from, "there are no variables")
		}
	case r == '/' && (l.peek(1) == '/' || l.peek(1) == '*'):
		return l.fail(from, "there are no comments")
	case strings.ContainsRune("([", r):
		return l.openBracket(r)
	case strings.ContainsRune(")]", r):
		return l.closeBracket(r)
	case strings.ContainsRune("=!<>+-*%/.,&|^?", r):
		l.at++
		// Signs of two characters stay together, so that a name is told from a range.
		if slices.Contains(twoSigns, string([]rune{r, l.peek(0)})) {
			l.at++
		}
		l.add(tokenSign, from, nil)
	default:
		return l.fail(from, fmt.Sprintf("%q does not belong into a query", string(r)))
	}
	return nil
}

func (l *lexer) openBracket(r rune) error {
	from := l.at
	if len(l.open) == maxNesting {
		return l.fail(from, fmt.Sprintf("more than %d brackets in each other", maxNesting))
	}
	l.at++
	l.add(tokenSign, from, nil)
	l.open = append(l.open, map[rune]rune{'(': ')', '[': ']'}[r])
	return nil
}

func (l *lexer) closeBracket(r rune) error {
	if n := len(l.open); n == 0 || l.open[n-1] != r {
		return l.fail(l.at, fmt.Sprintf("%q closes nothing", string(r)))
	}
	from := l.at
	l.open = l.open[:len(l.open)-1]
	l.at++
	l.add(tokenSign, from, nil)
	return nil
}

// quoted reads a text.
func (l *lexer) quoted(quote rune) error {
	from := l.at
	for l.at++; l.at < len(l.runes); l.at++ {
		switch r := l.runes[l.at]; {
		case r == '\\' && quote != '`':
			l.at++
		case r == quote && quote == '`' && l.peek(1) == '`':
			l.at++
		case r == quote:
			l.at++
			text, bad := unquoted(string(l.runes[from+1:l.at-1]), quote)
			if bad != "" {
				return l.fail(from, fmt.Sprintf("the text that begins here has %s in it, which stands for nothing", bad))
			}
			l.add(tokenText, from, text)
			return nil
		}
	}
	return l.fail(from, "the text that begins here has no end")
}

// unquoted is a text without its escapes, which are Go's: \xff is a byte. Bad is
// where one begins that there is not.
func unquoted(s string, quote rune) (text, bad string) {
	if quote == '`' {
		return strings.ReplaceAll(s, "``", "`"), ""
	}
	var b strings.Builder
	for s != "" {
		if strings.HasPrefix(s, `\"`) || strings.HasPrefix(s, `\'`) { // either, in both kinds of quotes
			b.WriteByte(s[1])
			s = s[2:]
			continue
		}
		r, multibyte, rest, err := strconv.UnquoteChar(s, 0)
		if err != nil {
			return "", s[:min(len(s), 2)]
		}
		if multibyte || r < utf8.RuneSelf && s[0] != '\\' {
			b.WriteRune(r)
		} else {
			b.WriteByte(byte(r))
		}
		s = rest
	}
	return b.String(), ""
}

// argument reads $1, $2 …
func (l *lexer) argument() error {
	from := l.at
	for l.at++; isDigit(l.peek(0)); {
		l.at++
	}
	n, err := strconv.Atoi(string(l.runes[from+1 : l.at]))
	if err != nil || n < 1 || n > len(l.args) {
		return l.fail(from, fmt.Sprintf("no such argument: there are %d, the first is $1", len(l.args)))
	}
	value, ok := constantOf(l.args[n-1])
	if t, is := value.(time.Time); is && !writable(t) {
		return l.fail(from, fmt.Sprintf("a time of the year %d: the language has those from 0 to 9999", t.Year()))
	}
	if !ok {
		return l.fail(from, fmt.Sprintf("an argument of type %T: use a text, a number, a bool, a time, a duration, nil, or a slice of these", l.args[n-1]))
	}
	l.add(tokenLiteral, from, value)
	return nil
}

// timeLiteral is how times are written: by RFC 3339, or a date, which is
// midnight UTC.
var timeLiteral = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}([Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2}))?`)

// number reads a number, a duration or a time.
func (l *lexer) number() error {
	from := l.at
	if s := timeLiteral.FindString(string(l.runes[from:min(len(l.runes), from+64)])); s != "" {
		l.at += len(s)
		t, err := parseTime(s)
		if err != nil {
			return l.fail(from, fmt.Sprintf("%s is no time: use 2006-01-02T15:04:05Z or 2006-01-02", s))
		}
		l.add(tokenLiteral, from, t)
		return nil
	}
	for l.numeral(from) {
		l.at++
	}
	text := string(l.runes[from:l.at])
	if d, ok := parseDuration(text); ok {
		l.add(tokenLiteral, from, d)
		return nil
	}
	plain := strings.ReplaceAll(text, "_", "")
	_, errInt := strconv.ParseInt(plain, 0, 64)
	_, errFloat := strconv.ParseFloat(plain, 64)
	if errInt != nil && (errFloat != nil || !strings.ContainsAny(plain, ".eE")) {
		return l.fail(from, fmt.Sprintf("%s is neither a number nor a duration such as 90s, 1h30m or 7d", text))
	}
	l.add(tokenNumber, from, nil)
	return nil
}

// numeral reports whether the next character goes on with a number or duration.
func (l *lexer) numeral(from int) bool {
	r := l.peek(0)
	switch {
	case isDigit(r) || isLetter(r):
		return true
	case r == '.':
		return isDigit(l.peek(1)) // not 1..5
	case r == '+' || r == '-':
		before := l.runes[l.at-1]
		return l.at > from && (before == 'e' || before == 'E') && isDigit(l.peek(1))
	}
	return false
}

// writable reports whether a time can be written.
func writable(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }

func parseTime(s string) (time.Time, error) {
	if len(s) == len(time.DateOnly) {
		return time.Parse(time.DateOnly, s)
	}
	return time.Parse(time.RFC3339Nano, strings.ToUpper(s))
}

// durationPart is a number and a unit.
var durationPart = regexp.MustCompile(`^(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h|d|w)`)

// parseDuration is time.ParseDuration, with d for 24 hours and w for 7 days.
func parseDuration(s string) (sum time.Duration, ok bool) {
	for s != "" {
		m := durationPart.FindStringSubmatch(s)
		if m == nil {
			return 0, false
		}
		unit, times := m[2], time.Duration(1)
		switch unit {
		case "d":
			unit, times = "h", 24
		case "w":
			unit, times = "h", 7*24
		}
		d, err := time.ParseDuration(m[1] + unit)
		if err != nil || d > (1<<63-1)/times || sum > 1<<63-1-d*times {
			return 0, false
		}
		sum += d * times
		s = s[len(m[0]):]
		ok = true
	}
	return sum, ok
}

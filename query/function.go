package query

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// function is one that expressions may call. Each takes time in proportion to
// its arguments, and makes nothing that is larger than they are.
type function struct {
	params []kind // kindAny: whatever
	result kind
	call   func(args []any) any
}

// functions are all there are, but for now and text, which are not about values.
var functions = map[string]*function{
	"lower":    {[]kind{kindText}, kindText, onText(strings.ToLower)},
	"upper":    {[]kind{kindText}, kindText, onText(strings.ToUpper)},
	"len":      {[]kind{kindAny}, kindNumber, func(a []any) any { return length(a[0]) }},
	"number":   {[]kind{kindAny}, kindNumber, func(a []any) any { return toNumber(a[0]) }},
	"time":     {[]kind{kindAny}, kindTime, func(a []any) any { return toTime(a[0]) }},
	"duration": {[]kind{kindAny}, kindDuration, func(a []any) any { return toDuration(a[0]) }},
	"trunc":    {[]kind{kindTime, kindDuration}, kindTime, func(a []any) any { return truncate(a[0], a[1]) }},
}

func onText(fn func(string) string) func([]any) any {
	return func(args []any) any {
		if s, ok := args[0].(string); ok {
			return fn(s)
		}
		return nil
	}
}

// length is how many characters a text has, items an array, members an object,
// names labels.
func length(v any) any {
	switch v := v.(type) {
	case string:
		return int64(utf8.RuneCountInString(v))
	case map[string]string:
		return int64(len(v))
	case JSON:
		n := int64(0)
		gjson.Parse(string(v)).ForEach(func(_, _ gjson.Result) bool {
			n++
			return true
		})
		return n
	}
	return nil
}

// toNumber reads a number from a text; a duration is its seconds.
func toNumber(v any) any {
	switch v := v.(type) {
	case int64, float64:
		return v
	case time.Duration:
		return v.Seconds()
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
		if x, err := strconv.ParseFloat(v, 64); err == nil {
			return finite(x)
		}
	}
	return nil
}

// toTime reads a time from a text, as literals are written; a number is Unix
// seconds.
func toTime(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v
	case int64:
		if v > -1<<37 && v < 1<<38 { // about the years -2385 to 10680
			return time.Unix(v, 0).UTC()
		}
	case float64:
		if v > -1<<37 && v < 1<<38 {
			return time.UnixMicro(int64(v * 1e6)).UTC()
		}
	case string:
		if t, err := parseTime(v); err == nil {
			return t.UTC()
		}
	}
	return nil
}

// toDuration reads a duration from a text; a number is seconds.
func toDuration(v any) any {
	switch v := v.(type) {
	case time.Duration:
		return v
	case int64, float64:
		return multiply(time.Second, v)
	case string:
		if d, ok := parseDuration(strings.TrimPrefix(v, "-")); ok {
			if v[0] == '-' {
				return -d
			}
			return d
		}
	}
	return nil
}

// truncate is a time rounded down to a multiple of a duration since the zero time.
func truncate(t, d any) any {
	at, ok := t.(time.Time)
	step, ok2 := d.(time.Duration)
	if !ok || !ok2 || step <= 0 {
		return nil
	}
	return at.Truncate(step)
}

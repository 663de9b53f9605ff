package query

import (
	"math"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// orders says for each comparison which orders of its sides fulfil it.
var orders = map[string]func(order int) bool{
	"==": func(c int) bool { return c == 0 },
	"!=": func(c int) bool { return c != 0 },
	"<":  func(c int) bool { return c < 0 },
	"<=": func(c int) bool { return c <= 0 },
	">":  func(c int) bool { return c > 0 },
	">=": func(c int) bool { return c >= 0 },
}

// flipped is a comparison whose sides are exchanged.
var flipped = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// comparison carries out a comparison of any two values.
func comparison(op string) func(a, b any) any {
	fulfils := orders[op]
	return func(a, b any) any {
		c, ok := compare(a, b)
		return ok && fulfils(c)
	}
}

// matchers are the operators on two texts.
var matchers = map[string]func(s, part string) bool{
	"startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix, "contains": strings.Contains,
}

// isIn looks for a value among those of a JSON array, or for a name among labels.
func isIn(v, among any) any {
	switch among := among.(type) {
	case map[string]string:
		name, ok := v.(string)
		_, has := among[name]
		return ok && has
	case JSON:
		found := false
		if r := gjson.Parse(string(among)); r.IsArray() {
			r.ForEach(func(_, item gjson.Result) bool {
				c, ok := compare(v, fromJSON(item))
				found = ok && c == 0
				return !found
			})
		}
		return found
	}
	return false
}

// arithmetic holds the operators that compute. What makes no sense is nil: the
// sides do not fit, there is no such number, or a duration is too long.
var arithmetic = map[string]func(a, b any) any{
	"+": add, "-": subtract, "*": multiply, "/": divide, "%": remainder,
}

// numbers returns two values as floats, and as ints where they both are.
func numbers(a, b any) (x, y float64, i, j int64, whole, ok bool) {
	i, intA := a.(int64)
	j, intB := b.(int64)
	x, y = float64(i), float64(j)
	okA, okB := intA, intB
	if !intA {
		x, okA = a.(float64)
	}
	if !intB {
		y, okB = b.(float64)
	}
	return x, y, i, j, intA && intB, okA && okB
}

func add(a, b any) any {
	switch a := a.(type) {
	case time.Time:
		if d, ok := b.(time.Duration); ok {
			return a.Add(d)
		}
		return nil
	case time.Duration:
		switch b := b.(type) {
		case time.Time:
			return b.Add(a)
		case time.Duration:
			return inRange(a+b, (a+b > a) == (b > 0))
		}
		return nil
	}
	x, y, i, j, whole, ok := numbers(a, b)
	switch {
	case !ok:
		return nil
	case whole && (i+j > i) == (j > 0):
		return i + j
	}
	return finite(x + y)
}

func subtract(a, b any) any {
	switch a := a.(type) {
	case time.Time:
		switch b := b.(type) {
		case time.Time:
			d := a.Sub(b)
			return inRange(d, b.Add(d).Equal(a))
		case time.Duration:
			return a.Add(-b)
		}
		return nil
	case time.Duration:
		if b, ok := b.(time.Duration); ok {
			return inRange(a-b, (a-b < a) == (b > 0))
		}
		return nil
	}
	x, y, i, j, whole, ok := numbers(a, b)
	switch {
	case !ok:
		return nil
	case whole && (i-j < i) == (j > 0):
		return i - j
	}
	return finite(x - y)
}

func multiply(a, b any) any {
	if d, ok := b.(time.Duration); ok {
		a, b = d, a
	}
	if d, ok := a.(time.Duration); ok {
		x, _, _, _, _, ok := numbers(b, int64(0))
		if n, whole := b.(int64); whole {
			return duration(float64(d)*x, d*time.Duration(n))
		}
		if !ok {
			return nil
		}
		return duration(float64(d)*x, time.Duration(float64(d)*x))
	}
	x, y, i, j, whole, ok := numbers(a, b)
	switch {
	case !ok:
		return nil
	case whole && (i == 0 || (i*j)/i == j && !(i == -1 && j == math.MinInt64)):
		return i * j
	}
	return finite(x * y)
}

func divide(a, b any) any {
	if d, ok := a.(time.Duration); ok {
		if e, ok := b.(time.Duration); ok {
			return finite(float64(d) / float64(e))
		}
		_, y, _, _, _, ok := numbers(int64(0), b)
		if !ok || y == 0 {
			return nil
		}
		return duration(float64(d)/y, time.Duration(float64(d)/y))
	}
	x, y, _, _, _, ok := numbers(a, b)
	if !ok {
		return nil
	}
	return finite(x / y)
}

func remainder(a, b any) any {
	x, y, i, j, whole, ok := numbers(a, b)
	switch {
	case !ok || y == 0:
		return nil
	case whole && j == -1:
		return int64(0) // lest the smallest number be divided by it
	case whole:
		return i % j
	}
	return finite(math.Mod(x, y))
}

// finite is a number, or nil where it is none that there is.
func finite(x float64) any {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return x
}

// duration is d, or nil where it overflowed: about is how long it should be.
func duration(about float64, d time.Duration) any {
	if math.Abs(about) >= math.MaxInt64 || math.IsNaN(about) {
		return nil
	}
	return d
}

// inRange is d, or nil where there is no such duration.
func inRange(d time.Duration, ok bool) any {
	if !ok {
		return nil
	}
	return d
}

// negate is the sign before a value.
func negate(v any) any {
	switch v := v.(type) {
	case int64, float64:
		return subtract(int64(0), v)
	case time.Duration:
		return subtract(time.Duration(0), v)
	}
	return nil
}

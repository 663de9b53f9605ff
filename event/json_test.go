package event

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

// slowIsObject is isObject by encoding/json.
func slowIsObject(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	return len(b) > 0 && b[0] == '{' && json.Valid(b) && utf8.Valid(b)
}

// objects are JSON objects with everything that there is in JSON.
var objects = []string{
	`{}`, ` { } `, "\r\n\t {\"a\"\n:\t1\r, \"b\" : [ ] } \n",
	`{"":""}`, `{"a":[1,-2,0,-0,0.5,10.25e+10,1E5,1e-05,-0.0e0]}`,
	`{"a":{"b":{"c":[[],[{}],[true,false,null]]}}}`,
	`{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\uabCD","ä€😀":"ü"}`,
	`{"a":1,"a":2}`, // twice the same name is valid, if unwise
}

func TestIsObject(t *testing.T) {
	for _, text := range objects {
		assert.True(t, isObject([]byte(text)), text)
		assert.True(t, slowIsObject([]byte(text)), text)
	}
	for _, text := range []string{
		"", " ", "null", "[]", `"{}"`, "1", "{", "}", "{}{}", "{},", "{} x", "\ufeff{}", "\v{}", "\u00a0{}",
		`{a:1}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{"a",1}`, `{1:1}`, `{"a":1]`, `{"a":[1}`, `{"a":[1,]}`, `{"a":[,]}`,
		`{"a":01}`, `{"a":-}`, `{"a":-01}`, `{"a":1.}`, `{"a":.5}`, `{"a":+1}`, `{"a":1e}`, `{"a":1e+}`, `{"a":0x1}`, `{"a":1_0}`, `{"a":NaN}`,
		`{"a":tru}`, `{"a":True}`, `{"a":nul`, `{"a":nulll}`, `{"a":"`, `{"a":"\`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\u12`,
		"{\"a\":\"\n\"}", "{\"a\":\"\x00\"}", "{\"a\":\"\xff\"}", "{\"\xc0\x80\":1}", `{"a":'b'}`, `{"a":1/**/}`,
	} {
		assert.False(t, isObject([]byte(text)), text)
		assert.False(t, slowIsObject([]byte(text)), text)
	}
}

// Every change of one byte and every end before the last byte is judged as
// encoding/json judges it.
func TestIsObjectLikeTheStandardLibrary(t *testing.T) {
	for _, text := range objects {
		for i := range text {
			assert.Equal(t, slowIsObject([]byte(text[:i])), isObject([]byte(text[:i])), "%q", text[:i])
			b := []byte(text)
			for c := range 256 {
				b[i] = byte(c)
				if slow, fast := slowIsObject(b), isObject(b); slow != fast {
					t.Fatalf("%q: %v, encoding/json says %v", b, fast, slow)
				}
			}
		}
	}
}

func TestIsObjectDepth(t *testing.T) {
	for _, depth := range []int{1, 9_999, 10_000, 10_001, 1_000_000} {
		for begin, end := range map[string]string{`{"a":`: `}`, `[`: `]`} {
			text := []byte(`{"a":` + strings.Repeat(begin, depth-1) + "1" + strings.Repeat(end, depth-1) + `}`)
			assert.Equal(t, depth <= 10_000, isObject(text), depth)
			assert.Equal(t, slowIsObject(text), isObject(text), depth)
		}
	}
}

func FuzzIsObject(f *testing.F) {
	for _, text := range objects {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if slow, fast := slowIsObject(b), isObject(b); slow != fast {
			t.Fatalf("%q: %v, encoding/json says %v", b, fast, slow)
		}
	})
}

func BenchmarkIsObject(b *testing.B) {
	text := []byte(`{"step":12,"tool":"search","input":{"query":"how to store events","limit":10},"ok":true,"ms":12.5,"note":"something that is a bit longer"}`)
	for name, check := range map[string]func([]byte) bool{"ours": isObject, "encoding-json": slowIsObject} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if !check(text) {
					b.Fatal("it is")
				}
			}
		})
	}
}

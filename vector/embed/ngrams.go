package embed

import (
	"context"
	"fmt"
	"math"
	"strings"
	"unicode"

	"github.com/cespare/xxhash/v2"
)

// NGrams counts the words of a text, and the groups of 3 to 5 characters within
// them, in as many places as its value says, which hashes choose ("feature
// hashing", Weinberger and others, 2009). So texts are alike that share words or
// parts of words; of what words mean it knows nothing. The same text gives the same
// vector, of length 1, on every machine.
type NGrams int

// DefaultNGrams is a dimension that serves short texts well.
const DefaultNGrams NGrams = 256

// wordWeight is how many groups of characters a whole word counts as.
const wordWeight = 4

// Embed implements vector.Embedder. It fails where n is not positive, or ctx has
// ended.
func (n NGrams) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	if n < 1 {
		return nil, fmt.Errorf("embed: %d dimensions; give at least 1", int(n))
	}
	list := make([][]float32, len(texts))
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list[i] = n.embed(text)
	}
	return list, nil
}

func (n NGrams) embed(text string) []float32 {
	counts := make([]int64, n)
	add := func(feature string, weight int64) {
		h := xxhash.Sum64String(feature)
		if h>>63 == 1 { // so that what falls on one place by chance does not add up
			weight = -weight
		}
		counts[h%uint64(n)] += weight
	}
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r)
	})
	for _, word := range words {
		add("word "+word, wordWeight)
		letters := []rune("^" + word + "$")
		for size := 3; size <= 5; size++ {
			for at := 0; at+size <= len(letters); at++ {
				add("part "+string(letters[at:at+size]), 1)
			}
		}
	}
	square := 0.0
	for _, c := range counts {
		square += float64(c * c)
	}
	if square == 0 { // no words, or such that cancel each other out
		counts[xxhash.Sum64String("nothing")%uint64(n)], square = 1, 1
	}
	v := make([]float32, n)
	for i, c := range counts {
		v[i] = float32(float64(c) / math.Sqrt(square))
	}
	return v
}

package embed_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"inmem/vector"
	"inmem/vector/embed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

var (
	_ vector.Embedder = embed.NGrams(1)
	_ vector.Embedder = (*embed.Client)(nil)
)

func cosine(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

func TestNGrams(t *testing.T) {
	texts := []string{"Refund the ticket", "refunds of tickets", "the weather in Oslo", "", "!?", "Größe 日本語"}
	list, err := embed.DefaultNGrams.Embed(ctx, texts)
	require.NoError(t, err)
	again, err := embed.DefaultNGrams.Embed(ctx, texts)
	require.NoError(t, err)
	require.Equal(t, list, again)
	require.Len(t, list, len(texts))
	for i, v := range list {
		require.Len(t, v, 256)
		require.InDelta(t, 1, cosine(v, v), 1e-6, "%q", texts[i])
	}
	require.Equal(t, list[3], list[4], "nothing to count is nothing to tell apart")
	require.Greater(t, cosine(list[0], list[1]), 0.3)
	require.Less(t, cosine(list[0], list[2]), 0.3)

	// One place for everything: what cancels out is not zero.
	one, err := embed.NGrams(1).Embed(ctx, texts)
	require.NoError(t, err)
	for _, v := range one {
		require.Equal(t, 1.0, math.Abs(float64(v[0])))
	}
	_, err = embed.NGrams(0).Embed(ctx, texts)
	require.ErrorContains(t, err, "0 dimensions")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = embed.DefaultNGrams.Embed(ended, texts)
	require.ErrorIs(t, err, context.Canceled)
}

// TestNGramsStay: vectors are stored, so those of a text must not change with the
// package.
func TestNGramsStay(t *testing.T) {
	list, err := embed.NGrams(8).Embed(ctx, []string{"a state engine"})
	require.NoError(t, err)
	require.Equal(t, []float32{-0.11952286, 0.11952286, 0.11952286, -0.11952286, 0, 0.83666, -0.47809145, 0.11952286}, list[0])
}

// service answers like the service that Client is for, with vectors that begin
// with the length of the text.
func service(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, input []string)) *embed.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Model, Encoding_format string
			Input                  []string
			Dimensions             int
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil || r.URL.Path != "/v1/embeddings" || r.Method != http.MethodPost ||
			in.Model != "some-model" || in.Encoding_format != "float" || r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, "a bad request", http.StatusBadRequest)
			return
		}
		answer(w, r, in.Input)
	}))
	client := s.Client()
	t.Cleanup(func() { client.CloseIdleConnections(); s.Close() })
	return &embed.Client{URL: s.URL + "/v1/", Model: "some-model", HTTP: client}
}

func TestClient(t *testing.T) {
	requests := 0
	c := service(t, func(w http.ResponseWriter, r *http.Request, input []string) {
		requests++
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "no key", http.StatusUnauthorized)
			return
		}
		var data []string
		for i := len(input) - 1; i >= 0; i-- { // in whatever order
			data = append(data, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[%d,-0.5]}`, i, len(input[i])))
		}
		fmt.Fprintf(w, `{"object":"list","data":[%s],"usage":{"total_tokens":1}}`, strings.Join(data, ","))
	})
	c.Batch = 2
	_, err := c.Embed(ctx, []string{"a"})
	var refused *embed.StatusError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, &embed.StatusError{Code: 401, Message: "no key"}, refused)
	require.False(t, refused.Temporary())

	c.Key = "secret"
	requests = 0
	list, err := c.Embed(ctx, []string{"a", "bb", "ccc", "dddd", "eeeee"})
	require.NoError(t, err)
	require.Equal(t, [][]float32{{1, -0.5}, {2, -0.5}, {3, -0.5}, {4, -0.5}, {5, -0.5}}, list)
	require.Equal(t, 3, requests)
	list, err = c.Embed(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Equal(t, 3, requests, "nothing is asked for nothing")
	c.Dimensions = 3
	_, err = c.Embed(ctx, []string{"a"})
	require.ErrorIs(t, err, embed.ErrResponse)
}

func TestClientOfAServiceThatFails(t *testing.T) {
	answer, code := "", 200
	c := service(t, func(w http.ResponseWriter, _ *http.Request, _ []string) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(answer))
	})
	ask := func(texts ...string) error {
		_, err := c.Embed(ctx, texts)
		return err
	}
	for _, answer = range []string{
		`nonsense`, `{"data":[]}`, `{}`,
		`{"data":[{"index":1,"embedding":[1]}]}`, `{"data":[{"index":-1,"embedding":[1]}]}`,
		`{"data":[{"index":0,"embedding":[]}]}`, `{"data":[{"index":0,"embedding":[0,0]}]}`, `{"data":[{"index":0,"embedding":[1e99]}]}`,
		`{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}`,
		`{"data":[{"index":0,"embedding":[1]}]}` + strings.Repeat(" ", 2<<20),
	} {
		require.ErrorIs(t, ask("a"), embed.ErrResponse, "%.50s", answer)
	}
	for _, answer = range []string{
		`{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}`,
		`{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}`,
	} {
		require.ErrorIs(t, ask("a", "b"), embed.ErrResponse, answer)
	}
	answer, code = `{"error":{"message":"slow down","type":"limit"}}`, 429
	var refused *embed.StatusError
	require.ErrorAs(t, ask("a"), &refused)
	require.Equal(t, &embed.StatusError{Code: 429, Message: "slow down", RetryAfter: "7"}, refused)
	require.True(t, refused.Temporary())
	require.EqualError(t, refused, "embed: the service says 429 Too Many Requests: slow down")

	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := c.Embed(ended, []string{"a"})
	require.ErrorIs(t, err, context.Canceled)
	c.URL = ":"
	require.Error(t, ask("a"))
	require.False(t, errors.Is(ask("a"), embed.ErrResponse))
}

// TestClientOfVectorsThatGrow: one batch of another length than that before.
func TestClientOfVectorsThatGrow(t *testing.T) {
	n := 0
	c := service(t, func(w http.ResponseWriter, _ *http.Request, _ []string) {
		n++
		fmt.Fprintf(w, `{"data":[{"index":0,"embedding":[1%s]}]}`, strings.Repeat(",1", n))
	})
	c.Batch = 1
	_, err := c.Embed(ctx, []string{"a", "b"})
	require.ErrorIs(t, err, embed.ErrResponse)
}

package embed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
)

// Client asks a service that has the interface of OpenAI's embeddings: POST
// URL/embeddings. It tries nothing again: *StatusError says when that makes sense.
// It may be used by many goroutines.
type Client struct {
	URL        string       // up to the version, such as https://api.openai.com/v1
	Model      string       // as the service calls it
	Key        string       // sent as a bearer token; "" = none is sent
	Dimensions int          // asked for, and checked; 0 = the model's
	Batch      int          // texts in one request, at most; 0 = 128
	HTTP       *http.Client // nil = http.DefaultClient; timeouts are its, or the context's
}

// The bounds of what a service may answer, in bytes: for each text a vector of
// 65,536 numbers of 32 characters would fit, and for an error its beginning.
const (
	defaultBatch = 128
	maxPerText   = 2 << 20
	maxMessage   = 4 << 10
)

// ErrResponse: the service answered what is not an answer to the request.
var ErrResponse = errors.New("embed: the service's answer makes no sense")

// StatusError says with which status a service refused.
type StatusError struct {
	Code       int    // of HTTP
	Message    string // the service's, or the beginning of what it sent
	RetryAfter string // the header of that name, as it was sent
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("embed: the service says %d %s", e.Code, http.StatusText(e.Code))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Temporary reports whether the same request may be answered later.
func (e *StatusError) Temporary() bool {
	return e.Code == http.StatusTooManyRequests || e.Code == http.StatusRequestTimeout || e.Code >= 500
}

// Embed implements vector.Embedder, in as many requests as it takes, one after the
// other. Errors: *StatusError; ErrResponse; those of the HTTP client, which wrap
// ctx.Err() where the context has ended. What was answered before is lost then.
func (c *Client) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	batch := c.Batch
	if batch < 1 {
		batch = defaultBatch
	}
	var list [][]float32
	for from := 0; from < len(texts); from += batch {
		part, err := c.request(ctx, texts[from:min(from+batch, len(texts))])
		if err != nil {
			return nil, err
		}
		if list = append(list, part...); len(list[0]) != len(part[0]) {
			return nil, fmt.Errorf("%w: vectors of %d elements, and then of %d", ErrResponse, len(list[0]), len(part[0]))
		}
	}
	return list, nil
}

type request struct {
	Model      string   `json:"model"`
	Input      []string `json:"input"`
	Format     string   `json:"encoding_format"`
	Dimensions int      `json:"dimensions,omitempty"`
}

type response struct {
	Data []struct {
		Index     int       `json:"index"`
		Embedding []float32 `json:"embedding"`
	} `json:"data"`
	Error struct {
		Message string `json:"message"`
	} `json:"error"`
}

func (c *Client) request(ctx context.Context, texts []string) ([][]float32, error) {
	body, err := json.Marshal(request{c.Model, texts, "float", c.Dimensions})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.URL, "/")+"/embeddings", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, refusal(res)
	}
	limit := int64(len(texts)) * maxPerText
	answer, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("embed: reading the answer: %w", err)
	}
	if int64(len(answer)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrResponse, limit)
	}
	return c.vectors(answer, len(texts))
}

// refusal reads what a service says of a request that it does not answer.
func refusal(res *http.Response) error {
	e := &StatusError{Code: res.StatusCode, RetryAfter: res.Header.Get("Retry-After")}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxMessage))
	var said response
	if json.Unmarshal(text, &said) == nil && said.Error.Message != "" {
		e.Message = said.Error.Message
	} else if err == nil {
		e.Message = strings.TrimSpace(string(text))
	}
	return e
}

// vectors reads an answer and checks that it is one.
func (c *Client) vectors(answer []byte, texts int) ([][]float32, error) {
	var r response
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrResponse, err)
	}
	if len(r.Data) != texts {
		return nil, fmt.Errorf("%w: %d vectors for %d texts", ErrResponse, len(r.Data), texts)
	}
	list := make([][]float32, texts)
	for _, d := range r.Data {
		switch {
		case d.Index < 0 || d.Index >= texts || list[d.Index] != nil:
			return nil, fmt.Errorf("%w: the vector of text %d is there twice, or there is no such text", ErrResponse, d.Index)
		case len(d.Embedding) == 0 || len(d.Embedding) != len(r.Data[0].Embedding) || c.Dimensions > 0 && len(d.Embedding) != c.Dimensions:
			return nil, fmt.Errorf("%w: a vector of %d elements", ErrResponse, len(d.Embedding))
		case !usable(d.Embedding):
			return nil, fmt.Errorf("%w: a vector that is zero or not finite", ErrResponse)
		}
		list[d.Index] = d.Embedding
	}
	return list, nil
}

func usable(v []float32) bool {
	zero := true
	for _, x := range v {
		if math.IsInf(float64(x), 0) || math.IsNaN(float64(x)) {
			return false
		}
		zero = zero && x == 0
	}
	return !zero
}

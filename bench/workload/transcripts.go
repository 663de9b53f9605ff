package workload

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
)

// Transcripts are what agents said, to be said again.
type Transcripts struct {
	Source string // where they come from, for the report
	Agents [][]Turn
}

// Turn is what an agent keeps when it has answered: what was said since its last
// answer, and the answer.
type Turn struct {
	Messages [][]byte
	Role     string // of the last
}

// recorded is a line of the file of recorded agents.
type recorded struct {
	Messages []json.RawMessage `json:"messages"`
}

// ReadTranscripts reads recorded agents, one a line: a JSON object whose
// "messages" are in the chat format, each with a "role".
func ReadTranscripts(file string) (t *Transcripts, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	t = &Transcripts{}
	for lines.Scan() {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, len(t.Agents)+1, err)
		}
		turns, err := split(r.Messages)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, len(t.Agents)+1, err)
		}
		t.Agents = append(t.Agents, turns)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(t.Agents) == 0 {
		return nil, fmt.Errorf("%s has no agent", file)
	}
	t.Source = fmt.Sprintf("%d recorded agents, %d turns", len(t.Agents), t.Turns())
	return t, nil
}

// Turns returns how many turns all agents have together.
func (t *Transcripts) Turns() int {
	n := 0
	for _, turns := range t.Agents {
		n += len(turns)
	}
	return n
}

// split ends a turn behind each message of the assistant. What is left in the
// end is a turn as well.
func split(messages []json.RawMessage) ([]Turn, error) {
	var turns []Turn
	var turn Turn
	for _, m := range messages {
		var head struct {
			Role string `json:"role"`
		}
		if err := json.Unmarshal(m, &head); err != nil {
			return nil, err
		}
		turn.Messages, turn.Role = append(turn.Messages, m), head.Role
		if head.Role == "assistant" {
			turns, turn = append(turns, turn), Turn{}
		}
	}
	if len(turn.Messages) > 0 {
		turns = append(turns, turn)
	}
	return turns, nil
}

// Synthetic makes transcripts of about the shape of the recorded ones, for who
// does not have them: a system message of 6,000 B, then a user's message of
// 60–200 B and answers of 150–500 B, of which each second one calls a tool that
// returns 100–1,600 B; 6 to 18 turns.
func Synthetic(agents int) *Transcripts {
	t := &Transcripts{}
	for i := range agents {
		rng := newRand(1, i)
		message := func(role string, low, high int) json.RawMessage {
			text := make([]byte, low+rng.IntN(high-low+1))
			for i := range text {
				text[i] = letter(rng)
			}
			return json.RawMessage(fmt.Sprintf(`{"role":%q,"content":%q}`, role, text))
		}
		messages := []json.RawMessage{message("system", 6000, 6000)}
		for n := range 6 + rng.IntN(13) {
			if n%2 == 0 {
				messages = append(messages, message("user", 60, 200))
			} else {
				messages = append(messages, message("tool", 100, 1600))
			}
			messages = append(messages, message("assistant", 150, 500))
		}
		turns, err := split(messages)
		if err != nil {
			panic(err) // it is our own JSON
		}
		t.Agents = append(t.Agents, turns)
	}
	t.Source = fmt.Sprintf("%d synthetic agents, %d turns", len(t.Agents), t.Turns())
	return t
}

// letter returns one of the letters, or a space as often as in English.
func letter(rng *rand.Rand) byte {
	if n := rng.IntN(32); n < 26 {
		return byte('a' + n)
	}
	return ' '
}

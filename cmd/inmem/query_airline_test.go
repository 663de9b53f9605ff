package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// queryDoc has, between two marks, the queries below with what comes out.
const (
	queryDoc   = "../../docs/query.md"
	queryBegin = "<!-- begin: TestAirlineQueries -->\n"
	queryEnd   = "<!-- end: TestAirlineQueries -->\n"
)

// airlineQueries are what the document asks the recorded runs.
var airlineQueries = []struct{ question, text string }{
	{"Which tools fail most? The recorded agent's tools say so in their output.",
		`spans where kind == "tool_call" and output startsWith "Error" group by name count order by count desc`},
	{"With what? The first words of what failed, most often first.",
		`spans where output startsWith "Error" group by name, text(output) as failure count order by count desc, name limit 6`},
	{"How often is each tool called, and in how many calls does it fail?",
		`spans where kind == "tool_call" group by name, output startsWith "Error" as failed count order by count desc limit 8`},
	{"The longest runs: a run has a commit for each message.",
		`runs select name, tags.reward as reward, version order by version desc, name limit 5`},
	{"The same, by the counters that the import keeps: the most tool calls.",
		`states where name == "counters" select run.name as run, data.messages as messages, data.tool_calls as calls order by calls desc, run limit 5`},
	{"All runs of a task with reward 0.",
		`runs where tags.task == "7" and tags.reward == "0.0" select name, tags.trial as trial, version order by name`},
	{"The tasks that no trial solved.",
		`runs where tags.reward == "0.0" group by number(tags.task) as task count order by count desc, task limit 5`},
	{"Who says how much?",
		`events where type startsWith "message." group by type count, sum(size) as bytes, avg(len(payload.content)) as characters order by count desc`},
	{"How many transfers to a human are there, in runs that were solved and in others?",
		`spans where name == "transfer_to_human_agents" group by run.tags.reward as reward count`},
	{"Which reservations are cancelled in more than one run?",
		`spans where name == "cancel_reservation" group by input.reservation_id as reservation count order by count desc, reservation limit 4`},
}

// TestAirlineQueries asks the recorded runs, and wants the answers in the document
// to be what comes out. With INMEM_UPDATE=1 it writes them there.
func TestAirlineQueries(t *testing.T) {
	recordedRuns(t)
	dir := filepath.Join(t.TempDir(), "store")
	inmemCommand(t, "import", "--dir", dir, recorded)
	var have strings.Builder
	for _, q := range airlineQueries {
		out := inmemCommand(t, "query", "--dir", dir, q.text)
		fmt.Fprintf(&have, "%s\n\n```\n%s\n```\n```\n%s```\n\n", q.question, q.text, out)
	}
	doc, err := os.ReadFile(queryDoc)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(doc), queryBegin)
	require.True(t, ok)
	want, tail, ok := strings.Cut(rest, queryEnd)
	require.True(t, ok)
	if os.Getenv("INMEM_UPDATE") != "" {
		require.NoError(t, os.WriteFile(queryDoc, []byte(head+queryBegin+have.String()+queryEnd+tail), 0o644))
		return
	}
	require.Equal(t, want, have.String())
}

package retention

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"inmem/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ended(n byte, at int64, change ...func(*run.Info)) *run.Info {
	info := &run.Info{Meta: run.Meta{ID: run.ID{15: n}}, Status: run.Completed, Created: 1, Ended: at}
	for _, c := range change {
		c(info)
	}
	return info
}

func tagged(key, value string) func(*run.Info) {
	return func(i *run.Info) { i.Tags = map[string]string{key: value} }
}

func TestVersions(t *testing.T) {
	for text, v := range map[string]Versions{"all": AllVersions, "none": NoVersions, "1": 1, "100": 100} {
		parsed, err := Parse(text)
		require.NoError(t, err)
		require.Equal(t, v, parsed)
		require.Equal(t, text, v.String())
	}
	for _, text := range []string{"", "0", "-1", "+1", "01", "some", "1.5", "99999999999999999999"} {
		_, err := Parse(text)
		require.Error(t, err, text)
	}
}

func TestHistory(t *testing.T) {
	p := Policy{Limits: Limits{History: NoVersions}, Rules: []Rule{
		{Namespace: run.Namespace{Tenant: "a"}, Limits: Limits{History: 10}},
		{Tags: map[string]string{"audit": "yes"}},
	}}
	of := func(change func(*run.Info)) Versions { return p.HistoryOf(ended(1, 1, change)) }
	require.Equal(t, NoVersions, of(func(*run.Info) {}))
	require.Equal(t, Versions(10), of(func(i *run.Info) { i.Namespace.Tenant = "a" }))
	require.Equal(t, AllVersions, of(tagged("audit", "yes")))
	require.Equal(t, Versions(10), of(func(i *run.Info) { tagged("audit", "yes")(i); i.Namespace.Tenant = "a" }), "the first counts")
	require.Equal(t, Versions(3), of(func(i *run.Info) { tagged(TagHistory, "3")(i); i.Namespace.Tenant = "a" }))
	require.Equal(t, AllVersions, of(tagged(TagHistory, "all")))
	require.Equal(t, AllVersions, of(tagged(TagHistory, "what?")), "in doubt it is kept")
	require.Equal(t, Versions(10), of(func(i *run.Info) { i.Space = true; i.Namespace.Tenant = "a" }))
	require.True(t, p.CutsHistory())
	require.False(t, p.RemovesRuns())
	require.False(t, (&Policy{}).CutsHistory())
}

func TestChooser(t *testing.T) {
	p := Policy{
		Limits: Limits{EndedFor: time.Second},
		Rules: []Rule{
			{Namespace: run.Namespace{Tenant: "few"}, Limits: Limits{EndedRuns: 2}},
			{Namespace: run.Namespace{Tenant: "none"}, Limits: Limits{EndedRuns: -1}},
			{Namespace: run.Namespace{Tenant: "both"}, Limits: Limits{EndedRuns: 1, EndedFor: time.Second}},
		},
	}
	of := func(tenant string) func(*run.Info) { return func(i *run.Info) { i.Namespace.Tenant = tenant } }
	c := NewChooser(&p, 5000)
	never := []*run.Info{
		ended(1, 1, func(i *run.Info) { i.Status = run.Active }),
		ended(2, 1, func(i *run.Info) { i.Status = run.Paused }),
		ended(3, 1, func(i *run.Info) { i.Space = true }),
		ended(4, 1, tagged(TagKeep, "true")),
		ended(5, 4001), // not long enough
		ended(6, 10, of("few")), ended(7, 20, of("few")),
		ended(8, 4900, of("both")),
	}
	chosen := []*run.Info{
		ended(30, 5, of("few")), ended(31, 6, of("none")), ended(32, 7, of("none")), ended(33, 8, of("both")),
		ended(34, 9, tagged(TagKeep, "false")), ended(35, 3500, of("both")), ended(36, 4000), ended(37, 4800, of("both")),
	}
	for i := range never {
		c.Add(never[len(never)-1-i])
	}
	for i := range chosen {
		c.Add(chosen[len(chosen)-1-i])
	}
	require.Equal(t, chosen, c.Chosen())
	require.True(t, p.RemovesRuns())
}

func TestValidate(t *testing.T) {
	require.NoError(t, (&Policy{}).Validate())
	require.Error(t, (&Policy{Limits: Limits{History: -2}}).Validate())
	require.Error(t, (&Policy{Limits: Limits{EndedFor: -1}}).Validate())
	require.Error(t, (&Policy{Rules: []Rule{{Limits: Limits{History: -2}}}}).Validate())
	require.Error(t, (&Policy{Rules: []Rule{{Namespace: run.Namespace{Tenant: "\xff"}}}}).Validate())
}

// A run that is chosen was created no later than CreatedBy says.
func TestCreatedBy(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		want   int64
	}{
		{Policy{}, math.MinInt64},
		{Policy{Limits: Limits{History: NoVersions}}, math.MinInt64},
		{Policy{Limits: Limits{EndedFor: time.Second}}, 9_000},
		{Policy{Limits: Limits{EndedFor: 1}}, 9_999},
		{Policy{Limits: Limits{EndedFor: time.Second}, Rules: []Rule{{Limits: Limits{EndedFor: time.Hour}}}}, 9_000},
		{Policy{Rules: []Rule{{Limits: Limits{EndedFor: time.Second}}}}, 9_000},
		{Policy{Limits: Limits{EndedFor: time.Second}, Rules: []Rule{{Limits: Limits{EndedRuns: -1}}}}, math.MaxInt64},
	} {
		assert.Equal(t, c.want, c.policy.CreatedBy(10_000), "%+v", c.policy)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Limits: Limits{EndedFor: time.Duration(rapid.IntRange(0, 50).Draw(t, "for")) * time.Millisecond}}
		created := rapid.Int64Range(0, 200).Draw(t, "created")
		c := NewChooser(&p, 100)
		c.Add(&run.Info{Status: run.Completed, Created: created, Ended: created + rapid.Int64Range(0, 50).Draw(t, "took")})
		if len(c.Chosen()) > 0 {
			require.LessOrEqual(t, created, p.CreatedBy(100))
		}
	})
}

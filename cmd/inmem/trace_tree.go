package main

import "inmem/trace"

// spanTree prints spans as trees: each with how long it took, and, of one with
// parts, what it has cost with them.
type spanTree struct {
	app   *app
	total map[*trace.Node]trace.Usage
}

// maxIndent is how many levels are shown as such: what lies deeper, in a trace
// that has gone astray, is printed at the last.
const maxIndent = 40

// printTree prints the trees of a run.
func printTree(a *app, roots []*trace.Node) {
	if len(roots) == 0 {
		a.printf("%s\n", a.style.dim("no spans"))
		return
	}
	t := &spanTree{app: a, total: map[*trace.Node]trace.Usage{}}
	for _, n := range roots {
		t.add(n)
		t.node(n, "", "", 0)
	}
}

// add adds up what a span and its parts have cost.
func (t *spanTree) add(n *trace.Node) trace.Usage {
	sum := n.Usage
	for _, c := range n.Children {
		sum = sum.Add(t.add(c))
	}
	t.total[n] = sum
	return sum
}

// node prints a span and its parts. lead stands before its own line, rest
// before those of its parts.
func (t *spanTree) node(n *trace.Node, lead, rest string, depth int) {
	s := t.app.style
	status := spanStatus(s, &n.Span)
	text := s.dim(lead) + s.bold(plainOr(n.Name, "-")) + "  " + plain(string(n.Kind)) + "  " + status.paint(status.text) + "  " + spanTook(&n.Span)
	if used := usedText(t.total[n]); used != "" {
		text += "  " + used
	}
	t.app.printf("%s  %s\n", text, s.dim("span "+spanID(n.ID)))
	if n.Error != "" {
		t.app.printf("%s%s\n", s.dim(rest), s.red(preview([]byte(n.Error), dataPreview)))
	}
	for i, c := range n.Children {
		fork, below := "├─ ", "│  "
		if i == len(n.Children)-1 {
			fork, below = "└─ ", "   "
		}
		if depth >= maxIndent {
			below = ""
		}
		t.node(c, rest+fork, rest+below, depth+1)
	}
}

// treeJSON prints a line for each tree.
func treeJSON(a *app, roots []*trace.Node) error {
	for _, n := range roots {
		if err := a.json(nodeJSON(n)); err != nil {
			return err
		}
	}
	return nil
}

func nodeJSON(n *trace.Node) *jsonSpan {
	j := spanJSON(&n.Span)
	for _, c := range n.Children {
		j.Children = append(j.Children, nodeJSON(c))
	}
	return j
}

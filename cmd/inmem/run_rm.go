package main

import (
	"bufio"
	"errors"
	"slices"
	"strings"

	"inmem"
	"inmem/run"
)

// runRmCmd deletes runs.
type runRmCmd struct {
	store
	IDs []string `arg:"" name:"id" help:"The runs' IDs, whole."`
	Yes bool     `short:"y" help:"Do not ask."`
}

func (c *runRmCmd) Run(a *app) error {
	var ids []run.ID
	for _, text := range c.IDs {
		id, err := run.ParseID(text)
		if err != nil {
			return usage("what deletes wants the whole ID: 'inmem run ls' has it", "%w", err)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if !c.Yes && !a.inTerm {
		return usage("say --yes, or run it at a terminal", "deleting wants a confirmation, and there is nobody to ask")
	}
	return c.write(a, func(db *inmem.DB) error {
		// All are looked up first, so that a wrong one stops it before anything is gone.
		for _, id := range ids {
			if _, err := db.Run(id); err != nil {
				return err
			}
		}
		if !c.Yes && !confirm(a, db, ids) {
			return &cliError{code: exitFailed, err: errors.New("nothing was deleted")}
		}
		for _, id := range ids {
			if err := db.DeleteRun(a.ctx, id); err != nil {
				return err
			}
			a.printf("deleted %v\n", id)
		}
		return nil
	})
}

// confirm asks at the terminal.
func confirm(a *app, db *inmem.DB, ids []run.ID) bool {
	for _, id := range ids {
		if r, err := db.Run(id); err == nil {
			if info, err := r.Info(); err == nil {
				a.say("%v  %s  %s, %s", id, statusText(info), plainOr(info.Name, "without a name"), plural(info.LastVersion, "commit"))
			}
		}
	}
	a.ask("Delete %s for good? [y/N] ", plural(len(ids), "run"))
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return err == nil && (answer == "y" || answer == "yes")
}

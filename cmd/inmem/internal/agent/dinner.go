package agent

import (
	"encoding/json"
	"fmt"
)

// The tools of the dinner planner.
const (
	CalculatorName = "calculator"
	TodoName       = "add_todo"
)

// Dinner is a model that follows a script: it plans a dinner. What it says next
// depends on the chat alone, as with any model; it has no other memory.
type Dinner struct{}

// DinnerTask is what the dinner planner is asked to do.
func DinnerTask() []Message {
	return []Message{
		{Role: "system", Content: "You plan dinners. Work things out with the calculator, and put what is to be done on the to-do list."},
		{Role: "user", Content: "Trout with potatoes and a cake for six people, please, for no more than 60."},
	}
}

// dinnerSteps is the script: each step makes a call of the results so far.
var dinnerSteps = []func(results []string) Function{
	func([]string) Function { return calculate("6 * 0.25") },
	func(r []string) Function { return todo("Buy " + r[0] + " kg of potatoes") },
	func(r []string) Function { return calculate("6 * 3.20 + " + r[0] + " * 2.40") },
	func([]string) Function { return todo("Buy 6 trout") },
	func([]string) Function { return todo("Order the cake, two days ahead") },
	func(r []string) Function { return calculate(r[2] + " + 18.50") },
	func([]string) Function { return todo("Set the table for 6") },
	func(r []string) Function { return calculate("60 - " + r[5]) },
}

// Next implements Model.
func (Dinner) Next(chat []Message) (Message, error) {
	var results []string
	for i := range chat {
		if chat[i].Role == "tool" {
			results = append(results, chat[i].Content)
		}
	}
	n := len(results)
	if n < len(dinnerSteps) {
		call := ToolCall{ID: fmt.Sprintf("call_%d", n+1), Type: "function", Function: dinnerSteps[n](results)}
		return Message{Role: "assistant", ToolCalls: []ToolCall{call}}, nil
	}
	return Message{Role: "assistant", Content: fmt.Sprintf(
		"All planned: it costs %s, which leaves %s. What is to be done is on your list.", results[5], results[7])}, nil
}

func calculate(expression string) Function {
	return Function{Name: CalculatorName, Arguments: object("expression", expression)}
}

func todo(item string) Function { return Function{Name: TodoName, Arguments: object("item", item)} }

// object is a JSON object with one text. A text can always be encoded.
func object(key, value string) string {
	b, err := json.Marshal(map[string]string{key: value})
	if err != nil {
		panic(err)
	}
	return string(b)
}

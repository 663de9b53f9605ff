package trace

import "inmem/op"

// Attribute names, as OpenTelemetry's semantic conventions for generative AI
// have them.
const (
	AttrOperation     = "gen_ai.operation.name" // such as "chat" or "execute_tool"
	AttrProvider      = "gen_ai.provider.name"
	AttrConversation  = "gen_ai.conversation.id"
	AttrAgentName     = "gen_ai.agent.name"
	AttrAgentID       = "gen_ai.agent.id"
	AttrRequestModel  = "gen_ai.request.model"
	AttrTemperature   = "gen_ai.request.temperature"
	AttrResponseModel = "gen_ai.response.model"
	AttrResponseID    = "gen_ai.response.id"
	AttrFinishReasons = "gen_ai.response.finish_reasons"
	AttrToolName      = "gen_ai.tool.name"
	AttrToolCallID    = "gen_ai.tool.call.id"
	AttrToolType      = "gen_ai.tool.type"
	AttrInputTokens   = "gen_ai.usage.input_tokens"  // of Usage, where spans are exported
	AttrOutputTokens  = "gen_ai.usage.output_tokens" // the same
	AttrErrorType     = "error.type"
)

// Attribute names of inmem's own: which durable step a span is, and what its
// input was, as a fingerprint. See inmem.Do.
const (
	AttrStepPath        = "inmem.step.path"
	AttrStepFingerprint = "inmem.step.fingerprint"
)

// WriteOption changes how a span is stored.
type WriteOption struct{ durability op.Durability }

// Durability lets this commit be acknowledged by another mode than the
// store's: op.ErrInvalidOption where there is no such mode. A commit never gets
// less than those that go to the log with it.
func Durability(d op.Durability) WriteOption { return WriteOption{durability: d} }

func gather(opts []WriteOption) (o WriteOption, err error) {
	for _, next := range opts {
		if o.durability, err = o.durability.Choose(next.durability); err != nil {
			return o, err
		}
	}
	return o, nil
}

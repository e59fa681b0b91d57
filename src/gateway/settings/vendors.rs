//! What is known of the APIs that well-known hosts serve, as data.
//!
//! Owns a row for each vendor: which APIs, and where its chat API departs from
//! OpenAI's. Refuses to know models (a target's `params` are for these) and to
//! change a body: whoever writes one reads a row. Invariants: a departure stands
//! here only when its vendor documents it or answers with an error that names
//! it, with the source beside it; an unknown host has none.

use super::{Dialect, Endpoint};

/// An API by which a provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's legacy completions.
    Completions,
    Embeddings,
}

impl Api {
    pub const ALL: [Self; 5] = [Self::Chat, Self::Responses, Self::Messages, Self::Completions, Self::Embeddings];

    /// The name in `apis`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
        }
    }

    /// Where it is asked, below a base URL that ends in `/v1` or its like.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
        }
    }

    /// Whether it carries conversations, which the gateway can translate.
    #[must_use]
    pub const fn converses(self) -> bool {
        match self {
            Self::Chat | Self::Responses | Self::Messages => true,
            Self::Completions | Self::Embeddings => false,
        }
    }
}

/// A vendor's APIs and its departures from OpenAI's chat API.
#[derive(Debug, PartialEq, Eq)]
pub struct Vendor {
    /// For people.
    pub name: &'static str,
    /// What it serves when `apis` is left out; the first conversation of them is
    /// what other dialects are translated to.
    pub apis: &'static [Api],
    /// Parameters of a chat request that it refuses, whatever their value.
    pub refused: &'static [&'static str],
    /// Fields of a chat message that it refuses, whatever the role.
    pub refused_in_messages: &'static [&'static str],
    /// Parameters of a chat request that it knows by another name: OpenAI's, its own.
    pub renamed: &'static [(&'static str, &'static str)],
    /// What it calls the reasoning of an answer, in a delta and in a message.
    pub reasoning: ReasoningField,
    /// Whether reasoning goes back in the assistant's messages, under the name
    /// that `reasoning` says.
    pub reasoning_back: ReasoningBack,
    /// Whether `stream_options` is taken. Where it is not, usage comes unasked in
    /// the last chunk.
    pub stream_options: bool,
    /// Whether the role `developer` is taken; else it goes as `system`.
    pub developer_role: bool,
    /// The form that ids of tool calls must have.
    pub tool_call_ids: ToolCallIds,
    /// Whether it keeps responses and takes `previous_response_id`. Where it does not, the
    /// gateway sends the whole conversation.
    pub keeps_responses: bool,
}

/// The field of a chat message or delta that holds reasoning as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningField {
    /// `reasoning_content`, first DeepSeek's.
    ReasoningContent,
    /// `reasoning`.
    Reasoning,
    /// None: it is not shown, or stands among the content's parts.
    None,
}

impl ReasoningField {
    /// The field's name.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::ReasoningContent => Some("reasoning_content"),
            Self::Reasoning => Some("reasoning"),
            Self::None => None,
        }
    }
}

/// Whether reasoning is sent back with the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningBack {
    /// A turn that called tools is refused without it.
    Needed,
    /// Taken and used.
    Taken,
    /// Neither needed nor known to be taken: left out.
    Unsaid,
    /// A request with it is refused.
    Refused,
}

/// The form of a tool call's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolCallIds {
    Any,
    /// `^[a-zA-Z0-9_-]+$`
    Words,
    /// `^[a-zA-Z0-9]{9}$`
    NineAlphanumerics,
}

impl ToolCallIds {
    /// Whether an id is as it must be.
    #[must_use]
    pub fn takes(self, id: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Words => !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
            Self::NineAlphanumerics => id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()),
        }
    }
}

/// Where a row applies.
enum Host {
    Name(&'static str),
    /// Any name that ends so, with its leading dot.
    Below(&'static str),
    /// A port of this machine.
    Port(u16),
}

impl Host {
    fn is(&self, endpoint: &Endpoint) -> bool {
        let host = endpoint.host.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Self::Name(name) => host == *name,
            Self::Below(end) => host.ends_with(end),
            Self::Port(port) => endpoint.port == *port && endpoint.is_loopback(),
        }
    }
}

/// The row of a provider.
#[must_use]
pub fn vendor(dialect: Dialect, endpoint: &Endpoint) -> &'static Vendor {
    match dialect {
        Dialect::Anthropic => &ANTHROPIC,
        Dialect::Sim => &SIM,
        Dialect::OpenAi => ROWS
            .iter()
            .find(|(hosts, _)| hosts.iter().any(|host| host.is(endpoint)))
            .map_or(&UNKNOWN, |(_, vendor)| vendor),
    }
}

use Api::{Chat, Completions, Embeddings, Messages, Responses};
use Host::{Below, Name, Port};

/// OpenAI's chat API, as any host is taken to serve it.
const UNKNOWN: Vendor = Vendor {
    name: "unknown",
    apis: &[Chat, Completions, Embeddings],
    refused: &[],
    refused_in_messages: &[],
    renamed: &[],
    reasoning: ReasoningField::ReasoningContent,
    reasoning_back: ReasoningBack::Unsaid,
    stream_options: true,
    developer_role: true,
    tool_call_ids: ToolCallIds::Any,
    keeps_responses: false,
};

/// Ids: the API answers others with "String should match pattern
/// '^[a-zA-Z0-9_-]+$'". No parameter of chat applies.
const ANTHROPIC: Vendor = Vendor {
    name: "anthropic",
    apis: &[Messages],
    reasoning: ReasoningField::None,
    tool_call_ids: ToolCallIds::Words,
    ..UNKNOWN
};

/// The simulator holds conversations to Anthropic's form of ids in its Messages
/// API alone; words suit all three.
const SIM: Vendor = Vendor {
    name: "sim",
    apis: &[Chat, Responses, Messages, Completions, Embeddings],
    tool_call_ids: ToolCallIds::Words,
    keeps_responses: true,
    ..UNKNOWN
};

static ROWS: &[(&[Host], Vendor)] = &[
    // platform.openai.com/docs/guides/conversation-state: responses are kept and gone on from; Azure alike. Others
    // that serve the API say that they keep none, or do so where started to (llama.cpp: "does not support
    // 'previous_response_id'"; vLLM: VLLM_ENABLE_RESPONSES_API_STORE).
    // platform.openai.com/docs/models: some models are served by Responses alone (codex and pro ones), and
    // reasoning crosses turns there alone; hence first. Chat shows no reasoning.
    (
        &[Name("api.openai.com")],
        Vendor {
            name: "openai",
            apis: &[Responses, Chat, Completions, Embeddings],
            reasoning: ReasoningField::None,
            keeps_responses: true,
            ..UNKNOWN
        },
    ),
    // The Codex program's own provider for logins at ChatGPT, whose tokens are good for nothing else: below
    // /backend-api/codex.
    (
        &[Name("chatgpt.com")],
        Vendor { name: "chatgpt", apis: &[Responses], reasoning: ReasoningField::None, ..UNKNOWN },
    ),
    // learn.microsoft.com, "Azure OpenAI in Microsoft Foundry Models v1 API": below /openai/v1, with the
    // deployment as model; keys in `api-key`.
    (
        &[Below(".openai.azure.com"), Below(".services.ai.azure.com")],
        Vendor {
            name: "azure",
            apis: &[Responses, Chat, Completions, Embeddings],
            reasoning: ReasoningField::None,
            keeps_responses: true,
            ..UNKNOWN
        },
    ),
    // docs.claude.com, "OpenAI SDK compatibility": chat alone; what it does not know is ignored, reasoning
    // is not returned.
    (
        &[Name("api.anthropic.com")],
        Vendor { name: "anthropic", apis: &[Chat], reasoning: ReasoningField::None, ..UNKNOWN },
    ),
    // openrouter.ai/docs/api-reference: all below /api/v1; "Reasoning tokens": `reasoning` in messages, which
    // may be sent back to preserve it.
    (
        &[Name("openrouter.ai")],
        Vendor {
            name: "openrouter",
            apis: &[Chat, Responses, Messages, Completions, Embeddings],
            reasoning: ReasoningField::Reasoning,
            reasoning_back: ReasoningBack::Taken,
            ..UNKNOWN
        },
    ),
    // console.groq.com/docs/openai: a 400 for logprobs, logit_bias, top_logprobs and messages[].name, no text
    // completions; Responses there, too. console.groq.com/docs/reasoning and the types of its own package:
    // `reasoning`, to be sent back to some models alone; `reasoning_content` in a message is a 400
    // ("property 'reasoning_content' is unsupported").
    (
        &[Name("api.groq.com")],
        Vendor {
            name: "groq",
            apis: &[Chat, Responses],
            refused: &["logprobs", "logit_bias", "top_logprobs"],
            refused_in_messages: &["name", "reasoning_content"],
            reasoning: ReasoningField::Reasoning,
            reasoning_back: ReasoningBack::Refused,
            ..UNKNOWN
        },
    ),
    // docs.mistral.ai/api: the parameters of a chat request, beside which any is a 422 ("Extra inputs are not
    // permitted"): so for max_completion_tokens, store, and reasoning_content in a message; the seed is
    // random_seed; roles are system, user, assistant, tool; usage comes in the last chunk. Reasoning stands
    // in content parts of type `thinking`. Ids: "Tool call id was ... but must be a-z, A-Z, 0-9, with a
    // length of 9" (mistral-common).
    (
        &[Name("api.mistral.ai"), Name("codestral.mistral.ai")],
        Vendor {
            name: "mistral",
            apis: &[Chat, Embeddings],
            refused: &[
                "audio",
                "logit_bias",
                "logprobs",
                "modalities",
                "safety_identifier",
                "service_tier",
                "store",
                "top_logprobs",
                "user",
                "verbosity",
                "web_search_options",
            ],
            refused_in_messages: &["reasoning", "reasoning_content", "refusal", "audio"],
            renamed: &[("max_completion_tokens", "max_tokens"), ("seed", "random_seed")],
            reasoning: ReasoningField::None,
            reasoning_back: ReasoningBack::Refused,
            stream_options: false,
            developer_role: false,
            tool_call_ids: ToolCallIds::NineAlphanumerics,
            keeps_responses: false,
        },
    ),
    // api-docs.deepseek.com: the limit is max_tokens; roles are system, user, assistant, tool ("unknown
    // variant `developer`"). "Thinking Mode": with tools "the reasoning_content must be fully passed back ...
    // in all subsequent requests", else a 400; without tools it is ignored. (Its Messages API has a base
    // URL of its own, /anthropic: dialect = "anthropic".)
    (
        &[Name("api.deepseek.com")],
        Vendor {
            name: "deepseek",
            apis: &[Chat],
            renamed: &[("max_completion_tokens", "max_tokens")],
            reasoning_back: ReasoningBack::Needed,
            developer_role: false,
            ..UNKNOWN
        },
    ),
    // docs.together.ai: "Responses API" for some models; "Reasoning": `reasoning` in messages.
    (
        &[Name("api.together.ai"), Name("api.together.xyz")],
        Vendor {
            name: "together",
            apis: &[Chat, Responses, Completions, Embeddings],
            reasoning: ReasoningField::Reasoning,
            ..UNKNOWN
        },
    ),
    // docs.fireworks.ai: "OpenAI compatibility", "Responses API", "Anthropic compatibility"; "Reasoning":
    // `reasoning_content`, to be passed back where a model reasons between calls of tools.
    (
        &[Name("api.fireworks.ai"), Name("us.api.fireworks.ai")],
        Vendor {
            name: "fireworks",
            apis: &[Chat, Responses, Messages, Completions, Embeddings],
            reasoning_back: ReasoningBack::Taken,
            ..UNKNOWN
        },
    ),
    // docs.x.ai, "REST API reference": Responses is the recommended one, chat "legacy"; `reasoning_content`.
    (
        &[Name("api.x.ai"), Below(".api.x.ai")],
        Vendor { name: "xai", apis: &[Chat, Responses, Messages, Completions, Embeddings], ..UNKNOWN },
    ),
    // ai.google.dev/gemini-api/docs/openai: chat and embeddings below /v1beta/openai; thoughts are not shown
    // unless asked for, and then among the content.
    (
        &[Name("generativelanguage.googleapis.com")],
        Vendor { name: "google", apis: &[Chat, Embeddings], reasoning: ReasoningField::None, ..UNKNOWN },
    ),
    // docs.ollama.com, "OpenAI compatibility" and "Anthropic compatibility"; `reasoning`.
    (
        &[Port(11434)],
        Vendor {
            name: "ollama",
            apis: &[Chat, Responses, Messages, Completions, Embeddings],
            reasoning: ReasoningField::Reasoning,
            ..UNKNOWN
        },
    ),
    // docs.vllm.ai, "Reasoning outputs": "`reasoning` used to be called `reasoning_content`"; "Online serving":
    // the APIs.
    (
        &[Port(8000)],
        Vendor {
            name: "vllm",
            apis: &[Chat, Responses, Messages, Completions, Embeddings],
            reasoning: ReasoningField::Reasoning,
            ..UNKNOWN
        },
    ),
    // llama.cpp, tools/server/README.md: the APIs; --reasoning-format puts thoughts into `reasoning_content`.
    (
        &[Port(8080)],
        Vendor { name: "llama.cpp", apis: &[Chat, Responses, Messages, Completions, Embeddings], ..UNKNOWN },
    ),
    // lmstudio.ai/docs/developer, "OpenAI compatibility" and "Anthropic compatibility".
    (
        &[Port(1234)],
        Vendor { name: "lm studio", apis: &[Chat, Responses, Messages, Completions, Embeddings], ..UNKNOWN },
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> &'static Vendor {
        vendor(Dialect::OpenAi, &Endpoint::parse(url).expect("a URL"))
    }

    #[test]
    fn a_host_is_known_by_its_name_and_a_port_only_on_this_machine() {
        for (url, name) in [
            ("https://api.openai.com/v1", "openai"),
            ("https://API.Groq.com./openai/v1", "groq"),
            ("https://mine.openai.azure.com/openai/v1", "azure"),
            ("https://openai.azure.com.evil.example/v1", "unknown"),
            ("https://api.openai.com.evil.example/v1", "unknown"),
            ("http://127.0.0.1:11434/v1", "ollama"),
            ("http://[::1]:8000/v1", "vllm"),
            ("http://10.0.0.7:11434/v1", "unknown"),
            ("https://us-east-1.api.x.ai/v1", "xai"),
        ] {
            assert_eq!(of(url).name, name, "{url}");
        }
        let anywhere = Endpoint::parse("https://api.openai.com").expect("a URL");
        assert_eq!(vendor(Dialect::Anthropic, &anywhere).apis, [Api::Messages], "the dialect says more than the host");
        assert_eq!(vendor(Dialect::Sim, &anywhere).apis.len(), Api::ALL.len());
    }

    #[test]
    fn ids_are_held_to_their_vendors_form() {
        for (ids, good, bad) in [
            (ToolCallIds::NineAlphanumerics, "aB3dE6gH9", "call_aB3d"),
            (ToolCallIds::Words, "toolu_01-x", "call.1"),
            (ToolCallIds::Any, "call.1", "\0"),
        ] {
            assert!(ids.takes(good), "{good}");
            assert_eq!(ids.takes(bad), ids == ToolCallIds::Any, "{bad}");
        }
        assert!(!ToolCallIds::Words.takes(""));
    }

    #[test]
    fn no_row_contradicts_itself() {
        for (_, row) in ROWS {
            let apis: std::collections::BTreeSet<_> = row.apis.iter().map(|api| api.as_str()).collect();
            assert!(row.apis.len() == apis.len() && row.apis.iter().any(|api| api.converses()), "{}", row.name);
            assert!(row.renamed.iter().all(|(theirs, _)| !row.refused.contains(theirs)), "{}", row.name);
            let sent_back = !matches!(row.reasoning_back, ReasoningBack::Refused | ReasoningBack::Unsaid);
            let field = row.reasoning.as_str();
            assert!(!sent_back || field.is_some_and(|f| !row.refused_in_messages.contains(&f)), "{}", row.name);
        }
    }
}

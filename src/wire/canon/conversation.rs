//! A request as every dialect means it.

use super::json::Json;
use crate::wire::dialect::Dialect;

/// All that a client asks for, but for `model` and `stream`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    pub turns: Vec<Turn>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    /// `Some(false)`: at most one call a turn.
    pub parallel_calls: Option<bool>,
    pub format: Option<Format>,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    pub output_tokens_max: Option<u64>,
    pub thinking: Option<Thinking>,
    /// Who the end user is (chat, responses: `safety_identifier`, `user`;
    /// messages: `metadata.user_id`).
    pub user: Option<String>,
    /// How much is said (`low | medium | high`; OpenAI).
    pub verbosity: Option<String>,
    /// `prompt_cache_key` (OpenAI).
    pub cache_key: Option<String>,
    /// `service_tier`.
    pub service_tier: Option<String>,
    /// The client's own labels (OpenAI: `metadata`).
    pub metadata: Option<Json>,
    /// Top-level fields that mean nothing in other dialects: dropped there, and named.
    pub others: Vec<(String, Json)>,
}

/// What one side says at a time. Results of calls are parts of a user turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub role: Role,
    /// The participant's name (chat).
    pub name: Option<String>,
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
}

/// One part of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text {
        text: String,
        cache: Option<Cache>,
        citations: Vec<Citation>,
    },
    Image {
        source: Source,
        detail: Option<String>,
        cache: Option<Cache>,
    },
    File {
        source: Source,
        name: Option<String>,
        cache: Option<Cache>,
    },
    Audio {
        data: String,
        format: String,
    },
    Refusal(String),
    Reasoning(Reasoning),
    Call(Call),
    Result(CallResult),
    /// What no other dialect has, such as the steps of a provider's own tool.
    Native {
        dialect: Dialect,
        kind: String,
        json: Json,
    },
}

impl Part {
    /// Plain text without marks.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), cache: None, citations: Vec::new() }
    }
}

/// Where an image or a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Url(String),
    Base64 {
        media_type: String,
        data: String,
    },
    /// An id in one provider's file store.
    FileId(String),
    /// A document as plain text (messages).
    Text(String),
}

/// A mark after which the prompt may be cached (messages: `cache_control`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// `5m` or `1h`.
    pub ttl: Option<String>,
}

/// Where a statement comes from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Citation {
    pub url: Option<String>,
    pub title: Option<String>,
    /// The words that are quoted from there.
    pub quote: Option<String>,
    /// Characters of the answer's text that it stands for, where they are known.
    pub span: Option<(u64, u64)>,
    /// As its dialect wrote it, for the way back.
    pub native: Option<(Dialect, Json)>,
}

/// Reasoning of an earlier turn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reasoning {
    /// What was shown of it; a summary may have several parts.
    pub text: Vec<String>,
    pub seal: Option<Seal>,
    /// The item's id (responses).
    pub id: Option<String>,
}

/// What only the maker of reasoning can make, and checks when it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// Over the text that is shown (messages: `signature`).
    Signature(String),
    /// Instead of the text (messages: `redacted_thinking.data`).
    Redacted(String),
    /// The reasoning itself (responses: `encrypted_content`).
    Encrypted(String),
}

impl Seal {
    /// Goes on by a further piece of the same kind.
    pub fn push(&mut self, piece: &str) {
        match self {
            Self::Signature(text) | Self::Redacted(text) | Self::Encrypted(text) => text.push_str(piece),
        }
    }

    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Signature(text) | Self::Redacted(text) | Self::Encrypted(text) => text,
        }
    }
}

/// A call that the model made.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub id: String,
    pub name: String,
    /// JSON text as the model wrote it, or the free text of a custom call.
    pub arguments: String,
    pub custom: bool,
    pub cache: Option<Cache>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct CallResult {
    pub call_id: String,
    /// Texts, images and files.
    pub parts: Vec<Part>,
    pub is_error: bool,
    /// Answers a custom call.
    pub custom: bool,
    pub cache: Option<Cache>,
}

/// Something that the model may use.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    Function {
        name: String,
        description: Option<String>,
        /// JSON schema of the arguments.
        parameters: Option<Json>,
        strict: Option<bool>,
        cache: Option<Cache>,
    },
    /// Takes free text (OpenAI); others get a function with one string, `input`.
    Custom {
        name: String,
        description: Option<String>,
        format: Option<Json>,
    },
    WebSearch(WebSearch),
    /// What no other dialect has.
    Native {
        dialect: Dialect,
        kind: String,
        name: Option<String>,
        json: Json,
    },
}

/// The provider searches the web by itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WebSearch {
    pub max_uses: Option<u64>,
    pub allowed_domains: Vec<String>,
    pub blocked_domains: Vec<String>,
    /// `{"type":"approximate","city",...}`: the same in all three dialects.
    pub user_location: Option<Json>,
    /// `low | medium | high` (OpenAI).
    pub context_size: Option<String>,
    /// As its dialect wrote it, for the way back.
    pub native: Option<(Dialect, Json)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
    /// One of these; `true`: it must call one (OpenAI: `allowed_tools`).
    Allowed(Vec<String>, bool),
}

/// What the answer's text must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    Text,
    JsonObject,
    Schema { name: Option<String>, description: Option<String>, schema: Json, strict: Option<bool> },
}

/// How the next token is drawn. Numbers are kept as they were written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<Json>,
    pub top_p: Option<Json>,
    pub top_k: Option<Json>,
    pub seed: Option<Json>,
    pub frequency_penalty: Option<Json>,
    pub presence_penalty: Option<Json>,
}

/// Wishes about reasoning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thinking {
    pub effort: Option<Effort>,
    /// Tokens (messages: `budget_tokens`).
    pub budget_tokens: Option<u64>,
    /// Whether it is wanted at all, where that was said; `effort: "none"` is `Some(false)`.
    pub wanted: Option<bool>,
    /// The target decides how much (messages: `thinking.type = "adaptive"`).
    pub adaptive: bool,
    /// `auto | concise | detailed` (responses: `reasoning.summary`).
    pub summary: Option<String>,
}

/// How hard to think, in the vendors' words. The order is that of effort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    pub const ALL: [Self; 6] = [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == word)
    }
}

impl Conversation {
    /// The one form of all that mean the same: neighbouring turns of one role and
    /// name are one turn, texts that nothing stands between stay apart as they
    /// came, turns without parts are gone.
    pub fn normalise(&mut self) {
        let mut turns: Vec<Turn> = Vec::with_capacity(self.turns.len());
        for turn in std::mem::take(&mut self.turns) {
            if turn.parts.is_empty() {
                continue;
            }
            match turns.last_mut() {
                Some(last) if last.role == turn.role && last.name == turn.name => last.parts.extend(turn.parts),
                _ => turns.push(turn),
            }
        }
        self.turns = turns;
    }
}

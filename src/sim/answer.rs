//! One answer, before any dialect words it.
//!
//! Owns what is said: deltas, blocks, finish, counts. Refuses JSON, sockets and
//! faults. Invariant: text and reasoning depend on prompt and length alone, so
//! that they are the same in every dialect; a limit on tokens in the request cuts
//! nothing (the script's `tokens` and `finish` decide).

use super::ask::{Asked, Forced, Offered};
use super::script::{Script, ScriptError, TOKENS_MAX};
use super::text;
use super::walk::{Step, Walk};

/// One content delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delta {
    Text(String),
    Reasoning(String),
    ToolStart {
        index: usize,
        id: u64,
        name: String,
        custom: bool,
        namespace: Option<String>,
    },
    ToolArguments {
        index: usize,
        text: String,
    },
    /// A web search by the provider, done.
    Search {
        id: u64,
        query: String,
    },
    /// Where the text so far comes from.
    Cite(Cite),
}

/// A source of the text between two places, counted in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cite {
    pub url: String,
    pub title: String,
    pub end: usize,
    /// The beginning of the cited text.
    pub quote: String,
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Tools,
    Length,
    Filter,
}

/// Tokens. `input` contains `cached`, `output` contains `reasoning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub input: usize,
    pub cached: usize,
    pub output: usize,
    pub reasoning: usize,
}

/// What one request is answered with.
pub(super) struct Answer {
    /// Makes ids: different for each request, model and prompt.
    pub seed: u64,
    pub model: String,
    pub prompt: String,
    pub choices: usize,
    /// Content in the order of sending: choices interleaved.
    pub deltas: Vec<(usize, Delta)>,
    pub finish: Finish,
    pub counts: Counts,
    /// Searches made by the provider.
    pub searches: usize,
}

impl Answer {
    /// Words the answer to a request; `request` is its ordinal at the simulator with this
    /// signing text, from which its ids are made.
    pub fn compose(asked: &Asked, script: &Script, signing: &str, request: u64) -> Result<Self, ScriptError> {
        let steps: Vec<Said> = (0..asked.choices).map(|choice| said(asked, choice, script)).collect();
        let finish = match script.finish {
            Some(finish) => finish,
            None if steps.iter().any(|said| matches!(said, Said::Calls(_))) => Finish::Tools,
            None => Finish::Stop,
        };
        let searches =
            usize::from(asked.search && script.search && matches!(steps[0], Said::Words(_) | Said::Pieces(_)));
        let each = steps.into_iter().enumerate();
        let each: Vec<Vec<Delta>> = each.map(|(choice, said)| deltas(asked, choice, said, script, searches)).collect();
        if each.iter().map(Vec::len).sum::<usize>() > TOKENS_MAX {
            return Err(ScriptError::BadValue { key: "tokens".to_owned(), value: script.tokens.to_string() });
        }
        let prompt = asked.prompts.concat();
        let deltas = interleave(each);
        let is = |wanted: fn(&Delta) -> bool| deltas.iter().filter(|(_, delta)| wanted(delta)).count();
        let counts = Counts {
            input: input_tokens(&prompt) + script.cached,
            cached: script.cached,
            output: is(|delta| !matches!(delta, Delta::Search { .. } | Delta::Cite(_))),
            reasoning: is(|delta| matches!(delta, Delta::Reasoning(_))),
        };
        let seed = text::seed(&format!("{signing}\u{1}{request}\u{1}{}\u{1}{prompt}", asked.model));
        Ok(Self { seed, model: asked.model.clone(), prompt, choices: asked.choices, deltas, finish, counts, searches })
    }

    /// The same answer without any content, finished as if it were complete.
    pub fn emptied(mut self) -> Self {
        self.deltas.clear();
        self.counts.output = 0;
        self.counts.reasoning = 0;
        self.searches = 0;
        self.finish = Finish::Stop;
        self
    }

    /// An id with the vendor's prefix.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}_sim_{:016x}", self.seed)
    }

    /// An id for the `place`-th part of the answer.
    pub fn part_id(&self, prefix: &str, place: usize) -> String {
        format!("{prefix}_sim_{:016x}", text::seed(&format!("{:016x}\u{1}{prefix}\u{1}{place}", self.seed)))
    }

    /// The first choice's deltas, put together.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for (at, (_, delta)) in self.deltas.iter().enumerate().filter(|(_, (choice, _))| *choice == 0) {
            let continued = blocks.last_mut().is_some_and(|block| block.take(at, delta));
            if !continued {
                blocks.extend(Block::open(at, delta));
            }
        }
        blocks
    }
}

/// What a request's input costs, before anything cached.
pub(super) fn input_tokens(prompt: &str) -> usize {
    prompt.len().div_ceil(4)
}

/// Deltas that belong together: one block or item of the newer dialects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Places of its first and its last delta.
    pub first: usize,
    pub last: usize,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Reasoning(String),
    Text { text: String, cites: Vec<Cite> },
    Call { id: u64, name: String, custom: bool, namespace: Option<String>, arguments: String },
    Search { id: u64, query: String },
}

impl Block {
    /// `None` for arguments without their call, which `deltas` never makes.
    fn open(at: usize, delta: &Delta) -> Option<Self> {
        let content = match delta {
            Delta::Text(text) => Content::Text { text: text.clone(), cites: Vec::new() },
            Delta::Cite(cite) => Content::Text { text: String::new(), cites: vec![cite.clone()] },
            Delta::Reasoning(text) => Content::Reasoning(text.clone()),
            Delta::ToolStart { id, name, custom, namespace, .. } => {
                let (name, namespace) = (name.clone(), namespace.clone());
                Content::Call { id: *id, name, custom: *custom, namespace, arguments: String::new() }
            }
            Delta::Search { id, query } => Content::Search { id: *id, query: query.clone() },
            Delta::ToolArguments { .. } => return None,
        };
        Some(Self { first: at, last: at, content })
    }

    /// Whether the delta goes on with this block.
    fn take(&mut self, at: usize, delta: &Delta) -> bool {
        match (&mut self.content, delta) {
            (Content::Text { text, .. }, Delta::Text(more)) | (Content::Reasoning(text), Delta::Reasoning(more)) => {
                text.push_str(more);
            }
            (Content::Text { cites, .. }, Delta::Cite(cite)) => cites.push(cite.clone()),
            (Content::Call { arguments, .. }, Delta::ToolArguments { text, .. }) => arguments.push_str(text),
            _ => return false,
        }
        self.last = at;
        true
    }
}

/// What one choice says, apart from its reasoning.
enum Said {
    Words(String),
    Pieces(Vec<String>),
    Calls(Vec<(Offered, String)>),
}

/// The prompt that a choice answers. Choice 0 of each speaks the text that tests
/// compute from the prompt; the others differ, as real ones do.
fn spoken_to(asked: &Asked, choice: usize) -> String {
    let each = asked.choices / asked.prompts.len().max(1);
    let prompt = asked.prompts.get(choice / each.max(1)).map_or("", String::as_str);
    match choice % each.max(1) {
        0 => prompt.to_owned(),
        other => format!("{prompt}\u{1}choice {other}"),
    }
}

fn said(asked: &Asked, choice: usize, script: &Script) -> Said {
    let prompt = spoken_to(asked, choice);
    let goes_on = |whole: &str| asked.begun.as_ref()?.go_on(script.successor, &prompt, whole);
    match Walk::read(&prompt).step(asked.turns, &asked.tools) {
        Some(Step::Call(tool, arguments)) => return Said::Calls(vec![(tool, arguments)]),
        Some(Step::Say(text)) => return Said::Words(goes_on(&text).unwrap_or(text)),
        None => {}
    }
    if let Some(tool) = tool(asked, script) {
        let calls = (0..script.parallel).map(|call| (tool.clone(), text::tool_arguments(&prompt, call)));
        return Said::Calls(calls.collect());
    }
    if script.json || asked.json {
        let whole = text::json_answer(&prompt, script.tokens);
        return Said::Words(goes_on(&whole).unwrap_or(whole));
    }
    let pieces = text::answer(&prompt, script.tokens);
    goes_on(&pieces.concat()).map_or(Said::Pieces(pieces), Said::Words)
}

/// The tool to be called, if the script or the request says that one is.
fn tool(asked: &Asked, script: &Script) -> Option<Offered> {
    let first = || asked.tools.iter().find(|tool| tool.callable).cloned();
    let named = |name: &str| asked.tools.iter().find(|tool| tool.name == name).cloned();
    match &asked.forced {
        Forced::Named(name) => Some(named(name).unwrap_or_else(|| Offered::function(name))),
        Forced::Any => Some(first().unwrap_or_else(|| Offered::function("sim_tool"))),
        Forced::No if script.tools => Some(first().unwrap_or_else(|| Offered::function("sim_tool"))),
        Forced::No => None,
    }
}

fn deltas(asked: &Asked, choice: usize, said: Said, script: &Script, searches: usize) -> Vec<Delta> {
    let prompt = spoken_to(asked, choice);
    let reasoning = if asked.thinks { script.reasoning } else { 0 };
    let thought = text::answer(&format!("{prompt}\u{1}reasoning"), reasoning);
    let mut deltas: Vec<Delta> = thought.into_iter().map(Delta::Reasoning).collect();
    if searches > 0 {
        let query = text::answer_text(&prompt, 5);
        deltas.push(Delta::Search { id: text::seed(&format!("{prompt}\u{1}search")), query });
    }
    let pieces = match said {
        Said::Calls(calls) => {
            for (index, (tool, arguments)) in calls.into_iter().enumerate() {
                // The same tool called again in a later turn is another call.
                let turn = if asked.turns == 0 { String::new() } else { format!("\u{1}turn {}", asked.turns) };
                let id = text::seed(&format!("{prompt}\u{1}{index}{turn}"));
                let Offered { name, custom, namespace, .. } = tool;
                deltas.push(Delta::ToolStart { index, id, name, custom, namespace });
                let pieces = text::fragments(&arguments).into_iter();
                deltas.extend(pieces.map(|text| Delta::ToolArguments { index, text }));
            }
            return deltas;
        }
        Said::Words(text) => text::fragments(&text),
        Said::Pieces(pieces) => pieces,
    };
    let text = pieces.concat();
    deltas.extend(pieces.into_iter().map(Delta::Text));
    if searches > 0 && !text.is_empty() {
        deltas.push(Delta::Cite(Cite {
            url: "https://sim.invalid/knots".to_owned(),
            title: "Knots, simulated".to_owned(),
            end: text.chars().count(),
            // Vendors cite at most 150 characters.
            quote: text.chars().take(150).collect(),
        }));
    }
    deltas
}

/// One delta of each choice in turn, until all have said theirs.
fn interleave(each: Vec<Vec<Delta>>) -> Vec<(usize, Delta)> {
    let longest = each.iter().map(Vec::len).max().unwrap_or(0);
    let mut rows: Vec<_> = each.into_iter().map(Vec::into_iter).collect();
    let mut deltas = Vec::new();
    for _ in 0..longest {
        for (choice, row) in rows.iter_mut().enumerate() {
            deltas.extend(row.next().map(|delta| (choice, delta)));
        }
    }
    deltas
}

//! The calls of one answer, from their pieces.
//!
//! Owns which piece belongs to which call, and when a call is complete. Refuses
//! a call without a name and one that goes on after its end. Invariant: a call
//! opens once, with its whole name, and closes once.

use super::{CALLS_MAX, string};
use crate::wire::canon::{Block, Delta, Event};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Bytes of a name that comes in pieces; OpenAI allows 64.
const NAME_BYTES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Calls {
    list: Vec<Call>,
    /// The answer's id, from which missing ids of calls are made.
    answer: String,
}

#[derive(Debug)]
struct Call {
    index: u64,
    id: String,
    name: String,
    custom: bool,
    /// The block, once it is open.
    block: Option<u32>,
    closed: bool,
    shape: Shape,
}

/// What one delta says of one call.
#[derive(Deserialize)]
pub(super) struct Piece<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
    #[serde(borrow, default)]
    custom: Option<Custom<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Custom<'a> {
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

impl<'a> Piece<'a> {
    /// `function_call`, of which there is one.
    pub(super) const fn legacy(function: Function<'a>) -> Self {
        Self { index: Some(0), id: None, function: Some(function), custom: None }
    }

    fn id(&self) -> Option<String> {
        self.id.and_then(string).filter(|id| !id.is_empty())
    }

    fn has_name(&self) -> bool {
        let name = self.function.as_ref().map_or_else(
            || self.custom.as_ref().and_then(|custom| custom.name.as_deref()),
            |function| function.name.as_deref(),
        );
        name.is_some_and(|name| !name.is_empty())
    }
}

impl Call {
    /// Known by name, and nothing came of its arguments.
    const fn is_bare(&self) -> bool {
        self.block.is_none() && !self.id.is_empty() && !self.name.is_empty()
    }
}

impl Calls {
    pub(super) fn name_after(&mut self, answer: &str) {
        answer.clone_into(&mut self.answer);
    }

    /// The call that a piece belongs to; `None`: a new one. Some servers number
    /// no call, and some give all the same number and each an id of its own.
    pub(super) fn place_of(&self, piece: &Piece<'_>) -> Option<usize> {
        let Some(index) = piece.index else {
            let id = piece.id();
            return match id {
                Some(id) => self.list.iter().rposition(|call| call.id == id),
                None => self.list.len().checked_sub(1),
            };
        };
        let id = piece.id();
        let is_same = |call: &Call| call.index == index && id.as_ref().is_some_and(|id| *id == call.id);
        let place = self.list.iter().rposition(is_same);
        let place = place.or_else(|| self.list.iter().rposition(|call| call.index == index))?;
        let call = &self.list[place];
        // The one before is whole, or nothing came of it: a call without arguments.
        let is_over = call.shape.is_complete() || call.is_bare();
        let is_other = is_over && piece.has_name() && id.is_some_and(|id| id != call.id);
        (!is_other).then_some(place)
    }

    /// Takes a piece; `next` is the number of the next block.
    pub(super) fn take(
        &mut self,
        place: Option<usize>,
        piece: Piece<'_>,
        next: &mut u32,
        out: &mut Vec<Event>,
    ) -> Result<(), String> {
        let place = if let Some(place) = place {
            place
        } else {
            // One without arguments opens before what comes after it.
            let bare = self.list.len().checked_sub(1).filter(|last| self.list[*last].is_bare());
            if let Some(bare) = bare.filter(|_| piece.has_name()) {
                self.open(bare, next, out)?;
            }
            self.add(&piece)?
        };
        let call = &mut self.list[place];
        if let Some(id) = piece.id().filter(|_| call.id.is_empty()) {
            call.id = id;
        }
        call.custom |= piece.custom.is_some();
        let (name, arguments) = match (piece.function, piece.custom) {
            (Some(function), _) => (function.name, function.arguments),
            (None, Some(custom)) => (custom.name, custom.input),
            (None, None) => (None, None),
        };
        if let Some(name) = name.filter(|name| call.block.is_none() && *name != call.name) {
            call.name.push_str(&name);
            if call.name.len() > NAME_BYTES_MAX {
                return Err("a call's name has no end".to_owned());
            }
        }
        // Some servers put the object itself there.
        let arguments = arguments.map(|raw| string(raw).unwrap_or_else(|| raw.get().to_owned())).unwrap_or_default();
        if arguments.is_empty() {
            return Ok(());
        }
        if call.closed {
            let is_blank = arguments.trim_ascii().is_empty();
            return if is_blank { Ok(()) } else { Err("a call goes on after its end".to_owned()) };
        }
        call.shape.read(&arguments);
        let block = self.open(place, next, out)?;
        out.push(Event::Delta { block, delta: Delta::Arguments(arguments) });
        Ok(())
    }

    fn add(&mut self, piece: &Piece<'_>) -> Result<usize, String> {
        if self.list.len() >= CALLS_MAX {
            return Err(format!("an answer has more than {CALLS_MAX} calls"));
        }
        let place = self.list.len();
        self.list.push(Call {
            index: piece.index.unwrap_or(place as u64),
            id: String::new(),
            name: String::new(),
            custom: false,
            block: None,
            closed: false,
            shape: Shape::default(),
        });
        Ok(place)
    }

    /// The call's block. It opens with the first of its arguments, since a name
    /// may come in pieces before them.
    fn open(&mut self, place: usize, next: &mut u32, out: &mut Vec<Event>) -> Result<u32, String> {
        let call = &mut self.list[place];
        if let Some(block) = call.block {
            return Ok(block);
        }
        if call.name.is_empty() {
            return Err("a call has no name".to_owned());
        }
        if call.id.is_empty() {
            call.id = format!("call_{}_{place}", self.answer);
        }
        let block = *next;
        *next += 1;
        call.block = Some(block);
        let kind = Block::Call { id: call.id.clone(), name: call.name.clone(), custom: call.custom };
        out.push(Event::Open { block, kind });
        Ok(block)
    }

    /// Closes calls whose arguments are one whole JSON value; others may go on
    /// beside what begins now.
    pub(super) fn close_complete(&mut self, out: &mut Vec<Event>) {
        for call in self.list.iter_mut().filter(|call| !call.closed && !call.custom && call.shape.is_complete()) {
            if let Some(block) = call.block {
                call.closed = true;
                out.push(Event::Close { block });
            }
        }
    }

    /// Closes what is open; whether there were calls at all.
    pub(super) fn finish(&mut self, next: &mut u32, out: &mut Vec<Event>) -> Result<bool, String> {
        for place in 0..self.list.len() {
            if self.list[place].closed {
                continue;
            }
            let block = self.open(place, next, out)?;
            self.list[place].closed = true;
            out.push(Event::Close { block });
        }
        Ok(!self.list.is_empty())
    }
}

/// Whether the text so far is one whole JSON object or list.
#[derive(Debug, Default)]
struct Shape {
    depth: u64,
    began: bool,
    in_string: bool,
    escaped: bool,
}

impl Shape {
    const fn is_complete(&self) -> bool {
        self.began && self.depth == 0
    }

    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => {
                    self.began = true;
                    self.depth += 1;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

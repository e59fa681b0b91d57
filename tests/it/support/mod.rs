//! Starts a gateway with simulators behind it, and talks to it byte by byte.

mod authority;
mod client;
mod collector;
mod front;
mod house;
mod http2;
mod process;
mod program;
mod prometheus;
mod script;
mod tap;
mod tongue;

pub use authority::Authority;
pub use client::{Client, Response, Streamed};
pub use collector::{Collector, Got, attribute, section as otlp_section};
pub use front::Front;
pub use house::{House, chat, closed_port, sim_target, within};
pub use http2::{Answer2, Http2, PREFACE, frame};
pub use process::Process;
pub use program::{Folder, Up};
pub use prometheus::{Prometheus, installed};
pub use script::{Language, absent, lines};
pub use tap::{Overheard, Tap};
pub use tongue::Tongue;

//! Coding agents at work through the gateway: each mends a file with tools of its
//! own, led by the simulator, and what stands on the disk afterwards is the proof.
//!
//! `agent.rs` starts them, pointed here by `tautline connect` and nothing else;
//! `desk.rs` holds a task, its folder and what has to be true of every record.
//! They are long tests: `.ci/run full` installs the agents and runs these.

mod agent;
mod context;
mod desk;
mod errors;
mod fallback;
mod login;
mod plain;
mod readme;

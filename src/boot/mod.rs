//! Composes a process: arguments, configuration, roles, their end.
//!
//! The only room that reads the environment and files, and the only one that
//! knows more than one role. Invariant: what starts here is stopped here.

mod access;
pub mod admin;
pub mod cli;
pub mod config;
mod connect;
mod demo;
mod explain;
mod files;
mod init;
pub mod reload;
pub mod roles;
mod shutdown;

//! The gateway from outside: real sockets, the simulator as the only fake.

mod support;

mod answers;
mod clients;
mod config;
mod faults;
mod patience;
mod program;
mod statuses;

//! The gateway from outside: real sockets, the simulator as the only fake.

mod support;

mod answers;
mod bounds;
mod clients;
mod config;
mod corpus;
mod door;
mod drain;
mod faults;
mod hostile;
mod keys;
mod passthrough;
mod patience;
mod program;
mod routes;
mod statuses;
mod tls;

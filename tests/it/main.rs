//! The gateway from outside: real sockets, the simulator as the only fake.

mod support;

mod access;
mod age;
mod answers;
mod bounds;
mod clients;
mod config;
mod corpus;
mod dashboards;
mod door;
mod drain;
mod faults;
mod hostile;
mod http2;
mod keys;
mod otlp;
mod passthrough;
mod patience;
mod program;
mod reach;
mod reload;
mod routes;
mod statuses;
mod tls;
mod transport;
mod unix;

//! The gateway from outside: real sockets, the simulator as the only fake.

mod support;

mod access;
mod age;
mod agents;
mod answers;
mod bounds;
mod clients;
mod config;
mod connect;
mod corpus;
mod dashboards;
mod dialects;
mod door;
mod drain;
mod faults;
mod feedback;
mod hostile;
mod http2;
mod keys;
mod otlp;
mod passage;
mod passthrough;
mod patience;
mod program;
mod providers;
mod reach;
mod recall;
mod reload;
mod routes;
mod sdks;
mod statuses;
mod tls;
mod transport;
mod turns;
mod unix;

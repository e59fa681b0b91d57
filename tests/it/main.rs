//! The gateway from outside: real sockets, the simulator as the only fake.

mod support;

mod answers;
mod faults;
mod patience;
mod statuses;

//! Doors: sockets, sessions, and who may knock.
//!
//! Owns sockets, connections and pingora's server sessions; nothing of pingora
//! leaves this room. Refuses dialects and business. Invariant: every read and
//! write of a session has an end.

mod close;
mod frames;
mod guard;
mod http2;
mod listen;
mod session;
mod tls;
mod wire;

pub use close::Closed;
pub use guard::refuse_foreign;
pub use listen::{App, Bound, DoorLimits, Places, Protocol, bind, bind_unix, open, prepare};
pub use session::{Answer, BodyError, Malformed, SendError, Session};
pub use tls::{Certificate, CertificateError};

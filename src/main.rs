//! The doorbell: parses arguments, calls boot, maps the result to an exit code.

fn main() {}

//! The doorbell.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tautline::boot::cli::main()
}

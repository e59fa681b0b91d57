//! The doorbell.

fn main() -> std::process::ExitCode {
    tautline::boot::cli::main()
}

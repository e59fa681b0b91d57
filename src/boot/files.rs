//! How many files and sockets the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Sockets of an exchange: its client's and its provider's.
const PER_CONNECTION: u64 = 2;
/// Databases, logs, listeners, the runtime's own.
const BESIDE: u64 = 64;

/// Raises the soft limit of open files to the hard one, and says which it is;
/// warns where `connections_max` does not fit into it.
pub fn raise_open_files(connections_max: usize) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok((soft, hard))
    });
    match raised {
        Ok((soft, hard)) => {
            tracing::info!(target: "tautline::boot", soft, hard, "open files: the soft limit is raised to the hard one");
            let wanted = (connections_max as u64).saturating_mul(PER_CONNECTION).saturating_add(BESIDE);
            // A round number in both is no mistake of anybody's.
            if hard.saturating_add(BESIDE) < wanted {
                tracing::warn!(
                    target: "tautline::boot", hard, wanted,
                    "gateway.connections_max may need more open files than the system grants; raise the hard limit (LimitNOFILE) or lower it"
                );
            }
        }
        Err(error) => {
            tracing::warn!(target: "tautline::boot", %error, "the limit of open files could not be raised");
        }
    }
}

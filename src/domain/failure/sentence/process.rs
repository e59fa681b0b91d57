//! Words for processes: those that did not start and those that others ended.

use super::words::Words;

pub(super) const SPAWN_NOT_FOUND: Words = Words {
    what: "the command of this target does not exist on the gateway's machine",
    change: "operator: install the program, or correct `providers.X.command`",
};
pub(super) const SPAWN_NOT_EXECUTABLE: Words = Words {
    what: "the command of this target exists but may not be executed",
    change: "operator: give the gateway's user the right to execute the first word of \
             `providers.X.command`",
};
pub(super) const SPAWN_ARGS_TOO_BIG: Words = Words {
    what: "the arguments of this target's command are larger than the system accepts",
    change: "operator: let the prompt go by standard input and shorten `providers.X.command`",
};
pub(super) const SPAWN_NO_RESOURCES: Words = Words {
    what: "the gateway's machine had no memory, process or file slot left to start the command",
    change: "operator: lower the number of processes at a time, or raise the limits on \
             processes, files and memory of the gateway's service",
};
pub(super) const WORKDIR_OR_ENV_INVALID: Words = Words {
    what: "the command could not start because its working folder or environment is not valid",
    change: "operator: correct the working folder or environment of `providers.X`",
};
pub(super) const STDIN_FAILED: Words = Words {
    what: "the command ended without output and without reading the whole prompt",
    change: "operator: check that `providers.X.command` reads its prompt from standard input",
};
pub(super) const KILLED_TERM: Words = Words {
    what: "someone other than the gateway sent the process a signal that ends it, and we hold no \
           kill record of ours",
    change: "operator: find out who sends it: an outer `timeout`, a service manager, a container \
             being stopped",
};
pub(super) const KILLED_KILL: Words = Words {
    what: "someone other than the gateway killed the process with signal 9, and no out-of-memory \
           counter rose",
    change: "operator: look for `timeout -k`, a container runtime or a person using `kill -9` at \
             that time",
};
pub(super) const OOM_KERNEL: Words = Words {
    what: "the kernel killed the process because its memory limit was reached",
    change: "operator: raise the memory limit of the process or its cgroup, or run fewer at a time",
};
pub(super) const OOM_APP: Words = Words {
    what: "the process gave up because its own runtime ran out of memory",
    change: "operator: raise the heap limit of that runtime (for Node `--max-old-space-size`) in \
             `providers.X.command`",
};
pub(super) const CRASH_SIGNAL: Words = Words {
    what: "the process crashed by a fault of its own",
    change: "operator: update the program in `providers.X.command`, or report the crash to those \
             who make it",
};
pub(super) const RESOURCE_LIMIT: Words = Words {
    what: "the process reached a limit on time, file size or memory that we had set for it",
    change: "operator: raise the limit that the evidence names for `providers.X`",
};
pub(super) const EXIT_NONZERO: Words = Words {
    what: "the process ended by itself and reported a failure",
    change: "operator: read the last lines of its stderr in the evidence and run \
             `providers.X.command` by hand",
};
pub(super) const SUPERVISOR_LOST: Words = Words {
    what: "the gateway lost sight of the process, because it or its shim ended first",
    change: "operator: see why the gateway or its machine restarted; what the process did \
             meanwhile is not known",
};

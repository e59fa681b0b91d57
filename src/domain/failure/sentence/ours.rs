//! Words for what the gateway itself could not or would not do.

use super::words::Words;

pub(super) const QUEUE_FULL: Words = Words {
    what: "the gateway held as many requests, or bytes of them, as it has room for",
    change: "client: wait and send it again; operator: add a replica or a target, since a longer \
             queue only makes the wait longer",
};
pub(super) const CIRCUIT_OPEN: Words = Words {
    what: "the target had failed so often that the gateway was giving it a rest",
    change: "operator: see `tautline targets` for why and until when; list a target at another \
             provider behind it",
};
pub(super) const DRAINING: Words = Words {
    what: "the gateway is about to stop and takes no new requests",
    change: "client: send it again, to another replica where there is one",
};
pub(super) const LIMITED: Words = Words {
    what: "the caller's key has reached its limit at this gateway",
    change: "client: wait until the time that the message names; operator: raise the key's limit",
};
pub(super) const BUDGET_STOP: Words = Words {
    what: "the caller's key has no budget left for this request",
    change: "client: ask for a larger budget; operator: raise the key's budget, or set \
             `targets.X.price` where the price is what is missing",
};
pub(super) const CONFIG_CHANGED: Words = Words {
    what: "the target was taken out of the configuration while the request was on its way",
    change: "client: send it again; operator: let open requests finish before a target is removed",
};
pub(super) const INTERNAL: Words = Words {
    what: "the gateway met a fault of its own",
    change: "operator: report it with the request id and the log line of that id; a retry does \
             not mend it",
};

//! Words for answers that broke, and for those that ended well and are no good.

use super::words::Words;

pub(super) const RESET: Words = Words {
    what: "the connection to the target was reset in the middle of its answer",
    change: "operator: look for a proxy or balancer in between that limits how long a connection \
             lives, if this is frequent",
};
pub(super) const EARLY_END: Words = Words {
    what: "the target closed the connection before it had marked its answer as finished",
    change: "provider: see what ended the answer there; operator: compare the elapsed times, \
             since equal ones point to a timeout between us and the target",
};
pub(super) const ERROR_EVENT: Words = Words {
    what: "the target reported an error in the middle of its answer",
    change: "provider: mend what the error's own code names; operator: list another target behind \
             this one",
};
pub(super) const GARBLED: Words = Words {
    what: "the target sent bytes that are not its own protocol",
    change: "operator: check `providers.X.dialect` and what stands between us and the target; \
             provider: mend the framing",
};
pub(super) const EMPTY: Words = Words {
    what: "the target finished normally but its answer holds neither text nor a call",
    change: "operator: list another target behind this one; if it is frequent, see whether the \
             output limit is used up by reasoning",
};
pub(super) const LENGTH_LIMITED: Words = Words {
    what: "the answer is good but ends where its token limit was reached",
    change: "client: ask for more output tokens; operator: raise `targets.X.max_output_tokens` if \
             the client named no limit",
};
pub(super) const CONTENT_FILTERED: Words = Words {
    what: "the target's content filter ended the answer, which went back as it came",
    change: "client: change the request; operator: see the filter's settings at the provider",
};
pub(super) const ERROR_PAYLOAD: Words = Words {
    what: "the target called it a success but sent an error in place of an answer",
    change: "operator: read the target's own words in the evidence: most often a login or a \
             credit has run out behind `providers.X`",
};
pub(super) const SCHEMA_INVALID: Words = Words {
    what: "the answer does not follow the JSON schema that the request demands",
    change: "operator: use a target with `json` in `targets.X.capabilities`; client: simplify the \
             schema",
};
pub(super) const TRUNCATED_UNMARKED: Words = Words {
    what: "the process ended as if all were well, but its output stops half way",
    change: "operator: run `providers.X.command` by hand and see whether `providers.X.framing` \
             fits its output",
};
pub(super) const CHECK_FAILED: Words = Words {
    what: "the step that verifies the result found it wrong",
    change: "operator: read the verdict in the evidence and decide whether the result may stand",
};
pub(super) const INTENT_DISPUTED: Words = Words {
    what: "the step that verifies the result doubts that this is what was asked for",
    change: "operator: read both readings in the evidence and decide which was meant",
};

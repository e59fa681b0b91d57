//! Words for attempts that we stopped: by a clock, a rule or a person.

use super::words::Words;

pub(super) const OWN_DEADLINE_CONNECT: Words = Words {
    what: "no connection to the target stood within our connect limit, so we gave the attempt up",
    change: "operator: check that the target can be reached from here; raise `deadlines.connect` \
             only where connecting is known to take longer",
};
pub(super) const OWN_DEADLINE_SEND: Words = Words {
    what: "the target accepted no byte of the request within our send limit, so we ended the \
           attempt",
    change: "operator: check the way to the target; if it accepts large uploads slowly, raise \
             `deadlines.send`",
};
pub(super) const OWN_DEADLINE_FIRST_TOKEN: Words = Words {
    what: "the target was reached but sent no content within our first-token limit, so we ended \
           the attempt",
    change: "operator: raise `deadlines.first_token.hard` if this target is known to think that \
             long, else list a faster target before it",
};
pub(super) const OWN_DEADLINE_IDLE: Words = Words {
    what: "the target began its answer and then sent no byte within our idle limit, so we ended \
           the attempt",
    change: "operator: raise `deadlines.idle.hard` if such pauses are normal for this target, \
             else treat it as hung",
};
pub(super) const OWN_DEADLINE_PROGRESS: Words = Words {
    what: "the target began its answer and then sent only bytes without content within our \
           progress limit, so we ended the attempt",
    change: "operator: raise `deadlines.progress.hard` if such pauses are normal for this target, \
             else treat it as hung behind its keep-alives",
};
pub(super) const OWN_DEADLINE_TOTAL: Words = Words {
    what: "the whole request took longer than our total limit, so we ended it",
    change: "operator: raise `deadlines.total`; client: raise `x-tautline-timeout-ms` if you set \
             it, or ask for a stream",
};
pub(super) const HEDGE_LOST: Words = Words {
    what: "another attempt for the same request spoke first, so we ended this one",
    change: "nobody: this is how a hedge works; its cost stands under `purpose=\"hedge\"`",
};
pub(super) const CLIENT_GONE: Words = Words {
    what: "the client closed its connection before the answer was complete, and no target is to \
           blame",
    change: "client: raise your own timeout if you did not mean to leave, or ask for a stream, \
             which our keep-alives hold open",
};
pub(super) const CANCELLED: Words = Words {
    what: "an operator, an API call or a policy cancelled it",
    change: "nobody: ask the actor named in the evidence if it was not meant",
};
pub(super) const SHUTDOWN: Words = Words {
    what: "the gateway was shutting down and its time to finish open requests was over",
    change: "client: send it again; operator: raise `drain_grace` above the longest answer you \
             want to let finish",
};
pub(super) const OUTPUT_LIMIT: Words = Words {
    what: "the target sent more output than the gateway takes for one answer, so we ended it",
    change: "operator: raise `gateway.output_bytes_max` if answers that long are meant; client: \
             ask for fewer output tokens",
};

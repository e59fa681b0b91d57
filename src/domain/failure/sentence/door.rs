//! Words for requests refused at our own door or in plan.

use super::words::Words;

pub(super) const INVALID_REQUEST: Words = Words {
    what: "the gateway could not read the request as what its path asks for",
    change: "client: correct the field that the message names, and send it again",
};
pub(super) const TOO_LARGE: Words = Words {
    what: "the request is larger than the gateway accepts",
    change: "client: send less; operator: raise the bound that the message names, in `gateway`",
};
pub(super) const UNKNOWN_ROUTE: Words = Words {
    what: "the gateway knows no such path or model name",
    change: "client: use a name that `GET /v1/models` lists, or correct the path of the base URL; \
             operator: add `routes.X`, or the name to `providers.X.models`",
};
pub(super) const UNAUTHORIZED: Words = Words {
    what: "the gateway's own key was missing, unknown or revoked",
    change: "client: send a valid gateway key in `Authorization` or `x-tautline-key`; operator: \
             set `gateway.access_key`, or look up the one that was shown at the first start",
};
pub(super) const NOT_ALLOWED: Words = Words {
    what: "the gateway does not allow this caller what it asked for",
    change: "operator: allow the route for this key, or name the host in `allowed_hosts`; \
             client: use a route that your key may use",
};
pub(super) const NO_FIT_TARGET: Words = Words {
    what: "no configured target can do what the request needs, so none was tried",
    change: "operator: add a target that has what is missing to the route or task, or correct \
             `targets.X.capabilities` of one that can do it",
};
pub(super) const CLIENT_STALLED: Words = Words {
    what: "the client stopped sending its request or reading its answer, so we closed the \
           connection by our own limit",
    change: "client: send the whole request and keep reading; operator: raise \
             `gateway.head_timeout`, `gateway.body_timeout` or `gateway.write_timeout` where slow \
             clients are expected",
};

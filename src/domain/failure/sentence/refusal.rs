//! Words for targets that did not answer, or answered with a refusal.

use super::words::Words;

pub(super) const DNS: Words = Words {
    what: "the name of the target's host could not be resolved",
    change: "operator: check the host in `providers.X.base_url` and the resolver of this machine",
};
pub(super) const CONNECT_REFUSED: Words = Words {
    what: "the target's host answered, but nothing accepts connections there",
    change: "operator: start the target's server, or correct the port in `providers.X.base_url`",
};
pub(super) const CONNECT_UNREACHABLE: Words = Words {
    what: "the network found no way to the target's host",
    change: "operator: check routes, firewall and proxy between this machine and \
             `providers.X.base_url`",
};
pub(super) const TLS: Words = Words {
    what: "no secure connection to the target could be agreed on",
    change: "operator: check the certificate, the clock of this machine, and whether \
             `providers.X.base_url` should begin with http or https",
};
pub(super) const RESET_BEFORE_HEADERS: Words = Words {
    what: "the connection to the target broke before a single byte of an answer",
    change: "operator: look for a proxy or balancer that closes connections in between, if this \
             is frequent",
};
pub(super) const BAD_REQUEST: Words = Words {
    what: "the target judged the client's own request to be wrong",
    change: "client: correct what the target's message names; no other target was asked, since \
             the request would be as wrong there",
};
pub(super) const UNSUPPORTED_BY_TARGET: Words = Words {
    what: "the target does not take a parameter or feature of this request",
    change: "operator: drop, rename or set the parameter in `targets.X.params`, or correct \
             `targets.X.capabilities`",
};
pub(super) const AUTH: Words = Words {
    what: "the target did not accept the credential it was sent",
    change: "operator: replace the secret that `providers.X.api_key` refers to; client: log in \
             again where the provider uses your own credential (`auth = \"client\"`)",
};
pub(super) const MODEL_NOT_FOUND: Words = Words {
    what: "the target's provider knows no such model, or does not show it to this credential",
    change: "operator: correct `targets.X.model`, or ask the provider for access to it",
};
pub(super) const CONTEXT_TOO_LONG: Words = Words {
    what: "the input is longer than the context window it would have to fit in",
    change: "client: shorten or compact the conversation; operator: add a larger target, or \
             correct `targets.X.context_tokens`",
};
pub(super) const CONTENT_POLICY: Words = Words {
    what: "the target refused the content by its own policy, and its answer went back as it came",
    change: "client: change the request; a refusal of this kind is never offered to another target",
};
pub(super) const RATE_LIMITED: Words = Words {
    what: "the target's provider had reached its rate limit for our credential",
    change: "operator: ask the provider for a higher limit, make `providers.X.api_key` a list of \
             keys, or add a target elsewhere; client: wait and send it again",
};
pub(super) const QUOTA_EXHAUSTED: Words = Words {
    what: "the account at the target's provider has no credit or quota left",
    change: "operator: pay or raise the quota of the account behind `providers.X.api_key`",
};
pub(super) const OVERLOADED: Words = Words {
    what: "the target said that it is overloaded",
    change: "operator: add a target at another provider behind this one; client: wait and send it \
             again",
};
pub(super) const PROVIDER_TIMEOUT: Words = Words {
    what: "the target itself reported a timeout, and no clock of ours had run out",
    change: "provider: look for a slow server behind the provider's own balancer; operator: list \
             another target behind this one",
};
pub(super) const SERVER_ERROR: Words = Words {
    what: "the target answered with an internal error of its own",
    change: "provider: mend it, given the upstream request id; operator: list another target \
             behind this one",
};
pub(super) const NOT_AN_API: Words = Words {
    what: "what answered is not a model API but a web page, a redirect or something else",
    change: "operator: correct the path in `providers.X.base_url`, or look for a login page or \
             proxy in front of it",
};

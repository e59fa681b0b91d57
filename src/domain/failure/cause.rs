//! The closed list of causes, phases, sides and confidences.
//!
//! Owns their spelling: each variant's `snake_case` name is its metric label, its
//! log field and the value of `x-tautline-cause`. Invariant: `Cause::ALL` holds
//! every variant once, since the macro that declares the enum also fills it.

/// Declares a closed enum together with its labels, so that the label list and
/// the variants cannot disagree.
macro_rules! closed_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident => $label:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $label)] $variant),+ }

        impl $name {
            /// Every variant, in the order of the taxonomy.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label that metrics, logs and headers carry.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use closed_enum;

closed_enum! {
    /// Why an attempt or an exchange failed.
    Cause {
        // Refused at our own door or in plan.
        InvalidRequest => "invalid_request",
        TooLarge => "too_large",
        UnknownRoute => "unknown_route",
        Unauthorized => "unauthorized",
        NotAllowed => "not_allowed",
        NoFitTarget => "no_fit_target",
        ClientStalled => "client_stalled",
        // Start of a process.
        SpawnNotFound => "spawn_not_found",
        SpawnNotExecutable => "spawn_not_executable",
        SpawnArgsTooBig => "spawn_args_too_big",
        SpawnNoResources => "spawn_no_resources",
        WorkdirOrEnvInvalid => "workdir_or_env_invalid",
        StdinFailed => "stdin_failed",
        // Stopped by us.
        OwnDeadlineConnect => "own_deadline_connect",
        OwnDeadlineSend => "own_deadline_send",
        OwnDeadlineFirstToken => "own_deadline_first_token",
        OwnDeadlineIdle => "own_deadline_idle",
        OwnDeadlineProgress => "own_deadline_progress",
        OwnDeadlineTotal => "own_deadline_total",
        HedgeLost => "hedge_lost",
        ClientGone => "client_gone",
        Cancelled => "cancelled",
        Shutdown => "shutdown",
        OutputLimit => "output_limit",
        // A process died otherwise.
        KilledTerm => "killed_term",
        KilledKill => "killed_kill",
        OomKernel => "oom_kernel",
        OomApp => "oom_app",
        CrashSignal => "crash_signal",
        ResourceLimit => "resource_limit",
        ExitNonzero => "exit_nonzero",
        SupervisorLost => "supervisor_lost",
        // Before the target answered.
        Dns => "dns",
        ConnectRefused => "connect_refused",
        ConnectUnreachable => "connect_unreachable",
        Tls => "tls",
        ResetBeforeHeaders => "reset_before_headers",
        // The target refused.
        BadRequest => "bad_request",
        UnsupportedByTarget => "unsupported_by_target",
        Auth => "auth",
        ModelNotFound => "model_not_found",
        ContextTooLong => "context_too_long",
        ContentPolicy => "content_policy",
        RateLimited => "rate_limited",
        QuotaExhausted => "quota_exhausted",
        Overloaded => "overloaded",
        ProviderTimeout => "provider_timeout",
        ServerError => "server_error",
        NotAnApi => "not_an_api",
        // The stream broke.
        Reset => "reset",
        EarlyEnd => "early_end",
        ErrorEvent => "error_event",
        Garbled => "garbled",
        // It ended cleanly and is no good.
        Empty => "empty",
        LengthLimited => "length_limited",
        ContentFiltered => "content_filtered",
        ErrorPayload => "error_payload",
        SchemaInvalid => "schema_invalid",
        TruncatedUnmarked => "truncated_unmarked",
        CheckFailed => "check_failed",
        IntentDisputed => "intent_disputed",
        // Ours.
        QueueFull => "queue_full",
        CircuitOpen => "circuit_open",
        Draining => "draining",
        Limited => "limited",
        BudgetStop => "budget_stop",
        ConfigChanged => "config_changed",
        Internal => "internal",
    }
}

closed_enum! {
    /// Where on the path it happened.
    Phase {
        Admit => "admit",
        Plan => "plan",
        Queue => "queue",
        Connect => "connect",
        Headers => "headers",
        FirstToken => "first_token",
        Stream => "stream",
        End => "end",
    }
}

closed_enum! {
    /// Who has to act.
    Side {
        Client => "client",
        CallerConfig => "caller_config",
        Gateway => "gateway",
        Network => "network",
        Target => "target",
        Unknown => "unknown",
    }
}

closed_enum! {
    /// How sure the classification is.
    Confidence {
        Certain => "certain",
        Probable => "probable",
        Inferred => "inferred",
    }
}

impl Cause {
    /// Who has to act on this cause (the taxonomy's last column).
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Self::InvalidRequest
            | Self::TooLarge
            | Self::UnknownRoute
            | Self::Unauthorized
            | Self::NotAllowed
            | Self::ClientStalled
            | Self::ClientGone
            | Self::BadRequest
            | Self::ContextTooLong
            | Self::ContentPolicy
            | Self::LengthLimited
            | Self::Limited
            | Self::BudgetStop => Side::Client,
            Self::NoFitTarget
            | Self::SpawnNotFound
            | Self::SpawnNotExecutable
            | Self::SpawnArgsTooBig
            | Self::WorkdirOrEnvInvalid
            | Self::Cancelled
            | Self::OutputLimit
            | Self::Tls
            | Self::UnsupportedByTarget
            | Self::Auth
            | Self::ModelNotFound
            | Self::QuotaExhausted
            | Self::NotAnApi
            | Self::ConfigChanged => Side::CallerConfig,
            Self::SpawnNoResources
            | Self::OwnDeadlineConnect
            | Self::OwnDeadlineSend
            | Self::OwnDeadlineFirstToken
            | Self::OwnDeadlineIdle
            | Self::OwnDeadlineProgress
            | Self::OwnDeadlineTotal
            | Self::HedgeLost
            | Self::Shutdown
            | Self::OomKernel
            | Self::ResourceLimit
            | Self::SupervisorLost
            | Self::QueueFull
            | Self::CircuitOpen
            | Self::Draining
            | Self::Internal => Side::Gateway,
            Self::KilledTerm | Self::KilledKill => Side::Unknown,
            Self::Dns | Self::ConnectUnreachable | Self::ResetBeforeHeaders | Self::Reset => Side::Network,
            Self::StdinFailed
            | Self::OomApp
            | Self::CrashSignal
            | Self::ExitNonzero
            | Self::ConnectRefused
            | Self::RateLimited
            | Self::Overloaded
            | Self::ProviderTimeout
            | Self::ServerError
            | Self::EarlyEnd
            | Self::ErrorEvent
            | Self::Garbled
            | Self::Empty
            | Self::ContentFiltered
            | Self::ErrorPayload
            | Self::SchemaInvalid
            | Self::TruncatedUnmarked
            | Self::CheckFailed
            | Self::IntentDisputed => Side::Target,
        }
    }
}

//! What may stand in a label: closed enums and configured names.

use crate::domain::deadline::{Clock, LimitKind, LimitSource};
use crate::domain::failure::{Cause, Phase, Side};
use crate::domain::ids::{ProviderName, RouteName, TargetName};
use crate::domain::record::{AttemptOutcome, Outcome, Purpose, SeamFit, Strategy, Verdict};
use crate::domain::task::{Task, TaskReason};

/// Something whose values are few and known.
pub trait Label {
    fn label(&self) -> &str;
}

macro_rules! labels {
    ($($kind:ty),+ $(,)?) => {
        $(impl Label for $kind {
            fn label(&self) -> &str { self.as_str() }
        })+
    };
}

labels!(
    Clock,
    LimitKind,
    LimitSource,
    Cause,
    Phase,
    Side,
    ProviderName,
    RouteName,
    TargetName,
    AttemptOutcome,
    Outcome,
    Purpose,
    SeamFit,
    Strategy,
    Verdict,
    Task,
    TaskReason
);

/// Absent: `none`.
impl<T: Label> Label for Option<T> {
    fn label(&self) -> &str {
        self.as_ref().map_or("none", Label::label)
    }
}

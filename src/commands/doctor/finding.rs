//! What a check finds, and the findings that several checks share.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The longest wait for an answer of Teamleader.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Clocks that differ by less are as good as equal: `Date` has whole seconds, and answers take their time.
const CLOCKS_MAY_DIFFER: i64 = 30;

/// One finding.
pub(super) enum Finding {
    Well(String),
    /// It works as it is; `fix` says what could be better.
    Note {
        what: String,
        fix: String,
    },
    Wrong {
        what: String,
        fix: String,
    },
}

pub(super) fn wrong(what: impl ToString, fix: impl Into<String>) -> Finding {
    Finding::Wrong { what: what.to_string(), fix: fix.into() }
}

/// The error of somebody else's clock, or with this machine's; `whose` is like `Teamleader's`.
pub(super) fn clock(whose: &str, theirs: DateTime<Utc>) -> Option<Finding> {
    let behind = (theirs - Utc::now()).num_seconds();
    if behind.abs() <= CLOCKS_MAY_DIFFER {
        return None;
    }
    let side = if behind > 0 { "behind" } else { "ahead of" };
    let what = format!("this machine's clock is {} s {side} {whose}", behind.abs());
    Some(wrong(what, "set the clock that is wrong by the network, on each of the machines: `timedatectl set-ntp true`"))
}

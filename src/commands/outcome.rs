//! How a command ended, other than by an error.

use crate::messages::RunStatus;

/// How a command ended, other than by an error. The command line has an exit code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was well.
    Done,
    /// The sync, or the command, failed.
    Failed,
    /// The command cannot be used so.
    Usage,
    /// Some resources failed, or something is left to be looked at.
    Partial,
    /// An operator has to authorize the account.
    NotAuthorized,
    /// Somebody cancelled the sync.
    Cancelled,
}

impl From<RunStatus> for Outcome {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Completed => Self::Done,
            RunStatus::Partial => Self::Partial,
            RunStatus::Failed | RunStatus::Running => Self::Failed,
            RunStatus::Cancelled => Self::Cancelled,
        }
    }
}

//! Why a resource failed, as far as it decides what an operator does about it.

use serde::{Deserialize, Serialize};

use super::request::Mode;
use crate::ids::Account;

/// Why a resource of a run failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// More rows than the guard lets pass are missing from Teamleader: none was marked deleted.
    DeletionsHeld,
    /// 403: a scope of the integration, or a right of the user who authorized it, is missing.
    Forbidden,
    /// One endpoint does not answer, while others do.
    Endpoint,
    /// The API as a whole did not answer for hours.
    ApiDown,
    /// The answer is not what this version can read, or contradicts itself.
    Answer,
    /// The lists were read, but not all details.
    Details,
    /// PostgreSQL refuses the rows.
    Table,
    /// The work on the run ended again and again without progress.
    Crashed,
    /// The run was cancelled before the resource was done.
    Cancelled,
    /// A word of a later version, or a run from before causes were stored.
    #[serde(other)]
    Unknown,
}

/// What an operator does about a failure: something outside of this program, if need be, and then the commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What has to be so before the commands help.
    pub first: &'static str,
    /// The commands, as they are typed.
    pub commands: Vec<String>,
}

/// A command of this program as it is typed for an account: the word and its arguments, then the account, then flags.
pub fn command(account: &Account, words: &str, flags: &str) -> String {
    let account = if account.is_default() { String::new() } else { format!(" --account {account}") };
    format!("teamleader2db {words}{account}{flags}")
}

/// The command that requests a sync of these resources, or of all if there is none.
pub fn request_command(account: &Account, resources: &[&str], flags: &str) -> String {
    let words: Vec<&str> = ["request"].iter().chain(resources).copied().collect();
    command(account, &words.join(" "), flags)
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.first, self.commands.join(" && "))
    }
}

impl Cause {
    /// The word in messages and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeletionsHeld => "deletions_held",
            Self::Forbidden => "forbidden",
            Self::Endpoint => "endpoint",
            Self::ApiDown => "api_down",
            Self::Answer => "answer",
            Self::Details => "details",
            Self::Table => "table",
            Self::Crashed => "crashed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// The cause that has this word.
    pub fn parse(word: &str) -> Self {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word).unwrap_or(Self::Unknown)
    }

    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::DeletionsHeld,
        Self::Forbidden,
        Self::Endpoint,
        Self::ApiDown,
        Self::Answer,
        Self::Details,
        Self::Table,
        Self::Crashed,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// What to do about resources of an account that failed: once for all of the same cause and mode.
    pub fn advice_on<'n>(account: &Account, failed: impl Iterator<Item = (Self, Mode, &'n str)>) -> Vec<Advice> {
        let mut groups: Vec<(Self, Mode, Vec<&str>)> = Vec::new();
        for (cause, mode, name) in failed {
            match groups.iter_mut().find(|(other, of, _)| (*other, *of) == (cause, mode)) {
                Some((_, _, names)) => names.push(name),
                None => groups.push((cause, mode, vec![name])),
            }
        }
        groups.into_iter().map(|(cause, mode, names)| cause.advice(account, &names, mode)).collect()
    }

    /// What to do about these resources of an account, which failed for this cause in a run of this mode.
    pub fn advice(self, account: &Account, resources: &[&str], mode: Mode) -> Advice {
        let request = |flags: &str| request_command(account, resources, flags);
        // What was to be proven is proven by the same kind of run.
        let as_before = || match mode {
            Mode::Full => request(" --full"),
            Mode::Incremental => request(""),
            Mode::Audit => command(account, &format!("audit {}", resources.join(" ")), ""),
        };
        let (first, commands) = match self {
            Self::DeletionsHeld => {
                ("if they are rightly deleted in Teamleader", vec![request(" --full --allow-deletions")])
            }
            Self::Forbidden => (
                "once the integration has the scope, and the user who authorized it the right, or without the resource \
                 in TEAMLEADER_RESOURCES",
                vec![as_before()],
            ),
            Self::Endpoint | Self::ApiDown => ("once Teamleader answers there again", vec![as_before()]),
            Self::Answer => (
                "if this does not help, the API has changed: look for a later version of this program",
                vec![as_before()],
            ),
            Self::Details => ("the details that are missing are fetched by the next sync", vec![request("")]),
            Self::Table => {
                ("once what the error names takes the rows again", vec![command(account, "doctor", ""), as_before()])
            }
            Self::Crashed => ("look in the worker's log for why, then send it again", vec![as_before()]),
            Self::Cancelled => ("if it shall be synced after all", vec![as_before()]),
            Self::Unknown => ("once that is fixed", vec![as_before()]),
        };
        Advice { first, commands }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_word() {
        for cause in Cause::ALL {
            assert_eq!(Cause::parse(cause.as_str()), cause);
            assert_eq!(serde_json::json!(cause), cause.as_str());
        }
        assert_eq!(Cause::parse("of a later version"), Cause::Unknown);
        let later: Cause = serde_json::from_str("\"of a later version\"").expect("a cause");
        assert_eq!(later, Cause::Unknown);
    }

    #[test]
    fn the_advice_is_what_is_typed() {
        let account = |name: &str| name.parse().expect("valid");
        let advice = Cause::DeletionsHeld.advice(&account("default"), &["companies"], Mode::Incremental);
        assert_eq!(
            advice.to_string(),
            "if they are rightly deleted in Teamleader: teamleader2db request companies --full --allow-deletions"
        );
        let advice = Cause::Table.advice(&account("acme"), &["companies", "deals"], Mode::Full);
        assert_eq!(
            advice.commands,
            ["teamleader2db doctor --account acme", "teamleader2db request companies deals --account acme --full"]
        );
    }
}

//! Values that cannot be used, with the name of the variable that holds them: clap names the flag alone.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

/// What is wrong with a value, and what it may be. `None`: the error is of another kind, which clap explains.
pub(super) fn explained(error: &Error, mut command: Command) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    let text = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.as_str()),
        _ => None,
    };
    let (argument, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let allowed = match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(words)), _) if !words.is_empty() => format!("it is {}", one_of(words)),
        (_, Some(why)) => why.to_string(),
        _ => return None,
    };
    command.build();
    let names = find(&command, argument).map(|found| names(found, argument));
    let name = names.unwrap_or_else(|| argument.to_owned());
    Some(match value {
        "" => format!("{name} cannot be empty: {allowed}"),
        value => format!("{name} cannot be {value:?}: {allowed}"),
    })
}

/// The argument that an error names as it stands in the help: `--sync-slice <TIME>`.
fn find<'a>(command: &'a Command, argument: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|known| known.to_string() == argument);
    own.or_else(|| command.get_subcommands().find_map(|command| find(command, argument)))
}

/// The variable, and the flag beside it.
fn names(found: &Arg, argument: &str) -> String {
    let flag = found.get_long().map_or_else(|| argument.to_owned(), |flag| format!("--{flag}"));
    match found.get_env() {
        Some(variable) => format!("{} ({flag})", variable.to_string_lossy()),
        None => flag,
    }
}

fn one_of(words: &[String]) -> String {
    match words {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        words => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    /// Values that can never work: the arguments, the variable, and what may stand there.
    const REFUSED: [(&[&str], &str, &str); 25] = [
        (&["worker", "--sync-slice=20m"], "SYNC_SLICE (--sync-slice) cannot be \"20m\": ", "from 1s to 15m"),
        (&["worker", "--sync-slice=500ms"], "SYNC_SLICE (--sync-slice) ", "from 1s to 15m"),
        (&["worker", "--sync-slice=soon"], "SYNC_SLICE (--sync-slice) ", "from 1s to 15m"),
        (&["worker", "--sync-concurrency=0"], "SYNC_CONCURRENCY (--sync-concurrency) ", "from 1 to 64"),
        (&["worker", "--sync-concurrency=65"], "SYNC_CONCURRENCY (--sync-concurrency) ", "from 1 to 64"),
        (&["worker", "--audit-rate=9"], "AUDIT_RATE (--audit-rate) ", "it is 0, or a number from 10 to 6000"),
        (&["worker", "--audit-rate=-1"], "AUDIT_RATE (--audit-rate) ", "it is 0, or a number from 10 to 6000"),
        (&["worker", "--audit-rate=6001"], "AUDIT_RATE (--audit-rate) ", "it is 0, or a number from 10 to 6000"),
        (&["worker", "--rate-reserve=500"], "RATE_RESERVE (--rate-reserve) ", "from 0 to 150"),
        (&["worker", "--rate-reserve=151"], "RATE_RESERVE (--rate-reserve) ", "from 0 to 150"),
        (&["worker", "--rate-reserve=-1"], "RATE_RESERVE (--rate-reserve) ", "from 0 to 150"),
        (&["worker", "--sync-lookback=31d"], "SYNC_LOOKBACK (--sync-lookback) ", "from 0s to 30d"),
        (&["worker", "--detail-max-age=0s"], "DETAIL_MAX_AGE (--detail-max-age) ", "from 1h to 3650d"),
        (&["worker", "--incremental-window=0s"], "INCREMENTAL_WINDOW (--incremental-window) ", "3650d, or off"),
        (&["worker", "--incremental-window=never"], "INCREMENTAL_WINDOW (--incremental-window) ", "3650d, or off"),
        (&["worker", "--retention=0"], "RETENTION (--retention) cannot be \"0\": ", "from 1s to 36500d, or never"),
        (&["worker", "--retention=90"], "RETENTION (--retention) ", "from 1s to 36500d, or never"),
        (&["worker", "--erase-deleted-after=0d"], "ERASE_DELETED_AFTER (--erase-deleted-after) ", "36500d, or never"),
        (&["worker", "--history=yes"], "HISTORY (--history) cannot be \"yes\": ", "it is on or off"),
        (&["worker", "--migrate-on-start=maybe"], "MIGRATE_ON_START (--migrate-on-start) ", "it is true or false"),
        (&["worker", "--http-listen=8080"], "HTTP_LISTEN (--http-listen) ", "such as 127.0.0.1:8080"),
        (&["worker", "--amqp-declare=no"], "AMQP_DECLARE (--amqp-declare) ", "it is create or check"),
        (&["status", "--account=a b"], "TEAMLEADER_ACCOUNT (--account) ", "1 to 64 of A-Z a-z 0-9 _ -"),
        (&["status", "--log-format=xml"], "LOG_FORMAT (--log-format) ", "it is pretty or json"),
        (&["request", "--request-id=foo"], "--request-id cannot be \"foo\": ", "a UUID"),
    ];

    #[test]
    fn a_value_that_can_never_work_is_refused_with_its_variable_and_its_range() {
        for (arguments, name, allowed) in REFUSED {
            let line = [&["teamleader2db"], arguments].concat();
            let error = command().try_get_matches_from(&line).expect_err(name);
            let said = explained(&error, command()).expect(name);
            assert!(said.starts_with(name) && said.contains(allowed) && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn what_is_at_the_ends_of_a_range_is_taken() {
        for argument in [
            "--sync-slice=1s",
            "--sync-slice=15m",
            "--sync-concurrency=64",
            "--sync-concurrency=auto",
            "--audit-rate=0",
            "--audit-rate=10",
            "--audit-rate=6000",
            "--rate-reserve=0",
            "--rate-reserve=150",
            "--sync-lookback=0s",
            "--sync-lookback=30d",
            "--detail-max-age=1h",
            "--incremental-window=1d",
            "--incremental-window=off",
            "--retention=1s",
            "--retention=never",
            "--retention=36500d",
            "--erase-deleted-after=1s",
            "--erase-deleted-after=never",
            "--http-listen=[::]:8080",
        ] {
            let parsed = command().try_get_matches_from(["teamleader2db", "worker", argument]);
            assert!(parsed.is_ok(), "{argument}: {parsed:?}");
        }
    }

    #[test]
    fn what_is_no_value_is_left_to_clap() {
        for line in [&["teamleader2db", "sync"][..], &["teamleader2db", "request", "--fulll"], &["teamleader2db", "-h"]]
        {
            let error = command().try_get_matches_from(line).expect_err("refused");
            assert_eq!(explained(&error, command()), None, "{line:?}");
        }
    }
}

//! Numbers, moments, spans of time and requests as people read them.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{Markup, html};

use crate::messages::Parameters;

pub(super) fn ago(at: DateTime<Utc>) -> Markup {
    let span = span_of((Utc::now() - at).num_seconds());
    html! { time datetime=(at.to_rfc3339_opts(SecondsFormat::Secs, true)) title=(time(at)) { (span) " ago" } }
}

pub(super) fn until(at: DateTime<Utc>) -> String {
    match (at - Utc::now()).num_seconds() {
        ..=1 => "at any moment".to_owned(),
        seconds => format!("in about {}", span_of(seconds)),
    }
}

/// A moment of which it matters when exactly it was.
pub(super) fn moment(at: DateTime<Utc>) -> Markup {
    html! { time datetime=(at.to_rfc3339_opts(SecondsFormat::Secs, true)) { (time(at)) } }
}

/// A number with the thing that it counts, which takes an s where it is not one.
pub(super) fn count(number: i64, thing: &str) -> String {
    format!("{} {thing}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// Resources that a line names.
const NAMED: usize = 3;

/// What a request asks for, after its mode; empty where it asks for no more than that.
pub(super) fn details_of(parameters: &Parameters) -> String {
    let mut said = Vec::new();
    if let Some(names) = &parameters.resources {
        let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(NAMED);
        said.push(if more > 0 { format!("{shown} and {more} more") } else { shown });
    }
    let flags = [
        (parameters.refetch, "all details again"),
        (parameters.allow_deletions, "deletions allowed"),
        (parameters.repair, "repairs"),
    ];
    said.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word.to_owned()));
    said.extend(parameters.sample.map(|sample| format!("a sample of {sample}")));
    said.join(" · ")
}

pub(super) fn took(from: DateTime<Utc>, to: Option<DateTime<Utc>>) -> String {
    match to {
        Some(to) if (to - from).num_seconds() < 1 => "took less than 1 s".to_owned(),
        Some(to) => format!("took {}", span_of((to - from).num_seconds())),
        None => "under way".to_owned(),
    }
}

/// Seconds in the unit that fits.
pub(super) fn span_of(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

pub(super) fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// With a capital at its beginning.
pub(super) fn sentence_case(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A number in groups of three digits.
pub(super) fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digit != '-' && (digits.len() - place).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_written_for_people() {
        let written: Vec<String> = [0, 999, 1_000, 1_234_567, -1_000].map(thousands).into();
        assert_eq!(written.join(" ").replace('\u{202f}', "'"), "0 999 1'000 1'234'567 -1'000");
        assert_eq!([-5, 119, 120, 7_300, 200_000].map(span_of), ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}

//! Plots of the days, drawn by the server: bars with axes, and the same numbers as a table.

use chrono::{NaiveDate, Utc};
use maud::{Markup, html};

use super::numbers::{span_of, thousands};
use crate::store::report::Day;

/// The days that are looked back on, if runs are retained that long.
pub(super) const LOOKED_BACK: i64 = 366;

/// The size of a plot and the place of its axes, in its own units: those of a phone's screen, so that its words can be
/// read there.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 130.0;
const LEFT: f64 = 44.0;
/// The width of a character at the axis, at most.
const CHARACTER: f64 = 5.6;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 110.0;
const RIGHT: f64 = 314.0;

/// A bar is no wider, however few there are.
const WIDEST: f64 = 24.0;

/// A plot: its heading, and of each day how high the lower and the upper part of its bar are.
struct Plot<'a> {
    heading: &'a str,
    /// What the parts are, where there are two.
    parts: Option<(&'a str, &'a str)>,
    bars: Vec<(f64, f64)>,
    /// A value as it stands at the axis and in the description.
    written: fn(f64) -> String,
}

/// Plots of runs, requests, changes and durations, one bar a day, from the first day to today; nothing where there are
/// no days. `of_resource`: requests are not known for one.
pub(super) fn of_days(days: &[Day], of_resource: bool) -> Markup {
    let days = filled(days, Utc::now().date_naive());
    let number = |value: f64| thousands(value.round() as i64);
    let bars = |of: fn(&Day) -> (i64, i64)| -> Vec<(f64, f64)> {
        days.iter().map(of).map(|(lower, upper)| (lower as f64, upper as f64)).collect()
    };
    let mut plots = vec![Plot {
        heading: "Runs a day",
        parts: Some(("without failures", "with failures")),
        bars: bars(|day| (day.runs - day.failed, day.failed)),
        written: number,
    }];
    if !of_resource {
        plots.push(Plot {
            heading: "Requests to the API a day",
            parts: None,
            bars: bars(|day| (day.api_requests, 0)),
            written: number,
        });
    }
    plots.push(Plot {
        heading: "Rows that changed a day",
        parts: Some(("created or updated", "deleted")),
        bars: bars(|day| (day.created + day.updated, day.deleted)),
        written: number,
    });
    plots.push(Plot {
        heading: "Longest run of the day",
        parts: None,
        bars: days.iter().map(|day| (day.longest, 0.0)).collect(),
        written: |value| span_of(value.round() as i64),
    });
    html! {
        @if !days.is_empty() {
            div .plots { @for plot in &plots { (drawn(plot, &days)) } }
            details data-key="numbers" { summary { "The same as a table" } (table(&days, of_resource)) }
        }
    }
}

/// The days without a gap, until `today`.
fn filled(days: &[Day], today: NaiveDate) -> Vec<Day> {
    let Some(first) = days.first() else { return Vec::new() };
    let all = first.day.iter_days().take_while(|day| *day <= today);
    all.map(|day| days.iter().find(|known| known.day == day).cloned().unwrap_or_else(|| empty(day))).collect()
}

fn empty(day: NaiveDate) -> Day {
    Day {
        day,
        runs: 0,
        failed: 0,
        api_requests: 0,
        created: 0,
        updated: 0,
        deleted: 0,
        detailed: 0,
        seconds: 0.0,
        longest: 0.0,
    }
}

fn drawn(plot: &Plot<'_>, days: &[Day]) -> Markup {
    let (highest, at) = plot
        .bars
        .iter()
        .zip(days)
        .map(|((lower, upper), day)| (lower + upper, day.day))
        .fold((0.0, None), |(most, at), (value, day)| if value > most { (value, Some(day)) } else { (most, at) });
    let top = round_up(highest);
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * value / top;
    let longest = [0.0, top / 2.0, top].map(|value| (plot.written)(value).chars().count()).into_iter().max();
    let left = LEFT.max(longest.unwrap_or_default() as f64 * CHARACTER + 6.0);
    let step = (RIGHT - left) / plot.bars.len() as f64;
    let width = (step * 0.8).clamp(0.5, WIDEST);
    let most = at.map_or_else(String::new, |day| format!(", the most {} on {day}", (plot.written)(highest)));
    let (first, last) = (days.first().map(|day| day.day), days.last().map(|day| day.day));
    let label = match (first, last) {
        (Some(first), Some(last)) => format!("{} from {first} to {last}{most}", plot.heading),
        _ => plot.heading.to_owned(),
    };
    let at = |value: f64| format!("{value:.1}");
    html! {
        figure {
            figcaption { (plot.heading)
                @if let Some((lower, upper)) = plot.parts {
                    span .quiet { ": " span .key { (lower) } ", " span .key.upper { (upper) } }
                }
            }
            svg .plot viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) {
                @for value in [0.0, top / 2.0, top] {
                    line .grid x1=(at(left)) x2=(at(RIGHT)) y1=(at(y(value))) y2=(at(y(value))) {}
                    text .at-left x=(at(left - 4.0)) y=(at(y(value) + 3.5)) { ((plot.written)(value)) }
                }
                @for (place, (lower, upper)) in plot.bars.iter().enumerate() {
                    @let x = at(left + step * place as f64 + (step - width) / 2.0);
                    @if *lower > 0.0 {
                        rect .lower x=(x) y=(at(y(*lower))) width=(at(width)) height=(at(BOTTOM - y(*lower))) {}
                    }
                    @if *upper > 0.0 {
                        @let (from, to) = (y(lower + upper), y(*lower));
                        rect .upper x=(x) y=(at(from)) width=(at(width)) height=(at(to - from)) {}
                    }
                }
                @if let Some(first) = first { text x=(at(left)) y=(at(HEIGHT - 6.0)) { (first) } }
                @if let Some(last) = last.filter(|last| Some(*last) != first) {
                    text .at-right x=(at(RIGHT)) y=(at(HEIGHT - 6.0)) { (last) }
                }
            }
        }
    }
}

/// The next of 2, 10, 20, 50, 100, 200, 500 … that is not below: its half is round, too.
fn round_up(value: f64) -> f64 {
    let decades = std::iter::successors(Some(10.0), |unit| Some(unit * 10.0));
    let mut ends = [2.0].into_iter().chain(decades.flat_map(|unit| [unit, unit * 2.0, unit * 5.0]));
    ends.find(|end| *end >= value).unwrap_or(value)
}

fn table(days: &[Day], of_resource: bool) -> Markup {
    html! {
        div .wide tabindex="0" role="region" aria-label="Days" { table {
            thead { tr {
                th scope="col" { "day (UTC)" }
                th scope="col" .number { "runs" }
                th scope="col" .number { "with failures" }
                @if !of_resource { th scope="col" .number { "API requests" } }
                th scope="col" .number { "created" }
                th scope="col" .number { "updated" }
                th scope="col" .number { "deleted" }
                th scope="col" .number { "longest" }
            } }
            tbody { @for day in days.iter().rev().filter(|day| day.runs > 0) { tr {
                td .line { (day.day) }
                td .number { (thousands(day.runs)) }
                td .number { (thousands(day.failed)) }
                @if !of_resource { td .number { (thousands(day.api_requests)) } }
                td .number { (thousands(day.created)) }
                td .number { (thousands(day.updated)) }
                td .number { (thousands(day.deleted)) }
                td .number { (span_of(day.longest.round() as i64)) }
            } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Days;

    use super::*;

    fn days_ago(days: u64) -> NaiveDate {
        Utc::now().date_naive().checked_sub_days(Days::new(days)).expect("a day")
    }

    #[test]
    fn the_axis_ends_at_a_round_number_whose_half_is_round() {
        let ends = [0.0, 1.0, 2.0, 3.0, 7.0, 11.0, 20.0, 21.0, 99.0, 450.0, 8_001.0].map(round_up);
        assert_eq!(ends, [2.0, 2.0, 2.0, 10.0, 10.0, 20.0, 20.0, 50.0, 100.0, 500.0, 10_000.0]);
    }

    #[test]
    fn a_plot_has_a_bar_for_each_day_that_has_something_and_says_the_most() {
        let day = |ago, runs, failed| Day { runs, failed, api_requests: runs * 100, ..empty(days_ago(ago)) };
        let plots = of_days(&[day(9, 4, 1), day(2, 96, 0)], false).into_string();
        let label = format!("Runs a day from {} to {}, the most 96 on {}", days_ago(9), days_ago(0), days_ago(2));
        assert!(plots.contains(&label), "{plots}");
        assert_eq!(plots.matches("<rect class=\"lower\"").count(), 4, "{plots}");
        assert_eq!(plots.matches("<rect class=\"upper\"").count(), 1, "{plots}");
        // 96 of 100: 98 of 102 units above the axis.
        assert!(plots.contains("y=\"12.1\" width=\"21.6\" height=\"97.9\""), "{plots}");
        // Every element is closed: an open one would hold the next ones.
        assert_eq!(plots.matches("<rect").count(), plots.matches("</rect>").count());
        assert_eq!(plots.matches("<line").count(), plots.matches("</line>").count());
        assert!(of_days(&[], false).into_string().is_empty());
    }

    #[test]
    fn the_axis_leaves_room_for_its_longest_number() {
        let plots = of_days(&[Day { runs: 1, created: 900_000, ..empty(days_ago(0)) }], true).into_string();
        // Nine characters of 5.6 units before it.
        assert!(plots.contains("<text class=\"at-left\" x=\"52.4\""), "{plots}");
    }
}

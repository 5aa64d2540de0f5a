//! The table of metrics in docs/metrics.md, made from them.

use super::{code, counted, hold, table};
use crate::process::metric::{ALL, Kind, Metric};

fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn labels(metric: &Metric) -> String {
    let shown = metric.labels.iter().map(|(label, values)| match values {
        [] => format!("`{label}`"),
        values => format!("`{label}`: {}", code(values.iter().copied())),
    });
    shown.collect::<Vec<_>>().join("; ")
}

#[test]
fn the_documented_metrics_are_those_that_are_recorded() {
    let rows = ALL.map(|metric| {
        vec![format!("`{}`", metric.name), kind(&metric).to_owned(), labels(&metric), metric.help.to_owned()]
    });
    counted(rows.len(), "metrics");
    hold("metrics.md", "table of metrics", &table(&["metric", "kind", "labels", "what it says"], rows));
}

#[test]
fn a_metric_has_one_name_and_no_other_has_it() {
    let mut names = ALL.map(|metric| metric.name);
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    let source = include_str!("../../process/metric.rs");
    assert_eq!(source.matches(": Metric =").count(), ALL.len(), "each constant is in ALL");
}

//! How much of the API's budget was used in the last minutes, as a small plot.

use std::collections::VecDeque;
use std::fmt::Write as _;

use maud::{Markup, html};

/// How many notes are stored: ten minutes, at one every 5 s.
const NOTES: usize = 120;

/// The size of the plot, in its own units.
const WIDTH: usize = 600;
const HEIGHT: usize = 90;

/// The requests that the last 60 s held, and might have held, time after time.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(VecDeque<(u32, u32)>);

impl Budget {
    pub(super) fn note(&mut self, budget: (u32, u32)) {
        if self.0.len() == NOTES {
            self.0.pop_front();
        }
        self.0.push_back(budget);
    }

    /// The newest note.
    pub(super) fn last(&self) -> Option<(u32, u32)> {
        self.0.back().copied()
    }

    /// The plot: now is at the right.
    pub(super) fn plot(&self) -> Markup {
        let most = self.0.iter().map(|(used, allowed)| *used.max(allowed)).max().unwrap_or(1).max(1);
        // A tenth stays free at the top, so that the line of the allowed requests is visible.
        let y = |requests: u32| HEIGHT as f64 * (1.0 - f64::from(requests) / f64::from(most) / 1.1);
        let x = |place: usize| WIDTH * (NOTES - self.0.len() + place + 1) / NOTES;
        let line = |of: fn(&(u32, u32)) -> u32| {
            self.0.iter().enumerate().fold(String::new(), |mut points, (place, noted)| {
                _ = write!(points, "{},{:.1} ", x(place), y(of(noted)));
                points
            })
        };
        let (used, allowed) = (line(|(used, _)| *used), line(|(_, allowed)| *allowed));
        let first = if self.0.is_empty() { WIDTH } else { x(0) };
        let label = match self.last() {
            Some((used, allowed)) => format!("{used} of {allowed} requests in the last 60 s"),
            None => "nothing noted yet".to_owned(),
        };
        let view_box = format!("0 0 {WIDTH} {HEIGHT}");
        html! {
            svg .spark viewBox=(view_box) role="img" aria-label=(label) preserveAspectRatio="none" {
                polygon .used points=(format!("{first},{HEIGHT} {used}{WIDTH},{HEIGHT}")) {}
                polyline .line points=(used) {}
                polyline .allowed points=(allowed) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_keeps_ten_minutes_and_shows_now_at_the_right() {
        let mut budget = Budget::default();
        assert!(budget.plot().into_string().contains("nothing noted yet"));
        for used in 0..200 {
            budget.note((used, 200));
        }
        assert_eq!(budget.0.len(), NOTES);
        let plot = budget.plot().into_string();
        assert!(plot.contains("199 of 200 requests"), "{plot}");
        assert!(plot.contains(&format!(" {WIDTH},8.6 ")), "{plot}");
        // Each is closed: in an open one the next would not be drawn.
        assert_eq!((plot.matches("</polygon>").count(), plot.matches("</polyline>").count()), (1, 2), "{plot}");
    }
}

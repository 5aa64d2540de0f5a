//! What log lines have in common: how often one comes again, how a duration looks, and what others have written.

use std::time::Duration;

use tokio::time::Instant;

/// What goes wrong again and again is logged this often.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// At most this many different failures are remembered within that time.
const REMEMBERED: usize = 16;

/// The most characters of a text of others in a line.
const MAX_FOREIGN: usize = 100;

/// Lets through the first of each thing that goes wrong, and then one a minute.
#[derive(Debug, Default)]
pub struct Seldom(Vec<(String, Instant)>);

impl Seldom {
    /// Whether this is to be logged now.
    pub fn lets_through(&mut self, what: &str) -> bool {
        self.0.retain(|(_, at)| at.elapsed() < AGAIN_AFTER);
        let is_new = self.0.len() < REMEMBERED && !self.0.iter().any(|(said, _)| said == what);
        if is_new {
            self.0.push((what.to_owned(), Instant::now()));
        }
        is_new
    }
}

/// `0.2s`, `1.5s`, `61s`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1}s") } else { format!("{seconds:.0}s") }
}

/// The beginning of what others have written, with all that a terminal could take for an order escaped. `None` where
/// they have written nothing.
pub fn foreign(text: Option<&str>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    let mut shown: String = text.chars().take(MAX_FOREIGN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_FOREIGN).is_some() {
        shown.push('…');
    }
    Some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_goes_wrong_again_is_said_once_a_minute() {
        let mut seldom = Seldom::default();
        let mut said = 0;
        for _ in 0..180 {
            said += u32::from(seldom.lets_through("refused"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(said, 3);
        assert!(seldom.lets_through("something else") && !seldom.lets_through("something else"));
    }

    #[test]
    fn durations_are_rounded_and_foreign_text_is_short_and_plain() {
        assert_eq!(seconds(Duration::from_nanos(176_955_589)), "0.2s");
        assert_eq!(seconds(Duration::from_millis(60_700)), "61s");
        assert_eq!(foreign(Some("a\u{1b}[2J\n\u{202e}")).as_deref(), Some("a\\u{1b}[2J\\n\\u{202e}"));
        assert_eq!(foreign(Some(&"x".repeat(500))).map(|shown| shown.chars().count()), Some(MAX_FOREIGN + 1));
        assert_eq!((foreign(None), foreign(Some(""))), (None, None));
    }
}

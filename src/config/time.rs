//! Times in settings, and their bounds.

use std::time::Duration;

use humantime::parse_duration;

/// A time, or a word that says none. Not an `Option`, which clap takes for an argument that may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeOrNone(pub(super) Option<Duration>);

/// Times from one to the other, both as they are written.
pub(super) struct Range {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    /// The word that stands for none.
    pub(super) none: Option<&'static str>,
    /// Why no others.
    pub(super) why: &'static str,
}

impl Range {
    /// A time within it.
    pub(super) fn time(&self, text: &str) -> Result<Duration, String> {
        match self.parse(text)? {
            TimeOrNone(Some(time)) => Ok(time),
            TimeOrNone(None) => Err(self.allowed()),
        }
    }

    /// A time within it, or the word.
    pub(super) fn parse(&self, text: &str) -> Result<TimeOrNone, String> {
        if self.none == Some(text) {
            return Ok(TimeOrNone(None));
        }
        let time = parse_duration(text).map_err(|error| format!("{error}; {}", self.allowed()))?;
        let ends = parse_duration(self.from).ok().zip(parse_duration(self.to).ok());
        match ends {
            Some((from, to)) if (from..=to).contains(&time) => Ok(TimeOrNone(Some(time))),
            _ => Err(self.allowed()),
        }
    }

    fn allowed(&self) -> String {
        let none = self.none.map(|word| format!(", or {word}")).unwrap_or_default();
        format!("it is a time from {} to {}{none}: {}", self.from, self.to, self.why)
    }
}

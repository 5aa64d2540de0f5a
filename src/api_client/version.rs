//! The dated version of the API: what requests ask for, and what answers say they were made by.
//!
//! Each integration is pinned to the version that was the newest when it was created, and gets answers of that shape.
//! The header `X-Api-Version` on a request raises it, and each answer of the API carries the version used (the API's
//! documentation).

use std::str::FromStr;

use chrono::NaiveDate;
use reqwest::header::HeaderMap;

/// The header of requests and answers.
pub const HEADER: &str = "x-api-version";

/// The newest version that is known.
pub const NEWEST: &str = "2023-09-26";

/// A version of the API: a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersion(NaiveDate);

impl FromStr for ApiVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The parser of dates takes signs and fewer digits as well.
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.to_string() == text);
        date.map(Self).ok_or_else(|| format!("the version of the API is a date like {NEWEST}"))
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ApiVersion {
    /// How an answer with these headers differs from the version that was asked for, as text. `None` where it does not,
    /// or where the header is missing.
    pub fn difference(&self, headers: &HeaderMap) -> Option<String> {
        let answered = String::from_utf8_lossy(headers.get(HEADER)?.as_bytes());
        // It comes from outside, and goes into a report.
        let shown: String = answered.trim().chars().filter(char::is_ascii_graphic).take(40).collect();
        (shown != self.to_string()).then(|| format!("answered as version {shown}, although {self} was asked for"))
    }
}

/// Whether an answer was made by the API itself, and not by what stands before it: a 404 without the header means that
/// the path is unknown there (seen live, 2026).
pub fn is_of_the_api(headers: &HeaderMap) -> bool {
    headers.contains_key(HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_date_as_the_api_writes_it() {
        assert_eq!(NEWEST.parse::<ApiVersion>().map(|version| version.to_string()), Ok(NEWEST.to_owned()));
        for odd in ["", "latest", "2023-9-26", "2023-02-30", "26-09-2023", "+2023-09-26", "2023-09-26 "] {
            assert!(odd.parse::<ApiVersion>().is_err(), "{odd:?}");
        }
    }

    #[test]
    fn an_answer_of_another_version_is_said_and_one_without_says_nothing() {
        let asked: ApiVersion = NEWEST.parse().expect("a date");
        let mut headers = HeaderMap::new();
        assert_eq!((asked.difference(&headers), is_of_the_api(&headers)), (None, false));
        headers.insert(HEADER, NEWEST.parse().expect("valid"));
        assert_eq!((asked.difference(&headers), is_of_the_api(&headers)), (None, true));
        headers.insert(HEADER, "2021-09-01".parse().expect("valid"));
        let said = asked.difference(&headers).expect("another version");
        assert_eq!(said, "answered as version 2021-09-01, although 2023-09-26 was asked for");
    }
}

//! What an answer says besides its body: how it is to be read, what it means that it refuses, and the rest of the
//! budget.
//!
//! An answer with status 200 is not the API's for that alone. A proxy may put a page of its own in its place, for
//! maintenance or a login: that is an outage, like a 503. An answer of the API that was cut on the way is
//! [`Failure::Malformed`], and no outage. The two are distinguished by the first byte and the content type: what begins
//! with `{` or `[` is JSON, whole or cut, whatever type it has; anything else is a page, unless it is announced as JSON
//! and does not begin with `<`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};

use super::answer::{self, Unreadable};
use super::clock::{DatabaseClock, Dated};
use super::rate_limit::{self, Observation};
use super::refusal::ErrorBody;
use super::version::{self, ApiVersion};
use crate::retry::Failure;

/// A higher limit than this in any window is not believed; the API's is 200.
const MAX_LIMIT: u32 = 1_000_000;

/// A reset that is later than this is not believed: all requests have left the window by then.
const LONGEST_RESET: Duration = Duration::from_secs(2 * rate_limit::WINDOW.as_secs());

/// The reset has whole seconds, cut off: the real one is up to this much later.
const RESET_CUT_OFF: Duration = Duration::from_secs(1);

/// The wait after a 429 that names no reset.
const RATE_LIMITED_WITHOUT_RESET: Duration = Duration::from_secs(10);

/// What the headers of an answer say.
#[derive(Debug)]
pub struct Heard {
    /// When the API answered, held against the database's clock.
    pub dated: Option<Dated>,
    /// The rest of the budget, where the headers name it and it is plausible.
    pub limit: Result<Option<Observation>, Implausible>,
    /// How long nothing is to be sent, if the answer is a 429.
    pub retry_in: Duration,
    /// How the answer's version differs from the one asked for, as text.
    pub version_mismatch: Option<String>,
    /// How the body is encoded, if it cannot be read.
    coding: Option<String>,
    /// What the body is said to be; safe to show.
    content_type: Option<String>,
    /// Whether the API made the answer, and not what stands before it.
    is_of_the_api: bool,
}

/// A try that failed.
#[derive(Debug)]
pub struct FailedAttempt {
    /// The kind of failure.
    pub failure: Failure,
    /// As text; holds no body, token or query.
    pub reason: String,
}

impl From<String> for FailedAttempt {
    fn from(reason: String) -> Self {
        Self { failure: Failure::Malformed, reason }
    }
}

impl From<Unreadable> for FailedAttempt {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Answer(reason) => reason.into(),
            Unreadable::Record(reason) => Self { failure: Failure::Unreadable, reason },
        }
    }
}

impl Heard {
    /// Reads the headers of an answer that has just come to a request for this version.
    pub fn of(headers: &HeaderMap, clock: &DatabaseClock, version: &ApiVersion) -> Self {
        let date = server_clock(headers);
        let dated = date.map(|date| clock.judge(date));
        // As the API wrote it: what it says of the budget is of the same clock.
        let believed = date.filter(|_| matches!(dated, Some(Dated::At(_))));
        let now = believed.or_else(|| clock.now()).unwrap_or_else(Utc::now);
        let limit = observation(headers, now);
        Self {
            dated,
            limit,
            retry_in: retry_in(headers, limit.unwrap_or_default(), now),
            coding: unknown_coding(headers),
            content_type: header_text(headers, CONTENT_TYPE),
            is_of_the_api: version::is_of_the_api(headers),
            version_mismatch: version.difference(headers),
        }
    }

    /// Checks an answer with status 200: an error where it is not one that can be read.
    pub fn check(&self, body: &[u8]) -> Result<(), FailedAttempt> {
        if let Some(coding) = &self.coding {
            let reason = format!("the answer has the content encoding {coding}, which was not asked for");
            return Err(FailedAttempt { failure: Failure::Malformed, reason });
        }
        if is_page(self.content_type.as_deref(), body) {
            let kind = self.content_type.as_deref().unwrap_or("no content type");
            let reason =
                format!("answered 200 OK with {kind} and no JSON: a page of a proxy, in the place of an answer");
            return Err(FailedAttempt { failure: Failure::Page, reason });
        }
        Ok(())
    }

    /// What the answer says that refuses, of this kind by its status.
    ///
    /// A 404 means that a record is deleted only where the API itself says so: without `X-Api-Version` it comes from
    /// what stands before it, for a path that is unknown there (seen live, 2026), whatever its body looks like.
    pub fn refusal(&self, status: StatusCode, failure: Failure, body: &[u8]) -> FailedAttempt {
        let said = ErrorBody::parse(body).map(|error| format!(": {}", error.words())).unwrap_or_default();
        if failure == Failure::NotFound && !self.is_of_the_api {
            let reason = format!(
                "answered {status} without X-Api-Version{said}: that is not the API, but what stands before it, for a \
                 path that it does not know. It says of no record that it is deleted"
            );
            return FailedAttempt { failure: Failure::Server, reason };
        }
        FailedAttempt { failure, reason: format!("answered {status}{said}") }
    }
}

/// Whether an answer with status 200 is a page that a proxy has put in its place; the module says how it is recognized.
fn is_page(content_type: Option<&str>, body: &[u8]) -> bool {
    let is_json = content_type.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    });
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{' | b'[') => false,
        Some(b'<') => true,
        Some(_) | None => !is_json,
    }
}

/// How the body is still encoded: only gzip is asked for, and its header is removed once the body is being
/// decompressed.
fn unknown_coding(headers: &HeaderMap) -> Option<String> {
    header_text(headers, CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"))
}

/// The beginning of a header, which comes from outside and goes into an error.
fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(name)?.as_bytes());
    Some(text.chars().filter(char::is_ascii_graphic).take(40).collect())
}

fn server_clock(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(httpdate::parse_http_date(text).ok()?.into())
}

/// The rate limit headers say what cannot be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Implausible;

/// Reads the rate limit headers, if they are there; `now` by the API's clock.
fn observation(headers: &HeaderMap, now: DateTime<Utc>) -> Result<Option<Observation>, Implausible> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let names = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let [Some(limit), Some(remaining), Some(reset)] = names.map(text) else { return Ok(None) };
    let number = |text: &str| text.parse::<u32>().map_err(|_| Implausible);
    let (limit, remaining) = (number(limit)?, number(remaining)?);
    if !(1..=MAX_LIMIT).contains(&limit) || remaining > limit {
        return Err(Implausible);
    }
    // Both times are the API's, so that this machine's clock does not matter. Both have whole seconds, cut off (seen
    // live, 2026): their difference is up to a second too long or too short. Too long costs a second where the budget
    // is used up; too short, a request that is refused: one that goes out while those that fill the window are in
    // flight. A reset in the past is now.
    let reset_in = (answer::parse_time(reset).ok_or(Implausible)? - now).to_std().unwrap_or_default();
    let reset_in = reset_in.saturating_add(RESET_CUT_OFF).min(LONGEST_RESET);
    Ok(Some(Observation { limit, remaining, reset_in }))
}

/// How long nothing is to be sent after a 429: until the reset, or what `Retry-After` says (a proxy's 429 has no more
/// than that).
fn retry_in(headers: &HeaderMap, seen: Option<Observation>, now: DateTime<Utc>) -> Duration {
    let text = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = text.and_then(|text| match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => (DateTime::<Utc>::from(httpdate::parse_http_date(text).ok()?) - now).to_std().ok(),
    });
    match (seen, after) {
        (None, None) => RATE_LIMITED_WITHOUT_RESET,
        (seen, after) => seen.map(|seen| seen.reset_in).max(after).unwrap_or_default().min(LONGEST_RESET),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_read_from_the_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-limit", "200"),
            ("x-ratelimit-remaining", "78"),
            ("x-ratelimit-reset", "2021-06-15T10:51:23.035+0100"),
            ("date", "Tue, 15 Jun 2021 09:51:03 GMT"),
        ] {
            headers.insert(name, value.parse().expect("valid"));
        }
        let now = server_clock(&headers).expect("a date");
        let seen = observation(&headers, now).expect("plausible").expect("complete");
        assert_eq!((seen.limit, seen.remaining, seen.reset_in.as_millis()), (200, 78, 21_035));
        for (name, odd) in [
            ("x-ratelimit-limit", "0"),
            ("x-ratelimit-limit", "4294967295"),
            ("x-ratelimit-limit", "77"),
            ("x-ratelimit-limit", "-1"),
            ("x-ratelimit-remaining", "9223372036854775807"),
            ("x-ratelimit-reset", "soon"),
        ] {
            let mut headers = headers.clone();
            headers.insert(name, odd.parse().expect("valid"));
            assert_eq!(observation(&headers, now), Err(Implausible), "{name}: {odd}");
        }
        headers.insert("x-ratelimit-reset", "9999-12-31T23:59:59+00:00".parse().expect("valid"));
        assert_eq!(observation(&headers, now).expect("plausible").expect("complete").reset_in, LONGEST_RESET);
        headers.remove("x-ratelimit-reset");
        assert_eq!(observation(&headers, now), Ok(None));
    }

    #[test]
    fn after_a_429_the_second_that_the_reset_cuts_off_is_waited_too() {
        let wait = |date: &str, reset: &str| {
            let mut headers = HeaderMap::new();
            let fields = [
                ("x-ratelimit-limit", "200"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", reset),
                ("date", date),
            ];
            for (name, value) in fields {
                headers.insert(name, value.parse().expect("valid"));
            }
            let now = server_clock(&headers).expect("a date");
            retry_in(&headers, observation(&headers, now).expect("plausible"), now).as_millis()
        };
        let date = "Sun, 08 Feb 2026 11:08:56 GMT";
        for (reset, waited) in [
            ("2026-02-08T11:09:08+00:00", 13_000),
            ("2026-02-08T12:09:08+0100", 13_000),
            ("2026-02-08T11:09:08.035+0000", 13_035),
            ("2026-02-08T11:09:08Z", 13_000),
            ("2026-02-08T11:08:50+00:00", 1_000),
        ] {
            assert_eq!(wait(date, reset), waited, "{reset}");
        }
    }

    #[test]
    fn the_reset_is_held_against_the_date_of_its_answer_and_not_against_another_clock() {
        let date: DateTime<Utc> = "2026-02-08T11:08:56Z".parse().expect("a time");
        let clock = DatabaseClock::default();
        clock.set(date - chrono::TimeDelta::seconds(100));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-ratelimit-limit", "200"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "2026-02-08T11:09:08+00:00"),
            ("date", "Sun, 08 Feb 2026 11:08:56 GMT"),
        ] {
            headers.insert(name, value.parse().expect("valid"));
        }
        let heard = Heard::of(&headers, &clock, &version::NEWEST.parse().expect("a date"));
        assert!(matches!(heard.dated, Some(Dated::At(at)) if at < date), "a watermark is not later than the database");
        assert_eq!(heard.retry_in.as_secs(), 13);
    }

    #[test]
    fn a_page_of_a_proxy_is_distinguished_from_an_answer_that_was_cut() {
        for (kind, body) in [
            (Some("text/html"), "<!doctype html><title>We'll be right back</title>"),
            (Some("application/json"), " \n<html>"),
            (Some("text/plain; charset=utf-8"), "upstream timed out"),
            (None, "upstream timed out"),
            (Some("text/html"), ""),
            (None, ""),
        ] {
            assert!(is_page(kind, body.as_bytes()), "{kind:?} {body}");
        }
        for (kind, body) in [
            (Some("application/json"), "{\"data\":["),
            (Some("application/problem+json; charset=utf-8"), ""),
            (Some("Application/JSON"), "nul"),
            (Some("text/html"), "{\"data\":[]}"),
            (None, " [{"),
        ] {
            assert!(!is_page(kind, body.as_bytes()), "{kind:?} {body}");
        }
    }

    #[test]
    fn only_the_api_itself_says_that_a_record_is_deleted() {
        let asked: ApiVersion = version::NEWEST.parse().expect("a date");
        let found = |is_of_the_api: bool, body: &str| {
            let mut headers = HeaderMap::new();
            if is_of_the_api {
                headers.insert(version::HEADER, "2021-09-01".parse().expect("valid"));
            }
            let heard = Heard::of(&headers, &DatabaseClock::default(), &asked);
            let failed = heard.refusal(StatusCode::NOT_FOUND, Failure::NotFound, body.as_bytes());
            (failed.failure, failed.reason)
        };
        let titled = r#"{"errors":[{"title":"The requested resource could not be found."},{"key":"x"}]}"#;
        for body in [titled, r#"{"errors":[{"key":"not_found","status":404}]}"#, "<html>", ""] {
            assert_eq!(found(true, body).0, Failure::NotFound, "{body}");
            let (failure, reason) = found(false, body);
            assert_eq!(failure, Failure::Server, "{body}");
            assert!(reason.contains("without X-Api-Version"), "{reason}");
        }
        assert_eq!(found(true, titled).1, "answered 404 Not Found: The requested resource could not be found.; x");
    }

    #[test]
    fn the_wait_after_a_429_is_the_longer_of_reset_and_retry_after() {
        let now: DateTime<Utc> = "2021-06-15T09:51:03Z".parse().expect("a time");
        let wait = |after: Option<&str>, seen| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().expect("valid"));
            }
            retry_in(&headers, seen, now).as_secs()
        };
        let seen = Some(Observation { limit: 200, remaining: 0, reset_in: Duration::from_secs(20) });
        assert_eq!((wait(None, None), wait(Some("soon"), None)), (10, 10));
        assert_eq!((wait(Some("3"), None), wait(Some("3"), seen), wait(Some("30"), seen)), (3, 20, 30));
        assert_eq!(wait(Some("Tue, 15 Jun 2021 09:51:48 GMT"), seen), 45);
        assert_eq!(
            (wait(Some("18446744073709551615"), seen), wait(Some("Fri, 31 Dec 9999 23:59:59 GMT"), None)),
            (120, 120)
        );
    }
}

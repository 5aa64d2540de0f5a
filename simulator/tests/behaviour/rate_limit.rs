//! The sliding window and its headers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use teamleader_simulator::{Config, Fault, FaultKind, ResetForm};

use crate::{Answer, Api};

fn reset(answer: &Answer) -> DateTime<Utc> {
    let text = answer.header("x-ratelimit-reset");
    assert_eq!(text.len(), "2026-02-08T11:09:08+00:00".len());
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

#[tokio::test]
async fn the_reset_was_written_otherwise_once_and_can_lie_in_the_past() {
    let api = Api::start(Config::default()).await;
    api.simulator.inject(Fault::new(FaultKind::ResetInThePast { seconds: 12 }).times(1));
    let past = api.call("users.me", json!({})).await;
    assert_eq!(past.status, 200);
    assert!((-13..=-12).contains(&(reset(&past) - date(&past)).num_seconds()));
    // The offset has no colon, so RFC 3339 does not read it.
    api.quirk(|quirks| quirks.reset_form = ResetForm::Milliseconds);
    let answer = api.call("users.me", json!({})).await;
    let text = answer.header("x-ratelimit-reset");
    assert!(DateTime::parse_from_rfc3339(text).is_err());
    let reset = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.3f%z").unwrap().to_utc();
    assert!((59..=61).contains(&(reset - date(&answer)).num_seconds()));
}

fn date(answer: &Answer) -> DateTime<Utc> {
    DateTime::parse_from_rfc2822(answer.header("date")).unwrap().to_utc()
}

#[tokio::test]
async fn every_answer_tells_limit_remaining_and_reset() {
    let api = Api::start(Config::default()).await;
    for remaining in [199, 198] {
        let answer = api.call("users.me", json!({})).await;
        assert_eq!(answer.header("x-ratelimit-limit"), "200");
        assert_eq!(answer.header("x-ratelimit-remaining"), remaining.to_string());
        assert!(answer.header("date").ends_with(" GMT"));
        let wait = (reset(&answer) - date(&answer)).num_seconds();
        assert!((59..=61).contains(&wait), "{wait}");
    }
    let failed = api.call("contacts.info", json!({})).await;
    assert_eq!((failed.status, failed.header("x-ratelimit-remaining")), (400, "197"));
}

#[tokio::test]
async fn over_the_limit_comes_429_until_the_oldest_request_leaves_the_window() {
    let api = Api::start(Config { rate_limit: 2, ..Config::default() }).await;
    api.call("users.me", json!({})).await;
    api.simulator.advance_clock(Duration::from_secs(40));
    api.call("users.me", json!({})).await;

    let refused = api.call("users.me", json!({})).await;
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (429, "0"));
    let wait = (reset(&refused) - date(&refused)).num_seconds();
    assert!((18..=21).contains(&wait), "{wait}");

    api.simulator.advance_clock(Duration::from_secs(20));
    assert_eq!(api.call("users.me", json!({})).await.status, 200, "refused requests do not count");
    assert_eq!(api.call("users.me", json!({})).await.status, 429);
    assert_eq!(api.simulator.counters().rate_limited, 2);
}

#[tokio::test]
async fn other_programs_of_the_same_integration_count_too() {
    let api = Api::start(Config { rate_limit: 10, ..Config::default() }).await;
    api.simulator.spend_rate_limit(9);
    assert_eq!(api.call("users.me", json!({})).await.header("x-ratelimit-remaining"), "0");
    assert_eq!(api.call("users.me", json!({})).await.status, 429);
}

#[tokio::test]
async fn neither_tokens_nor_unauthenticated_requests_count() {
    let mut api = Api::start(Config { rate_limit: 1, ..Config::default() }).await;
    let token = std::mem::replace(&mut api.token, "wrong".to_owned());
    for _ in 0..3 {
        let answer = api.call("users.me", json!({})).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (401, "1"));
    }
    api.token = token;
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
}

#[tokio::test]
async fn the_limit_and_its_window_can_be_changed() {
    let api = Api::start(Config { rate_limit: 5, ..Config::default() }).await;
    for _ in 0..5 {
        api.call("users.me", json!({})).await;
    }
    api.simulator.set_rate_limit(3, Duration::from_secs(60));
    let refused = api.call("users.me", json!({})).await;
    assert_eq!((refused.status, refused.header("x-ratelimit-limit")), (429, "3"));
    api.simulator.set_rate_limit(6, Duration::from_secs(60));
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
}

//! Answers that the API would never give.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::json::{self, usize};
use crate::meddler::Answer;
use crate::stage::{DETAILED, RESOURCES};

/// An answer that is exchanged for another.
pub struct Attack {
    pub kind: &'static str,
    /// Whose answer: `contacts.list`.
    pub endpoint: String,
    /// How many answers of the endpoint come through before it.
    pub skip: u64,
    /// The request whose run asks for it; none: an authorization does.
    pub request: Option<Value>,
    pub meddling: Meddling,
}

/// What is done with an answer, and the dice for what depends on the answer.
pub struct Meddling {
    act: fn(&mut Dice, &mut Answer),
    dice: Dice,
}

type Kind = (&'static str, fn(&mut Dice, &mut Answer));

const KINDS: [(u64, Kind); 10] = [
    (30, ("API: values", values)),
    (4, ("API: garbled bodies", garbled)),
    (3, ("API: bodies that are something else", other_body)),
    (1, ("API: large bodies", large_body)),
    (3, ("API: compressed bodies", compressed)),
    (4, ("API: Date", date)),
    (4, ("API: rate limit headers", rate_limit)),
    (5, ("API: other headers", headers)),
    (5, ("API: status", status)),
    (4, ("API: broken framing", framing)),
];

impl Attack {
    /// The attack of this seed.
    pub fn draw(dice: &mut Dice) -> Self {
        let (kind, act) = dice.weighted(&KINDS);
        let resource = dice.pick(&RESOURCES);
        let request = json!({
            "resources": [resource], "mode": dice.pick(&["full", "full", "incremental"]), "refetch": true,
            "allow_deletions": dice.one_in(4),
        });
        let of = |kind, endpoint: String, skip, request| {
            let dice = Dice::of(skip + endpoint.len() as u64);
            Self { kind, endpoint, skip, request, meddling: Meddling { act, dice } }
        };
        let mut attack = match dice.from(0..=79) {
            // A pair that is lost here costs an authorization.
            0 => of("API: token endpoint", "oauth2/access_token".to_owned(), 0, Some(request)),
            1 => of("API: users.me", "users.me".to_owned(), 0, None),
            2..=40 if DETAILED.contains(&resource) => {
                of(kind, format!("{resource}.info"), dice.from(0..=2), Some(request))
            }
            41..=44 if resource == "projects" => of(kind, "accounts.projects-v2-status".to_owned(), 0, Some(request)),
            _ => of(kind, format!("{resource}.list"), 0, Some(request)),
        };
        attack.meddling.dice = Dice::of(dice.from(0..=u64::MAX - 1));
        attack
    }
}

impl Meddling {
    /// Exchanges the answer.
    pub fn act(mut self, answer: &mut Answer) {
        (self.act)(&mut self.dice, answer);
    }
}

fn values(dice: &mut Dice, answer: &mut Answer) {
    answer.body = json::exchanged(dice, &answer.body);
}

fn garbled(dice: &mut Dice, answer: &mut Answer) {
    answer.body = json::garbled(dice, &answer.body);
}

fn other_body(dice: &mut Dice, answer: &mut Answer) {
    answer.body = match dice.from(0..=2) {
        0 => br#"{"data":[]}"#.to_vec(),
        _ => json::any(dice),
    };
}

/// At, below and above what the worker reads.
fn large_body(dice: &mut Dice, answer: &mut Answer) {
    let bytes = dice.pick(&[1 << 20, 8 << 20, (32 << 20) - 100, (32 << 20) + 100, 40 << 20]);
    let text = format!("{{\"data\":[{{\"id\":\"{}\"}}]}}", "x".repeat(bytes));
    answer.body = if dice.one_in(2) { text.into_bytes() } else { vec![b' '; bytes] };
}

/// Right, twice, cut short, and a few KB that become far more than the worker reads.
fn compressed(dice: &mut Dice, answer: &mut Answer) {
    let (times, mut body) = match dice.from(0..=4) {
        0 => (1, answer.body.clone()),
        1 => (2, answer.body.clone()),
        _ => (1, vec![b' '; dice.pick(&[1 << 20, 64 << 20, 256 << 20])]),
    };
    for _ in 0..times {
        body = gzip(&body);
    }
    if dice.one_in(4) {
        body.truncate(usize(dice, body.len()));
    }
    answer.set("Content-Encoding", dice.pick(&["gzip", "gzip", "gzip", "x-gzip", "gzip, gzip", "deflate"]));
    answer.body = body;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn date(dice: &mut Dice, answer: &mut Answer) {
    let date = dice.pick(&[
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Sat, 01 Jan 0000 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Wed, 31 Dec 2098 23:59:59 GMT",
        "Tue, 29 Feb 2023 25:61:61 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "99999999999999",
        "",
        "tomorrow",
        "\u{fc}",
    ]);
    answer.set("Date", date);
}

fn rate_limit(dice: &mut Dice, answer: &mut Answer) {
    let numbers =
        ["0", "1", "-1", "200", "4294967295", "4294967296", "18446744073709551616", "1e9", "", "NaN", "\u{fc}"];
    let soon = (chrono::Utc::now() + chrono::TimeDelta::seconds(2)).to_rfc3339();
    let times = [
        "0000-01-01T00:00:00+00:00",
        "1970-01-01T00:00:00+00:00",
        "99999-01-01T00:00:00+00:00",
        "-1",
        "1e400",
        "",
        "soon",
        &soon,
        "2024-02-30T00:00:00+00:00",
    ];
    answer.set("X-RateLimit-Limit", dice.pick(&numbers));
    answer.set("X-RateLimit-Remaining", dice.pick(&numbers));
    answer.set("X-RateLimit-Reset", dice.pick(&times));
    if dice.one_in(4) {
        answer.status = "429 Too Many Requests".to_owned();
    }
}

fn headers(dice: &mut Dice, answer: &mut Answer) {
    match dice.from(0..=6) {
        0 => answer.set(
            "Content-Encoding",
            dice.pick(&["gzip", "br", "deflate", "zstd", "identity, gzip", "x", "\u{fc}", ""]),
        ),
        1 => answer.set(
            "Content-Type",
            dice.pick(&["text/html", "application/xml", "", "application/json; charset=utf-16", "\u{1}"]),
        ),
        2 => (0..dice.from(1..=2_000)).for_each(|n| answer.add(&format!("X-{n}"), "y")),
        3 => answer.add("X", &"y".repeat(usize(dice, 400_000))),
        4 => answer.add("Set-Cookie", &"\u{fc}=\u{1};".repeat(usize(dice, 1_000))),
        5 => answer.add(dice.pick(&["", " ", "X Y", "\u{fc}", "X\0"]), "y"),
        _ => answer.add("Connection", dice.pick(&["upgrade", "close, keep-alive", "keep-alive, close", "\u{fc}"])),
    }
}

fn status(dice: &mut Dice, answer: &mut Answer) {
    let status = dice.pick(&[
        "200 \u{fc}",
        "201 Created",
        "204 No Content",
        "206 Partial Content",
        "301 Moved",
        "302 Found",
        "304 Not Modified",
        "400 Bad Request",
        "401 Unauthorized",
        "402 Payment Required",
        "403 Forbidden",
        "404 Not Found",
        "405 Method Not Allowed",
        "408 Request Timeout",
        "409 Conflict",
        "410 Gone",
        "418 Teapot",
        "422 Unprocessable",
        "429 Too Many Requests",
        "451 Unavailable",
        "500 Error",
        "502 Bad Gateway",
        "503 Unavailable",
        "504 Timeout",
        "511 Authenticate",
        "599 Error",
        "600 Odd",
        "999 Odd",
        "099 Odd",
        "0 Odd",
        "-200 OK",
        "2000 OK",
        "",
        "OK",
    ]);
    status.clone_into(&mut answer.status);
    match dice.from(0..=3) {
        0 => answer.set("Location", dice.pick(&["http://127.0.0.1:1/", "/", "", "http://[", "file:///etc/passwd"])),
        1 => answer.set(
            "Retry-After",
            dice.pick(&["0", "-1", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "\u{fc}"]),
        ),
        2 => answer.body = br#"{"errors":[{"code":0,"title":"\u0000","status":-1}]}"#.to_vec(),
        _ => {}
    }
}

fn framing(dice: &mut Dice, answer: &mut Answer) {
    match dice.from(0..=8) {
        // Nothing at all.
        0 => answer.raw = Some(Vec::new()),
        1 => answer.raw = Some(json::bytes(dice, 400)),
        2 => answer.raw = Some(b"HTTP/1.1 100 Continue\r\n\r\n".repeat(usize(dice, 2_000))),
        3 => answer.raw = Some(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}".to_vec()),
        4 => answer.raw = Some(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}".to_vec()),
        5 => answer.length = Some(dice.pick(&["-1", "18446744073709551616", "x", "", "5, 6", "1e3"]).to_owned()),
        6 => answer.length = Some((answer.body.len() + 1 + usize(dice, 1_000_000_000)).to_string()),
        7 => answer.length = Some(usize(dice, answer.body.len()).to_string()),
        _ => {
            let end = usize(dice, answer.body.len());
            answer.body.truncate(end);
        }
    }
}

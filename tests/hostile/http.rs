//! Byte streams that no HTTP client would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::dice::Dice;
use crate::json::{self, usize};

/// The token of the lanes' workers.
pub const TOKEN: &str = "a token of the hostile suite";

/// Every connection has ended after this, whatever its caller does.
pub const BOUND: Duration = Duration::from_secs(90);

/// What a whole request is answered within.
const ANSWERED: Duration = Duration::from_secs(15);

const PATHS: [&str; 18] = [
    "/",
    "/sync/teamleader",
    "/sync/runs/",
    "/sync/runs/00000000-0000-0000-0000-000000000001",
    "/sync/authorize",
    "/sync/oauth",
    "/metrics",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/dashboard",
    "/dashboard/login",
    "/dashboard/logout",
    "/dashboard/style.css",
    "/swagger-ui.css",
    "/nothing",
    "/sync/../metrics",
    "//",
];

const METHODS: [&str; 10] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH", "get"];

const PARAMETERS: [&str; 9] = ["code", "state", "error", "full_sync", "next", "page", "limit", "", "%00"];

const QUERY_VALUES: [&str; 16] = [
    "%00",
    "%FF",
    "%",
    "%zz",
    "%c3%28",
    "%u0041",
    "true",
    "-1",
    "1e400",
    "99999999999999999999",
    "%0d%0aX:%20y",
    "..%2f..%2fetc%2fpasswd",
    "'%20or%201=1--",
    "%3Cscript%3E",
    "https://evil.example/",
    "//evil.example",
];

/// A stream of bytes.
pub struct Stream {
    pub kind: &'static str,
    pub bytes: Vec<u8>,
    /// What is sent again and again after it, until the server closes the connection or 4 MB are sent.
    pub endless: Vec<u8>,
    /// The server may wait for more before it answers.
    pub is_open: bool,
}

/// What came of one.
pub enum Answer {
    /// The server has closed the connection after this, or answered in whole.
    Ended(Vec<u8>),
    /// It may go on waiting for as long as it likes, within the bound.
    Waiting(TcpStream),
}

type Draw = fn(&mut Dice) -> Stream;

const KINDS: [(u64, Draw); 12] = [
    (3, request_line),
    (3, heads),
    (2, hosts),
    (3, chunks),
    (3, lengths),
    (2, pipeline),
    (2, half_open),
    (1, other_protocol),
    (4, json_body),
    (6, query),
    (3, cookies),
    (4, credentials),
];

impl Stream {
    /// The stream of this seed.
    pub fn draw(dice: &mut Dice) -> Self {
        dice.weighted(&KINDS)(dice)
    }

    fn of(kind: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { kind, bytes: bytes.into(), endless: Vec::new(), is_open: false }
    }

    fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// Sends it, and reads what comes.
    pub async fn send(&self, address: &str) -> Result<Answer, String> {
        let mut stream = TcpStream::connect(address).await.map_err(|error| format!("no connection: {error}"))?;
        let mut answer = Vec::new();
        let exchange = async {
            // A server that has heard enough closes the connection, and what it said before may be lost.
            if stream.write_all(&self.bytes).await.is_err() {
                return true;
            }
            for _ in 0..(4_000_000_usize).checked_div(self.endless.len()).unwrap_or(0) {
                if stream.write_all(&self.endless).await.is_err() {
                    return true;
                }
            }
            if self.is_open {
                return false;
            }
            let _ = stream.read_to_end(&mut answer).await;
            true
        };
        match tokio::time::timeout(ANSWERED, exchange).await {
            Ok(true) => Ok(Answer::Ended(answer)),
            Ok(false) => Ok(Answer::Waiting(stream)),
            Err(_) => Err(format!("after {} s the connection is open: {:?}", ANSWERED.as_secs(), shown(&answer))),
        }
    }
}

/// What is wrong with an answer.
pub fn complaint(answer: &[u8]) -> Option<String> {
    if answer.is_empty() {
        return None;
    }
    // Of each answer that follows another, too.
    let marks = memchr::memmem::find_iter(answer, b"HTTP/1.1 ").collect::<Vec<_>>();
    let is_failure = |at: &usize| answer.get(at + 9) == Some(&b'5');
    (!answer.starts_with(b"HTTP/1.") || marks.iter().any(is_failure)).then(|| format!("the answer {:?}", shown(answer)))
}

/// The beginning of bytes, as text.
pub fn shown(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(600)].escape_ascii().to_string();
    if bytes.len() > 600 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// The head of a request that ends its connection, with the right token.
fn head(method: &str, target: &str, more: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: close\r\n{more}\r\n"
    )
}

fn with_body(method: &str, target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let more = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    [head(method, target, &more).as_bytes(), body].concat()
}

fn request_line(dice: &mut Dice) -> Stream {
    let line = match dice.from(0..=8) {
        0 => json::bytes(dice, 300),
        1 => format!("GET /{} HTTP/1.1", "x".repeat(usize(dice, 60_000))).into(),
        2 => format!("{} / HTTP/1.1", "G".repeat(usize(dice, 40_000))).into(),
        3 => dice
            .pick(&["GET", "GET /", "GET / HTTP/9.9", "GET / HTTP/1.", "GET  / HTTP/1.1", "/ GET HTTP/1.1", " "])
            .into(),
        4 => b"GET /\xff\xfe\x80 HTTP/1.1".to_vec(),
        5 => b"GET /\0 HTTP/1.1".to_vec(),
        6 => format!("{} * HTTP/1.1", dice.pick(&METHODS)).into(),
        7 => format!("{} {} HTTP/1.0", dice.pick(&METHODS), dice.pick(&PATHS)).into(),
        _ => format!(
            "GET {} HTTP/1.1",
            dice.pick(&["/%", "/%00", "/%ff", "/?", "/#", "?", "/a b", "/\u{e4}", "/\\", "*"])
        )
        .into(),
    };
    Stream::of("HTTP: request line", [&line[..], b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"].concat())
}

fn heads(dice: &mut Dice) -> Stream {
    let end = "\r\n";
    let more = match dice.from(0..=6) {
        0 => (0..dice.from(1..=5_000)).map(|n| format!("X-{n}: y\r\n")).collect(),
        1 => format!("X: {}{end}", "y".repeat(usize(dice, 200_000))),
        2 => format!("{}: y{end}", "X".repeat(usize(dice, 100_000))),
        3 => "X : y\r\n".to_owned(),
        4 => " folded\r\n\tmore\r\n".to_owned(),
        5 => dice
            .pick(&[": y\r\n", "X\r\n", "X: \0\r\n", "X: \u{1}\r\n", "X:\n\n", "\r: y\r\n", "X: y\r\r\n"])
            .to_owned(),
        // Headers without an end.
        _ => {
            let first = Stream::of("HTTP: headers", head("GET", "/", "").trim_end().to_owned() + end);
            return Stream { endless: b"X: y\r\n".repeat(500), ..first.open() };
        }
    };
    Stream::of("HTTP: headers", head("GET", dice.pick(&PATHS), &more))
}

fn hosts(dice: &mut Dice) -> Stream {
    let path = dice.pick(&PATHS);
    let bytes = match dice.from(0..=5) {
        0 => format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        1 => format!("GET http://evil.example{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        2 => format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"),
        3 => "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\nConnection: close\r\n\r\n".to_owned(),
        4 => format!("GET //evil.example{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        _ => {
            let host = dice.pick(&[
                "",
                "[",
                "[::1]:x",
                "a b",
                "localhost:99999",
                "localhost:-1",
                "\u{fc}",
                "evil.example",
                "%00",
            ]);
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: null\r\nConnection: close\r\n\r\n")
        }
    };
    Stream::of("HTTP: hosts and absolute addresses", bytes)
}

fn chunks(dice: &mut Dice) -> Stream {
    let kind = "HTTP: chunks";
    let post = |coding: &str, body: &[u8]| {
        let more = format!("Transfer-Encoding: {coding}\r\n");
        Stream::of(kind, [head("POST", "/sync/teamleader", &more).as_bytes(), body].concat())
    };
    match dice.from(0..=8) {
        0 => post("chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
        1 => post("chunked", b"ffffffffffffffff\r\n{}").open(),
        2 => post("chunked", b"fffffffffffffffff\r\n{}"),
        3 => post("chunked\r\nContent-Length: 2", b"2\r\n[]\r\n0\r\n\r\n"),
        4 => post(dice.pick(&["xchunked", "gzip, chunked", "chunked, gzip", "identity", ""]), b"2\r\n[]\r\n0\r\n\r\n"),
        5 => post("chunked", format!("2;{}\r\n[]\r\n0\r\n\r\n", "x".repeat(usize(dice, 100_000))).as_bytes()),
        6 => post("chunked", format!("0\r\n{}\r\n", "X: y\r\n".repeat(usize(dice, 5_000))).as_bytes()),
        // Each byte a chunk.
        7 => post("chunked", [b"1\r\n[\r\n".repeat(usize(dice, 70_000)), b"0\r\n\r\n".to_vec()].concat().as_slice()),
        _ => post("chunked", b"5\r\n{}").open(),
    }
}

fn lengths(dice: &mut Dice) -> Stream {
    let kind = "HTTP: lengths";
    let body = if dice.one_in(2) { "[]" } else { "" };
    let says = dice.pick(&[
        "-1",
        "+2",
        "2, 3",
        "2\r\nContent-Length: 3",
        "0x2",
        "18446744073709551616",
        "",
        " ",
        "2 2",
        "1e3",
    ]);
    let post = |length: &str| {
        Stream::of(kind, head("POST", "/sync/teamleader", &format!("Content-Length: {length}\r\n")) + body)
    };
    match dice.from(0..=3) {
        0 => post(dice.pick(&["3", "1000", "65536"])).open(),
        1 => post(dice.pick(&["65537", "1000000000", "9223372036854775807", "18446744073709551615"])).open(),
        // What follows is a request of its own, or nothing.
        2 => post("1").open(),
        _ => post(says),
    }
}

fn pipeline(dice: &mut Dice) -> Stream {
    let one = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        dice.pick(&["/health/live", "/", "/nothing", "/metrics"])
    );
    let last = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    Stream::of("HTTP: pipelining", one.repeat(1 + usize(dice, 200)) + last)
}

fn half_open(dice: &mut Dice) -> Stream {
    let whole = with_body("POST", "/sync/teamleader", "application/json", b"[]");
    Stream::of("HTTP: half a request", &whole[..usize(dice, whole.len() - 1)]).open()
}

fn other_protocol(dice: &mut Dice) -> Stream {
    let bytes: &[u8] = match dice.from(0..=4) {
        0 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        1 => b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        2 => b"AMQP\0\0\x09\x01",
        3 => b"\0\0\0\x08\x04\xd2\x16\x2f",
        _ => {
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
            HTTP2-Settings: AAMAAABk\r\n\r\n"
        }
    };
    Stream::of("HTTP: other protocols", bytes).open()
}

fn json_body(dice: &mut Dice) -> Stream {
    let request = br#"{"full_sync":false}"#;
    let body = match dice.from(0..=3) {
        0 => json::any(dice),
        1 => json::exchanged(dice, request),
        2 => json::garbled(dice, request),
        _ => vec![b'['; usize(dice, 70_000)],
    };
    let content_type = dice.pick(&[
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "\u{1}",
    ]);
    Stream::of("HTTP: JSON bodies", with_body("POST", "/sync/teamleader", content_type, &body))
}

fn query(dice: &mut Dice) -> Stream {
    // Those that read a query are fewer than those that do not.
    let reads = ["/sync/oauth", "/sync/teamleader", "/dashboard/login"];
    let mut target = if dice.one_in(2) { dice.pick(&reads) } else { dice.pick(&PATHS) }.to_owned();
    for n in 0..dice.from(1..=4) {
        target.push(if n == 0 { '?' } else { '&' });
        target += dice.pick(&PARAMETERS);
        target.push('=');
        match dice.from(0..=8) {
            0 => target += &"x".repeat(usize(dice, 12_000)),
            1 => target += &"%ff".repeat(usize(dice, 4_000)),
            _ => target += dice.pick(&QUERY_VALUES),
        }
    }
    if target.starts_with("/sync/runs/?") {
        target
            .insert_str("/sync/runs/".len(), dice.pick(&["x", "%00", "-1", "%ff", "00000000000000000000000000000000"]));
    }
    Stream::of("HTTP: queries", head(dice.pick(&METHODS[..4]), &target, "Content-Length: 0\r\n"))
}

fn cookies(dice: &mut Dice) -> Stream {
    let login = "teamleader2db-acme";
    let value = match dice.from(0..=5) {
        0 => format!("{login}={}", "0".repeat(usize(dice, 8_000))),
        1 => format!("{login}=\u{fc}\u{1}; {login}-state=;=;;="),
        2 => (0..dice.from(1..=1_500)).map(|n| format!("c{n}=x; ")).collect(),
        3 => ";".repeat(usize(dice, 10_000)),
        4 => format!("{login}=\"unclosed"),
        _ => "=".to_owned(),
    };
    let path = dice.pick(&[
        "/dashboard",
        "/dashboard/login",
        "/dashboard/logout",
        "/sync/oauth?code=x&state=y",
        "/sync/authorize",
    ]);
    let method = dice.pick(&["GET", "POST"]);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {value}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    Stream::of("HTTP: cookies", head)
}

fn credentials(dice: &mut Dice) -> Stream {
    let kind = "HTTP: wrong tokens";
    if dice.one_in(3) {
        let form = match dice.from(0..=3) {
            0 => b"token=%ff%00".to_vec(),
            1 => format!("token={}", "x".repeat(usize(dice, 60_000))).into(),
            2 => b"token=a&token=b&next=//evil.example".to_vec(),
            _ => json::bytes(dice, 500),
        };
        let content_type =
            dice.pick(&["application/x-www-form-urlencoded", "multipart/form-data; boundary=", "application/json"]);
        let more =
            format!("Content-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", form.len());
        let head = format!("POST /dashboard/login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n{more}");
        return Stream::of(kind, [head.as_bytes(), &form].concat());
    }
    let token = match dice.from(0..=4) {
        0 => b"Bearer ".to_vec(),
        1 => [b"Bearer ", &vec![b'x'; usize(dice, 20_000)][..]].concat(),
        2 => b"Bearer \xff\xfe".to_vec(),
        3 => b"Basic dXNlcjpwYXNz".to_vec(),
        _ => format!("bearer  {TOKEN}\r\nAuthorization: Bearer {TOKEN}").into_bytes(),
    };
    let (before, after) =
        ("HTTP/1.1\r\nHost: localhost\r\nAuthorization: ", "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let line = format!("{} {} {before}", dice.pick(&["GET", "POST"]), dice.pick(&PATHS));
    Stream::of(kind, [line.as_bytes(), &token, after.as_bytes()].concat())
}

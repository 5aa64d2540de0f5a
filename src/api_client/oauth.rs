//! The OAuth endpoints: the authorize link, a code for a pair, a refresh token for the next pair, and who authorized.

use std::pin::pin;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::timeout;
use uuid::Uuid;

use super::refusal::{self, ErrorBody, Verdict};
use super::version::{self, ApiVersion};

/// The longest that a request to the token endpoint may take, connecting included, while this process runs.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

/// In parts of this length it is waited for. One in which the process is suspended counts as one, however long it is.
const TICK: Duration = Duration::from_secs(1);

/// As many parts, and once more as many where the process is suspended in the last one.
const TICKS: u64 = TOKEN_TIMEOUT.as_secs();

/// Bodies of the OAuth endpoints are a few hundred bytes; more than this is not read.
const MAX_BODY: usize = 256 * 1024;

/// The life of an access token, in seconds, where the API does not name it.
const DEFAULT_LIFETIME: f64 = 3600.0;

/// A shorter life is not believed: each request would use up a refresh token. In seconds.
const MIN_LIFETIME: f64 = 1.0;

/// A longer life is not believed; in seconds.
const MAX_LIFETIME: f64 = 30.0 * 86400.0;

/// The integration as it is registered in Teamleader's marketplace.
#[derive(Clone, Debug)]
pub struct Integration {
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: SecretString,
    /// Where Teamleader sends the user back to, with the code.
    pub redirect_uri: String,
    /// `https://focus.teamleader.eu`.
    pub auth_uri: String,
    /// `https://api.focus.teamleader.eu`.
    pub api_uri: String,
    /// The version of the API that requests ask for.
    pub api_version: ApiVersion,
}

/// A fresh pair of tokens.
#[derive(Clone, Debug)]
pub struct TokenPair {
    /// For requests to the API.
    pub access: SecretString,
    /// For the next pair; works once.
    pub refresh: SecretString,
    /// How long the access token lives.
    pub expires_in: Duration,
}

/// The user who authorized, as `users.me` names them.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorizer {
    /// Teamleader's id of the account.
    pub account: Uuid,
    /// First and last name.
    pub name: String,
}

/// What came of a request for a pair.
#[derive(Debug)]
pub enum TokenAnswer {
    /// A pair: what was given for it is used up.
    Pair(TokenPair),
    /// The code or refresh token does not work, with the API's words.
    Refused(String),
    /// Client id or secret are wrong; what was given for a pair is not used up.
    ClientRejected(String),
    /// The request certainly did not reach the server.
    NotSent(String),
    /// Nobody knows whether what was given is used up.
    Unknown(String),
}

/// Speaks to the OAuth endpoints, on a client without redirects, retries or pooled connections:
/// each of these would be a second request with a token that works once.
#[derive(Clone, Debug)]
pub struct OAuth {
    http: reqwest::Client,
    integration: Integration,
    tick: Duration,
}

/// An answer of an OAuth endpoint.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct PairBody {
    access_token: SecretString,
    refresh_token: SecretString,
    /// OAuth only recommends it, and it may be any kind of number: a live pair is not thrown away for that.
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl PairBody {
    fn lives(&self) -> Duration {
        let lifetime = self.expires_in.as_f64().or_else(|| self.expires_in.as_str()?.parse().ok());
        let seconds =
            lifetime.filter(|seconds| (MIN_LIFETIME..=MAX_LIFETIME).contains(seconds)).unwrap_or(DEFAULT_LIFETIME);
        Duration::from_secs_f64(seconds)
    }
}

#[derive(Deserialize)]
struct MeBody {
    data: Me,
}

#[derive(Deserialize)]
struct Me {
    account: AccountReference,
    #[serde(default)]
    first_name: Option<String>,
    #[serde(default)]
    last_name: Option<String>,
}

#[derive(Deserialize)]
struct AccountReference {
    id: Uuid,
}

impl OAuth {
    /// For this integration.
    pub fn new(integration: Integration) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .user_agent(super::USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { http, integration, tick: TICK })
    }

    /// The link that an operator opens to authorize the account.
    pub fn authorize_url(&self, state: &str) -> String {
        let base = format!("{}/oauth2/authorize", self.integration.auth_uri.trim_end_matches('/'));
        let query = [
            ("client_id", self.integration.client_id.as_str()),
            ("response_type", "code"),
            ("redirect_uri", self.integration.redirect_uri.as_str()),
            ("state", state),
        ];
        // The base was validated with the configuration.
        reqwest::Url::parse_with_params(&base, query).map_or(base, Into::into)
    }

    /// Trades a code, which works once, for a pair.
    pub async fn exchange(&self, code: &SecretString) -> TokenAnswer {
        let redirect_uri = self.integration.redirect_uri.as_str();
        self.pair(&[
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", redirect_uri),
        ])
        .await
    }

    /// Trades a refresh token, which works once, for the next pair. Sends ONE request.
    pub async fn refresh(&self, refresh_token: &SecretString) -> TokenAnswer {
        self.pair(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())]).await
    }

    /// Asks `users.me` whom an access token belongs to.
    pub async fn who_authorized(&self, access: &SecretString) -> Result<Authorizer, String> {
        Ok(self.ask_who(access).await.map_err(|unnamed| unnamed.why)?.0)
    }

    /// The same, and how the answer's version differs from the one asked for, as text.
    pub async fn ask_who(&self, access: &SecretString) -> Result<(Authorizer, Option<String>), Unnamed> {
        let Integration { api_uri, api_version, .. } = &self.integration;
        let request = self.http.post(format!("{}/users.me", api_uri.trim_end_matches('/')));
        let request = request.bearer_auth(access.expose_secret()).header(version::HEADER, api_version.to_string());
        let answer = read(request.json(&serde_json::json!({})).timeout(TOKEN_TIMEOUT).send().await).await;
        let silent = |error| Unnamed { refused: false, why: format!("users.me: {}", describe(&error)) };
        let Answer { status, headers, body } = answer.map_err(silent)?;
        if status != StatusCode::OK {
            let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            let why = format!("users.me answered {status}: {}", refusal::words(&body));
            return Err(Unnamed { refused, why });
        }
        let authorizer = parse_authorizer(&body).map_err(|why| Unnamed { refused: false, why })?;
        Ok((authorizer, api_version.difference(&headers)))
    }

    async fn pair(&self, grant: &[(&str, &str)]) -> TokenAnswer {
        let url = format!("{}/oauth2/access_token", self.integration.auth_uri.trim_end_matches('/'));
        let mut form = vec![
            ("client_id", self.integration.client_id.as_str()),
            ("client_secret", self.integration.client_secret.expose_secret()),
        ];
        form.extend_from_slice(grant);
        let asked = async { read(self.http.post(url).form(&form).send().await).await };
        match while_running(self.tick, asked).await {
            Some(Ok(Answer { status, body, .. })) => judge(status, &body),
            Some(Err(error)) if error.is_connect() || error.is_builder() => TokenAnswer::NotSent(describe(&error)),
            Some(Err(error)) => TokenAnswer::Unknown(describe(&error)),
            None => TokenAnswer::Unknown("no answer in time".to_owned()),
        }
    }
}

/// Waits for an answer for so long as this process runs: one that came while it was suspended has yet to be read, and
/// an HTTP client with a timeout of its own would throw it away, and the pair of tokens with it.
async fn while_running<T>(tick: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    let (mut ticks, mut was_suspended) = (0, false);
    while ticks < TICKS || was_suspended && ticks < 2 * TICKS {
        let began = Instant::now();
        if let Ok(answer) = timeout(tick, &mut answer).await {
            return Some(answer);
        }
        was_suspended = began.elapsed() > tick * 2;
        ticks += 1;
    }
    None
}

/// Why it is not known whose token it is.
#[derive(Debug)]
pub struct Unnamed {
    /// Whether the API refuses the token; else it does not answer as it should.
    pub refused: bool,
    /// Why, as text.
    pub why: String,
}

/// What the token endpoint's answer means.
///
/// A dead refresh token was seen as 400 with code 8 (2021) and as 400 with `invalid_grant` (2026, form unknown); one
/// client takes a 401 for revoked as well. So code and name decide, in whatever envelope and with either status.
/// Without them a 400 counts as refused only in the API's own error form, and a 401 leaves the token as it is: a
/// proxy's page asks nobody to authorize.
fn judge(status: StatusCode, body: &[u8]) -> TokenAnswer {
    let said = match status {
        status if status.is_success() => return pair_in(body),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNAUTHORIZED => refusal::verdict(body),
        StatusCode::FORBIDDEN => Some(Verdict::Client),
        status => return TokenAnswer::Unknown(format!("the token endpoint answered {status}")),
    };
    match (said, ErrorBody::parse(body)) {
        (Some(Verdict::Dead), _) => TokenAnswer::Refused(refusal::words(body)),
        (Some(Verdict::Client), _) => TokenAnswer::ClientRejected(refusal::words(body)),
        (None, _) if status == StatusCode::UNAUTHORIZED => TokenAnswer::ClientRejected(refusal::words(body)),
        (None, Some(error)) => TokenAnswer::Refused(error.words()),
        (None, None) => TokenAnswer::Unknown(format!("the token endpoint answered {status} without the API's error")),
    }
}

fn pair_in(body: &[u8]) -> TokenAnswer {
    match serde_json::from_slice::<PairBody>(body) {
        Ok(pair) => TokenAnswer::Pair(TokenPair {
            expires_in: pair.lives(),
            access: pair.access_token,
            refresh: pair.refresh_token,
        }),
        Err(_) => TokenAnswer::Unknown("the token endpoint's answer holds no pair of tokens".to_owned()),
    }
}

/// Reads the body of `users.me`.
pub(super) fn parse_authorizer(body: &[u8]) -> Result<Authorizer, String> {
    let me: MeBody = serde_json::from_slice(body).map_err(|_| "users.me did not name the account".to_owned())?;
    let name = [me.data.first_name, me.data.last_name].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Ok(Authorizer { account: me.data.account.id, name })
}

/// Reads an answer's body, up to [`MAX_BODY`]; a longer one is cut, and then does not parse.
async fn read(sent: reqwest::Result<reqwest::Response>) -> reqwest::Result<Answer> {
    let mut response = sent?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            break;
        }
    }
    Ok(Answer { status, headers, body })
}

/// An error without the URL, whose query may hold secrets.
pub(super) fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else if error.is_decode() {
        "the answer could not be decompressed".to_owned()
    } else {
        "the connection broke before the whole answer had come".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    const PAIR: &str = r#"{"access_token":"a","refresh_token":"r","expires_in":60}"#;

    /// A server that answers one request on a signal.
    struct Server {
        asked: tokio::sync::oneshot::Receiver<()>,
        signal: std::sync::mpsc::Sender<()>,
        thread: std::thread::JoinHandle<()>,
    }

    /// A client whose ticks are short, and its server.
    fn oauth(tick: Duration) -> (OAuth, Server) {
        // As the program does when it starts; another test may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let auth_uri = format!("http://{}", listener.local_addr().expect("an address"));
        let (signal, signalled) = std::sync::mpsc::channel();
        let (note_asked, asked) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().expect("a connection");
            let mut request = [0; 4096];
            assert!(connection.read(&mut request).expect("a request") > 0);
            let _ = note_asked.send(());
            if signalled.recv().is_ok() {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PAIR.len());
                connection.write_all(format!("{head}{PAIR}").as_bytes()).expect("it is sent");
            }
        });
        let integration = Integration {
            client_id: "client".to_owned(),
            client_secret: "secret".into(),
            redirect_uri: "http://127.0.0.1/callback".to_owned(),
            api_uri: auth_uri.clone(),
            auth_uri,
            api_version: "2023-09-26".parse().expect("a version"),
        };
        (OAuth { tick, ..OAuth::new(integration).expect("a client") }, Server { asked, signal, thread })
    }

    #[tokio::test]
    async fn an_answer_that_came_while_the_process_was_suspended_counts() {
        let tick = Duration::from_millis(20);
        let (oauth, server) = oauth(tick);
        let suspended = async {
            server.asked.await.expect("the request comes");
            server.signal.send(()).expect("the server waits");
            // The answer is in the socket, and nothing of this runtime runs, for longer than all ticks.
            server.thread.join().expect("it has answered");
            std::thread::sleep(tick * u32::try_from(TICKS * 3).unwrap());
        };
        let token = "r".into();
        let (answer, ()) = tokio::join!(oauth.refresh(&token), suspended);
        assert!(matches!(answer, TokenAnswer::Pair(_)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
        let (oauth, server) = oauth(Duration::from_millis(100));
        let answer = oauth.refresh(&"r".into()).await;
        assert!(matches!(&answer, TokenAnswer::Unknown(why) if why == "no answer in time"), "{answer:?}");
        drop(server.signal);
        server.thread.join().expect("it ends");
    }

    #[test]
    fn the_life_of_a_token_is_what_can_be_or_the_usual() {
        let lives = |expires_in: &str| {
            let body = format!(r#"{{"access_token":"a","refresh_token":"r","expires_in":{expires_in}}}"#);
            serde_json::from_str::<PairBody>(&body).expect("a pair").lives().as_secs_f64()
        };
        for (said, seconds) in [("3600", 3600.0), ("60.5", 60.5), ("\"900\"", 900.0), ("1", 1.0)] {
            assert_eq!(lives(said), seconds, "{said}");
        }
        for odd in
            ["0", "-1", "9223372036854775807", "-9223372036854775808", "1e308", "\"NaN\"", "\"inf\"", "null", "{}"]
        {
            assert_eq!(lives(odd), DEFAULT_LIFETIME, "{odd}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of answers")]
    fn a_dead_token_is_known_in_every_form_and_the_token_stays_where_the_client_or_a_proxy_is_at_fault() {
        let title = "The refresh token is invalid.";
        let in_envelope = |status: u16, code: u16, kind: &str| {
            let meta = serde_json::json!({ "type": kind, "hint": "Token has been revoked" });
            let item = serde_json::json!({ "code": code, "title": title, "status": status, "meta": meta });
            (status, serde_json::json!({ "errors": [item] }).to_string())
        };
        let bare = |status: u16, error: &str| {
            (status, serde_json::json!({ "error": error, "error_description": title, "hint": "revoked" }).to_string())
        };
        let other = |status: u16, body: &str| (status, body.to_owned());
        for (outcome, answers) in [
            (
                "refused",
                vec![
                    in_envelope(400, 8, "invalid_request"),
                    in_envelope(400, 8, "invalid_grant"),
                    in_envelope(400, 10, "invalid_grant"),
                    bare(400, "invalid_grant"),
                    in_envelope(401, 8, "invalid_request"),
                    in_envelope(401, 10, "invalid_grant"),
                    bare(401, "invalid_grant"),
                    bare(422, "invalid_grant"),
                    other(400, r#"{"errors":[{"code":"8"}]}"#),
                    other(400, r#"{"errors":[{"key":"invalid_grant"}]}"#),
                    other(400, r#"{"errors":[{"title":"The code has expired."}]}"#),
                    other(422, r#"{"errors":[{"key":"code.expired"}]}"#),
                ],
            ),
            (
                "client rejected",
                vec![
                    in_envelope(401, 4, "invalid_client"),
                    in_envelope(400, 4, "invalid_client"),
                    other(401, r#"{"errors":[{"code":4}]}"#),
                    bare(401, "invalid_client"),
                    bare(400, "invalid_client"),
                    in_envelope(400, 8, "invalid_client"),
                    in_envelope(403, 8, "invalid_grant"),
                    bare(403, "invalid_grant"),
                    other(401, "<html>invalid_grant</html>"),
                    other(401, ""),
                    other(403, "<html>"),
                ],
            ),
            (
                "unknown",
                vec![
                    other(400, "<html>invalid_grant</html>"),
                    other(400, ""),
                    bare(400, "server_error"),
                    other(400, r#"["invalid_grant"]"#),
                    other(404, r#"{"error":"invalid_grant"}"#),
                    other(429, r#"{"error":"invalid_grant"}"#),
                    other(503, r#"{"errors":[{"code":8}]}"#),
                    other(302, ""),
                    other(200, r#"{"error":"invalid_grant"}"#),
                ],
            ),
        ] {
            for (status, body) in answers {
                let judged = judge(StatusCode::from_u16(status).expect("a status"), body.as_bytes());
                let found = match judged {
                    TokenAnswer::Pair(_) => "pair",
                    TokenAnswer::Refused(_) => "refused",
                    TokenAnswer::ClientRejected(_) => "client rejected",
                    TokenAnswer::NotSent(_) => "not sent",
                    TokenAnswer::Unknown(_) => "unknown",
                };
                assert_eq!(found, outcome, "{status} {body}");
            }
        }
    }
}

//! OAuth 2: codes that work once and for ten minutes, access tokens that expire, refresh tokens that work once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::header::LOCATION;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::answer;
use crate::config::Config;
use crate::quirks::RefusalForm;
use crate::refreshes::RefreshOutcome;

/// How long a code works. The API's documentation says ten minutes.
const CODE_TTL_MS: i64 = 10 * 60 * 1000;

/// An access token and the refresh token that belongs to it.
#[derive(Clone, Debug, Serialize)]
pub struct TokenPair {
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// How many seconds the access token works.
    pub expires_in: u64,
    /// Goes into the header `Authorization: Bearer …`.
    pub access_token: String,
    /// Works once.
    pub refresh_token: String,
}

/// What a request to the token endpoint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenOutcome {
    /// A code was traded for tokens.
    Granted,
    /// A refresh token came: its number, and what became of it.
    Refresh(Option<u64>, RefreshOutcome),
    /// Anything else was refused.
    Refused,
}

/// The authorization server.
pub(crate) struct OAuth {
    client_id: String,
    client_secret: String,
    redirect_uri: Option<String>,
    state: Mutex<Issued>,
}

struct Issued {
    ttl_ms: i64,
    deny: bool,
    codes: HashMap<String, Code>,
    /// Access tokens and the moment in milliseconds at which each expires.
    access: HashMap<String, i64>,
    refresh: HashMap<String, RefreshToken>,
    issued: u64,
}

struct Code {
    expires_ms: i64,
    redirect_uri: Option<String>,
}

#[derive(Clone, Copy)]
struct RefreshToken {
    number: u64,
    life: Life,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Live,
    Used,
    Revoked,
}

impl OAuth {
    pub(crate) fn new(config: &Config) -> Self {
        let issued = Issued {
            ttl_ms: ttl_ms(config.access_token_ttl),
            deny: false,
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            issued: 0,
        };
        Self {
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            redirect_uri: config.redirect_uri.clone(),
            state: Mutex::new(issued),
        }
    }

    /// The only client there is.
    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The client that an access token belongs to; none if it is unknown or expired.
    pub(crate) fn authenticate(&self, authorization: Option<&str>, now_ms: i64) -> Option<&str> {
        let token = authorization?.strip_prefix("Bearer ")?;
        let expires = *self.lock().access.get(token)?;
        (now_ms < expires).then_some(self.client_id.as_str())
    }

    /// `GET /oauth2/authorize`: the user says yes (or no, after [`OAuth::deny`]) at once.
    pub(crate) fn authorize(&self, query: &str, now_ms: i64) -> Response<Bytes> {
        let parameters = form(query.as_bytes());
        let get = |key: &str| parameters.get(key).map_or("", String::as_str);
        let redirect_uri = get("redirect_uri");
        if get("client_id") != self.client_id {
            return answer::error(400, "The client_id is unknown.");
        }
        if get("response_type") != "code" {
            return answer::error(400, "The response_type is not code.");
        }
        if redirect_uri.is_empty() || self.redirect_uri.as_ref().is_some_and(|known| known != redirect_uri) {
            return answer::error(400, "The redirect_uri is not the one of the integration.");
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        if self.lock().deny {
            query.append_pair("error", "access_denied");
        } else {
            query.append_pair("code", &self.issue_code(Some(redirect_uri), now_ms));
        }
        if let Some(state) = parameters.get("state") {
            query.append_pair("state", state);
        }
        let joint = if redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{redirect_uri}{joint}{}", query.finish());
        let mut answer = answer::empty(302);
        match location.parse() {
            Ok(location) => {
                answer.headers_mut().insert(LOCATION, location);
                answer
            }
            Err(_) => answer::error(400, "The redirect_uri is not a URI."),
        }
    }

    /// `POST /oauth2/access_token`, with a form or JSON.
    ///
    /// `dead_form`: how a dead refresh token is refused.
    pub(crate) fn token(
        &self,
        json: bool,
        body: &[u8],
        now_ms: i64,
        dead_form: RefusalForm,
    ) -> (TokenOutcome, Response<Bytes>) {
        let refused = |status, title: &str| (TokenOutcome::Refused, answer::error(status, title));
        let parameters = match json {
            false => form(body),
            true => match serde_json::from_slice::<HashMap<String, String>>(body) {
                Ok(parameters) => parameters,
                Err(_) => return refused(400, "The body is not a JSON object of texts."),
            },
        };
        let get = |key: &str| parameters.get(key).map_or("", String::as_str);
        if get("client_id") != self.client_id || get("client_secret") != self.client_secret {
            return refused(401, "Client authentication failed");
        }
        match get("grant_type") {
            "authorization_code" => {
                let code = self.lock().codes.remove(get("code"));
                match code {
                    Some(code) if now_ms >= code.expires_ms => refused(400, "The authorization code has expired."),
                    Some(Code { redirect_uri: Some(uri), .. }) if uri != get("redirect_uri") => {
                        refused(400, "The redirect_uri is not the one that the code was issued for.")
                    }
                    Some(_) => (TokenOutcome::Granted, answer::json(200, pair_text(&self.grant(now_ms)))),
                    None => refused(400, "The authorization code is invalid."),
                }
            }
            "refresh_token" => {
                let token = get("refresh_token");
                let mut state = self.lock();
                let found = state.refresh.get_mut(token).map(|found| {
                    let was = *found;
                    if was.life == Life::Live {
                        found.life = Life::Used;
                    }
                    was
                });
                let number = found.map(|found| found.number);
                let refused = match found.map(|found| found.life) {
                    Some(Life::Live) => {
                        // Its number and the pair itself under one lock: another grant may be under way.
                        let pair = state.grant(now_ms);
                        let outcome = TokenOutcome::Refresh(number, RefreshOutcome::Traded(state.issued));
                        return (outcome, answer::json(200, pair_text(&pair)));
                    }
                    Some(Life::Used) => RefreshOutcome::Reused,
                    Some(Life::Revoked) => RefreshOutcome::Revoked,
                    None => RefreshOutcome::Unknown,
                };
                (TokenOutcome::Refresh(number, refused), dead(dead_form))
            }
            _ => refused(400, "The grant_type is not supported."),
        }
    }

    /// A new pair of tokens.
    pub(crate) fn grant(&self, now_ms: i64) -> TokenPair {
        self.lock().grant(now_ms)
    }

    /// A refresh token that was issued before this simulator was started, and works once.
    pub(crate) fn remember(&self, refresh_token: String) {
        let mut issued = self.lock();
        issued.issued += 1;
        let token = RefreshToken { number: issued.issued, life: Life::Live };
        issued.refresh.insert(refresh_token, token);
    }

    /// The refresh token that was issued last, if it was neither used nor revoked.
    pub(crate) fn live_refresh_token(&self) -> Option<String> {
        let issued = self.lock();
        let live = issued.refresh.iter().filter(|(_, token)| token.life == Life::Live);
        live.max_by_key(|(_, token)| token.number).map(|(text, _)| text.clone())
    }

    /// A code as if the user had approved. Without a redirect URI it can be traded with any.
    pub(crate) fn issue_code(&self, redirect_uri: Option<&str>, now_ms: i64) -> String {
        let code = secret("code");
        let redirect_uri = redirect_uri.map(str::to_owned);
        self.lock().codes.insert(code.clone(), Code { expires_ms: now_ms + CODE_TTL_MS, redirect_uri });
        code
    }

    /// Every access token is expired from now on.
    pub(crate) fn expire_access_tokens(&self) {
        self.lock().access.clear();
    }

    /// Every refresh token is revoked, as when somebody saves the integration's settings in the marketplace. Access
    /// tokens go on working until they expire.
    pub(crate) fn revoke_refresh_tokens(&self) {
        for token in self.lock().refresh.values_mut().filter(|token| token.life == Life::Live) {
            token.life = Life::Revoked;
        }
    }

    /// How long the access tokens work that are issued from now on.
    pub(crate) fn set_access_token_ttl(&self, ttl: Duration) {
        self.lock().ttl_ms = ttl_ms(ttl);
    }

    /// Whether the user refuses.
    pub(crate) fn deny(&self, deny: bool) {
        self.lock().deny = deny;
    }

    fn lock(&self) -> MutexGuard<'_, Issued> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Issued {
    fn grant(&mut self, now_ms: i64) -> TokenPair {
        let expires_ms = now_ms.saturating_add(self.ttl_ms);
        let pair = TokenPair {
            token_type: "Bearer",
            expires_in: (self.ttl_ms / 1000) as u64,
            access_token: secret("access"),
            refresh_token: secret("refresh"),
        };
        self.access.retain(|_, expires| *expires > now_ms);
        self.access.insert(pair.access_token.clone(), expires_ms);
        self.issued += 1;
        let token = RefreshToken { number: self.issued, life: Life::Live };
        self.refresh.insert(pair.refresh_token.clone(), token);
        pair
    }
}

/// The answer to a dead refresh token. The first form is the very body that the API sent in 2021.
fn dead(form: RefusalForm) -> Response<Bytes> {
    const TITLE: &str = "The refresh token is invalid.";
    const HINT: &str = "Token has been revoked";
    let (status, kind) = match form {
        RefusalForm::BareInvalidGrant => {
            let body = json!({ "error": "invalid_grant", "error_description": TITLE, "hint": HINT });
            return answer::json(400, body.to_string());
        }
        RefusalForm::Code8 => (400, "invalid_request"),
        RefusalForm::InvalidGrant => (400, "invalid_grant"),
        RefusalForm::Unauthorized => (401, "invalid_request"),
    };
    let error = json!({ "code": 8, "title": TITLE, "status": status, "meta": { "type": kind, "hint": HINT } });
    answer::json(status, json!({ "errors": [error] }).to_string())
}

fn ttl_ms(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 4)
}

fn secret(kind: &str) -> String {
    format!("{kind}-{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn form(text: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(text).into_owned().collect()
}

fn pair_text(pair: &TokenPair) -> String {
    // A struct of texts and a number always serialises.
    serde_json::to_string(pair).unwrap_or_default()
}

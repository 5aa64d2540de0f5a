//! Who may call: who sends the token, and a browser that has logged in with it. And no page of another site, in whose
//! browser it may be.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::cookies::Cookies;
use super::dashboard;
use super::guesses::Guesses;
use super::oauth::AUTHORIZE;
use super::problem::Problem;
use super::state::HttpState;
use crate::ids::Account;
use crate::store::logins;
use crate::store::pool::{self, StoreError};
use crate::store::tokens::cipher::{Cipher, CipherError};

/// Where a browser logs in.
pub(super) const LOGIN: &str = "/dashboard/login";

/// Whether a login holds is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What callers are held against.
#[derive(Clone, Debug)]
pub struct Guard {
    token: Option<SecretString>,
    /// The cookies of this server.
    pub(super) cookies: Cookies,
    /// Tries to log in, by browsers that never have.
    strangers: Arc<Guesses>,
    /// Tries by those that have, whether the login has ended or not: no stranger can use these up.
    known: Arc<Guesses>,
}

/// Who calls a guarded route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// No token is asked for.
    Anyone,
    /// A program, with the token.
    Program,
    /// A browser, with a login.
    Browser,
}

impl Guard {
    /// `token`: what callers send; none where only loopback reaches this server. Cookies are signed with a key made
    /// from it and from the keys that seal tokens: a cookie is no means to guess either, and holds for each process of
    /// the account. `public_uri`: an address by which browsers reach this server.
    pub fn new(
        token: Option<SecretString>,
        cipher: &Cipher,
        account: &Account,
        public_uri: &str,
    ) -> Result<Self, CipherError> {
        let secret = token.as_ref().map(|token| token.expose_secret().as_bytes()).unwrap_or_default();
        let key = cipher.signing_key(&[b"http\0", account.as_str().as_bytes(), b"\0", secret])?;
        let cookies = Cookies::new(account, key, public_uri);
        Ok(Self { token, cookies, strangers: Arc::default(), known: Arc::default() })
    }

    /// Whether this is the token that callers send.
    pub(super) fn is_token(&self, told: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.expose_secret().as_bytes().ct_eq(told.as_bytes()).into())
    }

    /// Whether there is a token to log in with.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Waits until this browser may try a token; false: too many wait.
    pub(super) async fn may_try(&self, headers: &HeaderMap) -> bool {
        let tries = if self.cookies.login(headers).is_some() { &self.known } else { &self.strangers };
        tries.take().await
    }

    /// What a form of the dashboard has to send along: no other site can know it.
    pub(super) fn form_token(&self, headers: &HeaderMap) -> String {
        self.cookies.sign(&form_of(self.cookies.login(headers)))
    }

    /// Whether a form was made for this login.
    pub(super) fn is_form_token(&self, headers: &HeaderMap, told: &str) -> bool {
        self.cookies.is_signed(&form_of(self.cookies.login(headers)), told)
    }

    /// Who calls without a login: a program with the token, or anyone where none is asked for.
    pub(super) fn without_login(&self, headers: &HeaderMap) -> Option<Caller> {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = sent.and_then(|value| value.strip_prefix("Bearer "));
        match bearer {
            _ if self.token.is_none() => Some(Caller::Anyone),
            Some(token) if self.is_token(token) => Some(Caller::Program),
            _ => None,
        }
    }

    /// Without a token, whoever reaches this server may use it. A page of another site may not: not by a name of its own that it lets
    /// lead to 127.0.0.1 (DNS rebinding). So there has to be one name, and one that only this machine has.
    fn knows_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let is_known = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().is_ok_and(is_loopback),
            _ => false,
        };
        self.token.is_some() || is_known && uri.authority().is_none()
    }
}

fn form_of(login: Option<Uuid>) -> String {
    format!("form {}", login.map(|id| id.to_string()).unwrap_or_default())
}

/// Whether a `Host` names this machine: `localhost`, `127.0.0.1` or `[::1]`, with a port or without.
fn is_loopback(host: &str) -> bool {
    let name = host.split_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let address = host.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| host.parse::<IpAddr>());
    let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.is_loopback())
        || in_brackets.and_then(|text| text.parse::<Ipv6Addr>().ok()).is_some_and(|address| address.is_loopback())
}

/// Who calls a guarded route, if they may.
async fn caller(state: &HttpState, headers: &HeaderMap) -> Result<Option<Caller>, StoreError> {
    if let Some(caller) = state.guard.without_login(headers) {
        return Ok(Some(caller));
    }
    let Some(login) = state.guard.cookies.login(headers) else { return Ok(None) };
    let holds = pool::answered_within(PATIENCE, logins::holds(&state.pool, state.names.account(), login)).await?;
    Ok(holds.then_some(Caller::Browser))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a browser says that a page of another site made this request.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    if let Some(site) = text(headers, "sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(headers, "origin") else { return false };
    let authority = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    authority.is_none_or(|authority| Some(authority.as_str()) != text(headers, "host"))
}

/// Whether a page of another site loads this, as a picture or in a frame, and nobody has followed a link to it.
pub(super) fn is_loaded_by_another_site(headers: &HeaderMap) -> bool {
    is_of_another_site(headers) && text(headers, "sec-fetch-dest").is_some_and(|shown| shown != "document")
}

/// A login takes the token itself, which no other site has, so one whose browser hides where it comes from may pass.
fn is_login_of_unknown_origin(request: &Request) -> bool {
    let headers = request.headers();
    request.uri().path() == LOGIN
        && text(headers, "sec-fetch-site").is_none()
        && text(headers, "origin") == Some("null")
}

/// Whether a browser asks, for a page to show.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    text(headers, "accept").is_some_and(|accepts| accepts.contains("text/html"))
}

/// Keeps out pages of other sites.
pub(super) async fn keep_out_other_sites(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && is_of_another_site(request.headers()) && !is_login_of_unknown_origin(&request) {
        return Problem::new(StatusCode::FORBIDDEN, "a page of another site may not do this").into_response();
    }
    if !state.guard.knows_host(request.uri(), request.headers()) {
        let why = "without HTTP_API_TOKEN this server answers to localhost only: set it, to use another name";
        return Problem::new(StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
}

/// Lets through who sends the token or has logged in. Browsers are sent to log in, and come back to an authorization.
pub(super) async fn require_token(State(state): State<HttpState>, mut request: Request, next: Next) -> Response {
    let is_page = request.method() == Method::GET && accepts_html(request.headers());
    match caller(&state, request.headers()).await {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(None) if is_page && request.uri().path() == AUTHORIZE => {
            Redirect::to(&format!("{LOGIN}?next={AUTHORIZE}")).into_response()
        }
        Ok(None) if is_page => Redirect::to(LOGIN).into_response(),
        Ok(None) => {
            let how = "send the header `Authorization: Bearer …` with HTTP_API_TOKEN";
            let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
            (challenge, Problem::new(StatusCode::UNAUTHORIZED, how)).into_response()
        }
        // Whether the login holds is not known.
        Err(error) if is_page => dashboard::no_database(&state, &error),
        Err(error) => Problem::from(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const OTHER_KEY: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn guard_with(token: Option<&str>, key: &str) -> Guard {
        let cipher = Cipher::new(&key.to_owned().into()).expect("a key");
        let account = "acme".parse().expect("an account");
        Guard::new(token.map(|token| token.to_owned().into()), &cipher, &account, "http://localhost/").expect("a key")
    }

    fn guard(token: Option<&str>) -> Guard {
        guard_with(token, KEY)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("valid")))
            .collect()
    }

    #[test]
    fn logins_are_signed_with_all_secrets_and_not_with_the_token_alone() {
        let (id, ours) = (Uuid::new_v4(), guard(Some("secret")));
        let set = ours.cookies.of_login(id, &HeaderMap::new());
        let browser = headers(&[("cookie", set.split(';').next().expect("a pair"))]);
        assert_eq!(guard(Some("secret")).cookies.login(&browser), Some(id), "each process of the account knows it");
        assert_eq!(guard(Some("another")).cookies.login(&browser), None);
        assert_eq!(guard_with(Some("secret"), OTHER_KEY).cookies.login(&browser), None);
        assert!(ours.is_form_token(&browser, &ours.form_token(&browser)));
        assert!(!ours.is_form_token(&HeaderMap::new(), &ours.form_token(&browser)), "a form belongs to its login");
        assert!(!ours.is_form_token(&browser, ""));
    }

    #[test]
    fn without_a_token_only_known_hosts_are_answered() {
        for (hosts, known) in [
            (&["127.0.0.1:8080"][..], true),
            (&["127.0.0.1"], true),
            (&["[::1]:8080"], true),
            (&["[::1]"], true),
            (&["localhost"], true),
            (&["LOCALHOST:80"], true),
            (&["sync.example.eu"], false),
            (&["evil.example"], false),
            (&["127.0.0.1.evil.example:8080"], false),
            (&["[::1].evil"], false),
            (&["[::1].evil:80"], false),
            (&["localhost:80.evil"], false),
            (&["localhost@evil.example"], false),
            (&["localhost."], false),
            (&["2130706433"], false),
            (&[""], false),
            (&[], false),
            (&["localhost", "evil.example"], false),
            (&["localhost", "localhost"], false),
        ] {
            let pairs: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let mut map = HeaderMap::new();
            pairs.iter().for_each(|(_, host)| _ = map.append(header::HOST, host.parse().expect("valid")));
            let (here, elsewhere) = (Uri::from_static("/"), Uri::from_static("http://localhost/"));
            assert_eq!(guard(None).knows_host(&here, &map), known, "{hosts:?}");
            assert!(!guard(None).knows_host(&elsewhere, &map), "{hosts:?}: this is no proxy");
            assert!(guard(Some("secret")).knows_host(&here, &map));
        }
    }

    #[test]
    fn browsers_tell_where_a_request_comes_from() {
        for (pairs, another) in [
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "cross-site")], true),
            (vec![("sec-fetch-site", "same-site")], true),
            (vec![("origin", "http://localhost:8080"), ("host", "localhost:8080")], false),
            (vec![("origin", "http://evil.example"), ("host", "localhost:8080")], true),
            (vec![("origin", "null"), ("host", "localhost:8080")], true),
            (vec![], false),
        ] {
            assert_eq!(is_of_another_site(&headers(&pairs)), another, "{pairs:?}");
        }
        let picture = headers(&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")]);
        let link = headers(&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")]);
        assert!(is_loaded_by_another_site(&picture) && !is_loaded_by_another_site(&link));
    }
}

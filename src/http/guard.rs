//! Who may call: whoever sends the token, and a browser that has logged in with it. And no page of another site, whoever looks at it.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use chrono::Utc;
use ring::hmac;
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use super::state::HttpState;
use crate::ids::Account;

/// How long a login holds.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// Where a browser logs in.
pub(super) const LOGIN: &str = "/dashboard/login";

/// What callers are held against.
#[derive(Clone, Debug)]
pub struct Guard {
    token: Option<SecretString>,
    /// Signs logins and forms: made from the token, so that a login holds for every process of the account.
    key: hmac::Key,
    /// The name of the login's cookie. Browsers send it to every port of a host, so it tells which account's it is.
    cookie: String,
}

impl Guard {
    /// `token`: what callers send; none where only loopback reaches this server.
    pub fn new(token: Option<SecretString>, account: &Account) -> Result<Self, ring::error::Unspecified> {
        let key = match &token {
            Some(token) => hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret().as_bytes()),
            None => hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?,
        };
        Ok(Self { token, key, cookie: format!("teamleader2db-{account}") })
    }

    /// Whether this is the token that callers send.
    pub(super) fn is_token(&self, told: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.expose_secret().as_bytes().ct_eq(told.as_bytes()).into())
    }

    /// Whether there is a token to log in with.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The `Set-Cookie` of a new login, to a browser that sent these headers.
    pub(super) fn logged_in(&self, headers: &HeaderMap) -> String {
        let ends_at = Utc::now().timestamp().saturating_add_unsigned(SESSION.as_secs());
        // What the browser says of its own page: there may be a proxy with TLS between.
        let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
        let secure = if origin.is_some_and(|origin| origin.starts_with(b"https:")) { "; Secure" } else { "" };
        self.set_cookie(&format!("{ends_at}.{}", self.sign(&format!("login {ends_at}"))), SESSION) + secure
    }

    /// The `Set-Cookie` that ends a login.
    pub(super) fn logged_out(&self) -> String {
        self.set_cookie("", Duration::ZERO)
    }

    fn set_cookie(&self, value: &str, lives: Duration) -> String {
        format!("{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict", self.cookie, lives.as_secs())
    }

    /// The login that a request carries, if it holds.
    fn login<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, login) = pairs.find(|(name, _)| *name == self.cookie)?;
        let (ends_at, signature) = login.split_once('.')?;
        let holds = ends_at.parse::<i64>().is_ok_and(|ends_at| Utc::now().timestamp() < ends_at);
        (holds && self.is_signed(&format!("login {ends_at}"), signature)).then_some(login)
    }

    /// What a form of the dashboard has to send along: no other site can know it.
    pub(super) fn form_token(&self, headers: &HeaderMap) -> String {
        self.sign(&format!("form {}", self.login(headers).unwrap_or_default()))
    }

    /// Whether a form was made for this login.
    pub(super) fn is_form_token(&self, headers: &HeaderMap, told: &str) -> bool {
        self.is_signed(&format!("form {}", self.login(headers).unwrap_or_default()), told)
    }

    fn sign(&self, text: &str) -> String {
        hmac::sign(&self.key, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn is_signed(&self, text: &str, signature: &str) -> bool {
        self.sign(text).as_bytes().ct_eq(signature.as_bytes()).into()
    }

    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = sent.and_then(|value| value.strip_prefix("Bearer "));
        self.token.is_none() || bearer.is_some_and(|token| self.is_token(token)) || self.login(headers).is_some()
    }

    /// Without a token, whoever reaches this server may use it. A page of another site may not: not by a name of its own that it lets
    /// lead to 127.0.0.1 (DNS rebinding).
    fn knows_host(&self, headers: &HeaderMap) -> bool {
        let Some(host) = host_of(headers) else { return true };
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        self.token.is_some() || is_loopback || name.eq_ignore_ascii_case("localhost")
    }
}

fn host_of(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    Some(host.parse::<Authority>().map_or_else(|_| host.to_owned(), |authority| authority.host().to_owned()))
}

/// Whether a browser says that a page of another site made this request.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else { return false };
    let authority = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    authority.is_none_or(|authority| Some(authority.as_str()) != text("host"))
}

/// Whether a browser asks, for a page to show.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

/// Keeps out pages of other sites.
pub(super) async fn keep_out_other_sites(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && is_of_another_site(request.headers()) {
        return Problem::new(StatusCode::FORBIDDEN, "a page of another site may not do this").into_response();
    }
    if !state.guard.knows_host(request.headers()) {
        let why = "without HTTP_API_TOKEN this server answers to localhost only: set it, to use another name";
        return Problem::new(StatusCode::FORBIDDEN, why).into_response();
    }
    let mut response = next.run(request).await;
    // Nor may it show what is here in a frame of its own.
    response.headers_mut().insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// Lets through who sends the token or has logged in. Browsers are sent to log in.
pub(super) async fn require_token(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    if state.guard.is_authorized(request.headers()) {
        return next.run(request).await;
    }
    if request.method() == Method::GET && accepts_html(request.headers()) {
        return Redirect::to(LOGIN).into_response();
    }
    let problem =
        Problem::new(StatusCode::UNAUTHORIZED, "send the header `Authorization: Bearer …` with HTTP_API_TOKEN");
    ([(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))], problem).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(token: Option<&str>) -> Guard {
        Guard::new(token.map(|token| token.to_owned().into()), &"acme".parse().expect("an account")).expect("a key")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("valid")))
            .collect()
    }

    /// The headers of a browser that keeps this `Set-Cookie`.
    fn with_cookie(set: &str) -> HeaderMap {
        headers(&[("cookie", &format!("theme=dark; {}", set.split(';').next().expect("a pair")))])
    }

    #[test]
    fn a_login_holds_for_every_process_with_the_same_token_and_for_no_other() {
        let set = guard(Some("secret")).logged_in(&headers(&[("origin", "https://sync.example.eu")]));
        assert!(set.contains("HttpOnly; SameSite=Strict; Secure"), "{set}");
        assert!(guard(Some("secret")).is_authorized(&with_cookie(&set)));
        assert!(!guard(Some("another")).is_authorized(&with_cookie(&set)));
        let (value, _) = set.split_once(';').expect("attributes");
        let later = value.replacen('=', "=9", 1);
        assert!(!guard(Some("secret")).is_authorized(&with_cookie(&later)), "its end is signed");
        assert!(!guard(Some("secret")).is_authorized(&with_cookie(&guard(Some("secret")).logged_out())));
    }

    #[test]
    fn a_form_belongs_to_its_login() {
        let guard = guard(Some("secret"));
        let mine = with_cookie(&guard.logged_in(&HeaderMap::new()));
        let token = guard.form_token(&mine);
        assert!(guard.is_form_token(&mine, &token));
        assert!(!guard.is_form_token(&HeaderMap::new(), &token));
        assert!(!guard.is_form_token(&mine, ""));
    }

    #[test]
    fn without_a_token_only_known_hosts_are_answered() {
        for (host, known) in [
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("localhost", true),
            ("sync.example.eu", false),
            ("evil.example", false),
            ("127.0.0.1.evil.example:8080", false),
        ] {
            assert_eq!(guard(None).knows_host(&headers(&[("host", host)])), known, "{host}");
            assert!(guard(Some("secret")).knows_host(&headers(&[("host", host)])));
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
    }
}

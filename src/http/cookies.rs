//! The cookies: a login, and the state of an authorization.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use ring::{digest, hmac};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::ids::Account;

/// How long a login holds.
pub(super) const LOGIN_LASTS: Duration = Duration::from_secs(12 * 3600);

/// How long a browser stores the cookie of a login. After the login has ended, it still shows that this browser once
/// had the token.
const KNOWN_LASTS: Duration = Duration::from_secs(90 * 86400);

/// How long the state of an authorization can be used.
const STATE_LASTS: Duration = Duration::from_secs(3600);

/// Makes cookies and reads them. Their names have the account's, since browsers send a cookie to every port of a host.
#[derive(Clone, Debug)]
pub(super) struct Cookies {
    login: String,
    state: String,
    key: hmac::Key,
    /// Whether browsers reach this server by https.
    is_https: bool,
}

impl Cookies {
    /// `key` signs them; `public_uri` is an address by which browsers reach this server.
    pub(super) fn new(account: &Account, key: hmac::Key, public_uri: &str) -> Self {
        Self {
            login: format!("teamleader2db-{account}"),
            state: format!("teamleader2db-{account}-state"),
            key,
            is_https: is_https(public_uri),
        }
    }

    /// The `Set-Cookie` of a new login.
    pub(super) fn of_login(&self, id: Uuid, headers: &HeaderMap) -> String {
        let id = id.simple();
        let value = format!("{id}.{}", self.sign(&format!("login {id}")));
        self.set(&self.login, &value, KNOWN_LASTS, "Strict", headers)
    }

    /// The `Set-Cookie` of the browser that starts an authorization. Teamleader sends it back from its own site: the
    /// cookie must come along.
    pub(super) fn of_state(&self, state: &str, headers: &HeaderMap) -> String {
        self.set(&self.state, &hash(state), STATE_LASTS, "Lax", headers)
    }

    /// The id of the login that a request carries, if it is signed. The database knows whether the login still holds.
    pub(super) fn login(&self, headers: &HeaderMap) -> Option<Uuid> {
        let (id, signature) = read(headers, &self.login)?.split_once('.')?;
        self.is_signed(&format!("login {id}"), signature).then(|| id.parse().ok()).flatten()
    }

    /// Whether this browser started the authorization with this state.
    pub(super) fn has_state(&self, headers: &HeaderMap, state: &str) -> bool {
        read(headers, &self.state).is_some_and(|value| value.as_bytes().ct_eq(hash(state).as_bytes()).into())
    }

    /// A signature, in hexadecimal digits.
    pub(super) fn sign(&self, text: &str) -> String {
        hex(hmac::sign(&self.key, text.as_bytes()).as_ref())
    }

    /// Whether this is the signature of a text.
    pub(super) fn is_signed(&self, text: &str, signature: &str) -> bool {
        self.sign(text).as_bytes().ct_eq(signature.as_bytes()).into()
    }

    fn set(&self, name: &str, value: &str, lasts: Duration, same_site: &str, headers: &HeaderMap) -> String {
        // The origin that the browser reports counts, too: a proxy with TLS may serve an address that is not configured
        // here.
        let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        let secure = if self.is_https || origin.is_some_and(is_https) { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={}; HttpOnly; SameSite={same_site}{secure}", lasts.as_secs())
    }
}

fn is_https(uri: &str) -> bool {
    uri.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().map(HeaderValue::to_str).filter_map(Result::ok);
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn hash(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(key: &[u8], public_uri: &str) -> Cookies {
        Cookies::new(&"acme".parse().expect("an account"), hmac::Key::new(hmac::HMAC_SHA256, key), public_uri)
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        [(name, value.parse().expect("valid"))].into_iter().collect()
    }

    /// The headers of a browser that stores this `Set-Cookie`.
    fn with_cookie(set: &str) -> HeaderMap {
        headers(header::COOKIE, &format!("theme=dark; {}", set.split(';').next().expect("a pair")))
    }

    #[test]
    fn only_what_the_key_signed_is_a_login() {
        let (ours, id) = (cookies(b"key", "http://localhost/"), Uuid::new_v4());
        let login = ours.of_login(id, &HeaderMap::new());
        assert_eq!(ours.login(&with_cookie(&login)), Some(id));
        assert_eq!(cookies(b"another", "http://localhost/").login(&with_cookie(&login)), None);
        let other = login.replace(&id.simple().to_string(), &Uuid::new_v4().simple().to_string());
        assert_eq!(ours.login(&with_cookie(&other)), None, "the id is signed");
        assert_eq!(ours.login(&with_cookie(&format!("{}=", ours.login))), None);
    }

    #[test]
    fn cookies_are_secure_where_browsers_come_by_https() {
        let plain = HeaderMap::new();
        for (public_uri, headers, secure) in [
            ("https://sync.example.eu/sync/oauth", plain.clone(), true),
            ("http://localhost:8080/sync/oauth", plain.clone(), false),
            ("http://localhost:8080/sync/oauth", headers(header::ORIGIN, "https://sync.example.eu"), true),
            ("http://localhost:8080/sync/oauth", headers(header::ORIGIN, "http://sync.example.eu"), false),
        ] {
            let cookies = cookies(b"key", public_uri);
            for cookie in [cookies.of_login(Uuid::new_v4(), &headers), cookies.of_state("state", &headers)] {
                assert_eq!(cookie.ends_with("; Secure"), secure, "{cookie}");
                assert!(cookie.contains("; HttpOnly; SameSite="), "{cookie}");
            }
        }
    }

    #[test]
    fn a_state_is_that_of_its_browser() {
        let cookies = cookies(b"key", "http://localhost/");
        let browser = with_cookie(&cookies.of_state("state", &HeaderMap::new()));
        assert!(cookies.has_state(&browser, "state"));
        assert!(!cookies.has_state(&browser, "another"));
        assert!(!cookies.has_state(&HeaderMap::new(), "state"));
    }
}

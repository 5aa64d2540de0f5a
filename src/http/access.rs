//! Who may call: a program that sends the token, and a browser that has logged in with it.

use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::cookies::Cookies;
use super::guesses::Guesses;
use super::origin;
use crate::ids::Account;
use crate::store::tokens::cipher::{Cipher, CipherError};

/// Checks callers.
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
    /// No token is required.
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
    pub(super) fn is_token(&self, sent: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.expose_secret().as_bytes().ct_eq(sent.as_bytes()).into())
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
    pub(super) fn is_form_token(&self, headers: &HeaderMap, sent: &str) -> bool {
        self.cookies.is_signed(&form_of(self.cookies.login(headers)), sent)
    }

    /// Who calls without a login: a program with the token, or anyone where none is required.
    pub(super) fn without_login(&self, headers: &HeaderMap) -> Option<Caller> {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = sent.and_then(|value| value.strip_prefix("Bearer "));
        match bearer {
            _ if self.token.is_none() => Some(Caller::Anyone),
            Some(token) if self.is_token(token) => Some(Caller::Program),
            _ => None,
        }
    }

    /// Without a token, every user of this machine may use the server. A page of another site may not: not by a name of
    /// its own that it lets lead to 127.0.0.1 (DNS rebinding).
    pub(super) fn knows_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        self.token.is_some() || origin::names_this_machine(uri, headers)
    }
}

fn form_of(login: Option<Uuid>) -> String {
    format!("form {}", login.map(|id| id.to_string()).unwrap_or_default())
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

    #[test]
    fn logins_are_signed_with_all_secrets_and_not_with_the_token_alone() {
        let (id, ours) = (Uuid::new_v4(), guard(Some("secret")));
        let set = ours.cookies.of_login(id, &HeaderMap::new());
        let browser =
            HeaderMap::from_iter([(header::COOKIE, set.split(';').next().expect("a pair").parse().expect("valid"))]);
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
}

//! The OAuth endpoints: the authorize link, a code for a pair, a refresh token for the next pair, and who authorized.

use std::time::Duration;

use reqwest::{StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use uuid::Uuid;

use super::answer;

/// The longest that a request to the token endpoint may take, connecting included.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Bodies of the OAuth endpoints are a few hundred bytes; more than this is not read.
const MAX_BODY: usize = 256 * 1024;

/// The life of an access token, in seconds, where the API does not tell it.
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

/// Who authorized, as `users.me` tells.
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
        let told = self.expires_in.as_f64().or_else(|| self.expires_in.as_str()?.parse().ok());
        let seconds =
            told.filter(|seconds| (MIN_LIFETIME..=MAX_LIFETIME).contains(seconds)).unwrap_or(DEFAULT_LIFETIME);
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
            .timeout(TOKEN_TIMEOUT)
            .build()?;
        Ok(Self { http, integration })
    }

    /// The link that a person follows to authorize.
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
        let url = format!("{}/users.me", self.integration.api_uri.trim_end_matches('/'));
        let sent = self.http.post(url).bearer_auth(access.expose_secret()).json(&serde_json::json!({})).send().await;
        let (status, body) = read(sent).await.map_err(|error| format!("users.me: {}", describe(&error)))?;
        if status != StatusCode::OK {
            return Err(format!("users.me answered {status}: {}", titles(&body)));
        }
        parse_authorizer(&body)
    }

    async fn pair(&self, grant: &[(&str, &str)]) -> TokenAnswer {
        let url = format!("{}/oauth2/access_token", self.integration.auth_uri.trim_end_matches('/'));
        let mut form = vec![
            ("client_id", self.integration.client_id.as_str()),
            ("client_secret", self.integration.client_secret.expose_secret()),
        ];
        form.extend_from_slice(grant);
        let (status, body) = match read(self.http.post(url).form(&form).send().await).await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() || error.is_builder() => {
                return TokenAnswer::NotSent(describe(&error));
            }
            Err(error) => return TokenAnswer::Unknown(describe(&error)),
        };
        match status {
            status if status.is_success() => match serde_json::from_slice::<PairBody>(&body) {
                Ok(pair) => TokenAnswer::Pair(TokenPair {
                    expires_in: pair.lives(),
                    access: pair.access_token,
                    refresh: pair.refresh_token,
                }),
                Err(_) => TokenAnswer::Unknown("the token endpoint's answer holds no pair of tokens".to_owned()),
            },
            StatusCode::BAD_REQUEST => match answer::error_titles(&body) {
                Some(reason) => TokenAnswer::Refused(reason),
                // Not the API's own error: a gateway's, say.
                None => TokenAnswer::Unknown("the token endpoint answered 400 without the API's error".to_owned()),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => TokenAnswer::ClientRejected(titles(&body)),
            status => TokenAnswer::Unknown(format!("the token endpoint answered {status}")),
        }
    }
}

/// Reads the body of `users.me`.
pub(super) fn parse_authorizer(body: &[u8]) -> Result<Authorizer, String> {
    let me: MeBody = serde_json::from_slice(body).map_err(|_| "users.me did not tell the account".to_owned())?;
    let name = [me.data.first_name, me.data.last_name].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Ok(Authorizer { account: me.data.account.id, name })
}

/// Reads an answer's body, up to [`MAX_BODY`]; a longer one is cut, and then does not parse.
async fn read(sent: reqwest::Result<reqwest::Response>) -> reqwest::Result<(StatusCode, Vec<u8>)> {
    let mut response = sent?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            break;
        }
    }
    Ok((status, body))
}

fn titles(body: &[u8]) -> String {
    answer::error_titles(body).unwrap_or_else(|| "no reason given".to_owned())
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
    use super::*;

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
}

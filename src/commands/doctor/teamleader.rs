//! Teamleader: the way there, the clocks, and whether it takes the access token that is stored.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::DATE;

use super::args::DoctorArgs;
use super::finding::{Finding, PATIENCE, clock as machine_clock, wrong};
use crate::api_client::clock::{self, DatabaseClock, Dated};
use crate::api_client::oauth::{Integration, OAuth, Unnamed};
use crate::api_client::token_store::TokenStore;
use crate::config::endpoint;
use crate::store::tokens::Tokens;

/// Any answer proves the way there. `tokens`: where the account is authorized.
pub(super) async fn examine(args: &DoctorArgs, tokens: Option<Tokens>, database_clock: &DatabaseClock) -> Vec<Finding> {
    let Ok(integration) = args.integration.integration() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (name, base) in [("API", &integration.api_uri), ("authorization server", &integration.auth_uri)] {
        if endpoint::can_be_overheard(base) {
            findings.push(Finding::Note {
                what: format!("what goes to the {name} at {base} is not encrypted, tokens among it"),
                fix: "set an address that begins with https://, unless nobody else is on that network".to_owned(),
            });
        }
        let asked = async { reqwest::Client::builder().timeout(PATIENCE).build()?.get(base).send().await };
        let answer = asked.await;
        let date = answer.as_ref().ok().and_then(|answer| answer.headers().get(DATE)?.to_str().ok());
        let date: Option<DateTime<Utc>> = date.and_then(|date| Some(httpdate::parse_http_date(date).ok()?.into()));
        findings.extend(date.and_then(|date| machine_clock(&format!("that of the {name}"), date)));
        // Only the API's time becomes a watermark.
        if let (Some(Dated::Apart(skew)), "API") = (date.map(|date| database_clock.judge(date)), name) {
            let skew = clock::described(skew);
            findings.push(wrong(
                format!("the clock of the API is {skew}: no watermark is taken from it, and no list is verified"),
                "set the clock of PostgreSQL's host by the network; if that is right, a proxy on the way to Teamleader \
                 writes a wrong Date",
            ));
        }
        findings.push(match answer {
            Ok(_) => Finding::Well(format!("the {name} answers at {base}")),
            Err(error) if error.is_timeout() => {
                wrong(format!("the {name} does not answer at {base}"), "is it their side, or a firewall?")
            }
            Err(_) => wrong(
                format!("the {name} cannot be reached at {base}"),
                "check the network, DNS, HTTPS_PROXY and the URL; with a certificate authority of your own \
                 SSL_CERT_FILE",
            ),
        });
    }
    if let Some(tokens) = tokens {
        findings.extend(access(integration, &tokens).await);
    }
    findings
}

/// Asks `users.me` with the stored access token, which works as often as one likes. The refresh token is not touched:
/// only the worker may use it.
async fn access(integration: Integration, tokens: &Tokens) -> Option<Finding> {
    let stored = tokens.load().await.ok()??;
    let Some(access) = stored.access.filter(|access| access.remaining > Duration::ZERO) else {
        return Some(Finding::Well(
            "the access token has expired: the worker gets the next one when it needs it".to_owned(),
        ));
    };
    let asked = integration.api_version.clone();
    let oauth = OAuth::new(integration).ok()?;
    Some(match oauth.ask_who(&access.token).await {
        Ok((_, None)) => {
            Finding::Well(format!("the API takes the stored access token, and is asked for version {asked}"))
        }
        Ok((_, Some(difference))) => wrong(
            format!("users.me {difference}: records may lack fields, or have them under other names"),
            "set TEAMLEADER_API_VERSION to a version that the API has, or leave it out; if it is right, does a proxy \
             on the way to Teamleader drop the header X-Api-Version?",
        ),
        Err(Unnamed { refused: false, why }) => wrong(
            format!("the API does not answer as it should: {why}"),
            "their side, or a proxy on the way: nothing is wrong with the token. The worker waits and tries again by \
             itself, and `teamleader2db status` shows since when",
        ),
        Err(Unnamed { refused: true, why }) => wrong(
            format!("the API does not take the stored access token: {why}"),
            "the next sync gets a new one by itself; if that is refused, too, open the worker's /sync/authorize in a \
             browser",
        ),
    })
}

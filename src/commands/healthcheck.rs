//! Asking a worker whether it lives, for containers: their image has neither a shell nor curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;

use super::outcome::Outcome;
use super::terminal;
use crate::config::parse_listen;

/// A worker that does not answer within this is not well. Shorter than the five seconds that the image's HEALTHCHECK
/// allows.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which worker: that of the same machine or container, which has the same setting.
#[derive(Args, Debug)]
pub struct HealthcheckArgs {
    /// Where the worker's HTTP server listens
    #[arg(
        long,
        env = "HTTP_LISTEN",
        default_value = "127.0.0.1:8080",
        value_parser = parse_listen,
        value_name = "ADDRESS"
    )]
    http_listen: SocketAddr,
}

/// Why a worker is not taken to be alive.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// It cannot be asked.
    #[error("the worker at {0} cannot be asked: does it run, and with the same HTTP_LISTEN?")]
    Unreachable(SocketAddr),
    /// It does not answer.
    #[error("the worker at {address} does not answer within {} s", PATIENCE.as_secs())]
    Silent {
        /// Where it listens.
        address: SocketAddr,
    },
    /// It says something else, or is something else.
    #[error("what listens at {0} does not say that it is alive")]
    Other(SocketAddr),
}

impl HealthcheckArgs {
    /// Asks, and prints the answer.
    pub async fn run(self) -> Result<Outcome, Unwell> {
        check(&self).await?;
        terminal::print("alive");
        Ok(Outcome::Done)
    }
}

/// Asks `/health/live`.
async fn check(args: &HealthcheckArgs) -> Result<(), Unwell> {
    let address = reachable(args.http_listen);
    let asked = async {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        http.get(format!("http://{address}/health/live")).send().await
    };
    match asked.await {
        Ok(answer) if answer.status() == reqwest::StatusCode::OK => Ok(()),
        Ok(_) => Err(Unwell::Other(address)),
        Err(error) if error.is_timeout() => Err(Unwell::Silent { address }),
        Err(_) => Err(Unwell::Unreachable(address)),
    }
}

/// One that listens at all addresses is reached at loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

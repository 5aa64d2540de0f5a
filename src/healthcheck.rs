//! Asking a worker whether it lives, for containers: their image has neither a shell nor curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A worker that does not answer within this is not well. Shorter than the five seconds that the image's HEALTHCHECK allows.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the answer begins that says that all is well.
const OK: &[u8] = b"HTTP/1.1 200 ";

/// The worker's answer is much shorter; what does not end is not read to the end.
const LONGEST_ANSWER: u64 = 4096;

/// Which worker: that of the same machine or container, which has the same setting.
#[derive(Args, Debug)]
pub struct HealthcheckArgs {
    /// Where the worker's HTTP server listens
    #[arg(long, env = "HTTP_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    http_listen: SocketAddr,
}

/// Why a worker is not taken to be alive.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// It cannot be asked.
    #[error("the worker at {0} cannot be asked: {1}")]
    Unreachable(SocketAddr, std::io::Error),
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

/// Asks `/health/live`.
pub async fn check(args: &HealthcheckArgs) -> Result<(), Unwell> {
    let address = reachable(args.http_listen);
    match tokio::time::timeout(PATIENCE, ask(address)).await {
        Ok(Ok(answer)) if answer.starts_with(OK) => Ok(()),
        Ok(Ok(_)) => Err(Unwell::Other(address)),
        Ok(Err(error)) => Err(Unwell::Unreachable(address, error)),
        Err(_) => Err(Unwell::Silent { address }),
    }
}

async fn ask(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
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

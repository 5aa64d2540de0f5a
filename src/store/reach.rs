//! A connection to PostgreSQL apart from the pool, and why there is none.

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::server_error::{in_words, sqlstate};

/// The longest wait for a connection.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection: where to, the cause, and what to do. Names neither user nor password.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL at {address}: {}: {}", self.cause(), self.advice())]
pub struct Unreachable {
    address: String,
    /// The variable that has the address.
    variable: &'static str,
    error: sqlx::Error,
}

impl Unreachable {
    /// What happened.
    pub fn cause(&self) -> String {
        match (&*self.sqlstate(), &self.error) {
            // The server's own words name the user.
            ("28P01", _) => "the password is refused (SQLSTATE 28P01)".to_owned(),
            ("28000", _) => "the login is refused (SQLSTATE 28000)".to_owned(),
            (_, sqlx::Error::Io(error)) => lower_first(&error.to_string()),
            (_, error) => in_words(error),
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        let variable = self.variable;
        match (&*self.sqlstate(), &self.error) {
            ("28P01", _) => {
                format!("the password in {variable} is wrong, or the role has none: `alter role … password '…'`")
            }
            ("28000", _) => format!(
                "is the user in {variable} right? It has to be a role that may log in, and pg_hba.conf has to let it \
                 in from here"
            ),
            ("3D000", _) => {
                format!("fix the database's name in {variable}, or make it: `create database … owner …`")
            }
            ("42501", _) => "as the database's owner: `grant connect on database … to …`".to_owned(),
            ("53300", _) => {
                "raise the server's max_connections, or end what uses them: a worker takes 8 at most".to_owned()
            }
            ("57P03", _) => "wait until the server has started".to_owned(),
            (_, sqlx::Error::Io(error)) if is_untrusted(error) => format!(
                "with a certificate authority of your own: sslrootcert in {variable}, or SSL_CERT_FILE; and the host \
                 has to be the certificate's"
            ),
            (_, sqlx::Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                format!("is the host in {variable} right, or does a firewall stand in between?")
            }
            (_, sqlx::Error::Tls(_)) => format!("set sslmode and sslrootcert in {variable} as the server needs them"),
            _ => format!("is it running, and are host and port in {variable} right?"),
        }
    }

    /// Host and port, or the socket.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// sqlx's own error.
    pub(super) fn error(&self) -> &sqlx::Error {
        &self.error
    }

    /// Whether the server did not even answer.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.error, sqlx::Error::Io(_))
    }

    fn sqlstate(&self) -> String {
        sqlstate(&self.error).unwrap_or_default().into_owned()
    }
}

/// Whether a server's certificate is not believed: rustls reports it as invalid data.
fn is_untrusted(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}

/// A connection apart from any pool. `variable`: the one that has the address.
pub async fn connect(options: &PgConnectOptions, variable: &'static str) -> Result<PgConnection, Unreachable> {
    let connected = tokio::time::timeout(PATIENCE, options.connect()).await.unwrap_or_else(|_| {
        let why = format!("no answer within {} s", PATIENCE.as_secs());
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why).into())
    });
    connected.map_err(|error| Unreachable { address: address(options), variable, error })
}

fn address(options: &PgConnectOptions) -> String {
    let (host, port) = (options.get_host(), options.get_port());
    match options.get_socket() {
        Some(folder) => format!("{}/.s.PGSQL.{port}", folder.display()),
        None if host.starts_with('/') => format!("{host}/.s.PGSQL.{port}"),
        None => format!("{host}:{port}"),
    }
}

/// "Connection refused" begins no sentence here.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn why(url: &str) -> Unreachable {
        connect(&url.parse().expect("a URL"), "DATABASE_URL").await.expect_err("nothing listens there")
    }

    #[tokio::test]
    async fn a_refused_connection_is_known_at_once_with_its_address_and_without_its_password() {
        let refused = why("postgres://anna:hunter2@127.0.0.1:9/nothing").await.to_string();
        assert_eq!(
            refused,
            "PostgreSQL at 127.0.0.1:9: connection refused (os error 111): is it running, and are host and port in \
             DATABASE_URL right?"
        );
    }

    #[tokio::test]
    async fn a_socket_that_is_missing_is_named() {
        let missing = why("postgres:///nothing?host=/nowhere").await.to_string();
        assert!(missing.starts_with("PostgreSQL at /nowhere/.s.PGSQL.5432: no such file or directory"), "{missing}");
    }
}

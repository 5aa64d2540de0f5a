//! A PostgreSQL of the test's own, which may become a standby, and a PgBouncer before the one of all tests.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use uuid::Uuid;

use super::{free_port, until};

/// A PostgreSQL that no other test uses. Stopped and deleted when it goes out of scope.
pub struct OwnPostgres {
    /// The URL of its database.
    pub url: String,
    dir: PathBuf,
}

impl OwnPostgres {
    /// Starts it.
    pub async fn start() -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("postgres-{}", Uuid::new_v4().simple()));
        let mut server = Self { url: String::new(), dir };
        server.servers(&["up"]).await;
        let variables = server.servers(&["env"]).await;
        let url = variables.lines().find_map(|line| line.strip_prefix("export DATABASE_URL="));
        server.url = url.expect("a DATABASE_URL").trim_matches('\'').to_owned();
        server
    }

    /// Starts it again as a standby, whose primary is gone: it takes reads, and no writes.
    pub async fn become_standby(&self) {
        self.servers(&["down"]).await;
        let status = self.servers(&["data"]).await;
        std::fs::write(PathBuf::from(status.trim()).join("postgres/pgdata/standby.signal"), "").unwrap();
        self.servers(&["up"]).await;
    }

    async fn servers(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        // The simulator lives in this runtime: it must not be blocked.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = dev_servers();
        // The RabbitMQ of `make test` serves; its PostgreSQL does not.
        command.arg("--dir").arg(&self.dir).args(arguments).env_remove("DATABASE_URL").env("AMQP_URL", "none");
        command
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        let _ = self.command(&["clean"]).stdout(Stdio::null()).status();
    }
}

/// A PgBouncer. Ends when it goes out of scope.
pub struct PgBouncer {
    /// The URL of the database that it was started before.
    pub url: String,
    process: Child,
    dir: PathBuf,
}

impl PgBouncer {
    /// Starts one before a database, with these lines of its configuration.
    pub async fn before(database_url: &str, settings: &[&str]) -> Self {
        let (login, rest) = database_url.split_once('@').expect("a user");
        let (server, database) = rest.split_once('/').expect("a database");
        let (host, postgres_port) = server.split_once(':').expect("a port");
        let user = login.rsplit('/').next().expect("a user");
        // Where another user may read it.
        let dir = std::env::temp_dir().join(format!("pgbouncer-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (file, port) = (dir.join("pgbouncer.ini"), free_port());
        let configuration = format!(
            "[databases]\n* = host={host} port={postgres_port} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\n{}\n",
            settings.join("\n")
        );
        std::fs::write(&file, configuration).unwrap();
        let mut command = dev_servers();
        command.args(["pgbouncer", "--quiet"]).arg(&file);
        let process = command.spawn().unwrap();
        let bouncer = Self { url: format!("postgres://{user}@127.0.0.1:{port}/{database}"), process, dir };
        until("PgBouncer listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        bouncer
    }

    /// Whether it can carry prepared statements from session to session, as it can from 1.21 on.
    pub fn keeps_prepared_statements() -> bool {
        let output = dev_servers().args(["pgbouncer", "--version"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // `PgBouncer 1.18.0`
        let version = said.lines().next().and_then(|line| line.strip_prefix("PgBouncer ")).expect("a version");
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        (numbers.next(), numbers.next()) >= (Some(1), Some(21))
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn dev_servers() -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/servers"));
    command.stdin(Stdio::null());
    command
}

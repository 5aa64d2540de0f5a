//! A PostgreSQL and a RabbitMQ of a lane's own, which it may restart as it likes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPoolOptions;

/// How many processes of the worker a seed may start: each has a user of its own in the database.
pub const USERS: u32 = 500;

/// The user of who cancels a run: it ends one without holding the lease.
pub const CANCELLER: &str = "canceller";

/// The servers of a lane.
#[derive(Clone)]
pub struct Servers {
    dir: PathBuf,
    /// PostgreSQL, for the suite.
    pub database: String,
    /// RabbitMQ, for the suite.
    pub broker: String,
}

/// Holds what tells others that the servers are in use, until it is dropped: two suites must not restart each other's.
pub fn alone() -> File {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/faults");
    std::fs::create_dir_all(&dir).expect("target can be written");
    let lock = File::create(dir.join("lock")).expect("target can be written");
    lock.try_lock().expect("no other fault suite runs in this directory");
    lock
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// RabbitMQ.
    Rabbitmq,
}

impl Servers {
    /// Starts those of this name, or takes them as an earlier run has left them.
    pub async fn up(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("target/faults/servers-{name}"));
        run(&dir, &["up"]).await;
        let urls = run(&dir, &["env"]).await;
        // `export NAME=value`, with a backslash before what a shell would expand.
        let url = |name: &str| {
            let line = urls.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.unwrap_or_else(|| panic!("dev/servers env tells no {name}: {urls}")).replace('\\', "")
        };
        let servers = Self { dir, database: url("DATABASE_URL"), broker: url("AMQP_URL") };
        servers.make_users().await;
        servers
    }

    /// Users that tell who writes: the worker gives its sessions no other name that one could choose.
    async fn make_users(&self) {
        let admin = PgPoolOptions::new().max_connections(1).connect(&self.database).await.expect("PostgreSQL is up");
        let sql = format!(
            "do $$ begin for n in 1..{USERS} loop
               if not exists (select from pg_roles where rolname = 'worker_' || n) then
                 execute 'create role worker_' || n || ' superuser login';
               end if;
             end loop;
             if not exists (select from pg_roles where rolname = '{CANCELLER}') then
               create role {CANCELLER} superuser login;
             end if; end $$"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&admin).await.expect("users can be made");
    }

    /// Restarts one of them; `now`: without letting it end in order.
    pub async fn restart(&self, server: Server, now: bool) {
        let name = match server {
            Server::Postgres => "postgres",
            Server::Rabbitmq => "rabbitmq",
        };
        let how: &[&str] = if now { &["restart", name, "now"] } else { &["restart", name] };
        if try_to_run(&self.dir, how).await.is_none() {
            // A busy machine can make a start take too long; the seed then has a longer outage than it has drawn.
            self.mend().await;
        }
    }

    /// Starts what does not run.
    pub async fn mend(&self) {
        run(&self.dir, &["up"]).await;
    }

    /// Stops both.
    pub async fn down(&self) {
        run(&self.dir, &["down"]).await;
    }
}

async fn run(dir: &Path, arguments: &[&str]) -> String {
    try_to_run(dir, arguments)
        .await
        .unwrap_or_else(|| panic!("dev/servers {arguments:?} failed: see what it says above"))
}

/// What dev/servers says; `None` when it fails.
async fn try_to_run(dir: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/servers"));
    // With these set it would take somebody else's servers.
    command.env_remove("DATABASE_URL").env_remove("AMQP_URL");
    command.arg("--dir").arg(dir).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("no panic").expect("dev/servers can be run");
    output.status.success().then(|| String::from_utf8(output.stdout).expect("dev/servers writes UTF-8"))
}

//! A broker of the test's own, whose settings it may change.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use uuid::Uuid;

/// A RabbitMQ that no other test uses. Stopped and deleted when it goes out of scope.
pub struct OwnBroker {
    /// Its URL.
    pub url: String,
    dir: PathBuf,
}

impl OwnBroker {
    /// Starts it.
    pub async fn start() -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("broker-{}", Uuid::new_v4().simple()));
        let mut broker = Self { url: String::new(), dir };
        broker.servers(&["up"]).await;
        let variables = broker.servers(&["env"]).await;
        let url = variables.lines().find_map(|line| line.strip_prefix("export AMQP_URL="));
        broker.url = url.expect("an AMQP_URL").trim_matches('\'').to_owned();
        broker
    }

    /// Runs `rabbitmqctl`, and gives what it says.
    pub async fn control(&self, arguments: &[&str]) -> String {
        self.servers(&[&["rabbitmqctl"], arguments].concat()).await
    }

    /// Stops it, in order; the data stays.
    pub async fn stop(&self) {
        self.servers(&["down"]).await;
    }

    /// Starts it again, at the same address.
    pub async fn start_again(&self) {
        self.servers(&["up"]).await;
    }

    /// Imports definitions, as JSON.
    pub async fn import(&self, definitions: &str) {
        let mut command = self.command(&["rabbitmqctl", "import_definitions"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Closed at its end, which ends the command.
        child.stdin.take().unwrap().write_all(definitions.as_bytes()).unwrap();
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert!(status.success(), "the definitions cannot be imported");
    }

    async fn servers(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        // The simulator lives in this runtime: it must not be blocked.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/servers"));
        // The PostgreSQL of `make test` serves; its RabbitMQ does not.
        command.arg("--dir").arg(&self.dir).args(arguments).env_remove("AMQP_URL").stdin(Stdio::null());
        command
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        let _ = self.command(&["clean"]).stdout(Stdio::null()).status();
    }
}

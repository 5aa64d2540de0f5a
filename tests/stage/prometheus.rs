//! A Prometheus that reads a worker.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use uuid::Uuid;

use super::free_port;
use super::waiting::until;

/// Stopped and deleted when it goes out of scope.
pub struct Prometheus {
    child: Child,
    url: String,
    dir: PathBuf,
}

impl Prometheus {
    /// Starts it: each second it reads the worker at this address, and looks at these rules.
    pub async fn start(address: &str, rules: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{}", Uuid::new_v4().simple()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("alerts.yml"), rules).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [alerts.yml]\n\
             scrape_configs: [{{ job_name: teamleader2db, static_configs: [{{ targets: ['{address}'] }}] }}]\n"
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={listen}"))
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .expect("prometheus cannot be run: install the Debian package prometheus");
        let prometheus = Self { child, url: format!("http://{listen}/api/v1"), dir };
        until("Prometheus answers", async || prometheus.ask("status/runtimeinfo", &[]).await).await;
        prometheus
    }

    /// The data of an answer, if there is one.
    async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.get(format!("{}/{path}", self.url)).query(query).send().await.ok()?;
        let mut answer: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        Some(answer["data"].take())
    }

    /// Waits until an alert fires, and gives its labels.
    pub async fn fires(&self, alert: &str) -> Value {
        until(&format!("{alert} fires"), async || self.firing(alert).await).await
    }

    /// Waits until it has ended.
    pub async fn clears(&self, alert: &str) {
        until(&format!("{alert} ends"), async || self.firing(alert).await.is_none().then_some(())).await;
    }

    async fn firing(&self, alert: &str) -> Option<Value> {
        let alerts = self.ask("alerts", &[]).await.expect("an answer");
        let firing = |one: &&Value| one["labels"]["alertname"] == alert && one["state"] == "firing";
        alerts["alerts"].as_array().unwrap().iter().find(firing).map(|one| one["labels"].clone())
    }

    /// How many series a query gives, over the last ten minutes.
    pub async fn series(&self, query: &str) -> usize {
        let now = chrono::Utc::now().timestamp();
        let (start, end) = ((now - 600).to_string(), now.to_string());
        let data = self.ask("query_range", &[("query", query), ("start", &start), ("end", &end), ("step", "1")]).await;
        data.expect("an answer")["result"].as_array().unwrap().len()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

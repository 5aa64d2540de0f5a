//! The program under test, as processes of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::waiting::until;

/// The variables of the test's environment that a process of the program gets; all else would come from the developer's
/// machine.
const PASSED_ON: [&str; 3] = ["PATH", "HOME", "LLVM_PROFILE_FILE"];

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_teamleader2db");

/// The program to test in its place, if the variable names one.
pub fn path() -> PathBuf {
    std::env::var_os("TEST_PROGRAM").map_or_else(|| PROGRAM.into(), PathBuf::from)
}

/// How much of a log is shown when a test fails.
const SHOWN: usize = 12_000;

/// The program's settings, as environment variables.
pub type Settings = BTreeMap<&'static str, String>;

/// A running worker. Killed when it goes out of scope.
pub struct Worker {
    child: Child,
    log: PathBuf,
    keeps_log: bool,
    /// Where its HTTP server is.
    pub url: String,
    http: reqwest::Client,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error: logs and complaints.
    pub err: String,
}

pub fn program(settings: &Settings) -> Command {
    let mut command = Command::new(path());
    command.env_clear().envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(settings).stdin(Stdio::null());
    command
}

/// Runs a command of the program to its end.
pub async fn run(settings: &Settings, arguments: &[&str]) -> Ended {
    let mut command = program(settings);
    command.args(arguments);
    // The simulator lives in this runtime: it must not be blocked.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    Ended { code: output.status.code().expect("an exit code"), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs a command until it has written a line to standard output, and then closes that.
pub async fn run_for_a_line(settings: &Settings, arguments: &[&str]) -> Ended {
    let mut command = program(settings);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    tokio::task::spawn_blocking(move || {
        let mut out = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut out).unwrap();
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).expect("the program writes UTF-8");
        Ended { code: output.status.code().expect("an exit code"), out, err }
    })
    .await
    .unwrap()
}

/// What a command wrote to standard output, and the memory that it took.
#[derive(Debug)]
pub struct Measured {
    /// The exit code.
    pub code: i32,
    /// How many lines it wrote.
    pub lines: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The most bytes of it that were resident, until it had written all but what a pipe holds.
    pub peak: u64,
}

/// Runs a command of the program to its end, and reads what it writes without keeping it.
pub async fn run_measured(settings: &Settings, arguments: &[&str]) -> Measured {
    let mut command = program(settings);
    command.args(arguments).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    tokio::task::spawn_blocking(move || {
        let mut out = child.stdout.take().unwrap();
        let (mut lines, mut bytes, mut peak) = (0, 0, 0);
        let mut piece = vec![0; 1 << 20];
        loop {
            let read = out.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            bytes += read as u64;
            lines += piece[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            // A process that has ended has no memory to report.
            peak = peak_of(child.id()).unwrap_or(peak);
        }
        Measured { code: child.wait().unwrap().code().expect("an exit code"), lines, bytes, peak }
    })
    .await
    .unwrap()
}

/// The most bytes that were resident of a process, as Linux reports it.
fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

impl Worker {
    /// Starts a worker, and waits until its HTTP server answers.
    pub async fn start(settings: &Settings, log: PathBuf) -> Self {
        let mut worker = Self::start_mortal(settings, log).await;
        assert!(worker.ended().is_none(), "the worker ended at once");
        worker
    }

    /// Starts a worker, and waits until its HTTP server answers and its database is ready, or it has ended.
    pub async fn start_mortal(settings: &Settings, log: PathBuf) -> Self {
        let mut worker = Self::start_without_database(settings, log).await;
        until("the worker's database is ready", async || {
            (worker.ended().is_some() || worker.log().contains("The database is ready")).then_some(())
        })
        .await;
        worker
    }

    /// Starts a worker, and waits until its HTTP server answers, or it has ended.
    pub async fn start_without_database(settings: &Settings, log: PathBuf) -> Self {
        let mut worker = Self::spawn(settings, log);
        let live = format!("{}/health/live", worker.url);
        let http = worker.http.clone();
        until("the worker answers", async || {
            if worker.ended().is_some() {
                return Some(());
            }
            http.get(&live).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
        worker
    }

    /// Starts a worker that may as well refuse to start.
    pub fn spawn(settings: &Settings, log: PathBuf) -> Self {
        let file = File::create(&log).unwrap();
        let mut command = program(settings);
        command.arg("worker").stdout(file.try_clone().unwrap()).stderr(file);
        let url = format!("http://{}", settings["HTTP_LISTEN"]);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child: command.spawn().unwrap(), log, keeps_log: false, url, http }
    }

    /// Its log stays where it is when it goes out of scope, and is not shown.
    pub fn keeping_log(mut self) -> Self {
        self.keeps_log = true;
        self
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most bytes that were resident of it so far.
    pub fn peak(&self) -> u64 {
        peak_of(self.pid()).expect("a running worker")
    }

    /// The status and the text that a GET gives. Redirects are followed, as a browser does.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends any request to it.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Kills it, as the kernel does when memory is short: no goodbye to anyone.
    pub fn kill(&mut self) {
        // It may have ended by itself, which the test notices by what it left behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.exit().await
    }

    /// Sends SIGTERM.
    pub fn ask_to_end(&self) {
        self.signal("TERM");
    }

    /// Stops it in the middle of whatever it does, as when its machine is suspended.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Sends a signal by its name: `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
        assert!(sent.success(), "the worker had ended before SIG{name}");
    }

    /// Waits until it ends by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        until("the worker has ended", async || self.ended()).await
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// What it has logged after this many bytes.
    pub fn log_after(&self, bytes: u64) -> Vec<u8> {
        let (mut file, mut text) = (File::open(&self.log).unwrap(), Vec::new());
        file.seek(SeekFrom::Start(bytes)).unwrap();
        file.read_to_end(&mut text).unwrap();
        text
    }
}

/// A command of the program that goes on until a signal ends it. Killed when it goes out of scope.
pub struct Watcher {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Watcher {
    /// Starts a command. What it writes goes to two files, named like `log`.
    pub fn start(settings: &Settings, arguments: &[&str], log: &Path) -> Self {
        let (out, err) = (log.with_extension("out"), log.with_extension("err"));
        let mut command = program(settings);
        command.args(arguments).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: command.spawn().unwrap(), out, err }
    }

    /// The whole lines that it has written to standard output.
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.out).unwrap();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    /// Waits until it says this on standard error.
    pub async fn says(&self, what: &str) {
        until(&format!("it says {what:?}"), async || self.log().contains(what).then_some(())).await;
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends a signal by its name, `TERM`, and waits for the end.
    pub async fn end(&mut self, signal: &str) -> ExitStatus {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success(), "it had ended before SIG{signal}");
        until("it has ended", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(&self.out);
            let _ = std::fs::remove_file(&self.err);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        if self.keeps_log {
            return;
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let start = log.char_indices().rev().take(SHOWN).last().map_or(0, |(at, _)| at);
            eprintln!("--- the end of the worker's log, {}\n{}", self.log.display(), &log[start..]);
        } else {
            // Only a failure is looked into later.
            let _ = std::fs::remove_file(&self.log);
        }
    }
}

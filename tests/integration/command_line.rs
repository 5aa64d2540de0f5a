//! What the command line refuses, at once and with the name of what is at fault; and what it completes.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{ACCOUNT, Ended, Stage, path, until};

/// Settings of a worker that can never work: their values, and what is said of them.
const NEVER: [(&str, &str, &[&str]); 24] = [
    ("DATABASE_URL", "postgres:/foo", &["DATABASE_URL", "postgres://user:password@host:5432/database"]),
    ("DATABASE_URL", "mysql://hunter2@db/copy", &["DATABASE_URL", "begins with something else"]),
    ("DATABASE_URL", "postgres://anna:hunter2@db:0/copy", &["DATABASE_URL", "port 0"]),
    ("DATABASE_URL", "postgres://db/copy?sslmode=hunter2", &["DATABASE_URL", "sslmode", "verify-full"]),
    ("AMQP_URL", "http://hunter2", &["AMQP_URL", "amqp:// or amqps://"]),
    ("AMQP_URL", "amqp://a:hunter2@mq:99999/%2f", &["AMQP_URL", "cannot be read"]),
    ("AMQP_URL", "amqp://a:hunter2@mq/%2f?heartbeat=soon", &["AMQP_URL", "cannot be read"]),
    ("SYNC_SLICE", "20m", &["SYNC_SLICE", "20m", "from 1s to 15m"]),
    ("RATE_RESERVE", "500", &["RATE_RESERVE", "500", "from 0 to 150"]),
    ("RETENTION", "0", &["RETENTION", "from 1s to 36500d, or never"]),
    ("ERASE_DELETED_AFTER", "0s", &["ERASE_DELETED_AFTER", "or never"]),
    ("TEAMLEADER_RESOURCES", "contacts,contact", &["TEAMLEADER_RESOURCES", "did you mean contacts?"]),
    ("TEAMLEADER_API_URI", "ftp://api", &["TEAMLEADER_API_URI", "http:// or https://"]),
    ("TEAMLEADER_AUTH_URI", "focus", &["TEAMLEADER_AUTH_URI", "https://host/path"]),
    ("TEAMLEADER_API_VERSION", "latest", &["TEAMLEADER_API_VERSION"]),
    ("TEAMLEADER_CLIENT_ID", "", &["TEAMLEADER_CLIENT_ID is not set"]),
    ("TEAMLEADER_CLIENT_SECRET", "", &["TEAMLEADER_CLIENT_SECRET is not set"]),
    ("TEAMLEADER_REFRESH_TOKEN", "hunter2", &["TEAMLEADER_REFRESH_TOKEN", "16"]),
    ("TOKEN_ENCRYPTION_KEY", "abc", &["TOKEN_ENCRYPTION_KEY", "not base64", "32 bytes"]),
    ("TOKEN_ENCRYPTION_KEY", "aHVudGVyMg==", &["TOKEN_ENCRYPTION_KEY", "has 7 bytes and not 32"]),
    ("HTTP_API_TOKEN", "zwölf", &["HTTP_API_TOKEN", "visible ASCII"]),
    ("AMQP_PREFIX", "amq.mine", &["AMQP_PREFIX", "A-Z a-z 0-9"]),
    ("REPLY_TO_ALLOWED", "(", &["REPLY_TO_ALLOWED"]),
    ("TEAMLEADER_ACCOUNT", "a b", &["TEAMLEADER_ACCOUNT", "A-Z a-z 0-9 _ -"]),
];

#[tokio::test]
async fn settings_that_can_never_work_end_the_worker_at_once_with_their_name() {
    let mut stage = Stage::small().await;
    for (name, value, words) in NEVER {
        let usual = stage.set(name, value);
        let mut worker = stage.worker_that_listens_at("127.0.0.1:0");
        assert_eq!(worker.exit().await.code(), Some(2), "{name}={value}: {}", worker.log());
        let log = worker.log();
        assert!(words.iter().all(|word| log.contains(word)), "{name}={value}: {log}");
        assert!(!log.contains("hunter2") && log.trim().lines().count() == 1, "{name}={value}: {log}");
        stage.restore(name, usual);
    }
}

/// Runs a command, which has to end before a pool would give up.
async fn at_once(stage: &Stage, arguments: &[&str]) -> Ended {
    let started = Instant::now();
    let ended = stage.run(arguments).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{arguments:?} took {:?}: {ended:?}", started.elapsed());
    ended
}

#[tokio::test]
async fn each_command_refuses_a_url_that_no_try_can_make_work() {
    let mut stage = Stage::small().await;
    let usual = stage.set("DATABASE_URL", "postgres:/hunter2");
    for command in [
        &["status"][..],
        &["migrate"],
        &["authorize"],
        &["export", "contacts", "--format", "csv"],
        &["request", "users"],
        &["audit", "users"],
        &["events"],
    ] {
        let ended = at_once(&stage, command).await;
        assert_eq!((ended.code, ended.err.contains("DATABASE_URL: it is a URL like")), (2, true), "{ended:?}");
        assert!(!ended.err.contains("hunter2"), "{ended:?}");
    }
    stage.restore("DATABASE_URL", usual);
    stage.set("AMQP_URL", "http://hunter2");
    for command in [&["request", "users"][..], &["request", "users", "--wait"], &["audit", "users"], &["events"]] {
        let ended = at_once(&stage, command).await;
        assert_eq!((ended.code, ended.err.contains("AMQP_URL: it is a URL that begins")), (2, true), "{ended:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_named_with_its_address_and_its_cause_at_once() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "https://sync.example.com/sync/oauth");
    let worker = stage.worker().await;
    let usual = stage.set("DATABASE_URL", "postgres://anna:hunter2@127.0.0.1:9/nothing");
    let refused = "PostgreSQL at 127.0.0.1:9: connection refused (os error 111): is it running";
    for command in
        [&["status"][..], &["migrate"], &["authorize"], &["export", "contacts", "--format", "csv"], &["doctor"]]
    {
        let ended = at_once(&stage, command).await;
        let said = format!("{}{}", ended.out, ended.err);
        assert_eq!(ended.code, 1, "{command:?}: {ended:?}");
        let named = said.contains(refused) || said.contains("no connection to 127.0.0.1:9: connection refused");
        assert!(named && !said.contains("hunter2") && !said.contains("anna"), "{command:?}: {said}");
    }
    // A request needs the broker alone.
    let ended = at_once(&stage, &["request", "users", "--wait"]).await;
    assert_eq!((ended.code, ended.err.contains(refused)), (0, true), "{ended:?}");
    let starting = stage.worker_that_listens_at(&format!("127.0.0.1:{}", crate::stage::free_port()));
    until("a worker that starts names the cause", async || starting.log().contains(refused).then_some(())).await;
    assert!(!starting.log().contains("hunter2"), "{}", starting.log());
    drop((starting, worker));
    stage.restore("DATABASE_URL", usual);

    let (broker, address) = (stage.broker.url.clone(), stage.broker.authority());
    let vhost = format!("{}/nope", broker.rsplit_once('/').map_or(&*broker, |(server, _)| server));
    for (url, words) in [
        ("amqp://anna:hunter2@127.0.0.1:9/%2f".to_owned(), ["127.0.0.1:9: connection refused", "AMQP_URL right?"]),
        (
            format!("amqp://anna:hunter2@{address}/%2f"),
            [&*address, "the login is refused: fix user and password in AMQP_URL"],
        ),
        (format!("amqps://anna:hunter2@{address}/%2f"), [&*address, "the broker's TLS port, mostly 5671"]),
        (vhost, [&*address, "the vhost \"nope\" is not there, or closed to this user: fix the vhost"]),
    ] {
        stage.set("AMQP_URL", &url);
        for command in [&["request", "users"][..], &["request", "users", "--wait"], &["events"], &["doctor"]] {
            let ended = at_once(&stage, command).await;
            let said = format!("{}{}", ended.out, ended.err).replace('\n', " ").replace("        ", ": ");
            assert_eq!(ended.code, 1, "{command:?}: {ended:?}");
            assert!(words.iter().all(|word| said.contains(word)), "{command:?}: {said}");
            assert!(!said.contains("hunter2") && !said.contains("anna"), "{command:?}: {said}");
            assert!(!said.contains("RabbitMQ: RabbitMQ"), "{said}");
        }
        let worker = stage.worker().await;
        until("the log of the worker names it", async || {
            let log = worker.log();
            words.iter().all(|word| log.contains(word)).then_some(())
        })
        .await;
        assert!(!worker.log().contains("hunter2"), "{}", worker.log());
    }
}

#[tokio::test]
async fn an_account_that_the_copy_does_not_have_is_refused_by_each_command() {
    let stage = Stage::small().await;
    // No worker has served this database: the first request may come before it.
    assert_eq!(stage.run(&["request", "users", "--account", "nope"]).await.code, 0);
    let _worker = stage.worker().await;
    let sentence = format!("there is no account \"missing\" in this copy, which has {ACCOUNT}: set TEAMLEADER_ACCOUNT");
    for command in [
        &["status"][..],
        &["status", "--json"],
        &["request", "users"],
        &["request", "users", "--wait"],
        &["audit", "users"],
        &["events"],
        &["export", "contacts", "--format", "csv"],
    ] {
        let ended = at_once(&stage, &[command, &["--account", "missing"]].concat()).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{command:?}: {ended:?}");
        assert!(ended.err.contains(&sentence), "{command:?}: {ended:?}");
    }
    let ended = stage.run(&["doctor", "--account", "missing"]).await;
    assert_eq!((ended.code, ended.out.contains(&sentence)), (1, true), "{ended:?}");
    let queue = stage.broker.requests_queue().replace(ACCOUNT, "missing");
    assert_eq!(stage.broker.ready(&queue).await, None, "no queue was made for it");
    assert_eq!(stage.run(&["status"]).await.code, 0);
}

#[tokio::test]
async fn a_short_retention_is_warned_of_and_never_deletes_nothing() {
    let mut stage = Stage::small().await;
    for (retention, warned) in [("12h", true), ("never", false)] {
        stage.set("RETENTION", retention);
        let worker = stage.worker().await;
        stage.complete(json!({ "resources": ["users"] })).await;
        assert_eq!(worker.log().contains("RETENTION is 12h"), warned, "{}", worker.log());
    }
}

#[tokio::test]
async fn what_makes_no_sense_together_is_refused_with_the_reason() {
    let stage = Stage::small().await;
    for (arguments, words) in [
        (&["request", "contacts", "--allow-deletions"][..], "--allow-deletions goes with --full"),
        (&["request", "--request-id", "foo"], "--request-id cannot be \"foo\": it is a UUID"),
        (&["export", "contacts"], "--format: it is csv or jsonl"),
        (&["export", "contacts", "-o", "contacts.txt"], "--format: it is csv or jsonl"),
        (&["authorize", "--force"], "--refresh-token"),
    ] {
        let ended = stage.run(arguments).await;
        assert_eq!((ended.code, ended.err.contains(words)), (2, true), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test]
async fn waiting_that_is_interrupted_says_that_the_sync_goes_on() {
    let stage = Stage::of(120).await;
    let _worker = stage.worker().await;
    stage.slow_down("contacts.info", 200);
    let mut waiting = stage.watch(&["request", "contacts", "--full", "--wait"]);
    waiting.says("is in the queue").await;
    stage.await_asked("contacts.info", 1).await;
    assert_eq!(waiting.end("INT").await.code(), Some(130));
    let log = waiting.log();
    let id = log.split("the sync goes on; id ").nth(1).and_then(|rest| rest.split(';').next()).expect("the id");
    assert!(log.contains(&format!("cancel it with: teamleader2db cancel {id}")), "{log}");
    stage.simulator.clear_faults();
    stage.completed(id.parse().expect("a UUID")).await;
}

/// What a shell's script offers for a line, whose last word is to be completed.
fn completed(stage: &Stage, script: &str, words: &[&str]) -> Vec<String> {
    let (line, last) = (words.join(" "), words.last().unwrap());
    let script = format!(
        "{script}\nCOMP_WORDS=({line}); COMP_CWORD={}; _clap_complete_teamleader2db teamleader2db '{last}'\n\
         IFS=$'\\n'; echo \"${{COMPREPLY[*]}}\"",
        words.len() - 1,
        line = if last.is_empty() { format!("{line}''") } else { line },
    );
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script).env("TEAMLEADER_ACCOUNT", ACCOUNT);
    bash.env("DATABASE_URL", stage.setting("DATABASE_URL")).env_remove("DATABASE_URL_FILE");
    let output = bash.output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_shell_completes_resources_accounts_and_runs() {
    let mut stage = Stage::small().await;
    let _worker = stage.worker().await;
    let id = stage.request(json!({ "resources": ["users"] })).await;
    stage.completed(id).await;
    let script = stage.run(&["completions", "bash"]).await.out;
    assert!(script.contains(&path().display().to_string()), "it asks this very program: {script}");
    let offers = |stage: &Stage, words: &[&str]| completed(stage, &script, &[&["teamleader2db"], words].concat());
    assert_eq!(offers(&stage, &["ev"]), ["events"]);
    assert_eq!(offers(&stage, &["request", "con"]), ["contacts"]);
    assert_eq!(offers(&stage, &["request", "users,con"]), ["users,contacts"]);
    assert_eq!(offers(&stage, &["audit", "users", "time_"]), ["time_tracking"]);
    assert_eq!(offers(&stage, &["export", "proj"]).len(), 6);
    assert_eq!(offers(&stage, &["worker", "--teamleader-resources", "all,note"]), ["all,notes"]);
    assert_eq!(offers(&stage, &["status", "--account", ""]), [ACCOUNT]);
    assert_eq!(offers(&stage, &["request", "--request-id", ""]), [id.to_string()]);
    assert!(offers(&stage, &["request", ""]).contains(&"timeTracking".to_owned()));
    // Nothing is said where the database is away.
    stage.set("DATABASE_URL", "postgres://nobody@127.0.0.1:9/nothing");
    assert_eq!(offers(&stage, &["status", "--account", ""]), [""]);
    assert_eq!(offers(&stage, &["request", "con"]), ["contacts"]);
}

#[tokio::test]
async fn at_a_terminal_the_end_is_a_table_and_elsewhere_the_event() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let at_a_terminal = |arguments: &str| {
        let line = format!("{} request users departments --full --wait {arguments}", path().display());
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm");
        for name in ["DATABASE_URL", "AMQP_URL", "AMQP_PREFIX", "TEAMLEADER_ACCOUNT"] {
            script.env(name, stage.setting(name));
        }
        tokio::task::spawn_blocking(move || String::from_utf8_lossy(&script.output().unwrap().stdout).into_owned())
    };
    let shown = at_a_terminal("").await.unwrap();
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.iter().any(|row| row.starts_with(&["users", "completed"]) && row.len() == 8), "{shown}");
    assert!(rows.iter().any(|row| row.starts_with(&["completed:"])) && !shown.contains("specversion"), "{shown}");
    let shown = at_a_terminal("--json").await.unwrap();
    assert!(shown.contains("\"specversion\""), "{shown}");
}

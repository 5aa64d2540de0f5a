//! Tokens are sealed, and no secret is told to anyone.

use serde_json::json;
use sqlx::{AssertSqlSafe, Row};
use teamleader_simulator::Config;

use crate::stage::{KEY, Stage, free_port, until};

/// What every token of the simulator begins with.
const TOKENS: [&str; 2] = ["access-", "refresh-"];

/// Another key than that of the stage.
const OTHER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn in_hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// All tables of both schemas as text; bytes are shown in hex.
async fn dump(stage: &Stage) -> String {
    let tables =
        sqlx::query("select schemaname, tablename from pg_tables where schemaname in ('teamleader', 'teamleader2db')");
    let mut text = String::new();
    for table in tables.fetch_all(&stage.database.pool).await.unwrap() {
        let (schema, name): (String, String) = (table.get(0), table.get(1));
        let sql = format!("select t::text from {schema}.{name} t");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&stage.database.pool).await.unwrap();
        text += &rows.join("\n");
    }
    text
}

#[tokio::test]
async fn tokens_are_sealed_and_no_secret_is_told() {
    let config = Config { client_secret: "not-for-anybodys-eyes".to_owned(), ..Config::default() };
    let mut stage = Stage::with(config).await;
    // All that the program's own modules and its HTTP client can say.
    stage.set("RUST_LOG", "trace,lapin=off");
    stage.set("HTTP_API_TOKEN", "for-callers-only");
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.expire_access_tokens();
    stage.complete(json!({ "mode": "full", "refetch": true })).await;
    let link = worker.request(reqwest::Method::GET, "/sync/authorize").bearer_auth("for-callers-only");
    assert_eq!(link.send().await.unwrap().text().await.unwrap().trim(), "code accepted");
    let login = worker.request(reqwest::Method::POST, "/dashboard/login").form(&[("token", "for-callers-only")]);
    assert!(login.send().await.unwrap().url().path().ends_with("/dashboard"), "the login leads there");

    let sealed: bool = stage
        .database
        .value("select octet_length(access_token) > 40 and octet_length(refresh_token) > 40 from teamleader2db.oauth_token")
        .await;
    assert!(sealed, "both are stored");
    assert_eq!(stage.simulator.counters().refreshes, 2);
    let grant = stage.simulator.grant();
    assert!(grant.access_token.starts_with(TOKENS[0]) && grant.refresh_token.starts_with(TOKENS[1]), "{grant:?}");
    let dump = dump(&stage).await;
    assert!(dump.contains("authorized"), "the dump shows what there is");
    let (_, metrics) = worker.get("/metrics").await;
    assert!(metrics.contains("teamleader2db_token_refreshes_total"), "{metrics}");
    let events = format!("{:?}", stage.broker.events());
    worker.terminate().await;
    let log = worker.log();
    let password = stage.database.url.split_once("://").and_then(|(_, rest)| rest.split_once('@')?.0.split_once(':'));
    let mut secrets = vec!["not-for-anybodys-eyes", "for-callers-only", KEY];
    secrets.extend(TOKENS);
    secrets.extend(password.map(|(_, password)| password));
    for secret in secrets {
        for (place, text) in [("database", &dump), ("metrics", &metrics), ("events", &events), ("log", &log)] {
            let found = text.find(secret).or_else(|| text.find(&in_hex(secret)));
            assert!(
                found.is_none(),
                "{secret} stands in the {place}: {}",
                text.get(found.unwrap_or(0)..).unwrap_or("").lines().next().unwrap_or("")
            );
        }
    }
}

#[tokio::test]
async fn a_first_refresh_token_is_taken_for_a_new_database_only() {
    let stage = Stage::small().await;
    let mut first = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let generation: i64 = stage.database.value("select generation from teamleader2db.oauth_token").await;
    assert_eq!(generation, 2, "the first token, and the pair that was made from it");
    assert!(first.terminate().await.success());

    // The setting still holds the first token, which is used up: the stored pair counts.
    let mut second = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let counters = stage.simulator.counters();
    assert_eq!((counters.refreshes, counters.refused_refresh_reuse), (1, 0), "{counters:?}");
    assert!(second.terminate().await.success());
}

#[tokio::test]
async fn a_key_that_does_not_open_the_stored_token_is_refused_at_the_start() {
    let mut stage = Stage::small().await;
    let mut first = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    first.terminate().await;
    let asked = stage.simulator.counters();

    stage.set("TOKEN_ENCRYPTION_KEY", OTHER_KEY);
    let mut second = stage.worker_that_listens_at(&format!("127.0.0.1:{}", free_port()));
    assert_eq!(second.exit().await.code(), Some(1));
    assert!(second.log().contains("TOKEN_ENCRYPTION_KEY"), "{}", second.log());
    assert_eq!(stage.simulator.counters(), asked, "the token is not burnt");

    // A rotation: the new key encrypts, the old one still opens what it sealed.
    stage.set("TOKEN_ENCRYPTION_KEY", &format!("{OTHER_KEY},{KEY}"));
    let mut third = stage.worker().await;
    stage.simulator.expire_access_tokens();
    stage.complete(json!({ "resources": ["users"] })).await;
    third.terminate().await;
    stage.set("TOKEN_ENCRYPTION_KEY", OTHER_KEY);
    let _fourth = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
}

#[tokio::test]
async fn a_worker_that_crashes_leaves_no_image_of_its_memory() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line of Linux's");
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"], "soft and hard");
}

#[tokio::test]
async fn an_address_with_a_password_is_refused_without_showing_it() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    for name in ["TEAMLEADER_API_URI", "TEAMLEADER_AUTH_URI", "TEAMLEADER_REDIRECT_URI"] {
        let usual = stage.set(name, "https://anna:hunter2@teamleader.example.com");
        for (command, code) in [("worker", 2), ("doctor", 1), ("authorize", 2)] {
            let ended = stage.run(&[command]).await;
            let said = format!("{}{}", ended.out, ended.err);
            assert_eq!(ended.code, code, "{name}: {ended:?}");
            assert!(said.contains(&format!("{name}: a URL without user and password")), "{name}: {ended:?}");
            assert!(!said.contains("hunter2") && !said.contains("anna"), "{name}: {ended:?}");
        }
        stage.restore(name, usual);
    }
}

#[tokio::test]
async fn an_api_whose_tokens_can_be_read_on_their_way_is_warned_of() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    assert!(!stage.run(&["doctor"]).await.out.contains("not encrypted"), "loopback is nobody else's");
    stage.set("TEAMLEADER_API_URI", "http://teamleader.invalid");
    let doctor = stage.run(&["doctor"]).await;
    let note = "note   Teamleader: what goes to the API at http://teamleader.invalid is not encrypted";
    assert!(doctor.out.contains(note) && !doctor.out.contains("authorization server at"), "{doctor:?}");
    let worker = stage.worker().await;
    let warning = "What goes to Teamleader is not encrypted: set an address that begins with https://";
    assert_eq!(worker.log().matches(warning).count(), 1, "{}", worker.log());
}

#[tokio::test]
async fn a_token_that_no_key_opens_any_more_lets_the_worker_rest_until_one_does() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    stage
        .database
        .execute("create table public.kept as select access_token, refresh_token from teamleader2db.oauth_token")
        .await;
    let other =
        "update teamleader2db.oauth_token set access_token = kept.refresh_token, refresh_token = kept.access_token
         from public.kept";
    stage.database.execute(other).await;
    stage.simulator.expire_access_tokens();
    let id = stage.request(json!({ "resources": ["users"] })).await;
    until("it rests", async || worker.log().contains("No request can be worked on").then_some(())).await;
    until("health says why", async || {
        let (status, text) = worker.get("/health/ready").await;
        (status == 503 && text.contains("TOKEN_ENCRYPTION_KEY")).then_some(())
    })
    .await;
    let back =
        "update teamleader2db.oauth_token set access_token = kept.access_token, refresh_token = kept.refresh_token
         from public.kept";
    stage.database.execute(back).await;
    stage.completed(id).await;
    assert_eq!(worker.log().matches("No request can be worked on").count(), 1, "it was not delivered again and again");
}

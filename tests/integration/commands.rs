//! The command line, for people and scripts.

use lapin::BasicProperties;
use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};
use uuid::Uuid;

use crate::stage::{ACCOUNT, RESOURCES, Stage};

#[tokio::test]
async fn migrate_makes_the_schema_and_is_no_harm_twice() {
    let mut stage = Stage::small().await.on_an_empty_database().await;
    let ended = stage.run(&["status"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("teamleader2db migrate"), "it says what to do: {ended:?}");
    stage.set("MIGRATE_ON_START", "false");
    let mut worker = stage.worker_that_listens_at(&format!("127.0.0.1:{}", crate::stage::free_port()));
    assert_eq!(worker.exit().await.code(), Some(1));
    assert!(worker.log().contains("teamleader2db migrate"), "{}", worker.log());

    for _ in 0..2 {
        let ended = stage.run(&["migrate"]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let uncommented: Vec<String> = sqlx::query_scalar(
        "select c.relname || '.' || a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
         join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('teamleader', 'teamleader2db') and c.relkind in ('r', 'p') and not c.relispartition
           and c.relname <> 'migration'
           and a.attnum > 0 and not a.attisdropped and col_description(c.oid, a.attnum) is null",
    )
    .fetch_all(&stage.database.pool)
    .await
    .unwrap();
    assert_eq!(uncommented, Vec::<String>::new(), "every column of ours says what it is");
}

#[tokio::test]
async fn status_tells_each_table() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.delete("contacts", 2);
    stage.complete(json!({ "mode": "full" })).await;

    let ended = stage.run(&["status", "--json"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let status: Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!((&status["account"], &status["authorized"]), (&json!(ACCOUNT), &json!(true)));
    let told = status["resources"].as_array().unwrap();
    let named = |resource: &&Value| RESOURCES.iter().any(|name| resource["resource"] == *name);
    assert_eq!(told.iter().filter(named).count(), RESOURCES.len());
    assert!(told.iter().filter(|resource| !named(resource)).all(|resource| resource["rows"] == 0), "{}", ended.out);
    for resource in told.iter().filter(named) {
        let name = resource["resource"].as_str().unwrap();
        assert_eq!(resource["rows"], stage.simulator.count(name), "{resource}");
        assert_eq!(resource["deleted"], if name == "contacts" { 2 } else { 0 }, "{resource}");
        assert_eq!(resource["stale_details"], 0, "{resource}");
        assert!(resource["last_success_at"].is_string(), "{resource}");
        let has_watermark = ["contacts", "companies", "invoices", "projects"].contains(&name);
        assert_eq!(resource["watermark"].is_string(), has_watermark, "{resource}");
    }
    let ended = stage.run(&["status"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        RESOURCES.iter().all(|resource| ended.out.lines().any(|line| line.trim_start().starts_with(resource))),
        "{}",
        ended.out
    );
}

#[tokio::test]
async fn status_tells_what_is_wrong_and_what_to_do() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("companies.info"));
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("events.list"));
    let id = stage.request(json!({ "mode": "full" })).await;
    assert_eq!(stage.final_event(id).await.kind(), "sync.partial");
    let companies = stage.simulator.count("companies");

    let ended = stage.run(&["status"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let last_sync = |resource: &str| {
        let row = ended.out.lines().find(|line| line.trim_start().starts_with(resource)).expect(resource);
        row.split_whitespace().last().expect("a cell").to_owned()
    };
    assert_eq!(
        ["companies", "contacts", "events", "deals"].map(last_sync),
        ["failed", "completed", "skipped", "-"],
        "{}",
        ended.out
    );
    assert!(
        ended.out.lines().all(|line| !line.contains("deals") || line.len() < 130),
        "the table is no wider: {}",
        ended.out
    );
    let (_, below) = ended.out.split_once("\n\n").expect("what is wrong stands below the table");
    assert!(below.contains("companies failed at ") && below.contains("403"), "{below}");
    let with_age = regex::Regex::new(r"companies failed at \S+Z, (now|\d+ (s|min) ago): ").unwrap();
    assert!(with_age.is_match(below), "{below}");
    assert!(below.contains(&format!(": teamleader2db request companies --account {ACCOUNT} --full\n")), "{below}");
    assert!(below.contains("events skipped at ") && below.contains("403"), "the reason stands there, too: {below}");
    assert!(below.contains(&format!("{companies} details are missing or stale")), "{below}");
    let told: Value = serde_json::from_str(&stage.run(&["status", "--json"]).await.out).expect("JSON");
    let told: Vec<(&str, &str)> = told["shortfalls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| (told["resource"].as_str().unwrap(), told["status"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("companies", "failed"), ("events", "skipped")]);

    // An audit that fails says nothing of the copy, one that does not mends nothing.
    stage.run(&["audit", "contacts"]).await;
    stage.simulator.clear_faults();
    stage.complete(json!({})).await;
    let ended = stage.run(&["status"]).await;
    assert!(!ended.out.contains("failed") && !ended.out.contains("\n\n"), "{}", ended.out);
}

#[tokio::test]
async fn completions_are_what_the_shells_understand() {
    let stage = Stage::small().await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = stage.run(&["completions", shell]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        // The script asks the program itself.
        assert!(ended.out.contains("TEAMLEADER2DB_COMPLETE"), "{shell}: {}", ended.out);
    }
    assert_eq!(stage.run(&["completions", "cmd"]).await.code, 2);
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_how_to_mend_it() {
    let mut stage = Stage::small().await.on_an_empty_database().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let ended = stage.run(&["doctor"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.out.contains("WRONG") && ended.out.contains("teamleader2db migrate"),
        "no worker has run yet: {}",
        ended.out
    );

    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let asked = stage.simulator.counters();
    let ended = stage.run(&["doctor"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.out.contains("WRONG"), "{}", ended.out);
    assert_eq!(stage.simulator.counters().refreshes, asked.refreshes, "it uses no token up");

    let broker = stage.setting("AMQP_URL").to_owned();
    stage.set("AMQP_URL", "amqp://guest:guest@127.0.0.1:9/%2f");
    let ended = stage.run(&["doctor"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let complaint = ended.out.lines().skip_while(|line| !line.starts_with("WRONG")).collect::<Vec<_>>().join(" ");
    assert!(complaint.contains("RabbitMQ") && complaint.contains("is the broker up"), "{}", ended.out);

    stage.set("AMQP_URL", &broker);
    stage.set("DATABASE_URL", "postgres://nobody@127.0.0.1:9/nothing");
    let ended = stage.run(&["doctor"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.contains("WRONG  PostgreSQL"), "{}", ended.out);
}

#[tokio::test]
async fn request_refuses_what_the_worker_would_refuse() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    let ended = stage.run(&["request", "contact"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.err.contains("there is no resource \"contact\": did you mean contacts?"), "{ended:?}");
    assert_eq!((ended.out.as_str(), ended.err.trim().lines().count()), ("", 1), "{ended:?}");

    // In either spelling, in any case, and with commas.
    let ended = stage.run(&["request", "custom_field_definitions,Users", "--full"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let id: Uuid = ended.out.trim().parse().expect("the request's id on standard output");
    let event = stage.completed(id).await;
    assert_eq!(event.body["data"]["mode"], "full");
    let stored: Value = stage.database.value("select request -> 'resources' from teamleader2db.sync_run").await;
    assert_eq!(stored, json!(["users", "customFieldDefinitions"]));

    let ended = stage.run(&["request", "users", "--wait"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let told: Value = serde_json::from_str(&ended.out).expect("the event on standard output");
    assert_eq!(told["type"], "teamleader2db.sync.completed");
    let events: i64 = stage.database.value("select count(*) from teamleader2db.sync_run").await;
    assert_eq!(events, 2);
}

#[tokio::test]
async fn an_account_is_authorized_from_the_shell() {
    let mut stage = Stage::small().await.unauthorized();
    stage.set("TEAMLEADER_REDIRECT_URI", "https://sync.example.com/sync/oauth");
    assert_eq!(stage.run(&["migrate"]).await.code, 0);
    let ended = stage.run(&["request", "users", "--wait"]).await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.err.contains("/sync/authorize"), "{ended:?}");

    let ended = stage.run(&["authorize"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let link: reqwest::Url = ended.out.trim().parse().expect("a link");
    let query = |name: &str| link.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert_eq!(query("redirect_uri").as_deref(), Some("https://sync.example.com/sync/oauth"));
    // The browser comes to an address that nothing listens at; the person reads the code off it.
    let no_redirects = reqwest::redirect::Policy::none();
    let browser = reqwest::Client::builder().no_proxy().redirect(no_redirects).build().unwrap();
    let answer = browser.get(link.clone()).send().await.unwrap();
    let landed: reqwest::Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
    let landed: std::collections::HashMap<String, String> = landed.query_pairs().into_owned().collect();
    assert_eq!(Some(&landed["state"]), query("state").as_ref());

    let ended = stage.run(&["authorize", "--code", "wrong", "--state", "unknown"]).await;
    assert_eq!((ended.code, ended.out.starts_with("code rejected: ")), (1, true), "{ended:?}");
    let arguments = ["authorize", "--code", &landed["code"], "--state", &landed["state"]];
    let ended = stage.run(&arguments).await;
    assert_eq!((ended.code, ended.out.trim()), (0, "code accepted"), "{ended:?}");
    let ended = stage.run(&arguments).await;
    assert_eq!(ended.code, 1, "a state works once: {ended:?}");

    let _worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_the_name_of_the_setting() {
    let mut stage = Stage::small().await;
    for (name, value, named) in [
        ("TOKEN_ENCRYPTION_KEY", "too short", "TOKEN_ENCRYPTION_KEY"),
        ("SYNC_SLICE", "soon", "--sync-slice"),
        ("TEAMLEADER_RESOURCES", "contacts,contact", "TEAMLEADER_RESOURCES"),
        ("TEAMLEADER_ACCOUNT", "not a name", "--account"),
        ("AMQP_PREFIX", "amq.mine", "AMQP_PREFIX"),
        ("TEAMLEADER_API_URI", "example.com", "TEAMLEADER_API_URI"),
        ("TEAMLEADER_API_VERSION", "latest", "TEAMLEADER_API_VERSION"),
        ("SYNC_CONCURRENCY", "0", "--sync-concurrency"),
    ] {
        let good = stage.set(name, value);
        let mut worker = stage.worker_that_listens_at("127.0.0.1:0");
        assert_eq!(worker.exit().await.code(), Some(2), "{name}={value}");
        let log = worker.log();
        assert!(log.contains(named), "{name}: {log}");
        stage.restore(name, good);
    }
}

#[tokio::test]
async fn what_others_have_written_gives_no_orders_to_a_terminal() {
    let stage = Stage::small().await;
    let _worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    stage
        .database
        .execute(
            "update teamleader2db.oauth_token set authorized_by = e'Eve\\x1b]0;owned\\x07\\nok     all is well' || chr(155) || chr(8238)",
        )
        .await;
    let ended = stage.run(&["status"]).await;
    let shown = "authorized by Eve\\u001b]0;owned\\u0007 ok     all is well\\u009b\\u202e\n";
    let above = format!("account {ACCOUNT}: idle since ");
    assert!(ended.code == 0 && ended.out.starts_with(&above) && ended.out.contains(shown), "{ended:?}");

    // A reason that comes from the token endpoint, and one in an event.
    stage
        .database
        .execute(
            "update teamleader2db.oauth_token set state = 'reauthorization_required', refresh_token = null, access_token = null,
                 reason = e'no\\x1b[2J' || chr(155)",
        )
        .await;
    for (command, code) in [(&["status"][..], 0), (&["status", "--json"], 0), (&["doctor"], 1)] {
        let ended = stage.run(command).await;
        assert_eq!(ended.code, code, "{ended:?}");
        let orders = |text: &str| text.chars().any(|letter| letter.is_control() && letter != '\n');
        assert!(!orders(&ended.out), "{command:?}: {ended:?}");
    }
    let json: Value = serde_json::from_str(&stage.run(&["status", "--json"]).await.out).expect("JSON");
    assert_eq!(json["reason"], "no\u{1b}[2J\u{9b}", "JSON means the same");
}

#[tokio::test]
async fn runs_are_listed_and_one_is_shown_with_what_was_asked_and_what_came_of_it() {
    let stage = Stage::small().await;
    assert_eq!(stage.run(&["runs"]).await.out, format!("account {ACCOUNT} has no run\n"));
    let _worker = stage.worker().await;
    let full = stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("companies.info"));
    let partial =
        stage.request(json!({ "mode": "full", "resources": ["companies", "contacts"], "refetch": true })).await;
    assert_eq!(stage.final_event(partial).await.kind(), "sync.partial");
    let audit = stage.complete(json!({ "mode": "audit", "resources": ["users"], "sample": 2 })).await;

    let listed = stage.run(&["runs"]).await;
    let rows: Vec<&str> = listed.out.lines().skip(1).map(str::trim).filter(|row| !row.is_empty()).collect();
    let [third, second, first] = rows[..] else { panic!("{listed:?}") };
    let created: usize = RESOURCES.iter().map(|resource| stage.simulator.count(resource)).sum();
    for (row, parts) in [
        (
            first,
            &[full.subject(), "full", &format!("all ({})", RESOURCES.len()), "completed", &format!("+{created} ~0 -0")]
                [..],
        ),
        (second, &[&partial.to_string(), "full", "companies, contacts", "partial"]),
        (third, &[audit.subject(), "audit", "users", "completed", "0 missing, 0 stale, 0 wrong"]),
    ] {
        assert!(parts.iter().all(|part| row.contains(part)), "{parts:?}: {row}");
    }
    let json = stage.run(&["runs", "--json", "--limit", "2", "--status", "completed"]).await;
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    let ids: Vec<&str> = json.as_array().unwrap().iter().map(|run| run["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [audit.subject(), full.subject()]);

    let whole = partial.to_string();
    let shown = stage.run(&["run", &whole[..8].to_uppercase()]).await;
    for part in [
        &format!("run {partial}: partial"),
        "asked for: full of companies, contacts, refetch",
        "requests to the API",
        "resource   status",
        "\ncompanies: not every detail could be fetched: companies.info: answered 403",
    ] {
        assert!(shown.code == 0 && shown.out.contains(part), "{part}: {shown:?}");
    }
    let json: Value = serde_json::from_str(&stage.run(&["run", &whole, "--json"]).await.out).expect("JSON");
    assert_eq!((&json["request_id"], &json["resources"]["contacts"]["status"]), (&json!(whole), &json!("completed")));

    let none = stage.run(&["run", &Uuid::new_v4().to_string()]).await;
    assert!(none.code == 1 && none.err.contains("`teamleader2db runs` shows those that are there"), "{none:?}");
    let short = stage.run(&["run", &whole[..7]]).await;
    assert!(short.code == 2 && short.err.contains("at least 8 characters"), "{short:?}");
    let other = format!("{}-0000-4000-8000-000000000000", &whole[..8]);
    stage.request_again(other.parse().unwrap(), json!({ "resources": ["users"] }), BasicProperties::default()).await;
    stage.completed(other.parse().unwrap()).await;
    let several = stage.run(&["run", &whole[..8]]).await;
    assert!(several.code == 2 && several.err.contains(&whole) && several.err.contains(&other), "{several:?}");
}

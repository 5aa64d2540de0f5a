//! What stands between the program and PostgreSQL, and takes away what it needs: poolers, and servers that take no
//! writes.

use serde_json::json;

use crate::stage::{OwnPostgres, PgBouncer, Stage};

/// Asserts that each command refuses the database with these words.
async fn assert_refused(stage: &Stage, commands: &[&str], words: &[&str]) {
    for command in commands {
        let ended = stage.run(&[command]).await;
        let said = format!("{}{}", ended.out, ended.err);
        assert_eq!(ended.code, 1, "{command}: {ended:?}");
        assert!(words.iter().all(|word| said.contains(word)), "{command} says {words:?}: {ended:?}");
    }
}

/// Asserts that what only reads works.
async fn assert_read(stage: &Stage) {
    for command in [&["status"][..], &["export", "contacts", "--format", "jsonl"], &["runs"]] {
        let ended = stage.run(command).await;
        assert_eq!(ended.code, 0, "{command:?}: {ended:?}");
    }
}

#[tokio::test]
async fn behind_a_pool_of_sessions_as_it_comes_a_worker_works() {
    let mut stage = Stage::small().await;
    let bouncer = PgBouncer::before(&stage.database.url, &["pool_mode = session"]).await;
    stage.set("DATABASE_URL", &bouncer.url);
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    worker.terminate().await;
    stage.assert_copy_is_equal().await;
    let ended = stage.run(&["doctor"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_read(&stage).await;
}

#[tokio::test]
async fn a_pool_of_transactions_is_refused_by_what_writes_and_serves_what_reads() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let mut worker = stage.worker().await;
    stage.complete(json!({ "mode": "full" })).await;
    worker.terminate().await;
    let can_prepare = PgBouncer::keeps_prepared_statements();
    let settings = ["pool_mode = transaction", "max_prepared_statements = 100"];
    let bouncer = PgBouncer::before(&stage.database.url, if can_prepare { &settings } else { &settings[..1] }).await;
    stage.set("DATABASE_URL", &bouncer.url);
    let words = ["another session", "pool_mode = session", "PostgreSQL itself"];
    // More than once: what one connection leaves behind, the next one meets.
    for _ in 0..2 {
        assert_refused(&stage, &["migrate", "worker", "doctor"], &words).await;
    }
    if can_prepare {
        assert_read(&stage).await;
        return;
    }
    // The first prepares its statements, and nobody else can.
    let mut failed = Vec::new();
    for _ in 0..3 {
        let ended = stage.run(&["status"]).await;
        failed.extend((ended.code != 0).then_some(ended.err));
    }
    assert!(failed.iter().all(|said| said.contains("pool_mode = session")) && !failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn options_that_a_pooler_drops_are_named() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let settings = ["pool_mode = session", "ignore_startup_parameters = options"];
    let bouncer = PgBouncer::before(&stage.database.url, &settings).await;
    let options = "?options=-c%20work_mem%3D7MB%20-c%20lock_timeout%3D1s";
    stage.set("DATABASE_URL", &format!("{}{options}", bouncer.url));
    let words = ["drops the options of DATABASE_URL: work_mem:", "alter role"];
    assert_refused(&stage, &["migrate", "worker"], &words).await;
    stage.set("DATABASE_URL", &format!("{}{options}", stage.database.url));
    let ended = stage.run(&["migrate"]).await;
    assert_eq!(ended.code, 0, "without a pooler the options hold: {ended:?}");
}

#[tokio::test]
async fn a_standby_is_refused_by_what_writes_and_serves_what_reads() {
    let mut stage = Stage::small().await;
    stage.set("TEAMLEADER_REDIRECT_URI", "http://127.0.0.1:1/sync/oauth");
    let server = OwnPostgres::start().await;
    stage.set("DATABASE_URL", &server.url);
    let ended = stage.run(&["migrate"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    server.become_standby().await;
    assert_refused(&stage, &["migrate", "worker", "doctor"], &["is a standby", "name the primary"]).await;
    assert_read(&stage).await;
}

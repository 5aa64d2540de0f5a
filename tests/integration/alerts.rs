//! The alerts of ops/prometheus and the dashboard of ops/grafana, with a real Prometheus: each alert fires for its real cause, and ends.

use std::process::Command;
use std::time::Instant;

use lapin::BasicProperties;
use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind, Webhooks};

use crate::stage::{OwnBroker, Prometheus, Stage, Worker, free_port, until};
use crate::webhooks;

const ALERTS: &str = include_str!("../../ops/prometheus/alerts.yml");
const DASHBOARD: &str = include_str!("../../ops/grafana/teamleader2db.json");

/// The rules with seconds for hours: what promtool's tests hold against the real ones is left out here.
fn hasty_rules() -> String {
    let mut rules = ALERTS.to_owned();
    for (real, hasty) in [
        ("for: 10m", "for: 1s"),
        ("for: 30m", "for: 1s"),
        ("for: 5m", "for: 1s"),
        ("for: 2m", "for: 1s"),
        ("for: 6h", "for: 1s"),
        ("for: 1h", "for: 1s"),
        ("[2h]", "[15s]"),
        ("[1h]", "[15s]"),
        ("[15m]", "[10s]"),
        ("[1d] offset 1h", "[30s] offset 15s"),
        ("[1d]", "[60s]"),
        ("[10m]", "[3s]"),
        ("26 * 3600", "20"),
        ("24 * 3600", "20"),
        ("oldest_seconds) > 600", "oldest_seconds) > 2"),
        (r#"{finding=~"wrong|missing"}) >= 50"#, r#"{finding=~"wrong|missing"}) >= 1"#),
        ("rate_limited_total[15s])) > 5", "rate_limited_total[15s])) > 0"),
    ] {
        assert!(rules.contains(real), "{real} stands in no rule any more");
        rules = rules.replace(real, hasty);
    }
    rules
}

#[test]
fn promtool_agrees_with_when_alerts_begin_and_end() {
    let tested = Command::new("promtool")
        .args(["test", "rules", concat!(env!("CARGO_MANIFEST_DIR"), "/ops/prometheus/alerts_test.yml")])
        .output()
        .expect("promtool cannot be run: install the Debian package prometheus");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    // Each alert has a test there, and its cause below.
    let tests = include_str!("../../ops/prometheus/alerts_test.yml");
    let causes = include_str!("alerts.rs");
    for alert in ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(alert) && causes.contains(alert), "{alert} is not tested");
    }
}

/// What happens, told with the seconds since the beginning.
struct Watch {
    prometheus: Prometheus,
    began: Instant,
}

impl Watch {
    async fn fires(&self, alert: &str, cause: &str) -> Value {
        let labels = self.prometheus.fires(alert).await;
        eprintln!("{:5.1} s  {alert} fires: {cause}", self.began.elapsed().as_secs_f32());
        labels
    }

    async fn clears(&self, alert: &str, why: &str) {
        self.prometheus.clears(alert).await;
        eprintln!("{:5.1} s  {alert} ends: {why}", self.began.elapsed().as_secs_f32());
    }
}

#[tokio::test]
async fn each_alert_fires_for_its_cause_and_ends() {
    let broker = OwnBroker::start().await;
    let mut stage = webhooks::with_webhooks(Stage::of(300).await.at_broker(&broker.url).await.unauthorized());
    stage.set("WEBHOOK_PATIENCE", "1s");
    stage.set("AUDIT_RATE", "10");
    let address = format!("127.0.0.1:{}", free_port());
    let watch = Watch { prometheus: Prometheus::start(&address, &hasty_rules()).await, began: Instant::now() };

    watch.fires("TeamleaderWorkerDown", "no worker was started").await;
    stage.set("HTTP_LISTEN", &address);
    let mut worker = stage.worker().await;
    watch.clears("TeamleaderWorkerDown", "it was").await;

    watch.fires("TeamleaderNotAuthorized", "the account was never authorized").await;
    assert_eq!(worker.get("/sync/authorize").await.1.trim(), "code accepted");
    watch.clears("TeamleaderNotAuthorized", "somebody has").await;

    stage.complete(json!({ "mode": "full" })).await;
    let labels = watch.fires("TeamleaderDrift", "names hold U+0000").await;
    assert!(labels["resource"].is_string(), "{labels}");
    stage.complete(json!({ "refetch": true })).await;
    watch.fires("TeamleaderBudgetExhausted", "all details are fetched again").await;
    watch.clears("TeamleaderBudgetExhausted", "they are").await;
    watch.clears("TeamleaderDrift", "nothing new").await;
    let labels = watch.fires("TeamleaderResourceStale", "no request comes").await;
    assert!(labels["resource"].is_string(), "{labels}");
    stage.complete(json!({})).await;
    watch.clears("TeamleaderResourceStale", "one has come").await;

    alerts_of_webhooks(&watch, &stage, &worker).await;

    stage.simulator.update("companies", 3);
    stage.simulator.inject(Fault::new(FaultKind::Forbidden).at("companies.info"));
    let id = stage.request(json!({ "resources": ["companies", "users"] })).await;
    assert_eq!(stage.final_event(id).await.kind(), "sync.partial");
    watch.fires("TeamleaderRunsFailing", "a scope is missing: a run is partial").await;
    stage.simulator.clear_faults();

    stage.simulator.inject(Fault::new(FaultKind::Date { seconds: 600 }));
    stage.complete(json!({ "resources": ["users"] })).await;
    watch.fires("TeamleaderClockSkewed", "the API's clock is ten minutes ahead").await;
    stage.simulator.clear_faults();
    stage.complete(json!({ "resources": ["users"] })).await;
    watch.clears("TeamleaderClockSkewed", "it is right").await;

    // As a sync would have left it; what makes one is shown elsewhere.
    let rejected = "insert into teamleader2db.rejected_record (account, resource, id, reason, again)
         values ('acme', 'contacts', gen_random_uuid(), 'its updated_at is not a time', 'id')";
    stage.database.execute(rejected).await;
    let labels = watch.fires("TeamleaderRecordsRejected", "a record could not be read").await;
    assert_eq!(labels["resource"], "contacts");
    stage.complete(json!({ "resources": ["contacts"] })).await;
    watch.clears("TeamleaderRecordsRejected", "it is gone from Teamleader").await;

    // As a document would be that Teamleader has wrong.
    let wrong = "update teamleader.invoices set content = jsonb_set(content, '{total,payable,amount}', '1.23')
         where id = (select id from teamleader.invoices order by id limit 1)";
    stage.database.execute(wrong).await;
    stage.complete(json!({ "mode": "full", "resources": ["invoices"] })).await;
    let labels = watch.fires("TeamleaderDoesNotAddUp", "what is to be paid is not the total").await;
    assert!(labels["check"].is_string(), "{labels}");
    let right = "update teamleader.invoices set content = jsonb_set(content, '{total,payable}', content #> '{total,tax_inclusive}')";
    stage.database.execute(right).await;
    stage.complete(json!({ "mode": "full", "resources": ["invoices"] })).await;
    watch.clears("TeamleaderDoesNotAddUp", "it is").await;
    // As a turn of the audit would have left it; what finds one is shown elsewhere.
    let drawn = "insert into teamleader2db.audit_draw (account, resource, source, id, finding)
         values ('acme', 'companies', 'rows', gen_random_uuid(), 'wrong')";
    stage.database.execute(drawn).await;
    let labels = watch.fires("TeamleaderAuditBroken", "a row was wrong, of few that were drawn").await;
    assert!(labels["resource"] == "companies" && labels["finding"] == "wrong", "{labels}");
    stage.database.execute("delete from teamleader2db.audit_draw where finding = 'wrong'").await;
    watch.clears("TeamleaderAuditBroken", "it was drawn more than 7 days ago").await;

    stage.broker.publish(b"no request", BasicProperties::default()).await;
    let labels = watch.fires("TeamleaderDeadLetters", "somebody sent what is no request").await;
    assert_eq!(labels["reason"], "bad_request");

    stage.simulator.delete("contacts", 60);
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    assert_eq!(stage.final_event(id).await.kind(), "sync.failed");
    let labels = watch.fires("TeamleaderDeletionsHeld", "a fifth of all contacts is gone").await;
    assert_eq!(labels["resource"], "contacts");
    stage.complete(json!({ "resources": ["contacts"] })).await;
    watch.fires("TeamleaderDeletionsHeld", "an incremental sync settles nothing").await;
    stage.complete(json!({ "mode": "full", "resources": ["contacts"], "allow_deletions": true })).await;
    watch.clears("TeamleaderDeletionsHeld", "they are marked").await;

    stage.simulator.inject(Fault::new(FaultKind::ServerErrorHtml { status: 503 }));
    let waiting = stage.request(json!({ "resources": ["users"] })).await;
    watch.fires("TeamleaderApiDown", "each request is answered with 503").await;
    stage.simulator.clear_faults();
    stage.completed(waiting).await;
    watch.clears("TeamleaderApiDown", "it answers").await;

    stage.simulator.set_rate_limit(50, std::time::Duration::from_secs(10));
    stage.simulator.spend_rate_limit(50);
    let waiting = stage.request(json!({ "resources": ["users"] })).await;
    watch.fires("TeamleaderRateLimited", "another program of the integration has used the budget up").await;
    stage.simulator.set_rate_limit(1_000_000, std::time::Duration::from_secs(60));
    // A new process does not remember the others, for whom it would wait a minute.
    worker.terminate().await;

    let secret = stage.set("TEAMLEADER_CLIENT_SECRET", "mistyped");
    stage.simulator.expire_access_tokens();
    let mut worker = stage.worker().await;
    watch.fires("TeamleaderClientRejected", "the client secret is mistyped").await;
    worker.terminate().await;
    stage.restore("TEAMLEADER_CLIENT_SECRET", secret);
    let _worker = stage.worker().await;
    watch.clears("TeamleaderClientRejected", "it is right").await;
    // The request may be in a delay queue: another of the same id is worked on.
    stage.request_again(waiting, json!({ "resources": ["users"] }), BasicProperties::default()).await;
    stage.completed(waiting).await;
    for alert in ["TeamleaderRunsFailing", "TeamleaderDeadLetters", "TeamleaderRateLimited"] {
        watch.clears(alert, "nothing new").await;
    }
    the_dashboard_has_data(&watch.prometheus).await;

    // Publishing is blocked, consuming is not: the run goes on to its end.
    stage.slow_down("contacts.info", 400);
    let id = stage.request(json!({ "resources": ["contacts"], "refetch": true })).await;
    until("the run has begun", async || stage.database.run_status(id).await).await;
    broker.control(&["set_vm_memory_high_watermark", "absolute", "1"]).await;
    stage.simulator.clear_faults();
    watch.fires("TeamleaderOutboxGrowing", "RabbitMQ has an alarm of memory").await;
    broker.control(&["set_vm_memory_high_watermark", "0.4"]).await;
    watch.clears("TeamleaderOutboxGrowing", "it has none").await;
    stage.completed(id).await;

    broker.stop().await;
    watch.fires("TeamleaderNotConsuming", "RabbitMQ is down").await;
    broker.start_again().await;
    watch.clears("TeamleaderNotConsuming", "it is up").await;
}

/// Webhooks come, then all calls are lost, and so is the registration. Calls that come afterwards are lost, too.
async fn alerts_of_webhooks(watch: &Watch, stage: &Stage, worker: &Worker) {
    webhooks::deliver_to(stage, worker);
    stage.simulator.update("contacts", 3);
    webhooks::settled(stage).await;
    let lose = |loss| stage.simulator.set_webhooks(Webhooks { loss, ..stage.simulator.webhooks() });
    lose(1.0);
    stage.simulator.update("contacts", 20);
    stage.complete(json!({ "resources": ["contacts"] })).await;
    watch.fires("TeamleaderWebhooksLost", "20 of 23 changes were announced by no call").await;
    watch.fires("TeamleaderWebhooksSilent", "no call comes, and a sync found changes").await;
    lose(0.0);
    stage.simulator.update("contacts", 1);
    webhooks::settled(stage).await;
    watch.clears("TeamleaderWebhooksSilent", "one has come").await;
    lose(1.0);

    // As a call would have left it that nobody can serve yet.
    let waiting = "insert into teamleader2db.hint (account, resource, id, came_at, not_before)
         values ('acme', 'contacts', gen_random_uuid(), now() - interval '1 hour', now() + interval '20 s')";
    stage.database.execute(waiting).await;
    watch.fires("TeamleaderHintsWaiting", "a record waits for a look").await;
    watch.clears("TeamleaderHintsWaiting", "it was looked at").await;

    assert_eq!(stage.run(&["webhooks", "unregister"]).await.code, 0);
    watch.fires("TeamleaderWebhooksUnregistered", "somebody has removed the address").await;
    assert_eq!(stage.run(&["webhooks", "register"]).await.code, 0);
    watch.clears("TeamleaderWebhooksUnregistered", "it is there again").await;
    watch.clears("TeamleaderWebhooksLost", "nothing new").await;
}

/// Each query of each panel, with what Grafana would put for its variables.
async fn the_dashboard_has_data(prometheus: &Prometheus) {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let query = query.replace("$__rate_interval", "15s").replace("$__range", "5m");
            let query = query.replace("$job", ".*").replace("$account", ".*");
            assert!(!query.contains('$'), "{query}");
            assert!(prometheus.series(&query).await > 0, "{} has no data: {query}", panel["title"]);
            asked += 1;
        }
    }
    assert!(asked > 15, "{asked} queries");
    eprintln!("{asked} queries of the dashboard give data");
}

//! HTTP: asking for a sync, looking at runs, health and metrics, and who may.

use std::process::{Command, Stdio};

use lapin::BasicProperties;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{ACCOUNT, RESOURCES, Stage, free_port, until};
use crate::webhooks::{deliver_to, registered, with_webhooks};

pub const TOKEN: &str = "a token of the tests";

/// The metrics as docs/metrics.md has them: name, kind and labels.
fn documented() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let page = include_str!("../../docs/metrics.md");
    let table = page.split("made by `make tables`").nth(1).and_then(|rest| rest.split("<!-- The end").next()).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split("; ").filter_map(|label| label.split('`').nth(1)).collect();
        (cells[1].trim_matches('`'), cells[2], labels)
    })
    .collect()
}

/// The names of the labels of a line of `/metrics`, but that of a histogram's buckets.
fn labels(line: &str) -> Vec<&str> {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
    let names = inside.split("\",").filter_map(|label| label.split_once("=\"")).map(|(name, _)| name);
    names.filter(|name| *name != "le").collect()
}

pub async fn json_of(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_sync_is_asked_for_and_followed_over_http() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let post = || worker.request(Method::POST, "/sync/teamleader");
    // As soon as the worker has made the queues.
    let body = until("a sync can be asked for", async || {
        let (status, body) = json_of(post().json(&json!({ "full_sync": true }))).await;
        (status == 202).then_some(body)
    })
    .await;
    let id: Uuid = body["request_id"].as_str().unwrap().parse().unwrap();
    let event = stage.completed(id).await;
    assert_eq!(event.body["data"]["mode"], "full");
    stage.assert_copy_is_equal().await;

    let (status, run) = json_of(worker.request(Method::GET, &format!("/sync/runs/{id}"))).await;
    assert_eq!((status, &run["status"]), (200, &json!("completed")), "{run}");
    assert_eq!(run["request_id"], id.to_string());
    assert_eq!(run["api_requests"], event.body["data"]["api_requests"]);
    assert_eq!(run["resources"]["contacts"]["listed"], stage.simulator.count("contacts"));

    let (status, known) = json_of(worker.request(Method::GET, "/sync/teamleader")).await;
    assert_eq!((status, &known["account"], &known["authorized"]), (200, &json!(ACCOUNT), &json!(true)), "{known}");
    assert_eq!(known["runs"][0]["request_id"], id.to_string());
    let told = known["resources"].as_array().unwrap();
    let synced = |resource: &&Value| RESOURCES.iter().any(|name| resource["resource"] == *name);
    assert_eq!(told.iter().filter(synced).count(), RESOURCES.len());
    for resource in told.iter().filter(synced) {
        assert_eq!(resource["rows"], stage.simulator.count(resource["resource"].as_str().unwrap()), "{resource}");
        assert_eq!((&resource["stale_details"], &resource["deleted"]), (&json!(0), &json!(0)), "{resource}");
    }

    for body in ["", "{}", r#"{"full_sync":false}"#] {
        let (status, body) = json_of(post().body(body)).await;
        assert_eq!(status, 202, "{body}");
        let event = stage.completed(body["request_id"].as_str().unwrap().parse().unwrap()).await;
        assert_eq!(event.body["data"]["mode"], "incremental");
    }
    for body in ["[]", r#"{"full":true}"#, r#"{"full_sync":"yes"}"#, "full"] {
        let (status, problem) = json_of(post().body(body)).await;
        assert_eq!((status, &problem["status"]), (400, &json!(400)), "{body}: {problem}");
    }
    // As callers of the Python service ask.
    let old = |query: &str| worker.request(Method::POST, &format!("/sync/teamleader?{query}"));
    for (query, body, mode) in [
        ("full_sync=true", "", "full"),
        ("full_sync=false", r#"{"full_sync":true}"#, "full"),
        ("full_sync=false", "{}", "incremental"),
    ] {
        let (status, body) = json_of(old(query).body(body)).await;
        assert_eq!(status, 202, "{body}");
        let event = stage.completed(body["request_id"].as_str().unwrap().parse().unwrap()).await;
        assert_eq!(event.body["data"]["mode"], mode);
    }
    for query in ["full=true", "full_sync=1"] {
        let (status, problem) = json_of(old(query)).await;
        assert_eq!(
            (status, problem["detail"].as_str().unwrap().contains("full_sync")),
            (400, true),
            "{query}: {problem}"
        );
    }
    let (status, _) = json_of(worker.request(Method::GET, &format!("/sync/runs/{}", Uuid::new_v4()))).await;
    assert_eq!(status, 404);
    let (status, _) = json_of(worker.request(Method::GET, "/sync/runs/7")).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn guarded_routes_want_the_token() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    let run: Uuid = stage.database.value("select id from teamleader2db.sync_run").await;
    let guarded = [
        (Method::GET, "/sync/teamleader".to_owned()),
        (Method::POST, "/sync/teamleader".to_owned()),
        (Method::GET, format!("/sync/runs/{run}")),
        (Method::GET, "/".to_owned()),
        (Method::GET, "/sync/authorize".to_owned()),
    ];
    for (method, path) in guarded {
        let send = async |authorization: Option<String>| {
            let request = worker.request(method.clone(), &path);
            let request =
                authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
            request.send().await.unwrap().status().as_u16()
        };
        assert_eq!(send(None).await, 401, "{path}");
        assert_eq!(send(Some("Bearer another".to_owned())).await, 401, "{path}");
        assert_eq!(send(Some(TOKEN.to_owned())).await, 401, "{path}");
        assert!((200..300).contains(&send(Some(format!("Bearer {TOKEN}"))).await), "{path}");
    }
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(worker.get(path).await.0, 200, "{path} is open to all");
    }
    assert_eq!(worker.get("/sync/oauth").await.0, 400, "the callback is open to all, and wants a code");
    assert_eq!(worker.get("/nothing").await.0, 404);
}

/// The hidden field of the dashboard's forms.
pub fn form_token(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"form_token\" value=\"").expect("a form");
    rest.split_once('"').expect("a value").0
}

#[tokio::test]
async fn the_dashboard_takes_forms_of_its_own_login_only() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let worker = stage.worker().await;
    // Which says where it is sent to, and does not go there.
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = |method: Method, path: &str| http.request(method, format!("{}{path}", worker.url));
    let get = async |cookie: &str| {
        let request = request(Method::GET, "/dashboard").header("accept", "text/html").header("cookie", cookie);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("").await.0, 303, "whoever is not logged in is asked to");
    let log_in = async |token: &str| {
        let answer = request(Method::POST, "/dashboard/login").form(&[("token", token)]).send().await.unwrap();
        let cookie = answer.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), cookie)
    };
    assert_eq!(log_in("another").await, (401, None));
    let (status, cookie) = log_in(TOKEN).await;
    let cookie = cookie.expect("a cookie");
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    assert_eq!(status, 303);
    let cookie = cookie.split(';').next().unwrap();
    let (status, page) = get(cookie).await;
    assert_eq!(status, 200);
    assert!(!page.contains(TOKEN), "the token is not shown");

    let ask = async |cookie: &str, token: &str, origin: Option<&str>| {
        let request = request(Method::POST, "/dashboard/sync").header("cookie", cookie);
        let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
        let answer = request.form(&[("form_token", token), ("ask", "incremental")]).send().await.unwrap();
        let to = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        (answer.status().as_u16(), to)
    };
    let token = form_token(&page);
    let other = cookie.replace('.', "9.");
    for (what, cookie, token, origin, status) in [
        ("no login", "", token, None, 401),
        ("a login that nobody signed", &*other, token, None, 401),
        ("no token of a form", cookie, "", None, 403),
        ("another token", cookie, &token.replace(&token[..1], "x"), None, 403),
        ("a page of another site", cookie, token, Some("https://example.com"), 403),
    ] {
        assert_eq!(ask(cookie, token, origin).await, (status, None), "{what}");
    }
    let asked = until("a sync can be asked for", async || ask(cookie, token, None).await.1).await;
    let id = asked.strip_prefix("/dashboard/runs/").expect("the page of the run").parse().unwrap();
    stage.completed(id).await;
    assert_eq!(request(Method::POST, "/sync/teamleader").send().await.unwrap().status().as_u16(), 401);
}

#[tokio::test]
async fn without_a_token_pages_of_other_sites_are_kept_out() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let status = async |method: Method, headers: &[(&str, &str)]| {
        let request = worker.request(method, "/sync/teamleader");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(Method::POST, &[("origin", "https://example.com"), ("content-type", "text/plain")]).await, 403);
    assert_eq!(status(Method::POST, &[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(status(Method::GET, &[("host", "rebound.example.com:8080")]).await, 403);
    assert_eq!(status(Method::GET, &[("host", "localhost:8080")]).await, 200);
    let (status, problem) = json_of(worker.request(Method::DELETE, "/sync/teamleader")).await;
    assert_eq!((status, &problem["title"]), (405, &json!("Method Not Allowed")));
}

#[tokio::test]
async fn beyond_loopback_the_worker_wants_a_token_to_start() {
    let mut stage = Stage::small().await;
    let address = format!("0.0.0.0:{}", free_port());
    let mut worker = stage.worker_that_listens_at(&address);
    assert_eq!(worker.exit().await.code(), Some(2));
    assert!(worker.log().contains("HTTP_API_TOKEN"), "{}", worker.log());

    stage.set("HTTP_API_TOKEN", TOKEN);
    let mut worker = stage.worker_that_listens_at(&address);
    let live = worker.request(Method::GET, "/health/live");
    until("the worker answers", async || live.try_clone().unwrap().send().await.ok()).await;
    assert!(worker.ended().is_none());
}

#[tokio::test]
async fn metrics_are_told_as_prometheus_reads_them() {
    let mut stage = with_webhooks(Stage::small().await);
    stage.set("AUDIT_RATE", "6000");
    let worker = stage.worker().await;
    registered(&stage).await;
    deliver_to(&stage, &worker);
    let documented = documented();
    // A dead letter, and an answer that nobody takes.
    let nobody = format!("nobody-{}", Uuid::new_v4());
    stage.broker.publish(b"no JSON", BasicProperties::default().with_reply_to(nobody.as_str().into())).await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.complete(json!({ "mode": "audit", "resources": ["departments"] })).await;
    stage.simulator.update("companies", 1);
    // One that the worker is not set to, which nobody expects to be synced again.
    stage.complete(json!({ "resources": ["teams"] })).await;
    let answer = worker.request(Method::GET, "/metrics").send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    // One after the other, some moments after the start and then each minute.
    let text = until("stale details and rejected records are counted", async || {
        let (_, text) = worker.get("/metrics").await;
        let last = ["stale_details", "rejected_records", "queued_requests", "hints_waiting", "hints_served_total"];
        last.iter()
            .chain(&["audit_bound", "audit_draws_total", "audit_requests_total", "reconciliation_findings"])
            .all(|name| text.contains(&format!("teamleader2db_{name}{{")))
            // A count in the moment in which a request came is followed by another one.
            .then_some(text)
            .filter(|text| text.contains("teamleader2db_queued_requests{account=\"acme\"} 0"))
    })
    .await;
    let shown: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let undocumented: Vec<&&str> =
        shown.iter().filter(|shown| documented.iter().all(|(family, ..)| family != *shown)).collect();
    assert!(undocumented.is_empty(), "not in docs/metrics.md: {undocumented:?}");
    for (family, kind, names) in documented {
        assert!(text.contains(&format!("# TYPE {family} {kind}\n")), "{family} is missing:\n{text}");
        assert!(text.contains(&format!("# HELP {family} ")), "{family} says nothing of itself:\n{text}");
        let of_family = |line: &&str| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            ["", "_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(family))
        };
        for line in text.lines().filter(of_family) {
            assert_eq!(labels(line), names, "{line}");
        }
    }
    let fresh = |resource: &str| {
        let labels = format!("{{account=\"acme\",resource=\"{resource}\"}}");
        text.contains(&format!("teamleader2db_last_success_timestamp_seconds{labels}"))
    };
    assert_eq!((fresh("contacts"), fresh("teams")), (true, false), "{text}");
    let contacts = stage.simulator.count("contacts");
    for line in [
        r#"teamleader2db_runs_total{account="acme",status="completed"} 3"#.to_owned(),
        r#"teamleader2db_drift_total{account="acme",resource="deals"} 0"#.to_owned(),
        r#"teamleader2db_stale_details{account="acme",resource="deals"} 0"#.to_owned(),
        r#"teamleader2db_audit_findings_total{account="acme",resource="departments",finding="wrong"} 0"#.to_owned(),
        r#"teamleader2db_authorized{account="acme"} 1"#.to_owned(),
        r#"teamleader2db_unrouted_events_total{account="acme"} 0"#.to_owned(),
        r#"teamleader2db_replies_total{account="acme",outcome="unrouted"} 1"#.to_owned(),
        r#"teamleader2db_queue_consumer_active{account="acme"} 1"#.to_owned(),
        r#"teamleader2db_token_refreshes_total{account="acme",outcome="refreshed"} 1"#.to_owned(),
        r#"teamleader2db_dead_letters_total{account="acme",reason="bad_request"} 1"#.to_owned(),
        r#"teamleader2db_run_duration_seconds_count{account="acme",mode="audit",status="completed"} 1"#.to_owned(),
        r#"teamleader2db_run_duration_seconds_bucket{account="acme",mode="full",status="completed",le="86400"} 1"#
            .to_owned(),
        r#"teamleader2db_resource_runs_total{account="acme",resource="contacts",status="completed"} 1"#.to_owned(),
        r#"teamleader2db_queued_requests{account="acme"} 0"#.to_owned(),
        "teamleader2db_database_connections_max 8".to_owned(),
        "teamleader2db_database_acquire_timeouts_total 0".to_owned(),
        format!(r#"teamleader2db_records_total{{account="acme",resource="contacts",change="created"}} {contacts}"#),
        format!(
            r#"teamleader2db_api_requests_total{{account="acme",endpoint="contacts.info",status="200"}} {contacts}"#
        ),
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is missing:\n{text}");
    }
    check_with_promtool(&text);
}

fn check_with_promtool(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool cannot be run: install the Debian package prometheus");
    // It reads all before it says anything, so neither waits for the other.
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), metrics.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}\n{metrics}", String::from_utf8_lossy(&said));
}

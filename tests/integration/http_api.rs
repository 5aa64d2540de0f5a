//! HTTP for programs: runs in pages, all keys of a request, and a description whose examples are real.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::{TOKEN, json_of};
use crate::stage::{Stage, Worker, until};
use crate::webhooks;

/// Requests a sync, and returns the status, `Location` and the body of the answer.
async fn post(worker: &Worker, body: &Value) -> (u16, Option<String>, Value) {
    let request = worker.request(Method::POST, "/sync/teamleader").bearer_auth(TOKEN).json(body);
    let answer = request.send().await.unwrap();
    let location = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
    (answer.status().as_u16(), location, answer.json().await.unwrap())
}

async fn get(worker: &Worker, path: &str) -> (u16, Value) {
    json_of(worker.request(Method::GET, path).bearer_auth(TOKEN)).await
}

async fn guarded() -> (Stage, Worker) {
    let mut stage = webhooks::with_webhooks(Stage::small().await);
    stage.set("HTTP_API_TOKEN", TOKEN);
    stage.set("AUDIT_RATE", "6000");
    let worker = stage.worker().await;
    (stage, worker)
}

#[tokio::test]
async fn all_keys_of_a_request_are_taken_over_http() {
    let (stage, worker) = guarded().await;
    let id = Uuid::new_v4();
    let body = json!({ "request_id": id, "mode": "full", "resources": ["contacts"], "refetch": true,
        "allow_deletions": true });
    for _ in 0..2 {
        let (status, location, answer) = post(&worker, &body).await;
        assert_eq!((status, &answer["request_id"]), (202, &json!(id)), "{answer}");
        assert_eq!(location, Some(format!("/sync/runs/{id}")));
        let event = stage.completed(id).await;
        assert_eq!(event.body["data"]["mode"], "full");
    }
    assert_eq!(stage.asked("contacts.info"), stage.simulator.count("contacts") as u64, "one run, and not two");
    let (_, run) = get(&worker, &format!("/sync/runs/{id}")).await;
    let asked = json!({ "mode": "full", "resources": ["contacts"], "refetch": true, "allow_deletions": true,
        "repair": false, "sample": null });
    assert_eq!(run["request"], asked);
    let (status, _, problem) = post(&worker, &json!({ "request_id": id, "mode": "full" })).await;
    assert_eq!((status, &problem["status"]), (409, &json!(409)), "{problem}");

    let audit = json!({ "mode": "audit", "resources": ["departments"], "sample": 2 });
    let (status, _, answer) = post(&worker, &audit).await;
    assert_eq!(status, 202, "{answer}");
    let event = stage.completed(answer["request_id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(event.body["data"]["mode"], "audit");

    for (body, said) in [
        (json!({ "full_sync": true, "mode": "audit" }), "contradict each other"),
        (json!({ "full_sync": false, "mode": "full" }), "contradict each other"),
        (json!({ "allow_deletions": true }), "allow_deletions goes with a full sync"),
        (json!({ "repair": true }), "repair goes with mode audit only"),
        (json!({ "mode": "audit", "refetch": true }), "refetch does not go with mode audit"),
        (json!({ "request_id": "seven" }), "request_id"),
        (json!({ "mode": "all" }), "unknown variant"),
    ] {
        let (status, location, problem) = post(&worker, &body).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && location.is_none() && detail.contains(said), "{body}: {problem}");
    }
}

#[tokio::test]
async fn a_request_finds_its_queue_though_somebody_took_the_binding_or_the_exchange_away() {
    let (stage, worker) = guarded().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    for with_exchange in [false, true] {
        match with_exchange {
            false => stage.broker.unbind_requests().await,
            true => stage.broker.delete_requests_exchange().await,
        }
        let (status, _, answer) = post(&worker, &json!({ "resources": ["departments"] })).await;
        assert_eq!(status, 202, "{answer}");
        stage.completed(answer["request_id"].as_str().unwrap().parse().unwrap()).await;
    }
}

#[tokio::test]
async fn runs_are_read_in_pages() {
    let (stage, worker) = guarded().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    stage.complete(json!({ "mode": "full", "resources": ["departments"] })).await;
    stage.complete(json!({ "mode": "audit", "resources": ["users"] })).await;
    let runs = async |query: &str| {
        let (status, page) = get(&worker, &format!("/sync/runs{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        page
    };
    let ids = |page: &Value| -> Vec<Value> {
        page["runs"].as_array().unwrap().iter().map(|run| run["request_id"].clone()).collect()
    };
    let newest = &runs("").await["runs"][0];
    assert!(newest["created"].is_u64() && newest.get("resources").is_none(), "{newest}");
    let full = &runs("?mode=full").await["runs"][0];
    assert_eq!(full["created"], stage.simulator.count("departments"), "{full}");
    let all = ids(&runs("").await);
    assert_eq!((all.len(), &runs("").await["next"]), (3, &Value::Null));
    let mut read = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let page = runs(&query).await;
        read.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=1&before={next}");
    }
    assert_eq!(read, all, "each run once, the newest first");
    assert_eq!(ids(&runs("?mode=audit").await), all[..1]);
    assert_eq!(ids(&runs("?mode=full&resource=Departments").await), all[1..2]);
    assert_eq!(ids(&runs("?resource=users").await), [all[0].clone(), all[2].clone()]);
    assert_eq!(ids(&runs("?status=completed&limit=200").await).len(), 3);
    assert_eq!(ids(&runs("?status=failed").await).len(), 0);
    for (query, said) in [
        ("limit=0", "from 1 to 200"),
        ("limit=201", "from 1 to 200"),
        ("limit=many", "limit"),
        ("before=7", "next of another page"),
        ("status=done", "one of running, completed"),
        ("mode=all", "one of incremental, full, audit"),
        ("resource=contact", "did you mean contacts?"),
        ("page=2", "unknown field"),
    ] {
        let (status, problem) = get(&worker, &format!("/sync/runs?{query}")).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && detail.contains(said), "{query}: {problem}");
    }
}

/// The operations of a description: `get /sync/runs` and so on.
fn operations(description: &Value) -> Vec<(String, &Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, operations)| {
            operations
                .as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
        .collect()
}

/// The examples of a request or an answer.
fn examples(content: &Value) -> Vec<(&str, &Value)> {
    let shown = content["examples"].as_object().into_iter().flatten();
    shown.map(|(_, example)| (example["summary"].as_str().unwrap(), &example["value"])).collect()
}

#[tokio::test]
async fn the_description_says_what_this_is_and_its_examples_are_real() {
    let (stage, worker) = guarded().await;
    let (_, description) = get(&worker, "/openapi.json").await;
    let said = description["info"]["description"].as_str().unwrap();
    assert!(said.contains("copies a Teamleader Focus account into PostgreSQL") && said.contains("](/dashboard)"));
    let tags: Vec<&str> =
        description["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert_eq!(tags, ["sync", "authorization", "health"]);
    for (name, operation) in operations(&description) {
        assert!(!operation["summary"].as_str().unwrap().contains('`'), "{name}: a summary is plain text");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(!response.as_object().unwrap().values().any(Value::is_null), "{name} {status}: {response}");
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                let examples = examples(content);
                assert!(kind == "text/plain" || !examples.is_empty(), "{name} {status} has no example");
                for (title, example) in examples {
                    let is_problem = kind == "application/problem+json";
                    assert!(
                        !is_problem || example["status"].as_u64() == status.parse().ok(),
                        "{name} {status} {title}"
                    );
                }
            }
        }
    }
    // Each request that is shown is taken, and each error is what the server answers.
    let post_examples = &description["paths"]["/sync/teamleader"]["post"];
    for (title, body) in examples(&post_examples["requestBody"]["content"]["application/json"]) {
        let (status, location, answer) = post(&worker, body).await;
        assert!(status == 202 && location.is_some(), "{title}: {answer}");
        stage.completed(answer["request_id"].as_str().unwrap().parse().unwrap()).await;
    }
    let problem = |operation: &str, status: &str, title: &str| -> Value {
        let found = operations(&description).into_iter().find(|(name, _)| name == operation).expect("an operation");
        let content = &found.1["responses"][status]["content"]["application/problem+json"];
        examples(content).into_iter().find(|(shown, _)| *shown == title).expect("an example").1.clone()
    };
    let run: Uuid = stage.database.value("select id from teamleader2db.sync_run where status = 'completed'").await;
    let known = "7d0c1a3e-5b7f-4c39-9e55-2f1d8a6b4c20";
    for (title, status, body) in [
        ("two keys that contradict each other", 400, json!({ "full_sync": true, "mode": "audit" })),
        ("a resource that there is not", 400, json!({ "resources": ["contact"] })),
        ("an id that is taken", 409, json!({ "request_id": known, "mode": "audit" })),
    ] {
        let (found, _, answer) = post(&worker, &body).await;
        assert_eq!((found, answer), (status, problem("post /sync/teamleader", &status.to_string(), title)));
    }
    let too_long = json!({ "resources": ["x".repeat(70_000)] });
    let (_, _, answer) = post(&worker, &too_long).await;
    assert_eq!(answer, problem("post /sync/teamleader", "413", "a body that is too long"));
    for (operation, title, status, method, path) in [
        ("get /sync/runs", "a limit out of range", 400, Method::GET, "/sync/runs?limit=500".to_owned()),
        ("get /sync/runs/{id}", "no UUID", 400, Method::GET, "/sync/runs/7".to_owned()),
        ("get /sync/runs/{id}", "an id without a run", 404, Method::GET, format!("/sync/runs/{}", Uuid::new_v4())),
        ("post /sync/runs/{id}/cancel", "no UUID", 400, Method::POST, "/sync/runs/7/cancel".to_owned()),
        ("post /sync/runs/{id}/cancel", "a run that has ended", 409, Method::POST, format!("/sync/runs/{run}/cancel")),
    ] {
        let (found, answer) = json_of(worker.request(method, &path).bearer_auth(TOKEN)).await;
        assert_eq!((found, answer), (status, problem(operation, &status.to_string(), title)));
    }
    let (found, answer) = json_of(worker.request(Method::GET, "/sync/runs")).await;
    assert_eq!((found, answer), (401, problem("get /sync/runs", "401", "no token")));
    let foreign =
        worker.request(Method::POST, "/sync/teamleader").bearer_auth(TOKEN).header("origin", "https://a.example");
    let (found, answer) = json_of(foreign).await;
    assert_eq!((found, answer), (403, problem("post /sync/teamleader", "403", "a page of another site")));
    // Answers that are shown have the keys of real ones.
    let is_known = async || get(&worker, "/sync/teamleader").await.1["webhooks"].is_object().then_some(());
    until("webhooks are registered", is_known).await;
    let is_audited = async || {
        let answer = get(&worker, "/sync/teamleader").await.1;
        answer["audit"]["resources"][0]["missing"].is_object().then_some(())
    };
    until("something was audited", is_audited).await;
    for (operation, path) in [
        ("get /sync/teamleader", "/sync/teamleader".to_owned()),
        ("get /sync/runs", "/sync/runs".to_owned()),
        ("get /sync/runs/{id}", format!("/sync/runs/{run}")),
        ("get /health/ready", "/health/ready".to_owned()),
    ] {
        let found = operations(&description).into_iter().find(|(name, _)| name == operation).expect("an operation");
        let content = &found.1["responses"]["200"]["content"]["application/json"];
        let (_, answer) = get(&worker, &path).await;
        for (title, example) in examples(content) {
            assert_eq!(keys(example), keys(&answer), "{operation}: {title}");
        }
    }
}

/// The keys of a JSON text, however deep; of lists and of what is by resource those of the first.
fn keys(value: &Value) -> BTreeSet<String> {
    let by_resource = |value: &Value| value["phase"].is_string();
    match value {
        Value::Array(list) => list.first().map(keys).unwrap_or_default(),
        Value::Object(object) if object.values().any(by_resource) => {
            object.values().next().map(keys).unwrap_or_default()
        }
        Value::Object(object) => {
            let deeper = |(key, value): (&String, &Value)| {
                let below = keys(value).into_iter().map(|below| format!("{key}.{below}")).collect::<Vec<_>>();
                [vec![key.clone()], below].concat()
            };
            object.iter().flat_map(deeper).collect()
        }
        _ => BTreeSet::new(),
    }
}

//! The pages of the dashboard: what they say is so, and their forms do what their buttons say.

use lapin::BasicProperties;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::http::{TOKEN, form_token};
use crate::stage::{Stage, Worker, until};

/// The address at which a form ends.
async fn submit(worker: &Worker, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let (_, page) = worker.get("/dashboard").await;
    let token = form_token(&page).to_owned();
    let fields = [&[("form_token", token.as_str())], fields].concat();
    let answer = worker.request(Method::POST, path).form(&fields).send().await.unwrap();
    (answer.status().as_u16(), answer.url().path().to_owned())
}

fn run_of(path: &str) -> Uuid {
    path.strip_prefix("/dashboard/runs/").unwrap_or_else(|| panic!("{path} is no page of a run")).parse().unwrap()
}

/// The page, once it says all of this.
async fn page_that_says(worker: &Worker, path: &str, words: &[&str]) -> String {
    until(&format!("{path} says {words:?}"), async || {
        let (_, page) = worker.get(path).await;
        words.iter().all(|word| page.contains(word)).then_some(page)
    })
    .await
}

#[tokio::test]
async fn a_run_has_a_page_with_its_log_lines_which_outlive_the_process() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let (status, path) = submit(&worker, "/dashboard/sync", &[("ask", "refetch"), ("resource", "contacts")]).await;
    assert_eq!(status, 200);
    let event = stage.completed(run_of(&path)).await;
    assert_eq!(event.body["data"]["resources"].as_object().map(|resources| resources.len()), Some(1));
    let lines = ["Listed 20 contacts", "Finished contacts, 20 details", "all details again", "svg class=\"bar\""];
    page_that_says(&worker, &path, &lines).await;

    // The same once more, asked of another process.
    drop(worker);
    let worker = stage.worker().await;
    page_that_says(&worker, &path, &lines).await;
    let (_, again) = submit(&worker, "/dashboard/again", &[("id", &run_of(&path).to_string())]).await;
    assert_ne!(again, path);
    let event = stage.completed(run_of(&again)).await;
    assert_eq!(event.count("contacts", "detailed"), 20, "{}", event.body);
    let runs = page_that_says(&worker, "/dashboard/runs?resource=contacts&mode=full&status=completed", &[&again]).await;
    assert!(runs.contains(&path));
    page_that_says(&worker, "/dashboard/resources/contacts", &[&again, &path, "<dd>20</dd>", "verified"]).await;
}

#[tokio::test]
async fn the_processes_of_an_account_are_there_as_long_as_they_run() {
    let stage = Stage::small().await;
    let (first, mut second) = (stage.worker().await, stage.worker().await);
    stage.complete(json!({ "resources": ["departments"] })).await;
    page_that_says(&first, "/dashboard", &[">active<", ">standby<"]).await;
    let ended = second.terminate().await;
    assert!(ended.success());
    until("one is left", async || {
        let (_, page) = first.get("/dashboard").await;
        (page.matches(">active<").count() + page.matches(">standby<").count() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_record_is_shown_with_its_earlier_versions() {
    let mut stage = Stage::small().await;
    stage.set("HISTORY", "on");
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["contacts"], "mode": "full" })).await;
    let id = stage.simulator.update("contacts", 1)[0];
    stage.complete(json!({ "resources": ["contacts"] })).await;
    let path = format!("/dashboard/records?id={id}");
    page_that_says(
        &worker,
        &path,
        &["<details", "/dashboard/resources/contacts", &format!("&quot;id&quot;: &quot;{id}&quot;")],
    )
    .await;
    page_that_says(&worker, "/dashboard/records?id=x", &["That is no id"]).await;
    page_that_says(&worker, &format!("/dashboard/records?id={}", Uuid::new_v4()), &["No record"]).await;
}

#[tokio::test]
async fn dead_letters_are_sent_again_and_dropped() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let done = stage.complete(json!({ "resources": ["departments"] })).await;
    let id: Uuid = done.subject().parse().unwrap();
    // Another request under the id of a run that has ended, and one that nobody can read.
    stage.request_again(id, json!({ "resources": ["users"] }), BasicProperties::default()).await;
    stage.broker.publish(b"{\"mode\": \"all of it\"}", BasicProperties::default()).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 2).await;
    let page = page_that_says(&worker, "/dashboard/queue", &["all of it", "Send with a new id"]).await;
    let letters: Vec<&str> =
        page.split("name=\"id\" value=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let [conflict, unreadable] = letters[..] else { panic!("{letters:?}") };

    for (letter, why) in [(conflict, 409), (unreadable, 409)] {
        let (status, _) = submit(&worker, "/dashboard/queue", &[("id", letter), ("act", "resend")]).await;
        assert_eq!(status, why, "it would be of no use");
    }
    let (status, path) = submit(&worker, "/dashboard/queue", &[("id", unreadable), ("act", "drop")]).await;
    assert_eq!((status, path.as_str()), (200, "/dashboard/queue"));
    let (status, _) = submit(&worker, "/dashboard/queue", &[("id", conflict), ("act", "resend_new")]).await;
    assert_eq!(status, 200);
    page_that_says(&worker, "/dashboard/queue", &["None."]).await;
    page_that_says(&worker, "/dashboard/runs?resource=users", &[">completed<"]).await;
    assert_eq!(submit(&worker, "/dashboard/queue", &[("id", conflict), ("act", "drop")]).await.0, 404);
}

#[tokio::test]
async fn lines_that_cannot_be_stored_hold_up_no_others() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    stage.database.fail_with("insufficient_privilege", "insert on teamleader2db.run_log", "true").await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    until("the log says so", async || worker.log().contains("as they cannot be stored").then_some(())).await;
    stage.database.interfere_no_more().await;
    let done = stage.complete(json!({ "resources": ["users"] })).await;
    page_that_says(&worker, &format!("/dashboard/runs/{}", done.subject()), &["Finished users"]).await;
}

#[tokio::test]
async fn words_that_are_none_of_the_filter_choose_nothing() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    for query in ["status=%00", "mode=%00&resource=%00", "status=done&resource=nothing"] {
        let (status, page) = worker.get(&format!("/dashboard/runs?{query}")).await;
        assert!(status == 200 && page.contains("id=\"run-"), "{query}: {page}");
    }
}

#[tokio::test]
async fn resources_that_failed_alike_are_named_once() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let run = "insert into teamleader2db.sync_run (account, id, request, status, finished_at)
        values ('acme', '00000000-0000-0000-0000-000000000007', '{\"mode\": \"full\"}', 'partial', now())";
    let steps = "insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase, status, cause, error)
        select 'acme', '00000000-0000-0000-0000-000000000007', resource, ordinal, 'done', 'failed', 'api_down', why
        from (values ('companies', 1, 'no answer'), ('contacts', 2, 'no answer'), ('deals', 3, '<b>another</b>'))
            as s (resource, ordinal, why)";
    stage.database.execute(run).await;
    stage.database.execute(steps).await;
    for path in ["/dashboard", "/dashboard/runs/00000000-0000-0000-0000-000000000007"] {
        let (_, page) = worker.get(path).await;
        assert!(page.contains("<strong>companies, contacts failed"), "{path}: {page}");
        assert!(page.contains("<strong>deals failed") && !page.contains("<b>another"), "{path}: {page}");
    }
}

#[tokio::test]
async fn a_browser_is_shown_on_a_page_what_was_refused() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let worker = stage.worker().await;
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let request = worker.request(method, path).form(&[("ask", "incremental")]);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind.starts_with("text/html"), answer.text().await.unwrap())
    };
    let (html, bearer) = (("accept", "text/html,*/*"), format!("Bearer {TOKEN}"));
    let token = ("authorization", bearer.as_str());
    for (method, path, headers, status, is_page, said) in [
        (Method::POST, "/dashboard/sync", &[html][..], 401, true, "log in on the dashboard"),
        (Method::POST, "/dashboard/sync", &[], 401, false, "Authorization: Bearer"),
        (Method::GET, "/dashboard/nothing", &[html, token], 404, true, "To the dashboard"),
        (Method::PUT, "/dashboard", &[html, token], 405, true, "To the dashboard"),
        (Method::POST, "/dashboard/sync", &[html, ("origin", "https://a.example")], 403, false, "another site"),
        (Method::GET, "/nothing", &[html, token], 404, false, "about:blank"),
    ] {
        let (found, found_page, text) = ask(method.clone(), path, headers).await;
        assert!((found, found_page) == (status, is_page) && text.contains(said), "{method} {path}: {found} {text}");
    }
}

/// What others have written, wherever the pages show it.
const FOREIGN: [&str; 8] = [
    "insert into teamleader2db.sync_run (account, id, request, status, finished_at, error)
        values ('acme', '00000000-0000-0000-0000-000000000007',
            '{\"mode\": \"full\", \"resources\": [\"\\\"><x-evil>\"]}', 'partial', now(), '\"><x-evil>')",
    "insert into teamleader2db.sync_step (account, run_id, resource, ordinal, phase, status, cause, error, drift)
        select 'acme', '00000000-0000-0000-0000-000000000007', resource, n, 'done', 'failed', '\"><x-evil>',
            '\"><x-evil>' || n, '[\"\\\"><x-evil>\"]' from unnest(array['contacts', '\"><x-evil>']) with ordinality as s (resource, n)",
    "insert into teamleader2db.run_log (account, run_id, at, level, message, fields)
        values ('acme', '00000000-0000-0000-0000-000000000007', now(), '\"><x-evil>', '\"><x-evil>',
            '{\"\\\"><x-evil>\": \"\\\"><x-evil>\"}')",
    "insert into teamleader2db.worker (account, holder, version, started_at, consuming)
        values ('acme', '\"><x-evil> 1 x', '\"><x-evil>', now(), true)",
    "insert into teamleader.record (resource, account, id, content, list_hash)
        values ('contacts', 'acme', '00000000-0000-0000-0000-000000000008', '{\"\\\"><x-evil>\": \"</pre><x-evil>\"}', '')",
    "insert into teamleader.record_history (resource, account, id, content, valid_from, valid_to)
        values ('contacts', 'acme', '00000000-0000-0000-0000-000000000008', '{\"a\": \"</pre><x-evil>\"}', now(), now())",
    "update teamleader2db.oauth_token set authorized_by = '\"><x-evil>'",
    "update teamleader2db.cursor set last_success_at = null",
];

#[tokio::test]
async fn what_others_have_written_is_text_on_every_page() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    stage.complete(json!({ "resources": ["departments"] })).await;
    for sql in FOREIGN {
        stage.database.execute(sql).await;
    }
    let sender = BasicProperties::default().with_app_id("\"><x-evil>".into()).with_message_id("\"><x-evil>".into());
    stage.broker.publish(b"{\"mode\": \"\\\"><x-evil>\"}", sender).await;
    stage.broker.await_ready(&stage.broker.dead_queue(), 1).await;
    for path in [
        "/dashboard",
        "/dashboard/runs?status=%22%3E%3Cx-evil%3E",
        "/dashboard/runs/00000000-0000-0000-0000-000000000007",
        "/dashboard/runs/%22%3E%3Cx-evil%3E",
        "/dashboard/resources/contacts",
        "/dashboard/resources/%22%3E%3Cx-evil%3E",
        "/dashboard/queue",
        "/dashboard/records?id=00000000-0000-0000-0000-000000000008",
        "/dashboard/records?id=%22%3E%3Cx-evil%3E",
        "/dashboard/login?next=%22%3E%3Cx-evil%3E",
    ] {
        let (status, page) = worker.get(path).await;
        assert!(status < 500 && !page.contains("<x-evil"), "{path}: {status} {page}");
        // Else this looks for what is not there.
        assert!(page.contains("&lt;x-evil&gt;") || path.contains("%22"), "{path}: {page}");
    }
}

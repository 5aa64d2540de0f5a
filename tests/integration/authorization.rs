//! A person authorizes the account; until then requests wait.

use serde_json::{Value, json};
use teamleader_simulator::{Fault, FaultKind};
#[cfg(feature = "fault-points")]
use teamleader2db::process::failpoints::Point;
use uuid::Uuid;

use crate::http::TOKEN;
#[cfg(feature = "fault-points")]
use crate::seams::doomed;
use crate::stage::{ACCOUNT, Stage, Worker, until};

/// The status and JSON of `/health/ready`.
async fn health(worker: &Worker) -> (u16, Value) {
    let (status, text) = worker.get("/health/ready").await;
    (status, serde_json::from_str(&text).unwrap())
}

/// What the callback says to these parameters.
async fn callback(worker: &Worker, parameters: &[(&str, &str)]) -> (u16, String) {
    let answer = worker.request(reqwest::Method::GET, "/sync/oauth").query(parameters).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap().trim().to_owned())
}

/// A state that was given out: from where the link leads.
async fn new_state(worker: &Worker) -> String {
    let no_redirects = reqwest::redirect::Policy::none();
    let browser = reqwest::Client::builder().no_proxy().redirect(no_redirects).build().unwrap();
    let answer = browser.get(format!("{}/sync/authorize", worker.url)).send().await.unwrap();
    assert!(answer.status().is_redirection(), "{}", answer.status());
    let link: reqwest::Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
    let query = |name: &str| link.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert_eq!(link.path(), "/oauth2/authorize");
    assert_eq!(query("response_type").as_deref(), Some("code"));
    assert_eq!(query("redirect_uri"), Some(format!("{}/sync/oauth", worker.url)));
    query("state").expect("a state")
}

#[tokio::test]
async fn requests_wait_until_a_person_has_authorized_the_account() {
    let stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    let told =
        until("a person is asked to authorize", async || stage.events_of_kind("authorization.required").pop()).await;
    assert_eq!(told.routing_key, format!("authorization.{ACCOUNT}.required"));
    assert_eq!(told.subject(), ACCOUNT);
    let id = stage.request(json!({ "mode": "full" })).await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 1).await;
    let (status, body) = health(&worker).await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")), "the callback has to reach this process: {body}");
    assert!(body["problems"].to_string().contains("/sync/authorize"), "{body}");

    let (status, text) = worker.get("/sync/authorize").await;
    assert_eq!((status, text.trim()), (200, "code accepted"));
    stage.completed(id).await;
    stage.assert_copy_is_equal().await;
    let (status, body) = health(&worker).await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")), "{body}");
    assert_eq!(stage.events_of_kind("authorization.required").len(), 1, "told once");
    let counters = stage.simulator.counters();
    assert_eq!((counters.code_grants, counters.refreshes), (1, 0), "{counters:?}");
}

#[tokio::test]
async fn a_worker_that_starts_again_does_not_ask_twice() {
    let stage = Stage::small().await.unauthorized();
    let mut first = stage.worker().await;
    until("a person is asked to authorize", async || stage.events_of_kind("authorization.required").pop()).await;
    first.terminate().await;
    let mut second = stage.worker().await;
    stage.broker.await_ready(&stage.broker.requests_queue(), 0).await;
    second.terminate().await;
    let told = stage.events_of_kind("authorization.required");
    assert!(told.iter().all(|event| event.id() == told[0].id()), "{told:?}");
    let written: i64 = stage.database.value("select count(*) from teamleader2db.event_outbox").await;
    assert_eq!(written, 1);
}

#[tokio::test]
async fn a_callback_that_is_not_ours_is_rejected_with_the_reason() {
    let stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    let code = stage.simulator.issue_code();
    let unknown = Uuid::new_v4().to_string();
    let (status, text) = callback(&worker, &[("code", &code), ("state", &unknown)]).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.starts_with("code rejected: the state is unknown"), "{text}");

    let state = new_state(&worker).await;
    let (status, text) = callback(&worker, &[("code", "wrong"), ("state", &state)]).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.starts_with("code rejected: Teamleader refused the code"), "{text}");
    let (_, text) = callback(&worker, &[("code", &code), ("state", &state)]).await;
    assert!(text.starts_with("code rejected: the state is unknown, used"), "a state works once: {text}");

    for parameters in [&[("code", code.as_str())][..], &[("state", state.as_str())], &[]] {
        let (status, text) = callback(&worker, parameters).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.starts_with("code rejected: code and state are needed"), "{text}");
    }
    stage.simulator.deny_authorization(true);
    let (status, text) = worker.get("/sync/authorize").await;
    assert_eq!(status, 400);
    assert!(text.starts_with("code rejected: Teamleader says access_denied"), "{text}");
    let state: String = stage.database.value("select state from teamleader2db.oauth_token").await;
    assert_eq!(state, "reauthorization_required");
    assert_eq!(stage.simulator.counters().code_grants, 0, "an unknown state costs no code");
}

#[tokio::test]
async fn another_teamleader_account_is_rejected() {
    let stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    let (_, text) = worker.get("/sync/authorize").await;
    assert_eq!(text.trim(), "code accepted");
    let before: (i64, Vec<u8>) = tokens(&stage).await;
    let ours = stage.simulator.account();
    stage.simulator.set_account(Uuid::new_v4());

    let (status, text) = worker.get("/sync/authorize").await;
    let other = stage.simulator.account();
    assert!(status == 400 && text.starts_with("code rejected: another Teamleader account: "), "{text}");
    assert!(text.contains(&format!("are of {ours}")) && text.contains(&format!("belongs to {other}")), "{text}");
    assert_eq!(tokens(&stage).await, before, "the stored tokens are as they were");

    stage.simulator.set_account(ours);
    let (_, text) = worker.get("/sync/authorize").await;
    assert_eq!(text.trim(), "code accepted", "the same account may authorize again");
    assert_eq!(tokens(&stage).await.0, before.0 + 1);
}

/// Sends a request as a browser, which goes where it is sent only when the test says so.
async fn browse(worker: &Worker, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let browser = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = browser.get(format!("{}{path}", worker.url)).header("accept", "text/html");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

/// The state in the link to Teamleader, and the pairs of all cookies.
fn state_and_cookies(answer: &reqwest::Response) -> (String, Vec<String>) {
    let link: reqwest::Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
    (state_of(&link), cookies_of(answer))
}

fn state_of(link: &reqwest::Url) -> String {
    link.query_pairs().find(|(key, _)| key == "state").map(|(_, value)| value.into_owned()).expect("a state")
}

fn cookies_of(answer: &reqwest::Response) -> Vec<String> {
    let cookies = answer.headers().get_all("set-cookie").iter();
    cookies.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn with_a_token_an_authorization_belongs_to_who_may_begin_it() {
    let mut stage = Stage::small().await.unauthorized();
    stage.set("HTTP_API_TOKEN", TOKEN);
    let worker = stage.worker().await;
    let (status, _) = worker.get("/sync/authorize").await;
    assert_eq!(status, 401);
    let sent = browse(&worker, "/sync/authorize", &[]).await;
    assert_eq!(sent.headers()["location"], "/dashboard/login?next=/sync/authorize");
    let states = async || stage.database.value::<i64>("select count(*) from teamleader2db.oauth_state").await;
    assert_eq!(states().await, 0, "who may not begin leaves nothing behind");

    // The login leads back.
    let login = worker.request(reqwest::Method::POST, "/dashboard/login");
    let login = login.form(&[("token", TOKEN), ("next", "/sync/authorize")]).send().await.unwrap();
    let logged_in = cookies_of(&login)[0].clone();
    assert!(login.text().await.unwrap().contains("url=/sync/authorize"));
    let sent = browse(&worker, "/sync/authorize", &[("cookie", &logged_in)]).await;
    let set = sent.headers()["set-cookie"].to_str().unwrap();
    assert!(set.contains("; HttpOnly; SameSite=Lax"), "{set}");
    let (state, cookies) = state_and_cookies(&sent);

    // Another browser is not taken, and uses nothing up.
    let code = stage.simulator.issue_code();
    let path = format!("/sync/oauth?code={code}&state={state}");
    let elsewhere = browse(&worker, &path, &[("cookie", &logged_in)]).await;
    assert_eq!(elsewhere.status(), 400);
    let text = elsewhere.text().await.unwrap();
    assert!(text.contains("code rejected: another browser began this"), "{text}");
    assert_eq!((states().await, stage.simulator.counters().code_grants), (1, 0));
    let here = browse(&worker, &path, &[("cookie", &cookies[0])]).await;
    assert_eq!(here.status(), 200);
    assert_eq!((states().await, stage.simulator.counters().code_grants), (0, 1));

    // Programs with the token, and the command, print links that any browser can follow.
    let (status, text) = worker.get("/sync/authorize").await;
    assert_eq!(status, 401, "{text}");
    let program = worker.request(reqwest::Method::GET, "/sync/authorize").bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(program.text().await.unwrap().trim(), "code accepted");
    stage.set("TEAMLEADER_REDIRECT_URI", &format!("{}/sync/oauth", worker.url));
    let link = stage.run(&["authorize"]).await.out;
    let followed = reqwest::Client::builder().no_proxy().build().unwrap().get(link.trim()).send().await.unwrap();
    assert_eq!(followed.text().await.unwrap().trim(), "code accepted");
    assert_eq!(stage.simulator.counters().code_grants, 3);
}

#[tokio::test]
async fn states_have_a_bound_and_the_command_keeps_its_own() {
    let mut stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    stage.set("TEAMLEADER_REDIRECT_URI", &format!("{}/sync/oauth", worker.url));
    let link = stage.run(&["authorize"]).await.out.trim().parse::<reqwest::Url>().unwrap();
    let picture = [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")];
    assert_eq!(browse(&worker, "/sync/authorize", &picture).await.status(), 403, "a picture in a page of another site");
    let first = new_state(&worker).await;
    for _ in 0..15 {
        futures_util::future::join_all((0..10).map(|_| new_state(&worker))).await;
    }
    let last = new_state(&worker).await;
    let states: i64 = stage.database.value("select count(*) from teamleader2db.oauth_state").await;
    // Those that are made at the same moment do not see each other.
    assert!((90..=120).contains(&states), "{states} states");
    let (_, text) = callback(&worker, &[("code", &stage.simulator.issue_code()), ("state", &first)]).await;
    assert!(text.starts_with("code rejected: the state is unknown"), "{text}");
    for state in [last, state_of(&link)] {
        let (_, text) = callback(&worker, &[("code", &stage.simulator.issue_code()), ("state", &state)]).await;
        assert_eq!(text, "code accepted");
    }
}

/// Who is known to have authorized, once it is known.
async fn authorized_by(stage: &Stage) -> String {
    let sql = "select authorized_by from teamleader2db.oauth_token";
    until("it is known who authorized", async || stage.database.value::<Option<String>>(sql).await).await
}

#[tokio::test]
async fn a_traded_pair_is_kept_though_nobody_says_whose_it_is() {
    for kind in [FaultKind::ServerError { status: 503 }, FaultKind::TruncatedJson, FaultKind::Forbidden] {
        let stage = Stage::small().await.unauthorized();
        let worker = stage.worker().await;
        stage.simulator.inject(Fault::new(kind.clone()).at("users.me"));
        let (status, text) = worker.get("/sync/authorize").await;
        assert_eq!((status, text.trim()), (200, "code accepted"), "{kind:?}");
        let known: Option<String> = stage.database.value("select authorized_by from teamleader2db.oauth_token").await;
        assert_eq!(known, None, "{kind:?}");
        stage.simulator.clear_faults();
        stage.complete(json!({ "mode": "full" })).await;
        stage.assert_copy_is_equal().await;
        authorized_by(&stage).await;
        assert_eq!(stage.simulator.counters().code_grants, 1, "{kind:?}");
    }
}

#[tokio::test]
async fn an_authorization_under_way_is_finished_before_the_end() {
    let stage = Stage::small().await.unauthorized();
    let mut worker = stage.worker().await;
    let state = new_state(&worker).await;
    stage.slow_down("oauth2/access_token", 3_000);
    let code = stage.simulator.issue_code();
    let sent = worker.request(reqwest::Method::GET, "/sync/oauth").query(&[("code", &code), ("state", &state)]);
    let browser = tokio::spawn(sent.send());
    stage.await_asked("oauth2/access_token", 1).await;
    // It goes away, and the worker is stopped.
    browser.abort();
    assert!(worker.terminate().await.success());
    let state: String = stage.database.value("select state from teamleader2db.oauth_token").await;
    assert_eq!((state.as_str(), stage.simulator.counters().code_grants), ("authorized", 1));
}

/// A callback whose code Teamleader trades, but answers only after this many milliseconds; and nobody says whose the
/// pair is.
async fn callback_in_the_midst(
    stage: &Stage,
    worker: &Worker,
    milliseconds: u64,
) -> tokio::task::JoinHandle<reqwest::Result<reqwest::Response>> {
    let state = new_state(worker).await;
    stage.simulator.inject(Fault::new(FaultKind::SlowBody { milliseconds }).at("oauth2/access_token"));
    stage.simulator.inject(Fault::new(FaultKind::Hang).at("users.me"));
    let code = stage.simulator.issue_code();
    let sent = worker.request(reqwest::Method::GET, "/sync/oauth").query(&[("code", &code), ("state", &state)]);
    let browser = tokio::spawn(sent.send());
    stage.await_asked("oauth2/access_token", 1).await;
    browser
}

async fn assert_the_pair_is_stored(stage: &Stage, worker: &Worker) {
    assert!(!worker.log().contains("Not everything ended in order"), "{}", worker.log());
    let state: String = stage.database.value("select state from teamleader2db.oauth_token").await;
    assert_eq!((state.as_str(), stage.simulator.counters().code_grants), ("authorized", 1));
    stage.simulator.clear_faults();
    let _next = stage.worker().await;
    stage.complete(json!({ "resources": ["users"] })).await;
    authorized_by(stage).await;
    assert_eq!(stage.simulator.counters().refused_refresh_reuse, 0);
}

#[tokio::test]
async fn the_end_waits_for_an_authorization_longer_than_for_all_else() {
    let stage = Stage::small().await.unauthorized();
    let mut worker = stage.worker().await;
    let browser = callback_in_the_midst(&stage, &worker, 12_000).await;
    worker.ask_to_end();
    let text = browser.await.unwrap().unwrap().text().await.unwrap();
    assert_eq!(text.trim(), "code accepted");
    assert!(worker.exit().await.success());
    assert_the_pair_is_stored(&stage, &worker).await;
}

#[cfg(feature = "fault-points")]
#[tokio::test]
async fn an_authorization_is_finished_though_the_http_server_has_panicked() {
    let mut stage = Stage::small().await.unauthorized();
    let mut worker = doomed(&mut stage, "panic", Point::HttpServed, 20).await;
    let _browser = callback_in_the_midst(&stage, &worker, 6_000).await;
    let address = worker.url.trim_start_matches("http://").to_owned();
    until("the HTTP server has panicked", async || {
        // Nobody listens afterwards.
        let _ = tokio::net::TcpStream::connect(&address).await;
        worker.log().contains("the HTTP server ended").then_some(())
    })
    .await;
    let stored = "select count(*) from teamleader2db.oauth_token where state = 'authorized'";
    assert_eq!(stage.database.value::<i64>(stored).await, 0, "it is under way");
    assert_eq!(worker.exit().await.code(), Some(1));
    assert_the_pair_is_stored(&stage, &worker).await;
}

#[tokio::test]
async fn a_worker_that_ends_begins_no_authorization_and_the_next_one_takes_it() {
    let stage = Stage::of(60).await;
    let mut ending = stage.worker().await;
    let next = stage.worker().await;
    let state = new_state(&ending).await;
    let code = stage.simulator.issue_code();
    let parameters = [("code", code.as_str()), ("state", state.as_str())];
    // It answers over HTTP as long as it hands back, which is held.
    let mut hold = stage.database.hold_before("update on teamleader2db.sync_run", "new.slice > old.slice").await;
    stage.simulator.inject(Fault::new(FaultKind::Hang).at("contacts.info"));
    stage.request(json!({ "mode": "full" })).await;
    stage.await_asked("contacts.info", 1).await;
    ending.ask_to_end();
    hold.reached().await;
    let refused = "code rejected: the worker ends: load this page again in a minute";
    assert_eq!(callback(&ending, &parameters).await, (503, refused.to_owned()));
    hold.forget(&stage.database).await;
    ending.exit().await;
    assert_eq!(callback(&next, &parameters).await, (200, "code accepted".to_owned()));
    assert_eq!(stage.simulator.counters().code_grants, 1);
}

#[tokio::test]
async fn a_kept_pair_of_another_account_syncs_nothing() {
    let stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    worker.get("/sync/authorize").await;
    stage.complete(json!({ "mode": "full" })).await;
    stage.simulator.set_account(Uuid::new_v4());
    stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 500 }).at("users.me"));
    let (status, text) = worker.get("/sync/authorize").await;
    assert_eq!((status, text.trim()), (200, "code accepted"));
    stage.simulator.clear_faults();
    let lists = stage.lists_asked();
    stage.request(json!({ "mode": "full" })).await;
    let asked = async || {
        let events = stage.events_of_kind("authorization.required");
        events.into_iter().find(|event| event.body["data"]["reason"].to_string().contains("another Teamleader account"))
    };
    until("a person is asked to authorize", asked).await;
    assert_eq!(stage.lists_asked(), lists, "no list of another account was read");
}

#[tokio::test]
async fn another_person_who_authorizes_is_reported() {
    let stage = Stage::small().await.unauthorized();
    let worker = stage.worker().await;
    for _ in 0..2 {
        assert_eq!(worker.get("/sync/authorize").await.0, 200);
    }
    let now = authorized_by(&stage).await;
    stage.database.execute("update teamleader2db.oauth_token set authorized_by = 'Ann Before'").await;
    // Known at once; and known later, when `users.me` answers again.
    assert_eq!(worker.get("/sync/authorize").await.0, 200);
    let changed = async |times: usize| {
        let events = || stage.events_of_kind("authorization.changed");
        until("the change is reported", async || (events().len() == times).then(events)).await
    };
    let event = changed(1).await.remove(0);
    assert_eq!((event.routing_key.as_str(), event.subject()), (&*format!("authorization.{ACCOUNT}.changed"), ACCOUNT));
    let data = json!({ "account": ACCOUNT, "authorized_by": now, "previously_authorized_by": "Ann Before" });
    assert_eq!(event.body["data"], data);
    stage.database.execute("update teamleader2db.oauth_token set authorized_by = 'Ann Before'").await;
    stage.simulator.inject(Fault::new(FaultKind::ServerError { status: 500 }).at("users.me"));
    assert_eq!(worker.get("/sync/authorize").await.0, 200);
    stage.simulator.clear_faults();
    stage.complete(json!({ "resources": ["users"] })).await;
    assert_eq!(changed(2).await[1].body["data"], data);
    assert!(worker.log().contains("Another person than before has authorized the account"), "{}", worker.log());
}

async fn tokens(stage: &Stage) -> (i64, Vec<u8>) {
    let generation = stage.database.value("select generation from teamleader2db.oauth_token").await;
    (generation, stage.database.value("select refresh_token from teamleader2db.oauth_token").await)
}

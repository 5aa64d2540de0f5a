//! HTTP as hostile callers use it: other names, other sites, guesses, connections that are never finished, no database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::{TOKEN, form_token, json_of};
use crate::stage::{Cable, Stage, Stalled, Worker, free_port, until};

/// What a server that is sent these bytes says until it closes the connection.
async fn raw(worker: &Worker, bytes: &str) -> String {
    let mut stream = TcpStream::connect(worker.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn without_a_token_no_route_answers_by_another_name() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    for path in ["/", "/sync/teamleader", "/sync/authorize", "/sync/oauth", "/metrics", "/health/live", "/health/ready"]
    {
        for (what, version, target, hosts) in [
            ("no host", "1.0", path.to_owned(), &[][..]),
            ("two hosts", "1.1", path.to_owned(), &["localhost", "evil.example"]),
            ("an address in brackets and more", "1.1", path.to_owned(), &["[::1].evil"]),
            ("another name", "1.1", path.to_owned(), &["evil.example"]),
            ("a whole address", "1.1", format!("http://evil.example{path}"), &["localhost"]),
        ] {
            let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
            let answer =
                raw(&worker, &format!("GET {target} HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n")).await;
            assert!(answer.lines().next().unwrap().contains(" 403 "), "{path}, {what}: {answer}");
        }
    }
    let states: i64 = stage.database.value("select count(*) from teamleader2db.oauth_state").await;
    assert_eq!(states, 0);
    let known = raw(&worker, "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(known.starts_with("HTTP/1.1 200"), "{known}");
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let worker = stage.worker().await;
    for path in [
        "/",
        "/openapi.json",
        "/swagger-ui.css",
        "/dashboard",
        "/dashboard/runs",
        "/dashboard/runs/1b7f4cde-9f0a-4f6e-8a7e-2d6c5f3b1a90",
        "/dashboard/resources/contacts",
        "/dashboard/queue",
        "/dashboard/records",
        "/dashboard/login",
        "/dashboard/style.css",
        "/sync/teamleader",
        "/sync/authorize",
        "/sync/oauth",
        "/metrics",
        "/health/live",
        "/health/ready",
        "/nothing",
    ] {
        for token in [Some(TOKEN), None] {
            let http =
                reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
            let request = http.get(format!("{}{path}", worker.url));
            let answer =
                token.into_iter().fold(request, |request, token| request.bearer_auth(token)).send().await.unwrap();
            let header =
                |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(header("x-frame-options"), "DENY", "{path}");
            assert_eq!(header("referrer-policy"), "same-origin", "{path}");
            assert!(header("content-security-policy").starts_with("default-src 'none'"), "{path}");
            let is_file = path == "/dashboard/style.css" || path == "/swagger-ui.css" && token.is_some();
            assert_eq!(header("cache-control") != "no-store", is_file, "{path}");
            if path.starts_with("/dashboard") && path != "/dashboard/login" && !is_file {
                assert_eq!(answer.status().as_u16(), if token.is_some() { 200 } else { 401 }, "{path}");
            }
        }
    }
}

/// Logs in as a browser does, and gives the pairs of its cookies.
async fn log_in(worker: &Worker, headers: &[(&str, &str)]) -> (u16, Vec<String>) {
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = http.post(format!("{}/dashboard/login", worker.url)).form(&[("token", TOKEN)]);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send().await.unwrap();
    let cookies = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), cookies.collect())
}

fn pair_of(cookie: &str) -> &str {
    cookie.split(';').next().unwrap()
}

#[tokio::test]
async fn a_login_ends_at_logout_for_every_process() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let (first, second) = (stage.worker().await, stage.worker().await);
    let (_, cookies) = log_in(&first, &[]).await;
    let (_, others) = log_in(&second, &[]).await;
    let status = async |worker: &Worker, cookie: &str| {
        let request = worker.request(Method::GET, "/sync/teamleader").header("cookie", cookie);
        request.send().await.unwrap().status().as_u16()
    };
    let (mine, other) = (pair_of(&cookies[0]), pair_of(&others[0]));
    for worker in [&first, &second] {
        assert_eq!((status(worker, mine).await, status(worker, other).await), (200, 200), "a login holds for all");
        assert_eq!(status(worker, &format!("{mine}0")).await, 401);
    }
    let page =
        first.request(Method::GET, "/dashboard").header("cookie", mine).send().await.unwrap().text().await.unwrap();
    let form = [("form_token", form_token(&page))];
    let logout = first.request(Method::POST, "/dashboard/logout").header("cookie", mine).form(&form);
    assert!(logout.send().await.unwrap().url().path().ends_with("/dashboard/login"));
    for worker in [&first, &second] {
        assert_eq!((status(worker, mine).await, status(worker, other).await), (401, 200), "and ends for all, alone");
    }
}

#[tokio::test]
async fn a_browser_logs_in_over_plain_http_and_behind_tls() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let worker = stage.worker().await;
    let page = worker.request(Method::GET, "/dashboard/login").send().await.unwrap();
    assert_eq!(page.headers()["referrer-policy"], "same-origin", "or browsers send the form with `Origin: null`");
    let host = ("host", "worker.example:8080");
    for (what, headers, secure) in [
        ("plain HTTP by a name", &[host, ("origin", "http://worker.example:8080")][..], false),
        ("a browser that hides its origin", &[host, ("origin", "null")], false),
        (
            "behind TLS",
            &[("host", "worker.example"), ("origin", "https://worker.example"), ("sec-fetch-site", "same-origin")],
            true,
        ),
    ] {
        let (status, cookies) = log_in(&worker, headers).await;
        assert_eq!((status, cookies.len()), (303, 1), "{what}");
        assert!(cookies.iter().all(|cookie| cookie.contains("; Secure") == secure), "{what}: {cookies:?}");
    }
    assert_eq!(log_in(&worker, &[host, ("origin", "https://evil.example")]).await, (403, Vec::new()));
}

#[tokio::test]
async fn wrong_tokens_are_slowed_and_keep_nobody_out_who_was_in_before() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let worker = stage.worker().await;
    let (_, cookies) = log_in(&worker, &[]).await;
    let guess = async |number: u32| {
        let form = [("token", format!("guess {number}"))];
        worker.request(Method::POST, "/dashboard/login").form(&form).send().await.unwrap().status().as_u16()
    };
    let statuses = future::join_all((0..60).map(guess)).await;
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!((9..50).contains(&tried), "{tried} of 60 guesses at once were looked at");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 60 - tried);
    let known = pair_of(&cookies[0]);
    let (guesses, (status, _)) =
        future::join(future::join_all((0..60).map(guess)), log_in(&worker, &[("cookie", known)])).await;
    assert!(guesses.contains(&429));
    assert_eq!(status, 303);
    // And soon everybody else may again.
    until("a stranger may log in", async || (log_in(&worker, &[]).await.0 == 303).then_some(())).await;
}

#[tokio::test]
async fn a_token_that_others_could_guess_is_refused_beyond_loopback() {
    let mut stage = Stage::small().await;
    for (token, listen, code) in
        [("fifteen letters", "0.0.0.0", 2), (" ", "127.0.0.1", 2), ("tökens of letters", "127.0.0.1", 2)]
    {
        stage.set("HTTP_API_TOKEN", token);
        let mut worker = stage.worker_that_listens_at(&format!("{listen}:{}", free_port()));
        assert_eq!(worker.exit().await.code(), Some(code), "{token:?}");
        assert!(worker.log().contains("HTTP_API_TOKEN") && worker.log().contains("/dev/urandom"), "{}", worker.log());
    }
    stage.set("HTTP_API_TOKEN", "short");
    assert_eq!(stage.worker().await.get("/sync/teamleader").await.0, 401, "on loopback a short one will do");
}

/// Workers that are started from now on reach the database over this cable.
pub async fn cable_to_database(stage: &mut Stage) -> Cable {
    let mut url: reqwest::Url = stage.database.url.parse().unwrap();
    let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    let cable = Cable::to(&address).await;
    let (host, port) = cable.address.split_once(':').unwrap();
    url.set_host(Some(host)).unwrap();
    url.set_port(Some(port.parse().unwrap())).unwrap();
    stage.set("DATABASE_URL", url.as_str());
    cable
}

#[tokio::test]
async fn answers_come_while_the_database_is_away_and_say_nothing_of_it() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let cable = cable_to_database(&mut stage).await;
    let (_, port) = cable.address.split_once(':').unwrap();
    let worker = stage.worker().await;
    let (_, cookies) = log_in(&worker, &[]).await;
    cable.set_away(true);
    let browser = |path: &str| {
        let request = worker.request(Method::GET, path).header("accept", "text/html");
        request.header("cookie", pair_of(&cookies[0]))
    };
    for path in ["/dashboard", "/sync/authorize", "/sync/teamleader", "/"] {
        let answer = browser(path).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!((status, text.contains("The database cannot be used")), (503, true), "{path}: {text}");
        assert!(!text.contains(port) && !text.contains("PostgreSQL: "), "no error's text: {path}: {text}");
    }
    for (path, status) in [("/health/live", 200), ("/metrics", 200), ("/health/ready", 503), ("/dashboard/login", 200)]
    {
        let (answered, text) = worker.get(path).await;
        assert_eq!(answered, status, "{path}");
        assert!(path == "/metrics" || !text.contains(port), "{path}: {text}");
    }
    let (status, text) = worker.get("/sync/oauth?code=code&state=state").await;
    let fixed = "code rejected: it could not be stored: open /sync/authorize again";
    assert_eq!((status, text.trim()), (503, fixed));
    for token in [Some(TOKEN), None] {
        let request = worker.request(Method::GET, "/health/ready");
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        let (status, ready) = json_of(request).await;
        let why =
            "database: it cannot be used: is PostgreSQL up, and DATABASE_URL right? The worker's log has the details";
        assert_eq!((status, &ready["database"], &ready["problems"]), (503, &json!(false), &json!([why])), "{ready}");
    }
    assert_eq!(log_in(&worker, &[]).await.0, 503, "no login that nobody could end");
    cable.set_away(false);
    until("the login holds again", async || {
        (browser("/dashboard").send().await.unwrap().status().as_u16() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn half_open_connections_stop_neither_health_nor_a_sync() {
    let stage = Stage::small().await;
    let worker = stage.worker().await;
    let mut half_open = Vec::new();
    for _ in 0..400 {
        let mut stream = TcpStream::connect(worker.url.trim_start_matches("http://")).await.unwrap();
        // The oldest are closed meanwhile.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ").await;
        half_open.push(stream);
    }
    assert_eq!(worker.get("/health/live").await.0, 200);
    stage.complete(json!({ "mode": "full" })).await;
    stage.assert_copy_is_equal().await;
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", worker.pid())).unwrap().count();
    assert!(sockets < 400, "{sockets} files are open");
}

/// Requests that hang until the database answers, more than there are connections. `late` is what those are answered
/// that have waited for it in vain; others are sent away at once. Gives whether health had to wait for one of them.
async fn health_waits_for(worker: &Worker, path: &str, late: &str) -> bool {
    let answers: Arc<Mutex<Vec<String>>> = Arc::default();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(worker.url.trim_start_matches("http://")).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answers = answers.clone();
        tokio::spawn(async move {
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answers.lock().unwrap().push(answer);
        });
    }
    let live = raw(worker, "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(live.starts_with("HTTP/1.1 200"), "{path}: {live}");
    let so_far = answers.lock().unwrap().clone();
    let all = until("all are answered", async || {
        let answers = answers.lock().unwrap();
        (answers.len() == 300).then(|| answers.clone())
    })
    .await;
    let of_kind = |text: &str| all.iter().filter(|answer| answer.contains(text)).count();
    let sent_away = of_kind("enough requests") + of_kind("too many");
    assert!(of_kind(late) > 0 && sent_away > 0, "{path}: {} waited, {sent_away} did not", of_kind(late));
    // One that was not read yet may have given way to a later one.
    let gave_way = all.iter().filter(|answer| answer.is_empty()).count();
    assert_eq!(of_kind(late) + sent_away + gave_way, 300, "{path}");
    so_far.iter().any(|answer| answer.contains(late))
}

#[tokio::test]
async fn health_answers_while_requests_wait_for_a_database_that_is_away() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", TOKEN);
    let cable = cable_to_database(&mut stage).await;
    cable.set_away(true);
    let worker = stage.worker_without_database().await;
    assert_eq!(worker.get("/nothing").await.0, 404, "what is not there needs no database");
    for path in ["/sync/teamleader", "/sync/oauth?code=code&state=state"] {
        assert!(!health_waits_for(&worker, path, "not ready yet: see the worker").await, "{path}");
    }
    cable.set_away(false);
    until("the database is used", async || (worker.get("/sync/teamleader").await.0 == 401).then_some(())).await;
}

#[tokio::test]
async fn health_answers_while_requests_wait_for_a_database_that_says_nothing() {
    let mut stage = Stage::small().await;
    let cable = cable_to_database(&mut stage).await;
    let worker = stage.worker().await;
    cable.stall(Stalled { there: true, back: true });
    for (path, late) in [
        ("/sync/oauth?code=code&state=state", "it could not be stored"),
        ("/sync/teamleader", "the database cannot be used now"),
        ("/health/ready", "\"database\":false"),
    ] {
        // These wait for some seconds only, which a slow machine may need to open the connections.
        health_waits_for(&worker, path, late).await;
    }
    cable.stall(Stalled::default());
    until("the database is used again", async || (worker.get("/sync/teamleader").await.0 == 200).then_some(())).await;
}

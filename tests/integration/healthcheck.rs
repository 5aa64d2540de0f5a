//! The command with which a container asks its own worker whether it lives.

use crate::stage::{Settings, Stage, free_port, run, until};

#[tokio::test]
async fn healthcheck_asks_the_worker_and_needs_to_know_only_where_it_listens() {
    let mut stage = Stage::small().await;
    stage.set("HTTP_API_TOKEN", "a token of the tests");
    let port = free_port();
    // As in a container, where the worker listens at all addresses and is asked at loopback.
    let only_where = Settings::from([("HTTP_LISTEN", format!("0.0.0.0:{port}"))]);
    let ended = run(&only_where, &["healthcheck"]).await;
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "nobody listens yet: {ended:?}");
    assert!(ended.err.contains(&format!("the worker at 127.0.0.1:{port} cannot be asked")), "{ended:?}");

    let mut worker = stage.worker_that_listens_at(&only_where["HTTP_LISTEN"]);
    let ended = until("the worker is alive", async || {
        let ended = run(&only_where, &["healthcheck"]).await;
        (ended.code == 0).then_some(ended)
    })
    .await;
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("alive\n", ""));
    let loopback = Settings::from([("HTTP_LISTEN", format!("127.0.0.1:{port}"))]);
    assert_eq!(run(&loopback, &["healthcheck"]).await.code, 0);

    worker.freeze();
    let ended = run(&only_where, &["healthcheck"]).await;
    assert_eq!(ended.code, 1, "the kernel accepts, and the worker is silent: {ended:?}");
    assert!(ended.err.contains("does not answer within 3 s"), "{ended:?}");
    worker.thaw();
    worker.kill();
}

#[tokio::test]
async fn healthcheck_does_not_take_another_server_for_the_worker() {
    let stage = Stage::small().await;
    let simulator = stage.simulator.url();
    let settings = Settings::from([("HTTP_LISTEN", simulator.trim_start_matches("http://").to_owned())]);
    let ended = run(&settings, &["healthcheck"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("does not say that it is alive"), "{ended:?}");
}

use super::*;

fn seen(remaining: u32, reset_in: u64) -> Option<Observation> {
    Some(Observation { limit: 200, remaining, reset_in: Duration::from_secs(reset_in) })
}

#[tokio::test(start_paused = true)]
async fn the_whole_window_is_used_and_then_waited_for() {
    let limiter = Limiter::new(0);
    let started = Instant::now();
    for sent in 0..400u32 {
        let permit = limiter.acquire().await;
        let waited = started.elapsed();
        assert_eq!(waited >= WINDOW, sent >= 200, "request {sent} went out after {waited:?}");
        permit.answered(seen(199 - sent % 200, 60));
    }
    assert!(started.elapsed() < WINDOW + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn before_the_first_answer_one_request_is_in_flight() {
    let limiter = Limiter::new(0);
    let first = limiter.acquire().await;
    assert!(tokio::time::timeout(WINDOW * 3, limiter.acquire()).await.is_err());
    first.answered(seen(199, 60));
    let _both = (limiter.acquire().await, limiter.acquire().await);
}

#[tokio::test(start_paused = true)]
async fn requests_of_others_are_left_room() {
    let limiter = Limiter::new(0);
    // After a restart: 198 requests of ours from before fill the window.
    limiter.acquire().await.answered(seen(1, 40));
    let started = Instant::now();
    limiter.acquire().await.answered(seen(0, 40));
    assert!(started.elapsed() < Duration::from_secs(1));
    let _third = limiter.acquire().await;
    assert_eq!(started.elapsed().as_secs(), 40);
}

#[tokio::test(start_paused = true)]
async fn answers_that_overtake_each_other_hide_no_request_of_others() {
    let limiter = Limiter::new(0);
    // One request of another program; ours go out in pairs, and the second of each pair is answered first.
    limiter.acquire().await.answered(seen(198, 60));
    for pair in 0..99u32 {
        let (first, second) = (limiter.acquire().await, limiter.acquire().await);
        tokio::time::advance(Duration::from_millis(10)).await;
        let remaining = 198 - 2 * pair;
        second.answered(seen(remaining.saturating_sub(2), 60));
        first.answered(seen(remaining.saturating_sub(1), 60));
    }
    // 199 of ours and 1 of the other's: the window is full.
    assert!(tokio::time::timeout(Duration::from_secs(59), limiter.acquire()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_others_sent_is_forgotten_when_it_has_left_the_window() {
    let limiter = Limiter::new(0);
    limiter.acquire().await.answered(seen(149, 60));
    tokio::time::advance(WINDOW).await;
    let all: Vec<Permit> = futures_util::future::join_all((0..200).map(|_| limiter.acquire())).await;
    assert_eq!(all.len(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_time_for_requests_is_computed_from_the_window() {
    let limiter = Limiter::new(50);
    assert_eq!(limiter.time_for(150), Duration::ZERO);
    assert_eq!(limiter.time_for(150 + 300), 2 * WINDOW);
    for sent in 0..75u32 {
        limiter.acquire().await.answered(seen(199 - sent, 60));
    }
    assert_eq!(limiter.time_for(150), WINDOW / 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_429_nothing_is_sent_before_the_reset() {
    let limiter = Limiter::new(0);
    let started = Instant::now();
    limiter.acquire().await.refused(seen(0, 13), Duration::from_secs(13));
    let _next = limiter.acquire().await;
    assert_eq!(started.elapsed().as_secs(), 13);
}

#[tokio::test(start_paused = true)]
async fn a_429_without_headers_leaves_the_limit_that_was_learned() {
    let limiter = Limiter::new(0);
    limiter.acquire().await.answered(Some(Observation { limit: 1_000, remaining: 999, reset_in: WINDOW }));
    let started = Instant::now();
    limiter.acquire().await.refused(None, Duration::from_secs(7));
    assert_eq!(limiter.allowed(), 1_000);
    let _next = limiter.acquire().await;
    assert_eq!(started.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_among_quick_ones_hides_no_request_of_others() {
    let limiter = Limiter::new(0);
    limiter.acquire().await.answered(seen(199, 60));
    // Sent first and answered last, 30 s later, after two that are sent and answered at the end.
    let slow = limiter.acquire().await;
    tokio::time::advance(Duration::from_secs(30)).await;
    // One request of another program is in the window as well.
    limiter.acquire().await.answered(seen(196, 30));
    limiter.acquire().await.answered(seen(195, 30));
    slow.answered(seen(195, 30));
    // 31 s later the slow one has left the API's window for certain, the quick ones not.
    tokio::time::advance(Duration::from_secs(31)).await;
    // The window holds the quick ones, this one, and the other program's.
    limiter.acquire().await.answered(seen(196, 60));
    assert_eq!(limiter.0.state.lock().expect("whole").others, 1);
}

#[test]
fn no_number_of_requests_takes_for_ever() {
    let limiter = Limiter::new(u32::MAX);
    for requests in [i64::MIN, -1, 0, 1, i64::MAX] {
        assert!(limiter.time_for(requests) <= LONGEST_FORECAST, "{requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_reserve_stays_free() {
    let limiter = Limiter::new(50);
    let started = Instant::now();
    for sent in 0..150u32 {
        limiter.acquire().await.answered(seen(199 - sent, 60));
    }
    assert!(started.elapsed() < Duration::from_secs(1));
    let _next = limiter.acquire().await;
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn hints_go_first_and_take_half_of_the_window_at_most_while_a_run_works() {
    let limiter = Limiter::new(0);
    for sent in 0..200u32 {
        limiter.acquire().await.answered(seen(199 - sent, 60));
    }
    // The window is full. Two of a run wait, then one of a hint: it is sent first.
    let order = std::sync::Mutex::new(Vec::new());
    let ask = async |turn: Turn, name: &'static str| {
        let permit = limiter.acquire_as(turn).await;
        order.lock().expect("whole").push(name);
        permit.answered(seen(0, 0));
    };
    let hint = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ask(Turn::Hint(Share::Half), "hint").await;
    };
    tokio::join!(ask(Turn::Run, "run"), ask(Turn::Run, "run"), hint);
    assert_eq!(order.into_inner().expect("whole")[0], "hint");

    let limiter = Limiter::new(0);
    limiter.acquire().await.answered(seen(199, 60));
    for sent in 1..=100u32 {
        limiter.acquire_as(Turn::Hint(Share::Half)).await.answered(seen(199 - sent, 60));
    }
    let started = Instant::now();
    let more = limiter.acquire_as(Turn::Hint(Share::Half));
    let run = async {
        let permit = limiter.acquire().await;
        assert!(started.elapsed() < Duration::from_secs(1), "a run does not wait for hints that may not be sent");
        permit.answered(seen(98, 60));
    };
    let ((), more) = tokio::join!(run, more);
    assert_eq!(started.elapsed().as_secs(), 60, "the other half is the run's");
    drop(more);
    // While no run works they have all of it.
    for _ in 0..90 {
        limiter.acquire_as(Turn::Hint(Share::All)).await.answered(None);
    }
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_hint_that_gives_up_lets_the_run_go_on() {
    let limiter = Limiter::new(0);
    for sent in 0..200u32 {
        limiter.acquire().await.answered(seen(199 - sent, 60));
    }
    let started = Instant::now();
    let given_up = tokio::time::timeout(Duration::from_secs(70), async {
        let _first = limiter.acquire_as(Turn::Hint(Share::Half)).await;
        std::future::pending::<()>().await;
    });
    let run = async {
        drop(limiter.acquire().await);
        started.elapsed().as_secs()
    };
    let (_, waited) = tokio::join!(given_up, run);
    assert_eq!(waited, 60);
}

#[tokio::test(start_paused = true)]
async fn an_audit_goes_after_all_others_and_leaves_them_half_of_the_window() {
    let limiter = Limiter::new(0);
    for sent in 0..99 {
        limiter.acquire_as(Turn::Audit).await.answered(seen(199 - sent, 60));
    }
    assert!(limiter.waits_for().is_none());
    limiter.acquire_as(Turn::Audit).await.answered(seen(100, 60));
    let started = Instant::now();
    // A run takes the other half at once, and all that is left of the window after it.
    for sent in 0..100 {
        limiter.acquire().await.answered(seen(99 - sent, 60));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "the run was not delayed");
    let order = Mutex::new(Vec::new());
    let ask = async |turn: Turn, name: &'static str| {
        let permit = limiter.acquire_as(turn).await;
        order.lock().expect("whole").push(name);
        permit.answered(None);
    };
    // The window is full. The audit was first, and is sent last.
    let run = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(limiter.waits_for().is_none(), "nobody waits but the audit");
        tokio::join!(ask(Turn::Run, "run"), ask(Turn::Run, "run"), ask(Turn::Hint(Share::Half), "hint"));
    };
    tokio::join!(ask(Turn::Audit, "audit"), run);
    assert_eq!(order.into_inner().expect("whole"), ["hint", "run", "run", "audit"]);
}

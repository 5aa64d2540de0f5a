//! From the start of the process until it consumes, beside connecting to both servers; and the size of the binary.

use std::time::{Duration, Instant};

use lapin::{Connection, ConnectionProperties};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::stage::{Stage, free_port};
use crate::timing::{Seconds, median, seconds_of};
use crate::{Rows, Size};

/// Several rounds against one migrated database; medians.
pub async fn measure(size: Size) -> Rows {
    let rounds = if size.quick { 5 } else { 21 };
    let stage = Stage::small().await;
    // The first one migrates, and refreshes the token.
    start(&stage).await;
    let (mut starts, mut connects) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        starts.push(start(&stage).await);
        connects.push(seconds_of(connect(&stage)).await);
    }
    let (start, connect) = (median(starts) * 1e3, median(connects) * 1e3);
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_teamleader2db")).unwrap().len() as f64 / 1e6;
    vec![
        format!(
            "| start, until it consumes | {start:.0} ms | \
             connecting to both servers {connect:.0} ms | {:.1} times as long |",
            start / connect
        ),
        format!("| the binary | {size:.1} MB | | |"),
    ]
}

async fn start(stage: &Stage) -> Seconds {
    let started = Instant::now();
    let worker = stage.worker_that_listens_at(&format!("127.0.0.1:{}", free_port()));
    let ready = format!("{}/health/ready", worker.url);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        // 200 also says that the operator has to authorize, which has been done here.
        if http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return started.elapsed().as_secs_f64();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn connect(stage: &Stage) {
    let amqp = Connection::connect(stage.setting("AMQP_URL"), ConnectionProperties::default());
    let (database, broker) = tokio::join!(PgConnection::connect(stage.setting("DATABASE_URL")), amqp);
    database.unwrap().close().await.unwrap();
    broker.unwrap().close(200, "".into()).await.unwrap();
}

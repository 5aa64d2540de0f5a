//! The product beside its limits, in the same run on the same servers: `make bench`.
//!
//! Names as arguments choose scenarios: `make bench ARGS=budget`. `make bench QUICK=1` makes all of them small.

// As in tests: what fails here fails the measurement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../../tests/stage/mod.rs"]
mod stage;

mod budget;
mod details;
mod hints;
mod lists;
mod memory;
mod pages;
mod start;
mod timing;
mod views;

use crate::stage::Database;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Size {
    /// Two minutes for everything.
    pub quick: bool,
}

/// What a scenario found: lines of a Markdown table.
pub type Rows = Vec<String>;

#[tokio::main]
async fn main() {
    // `cargo bench` passes `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let size = Size { quick: std::env::var("BENCH_QUICK").is_ok_and(|value| value == "1") };
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    // PostgreSQL waits for the disk, as it does by default, and as the private one does not.
    set_fsync("set fsync = on").await;
    describe().await;
    println!("| what | the product | its limit | |\n| --- | --- | --- | --- |");
    if is_wanted("start") {
        print(start::measure(size).await);
    }
    if is_wanted("lists") {
        print(lists::measure(size).await);
    }
    if is_wanted("details") {
        print(details::measure(size).await);
    }
    if is_wanted("memory") {
        print(memory::measure(size).await);
    }
    if is_wanted("typed") {
        print(views::prices(size).await);
    }
    if is_wanted("views") {
        print(views::measure(size).await);
    }
    if is_wanted("pages") {
        print(pages::measure(size).await);
    }
    if is_wanted("hints") {
        print(hints::measure(size).await);
    }
    if is_wanted("budget") {
        print(budget::measure(size).await);
    }
    set_fsync("reset fsync").await;
}

fn print(rows: Rows) {
    rows.iter().for_each(|row| println!("{row}"));
}

/// Prints the machine and the servers.
async fn describe() {
    let database = Database::create().await;
    let version: String = database.value("select split_part(version(), ' on ', 1)").await;
    let settings: String = database
        .value(
            "select string_agg(name || ' = ' || current_setting(name), ', ' order by name) from pg_settings
            where name in ('fsync', 'full_page_writes', 'shared_buffers', 'synchronous_commit', 'max_wal_size',
                'wal_level')",
        )
        .await;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().unwrap();
    println!("{}, {cores} cores; {version}: {settings}\n", model.trim_start_matches([' ', '\t', ':']));
    Database::drop(&stage::from_make("DATABASE_URL"), database.name()).await;
}

async fn set_fsync(how: &'static str) {
    let database = Database::create().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("alter system {how}"))).execute(&database.pool).await.unwrap();
    database.execute("select pg_reload_conf()").await;
    Database::drop(&stage::from_make("DATABASE_URL"), database.name()).await;
}

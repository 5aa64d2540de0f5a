//! How fast the simulator itself is, so that nobody takes its limits for a client's.
//!
//! `cargo bench -p teamleader-simulator`. The simulator gets one thread and the clients, which do next to nothing,
//! another: the numbers are those of one core.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use teamleader_simulator::{Config, Simulator};

const CONTACTS: usize = 200_000;
/// The resources with generators of their own; the others follow the blueprint and are measured apart.
const BY_HAND: [&str; 8] =
    ["companies", "contacts", "customFieldDefinitions", "departments", "events", "invoices", "projects", "users"];
const CLIENTS: usize = 4;
const SPAN: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let begun = Instant::now();
    let mut config = Config { rate_limit: u32::MAX, ..Config::scaled(CONTACTS) };
    let drawn = ["timeTracking", "quotations", "meetings"].map(|resource| (resource.to_owned(), CONTACTS / 10));
    config.counts.retain(|resource, _| BY_HAND.contains(&resource.as_str()));
    let simulator = runtime.block_on(Simulator::start(config, ([127, 0, 0, 1], 0).into()))?;
    report(&format!("an account of {CONTACTS} contacts was made in {:?}", begun.elapsed()))?;

    let token = simulator.grant().access_token;
    let address = simulator.url().replace("http://", "");
    let truth = simulator.truth("departments");
    let begun = Instant::now();
    let ids: Vec<String> = simulator.truth("users").iter().map(|record| record.id.to_string()).collect();
    report(&format!("{} + {} truths in {:?}", truth.len(), ids.len(), begun.elapsed()))?;
    let contact = first_id(&address, &token)?;

    let load = |name: &str, endpoint: &str, body: &dyn Fn(u64) -> String| load(&address, &token, name, endpoint, body);
    load("contacts.info", "contacts.info", &|_| format!("{{\"id\":\"{contact}\"}}"))?;
    load("contacts.list, pages of 100 by name, custom fields", "contacts.list", &|n| {
        format!("{{\"page\":{{\"size\":100,\"number\":{}}},\"includes\":\"custom_fields,pagination\"}}", n * 9 + 1)
    })?;
    load("contacts.list, pages of 100 by updated_since and updated_at", "contacts.list", &|n| {
        format!(
            "{{\"page\":{{\"size\":100,\"number\":{}}},\"sort\":[{{\"field\":\"updated_at\"}}],\
             \"filter\":{{\"updated_since\":\"2020-01-01T00:00:00+00:00\"}}}}",
            n * 3 + 1
        )
    })?;
    load("contacts.list, pages of 100 by status and name", "contacts.list", &|n| {
        format!("{{\"page\":{{\"size\":100,\"number\":{}}},\"filter\":{{\"status\":\"active\"}}}}", n + 1)
    })?;
    let begun = Instant::now();
    let config = Config { counts: drawn.into(), ..Config::default() };
    let other = runtime.block_on(Simulator::start(config, ([127, 0, 0, 1], 0).into()))?;
    report(&format!("3 * {} records of other resources were made in {:?}", CONTACTS / 10, begun.elapsed()))?;
    runtime.block_on(other.stop());
    changes(&simulator)?;
    runtime.block_on(simulator.stop());
    Ok(())
}

/// Puts load on one endpoint for [`SPAN`].
fn load(address: &str, token: &str, name: &str, endpoint: &str, body: &dyn Fn(u64) -> String) -> anyhow::Result<()> {
    let before = Instant::now();
    let counts = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS as u64)
            .map(|client| {
                let bodies: Vec<String> = (0..50).map(|n| body(client * 50 + n)).collect();
                scope.spawn(move || drive(address, token, endpoint, &bodies, before))
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
            .sum::<anyhow::Result<u64>>()
    })?;
    report(&format!("{name}: {:.0} requests/s", counts as f64 / before.elapsed().as_secs_f64()))
}

fn changes(simulator: &Simulator) -> anyhow::Result<()> {
    let begun = Instant::now();
    simulator.update("contacts", 200);
    report(&format!("200 single updates in {:?}", begun.elapsed()))?;
    let begun = Instant::now();
    simulator.update("contacts", 20_000);
    report(&format!("20,000 updates at once in {:?}", begun.elapsed()))?;
    let begun = Instant::now();
    let bytes: usize = simulator
        .truth("contacts")
        .iter()
        .map(|record| record.list.len() + record.info.as_ref().map_or(0, String::len))
        .sum();
    report(&format!("the truth of all contacts, {} MB, in {:?}", bytes >> 20, begun.elapsed()))?;
    Ok(())
}

fn first_id(address: &str, token: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    send(&mut stream, address, token, "contacts.list", "{\"page\":{\"size\":1}}")?;
    let text = String::from_utf8(receive(&mut stream, &mut Vec::new())?)?;
    let id = text.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..36));
    Ok(id.ok_or_else(|| anyhow::anyhow!("no id in {text}"))?.to_owned())
}

fn drive(address: &str, token: &str, endpoint: &str, bodies: &[String], begun: Instant) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    for (count, body) in (1..).zip(bodies.iter().cycle()) {
        send(&mut stream, address, token, endpoint, body)?;
        receive(&mut stream, &mut buffer)?;
        if begun.elapsed() > SPAN {
            return Ok(count);
        }
    }
    unreachable!("the bodies never end")
}

fn send(stream: &mut TcpStream, address: &str, token: &str, endpoint: &str, body: &str) -> anyhow::Result<()> {
    let length = body.len();
    let request = format!(
        "POST /{endpoint} HTTP/1.1\r\nHost: {address}\r\nX-Api-Version: 2023-09-26\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    Ok(stream.write_all(request.as_bytes())?)
}

/// The body of one answer; `buffer` is reused.
fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Vec<u8>> {
    buffer.resize(512 << 10, 0);
    let mut filled = 0;
    let (head, length) = loop {
        filled += stream.read(&mut buffer[filled..])?;
        if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end])?.to_lowercase();
            anyhow::ensure!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            break (end + 4, length.ok_or_else(|| anyhow::anyhow!("no content-length in {head}"))?);
        }
    };
    while filled < head + length {
        filled += stream.read(&mut buffer[filled..])?;
    }
    Ok(buffer[head..head + length.min(4096)].to_vec())
}

fn report(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

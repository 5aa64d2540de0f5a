//! Requests are what a sync costs: how many the whole API takes, beside the least that the proofs of its lists need.
//!
//! `make economy` prints the tables of docs/benchmarks.md, of 10,000 contacts and everything else in proportion; `make
//! test` plays a small account. It has the new projects, so the two resources of the legacy ones are skipped: of 65
//! resources 53 are read by default, and ten take a list for each parent record, so they are read only where they are
//! named, as here.

mod day;
mod least;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use teamleader_simulator::{ChangeKind, Config, contract};

use self::least::{Account, Changed, Ledger, Requests, Run, SEEKING, SKIPPED, compared, counted, says_matches};
use crate::stage::{CHILDREN, Event, INCOMING, Stage, all_resources, proxy};

/// What changes before the first incremental sync: 100 records, 90 of which have details.
const CHANGES: [(&str, usize); 7] = [
    ("contacts", 31),
    ("companies", 19),
    ("deals", 15),
    ("invoices", 15),
    ("quotations", 10),
    ("timeTracking", 5),
    ("events", 5),
];

/// Adds a request. The passes of a list have pages of 100, 97, 89 and 83 records. What seems deleted is asked for once
/// all lists are read.
fn note(ledger: &mut Ledger, endpoint: &str, body: &[u8]) {
    let asked: Value = serde_json::from_slice(body).unwrap();
    let size = asked["page"]["size"].as_u64();
    let by_id = !asked["filter"]["ids"].is_null();
    if size.is_some() && !by_id {
        ledger.values_mut().for_each(|of| of.comparing += std::mem::take(&mut of.by_id));
    }
    let resource = contract::resource_of(endpoint).or(endpoint.strip_suffix(".info")).unwrap_or(endpoint);
    let requests = ledger.entry(resource.to_owned()).or_default();
    *match size {
        None => &mut requests.details,
        Some(_) if by_id => &mut requests.by_id,
        Some(100) => &mut requests.first,
        Some(_) => &mut requests.later,
    } += 1;
}

/// The rows of lists.
const IN_ORDER: &str = "lists in the order of `updated_at`";
const COUNTED: &str = "lists of several pages that say `matches`";
const COMPARED: &str = "lists of several pages that do not";
const SHORT: &str = "lists of one page each, or in such parts";
const BY_PARENT: &str = "lists of one parent record each";

/// In which row of the table the lists of a resource are counted.
fn kind(account: &Account<'_>, resource: &str) -> &'static str {
    let count = account.count(resource);
    let is_one_list = !CHILDREN.contains(&resource) && !INCOMING.contains(&resource);
    match resource {
        _ if CHILDREN.contains(&resource) => BY_PARENT,
        _ if SEEKING.contains(&resource) => IN_ORDER,
        _ if is_one_list && says_matches(resource) && counted(count, true).later > 0 => COUNTED,
        _ if is_one_list && compared(count).later > 0 => COMPARED,
        _ => SHORT,
    }
}

/// A sync that ended.
struct Ended {
    what: &'static str,
    asked: Ledger,
    least: Ledger,
}

impl Ended {
    /// What was asked for of these resources, and the least.
    fn sums(&self, of: impl Fn(&str) -> bool) -> (Requests, Requests) {
        let sum = |ledger: &Ledger| ledger.iter().filter(|(name, _)| of(name)).map(|(_, requests)| *requests).sum();
        (sum(&self.asked), sum(&self.least))
    }

    /// Hardly more than the least was asked for, and not less: that would not be the least.
    ///
    /// In the order of `updated_at` a page repeats the last second of the one before: one record of a hundred or two.
    /// Of a list that says `matches` a full page is never taken for the last one, since the number may be wrong: that
    /// is one request for a pass that ends with a full page.
    fn assert_economical(&self) {
        let assert_hardly_more = |what: &str, (asked, least): (Requests, Requests)| {
            let is_enough = asked.all() >= least.all() && asked.all() as f64 <= least.all() as f64 * 1.02 + 2.0;
            assert!(is_enough, "{}, {what}: {asked:?}, the least: {least:?}", self.what);
        };
        for resource in self.asked.keys().chain(self.least.keys()) {
            assert_hardly_more(resource, self.sums(|of| of == resource));
        }
        assert_hardly_more("read by default", self.sums(is_read_by_default));
        assert_hardly_more("everything", self.sums(|_| true));
    }
}

fn is_read_by_default(resource: &str) -> bool {
    !CHILDREN.contains(&resource)
}

/// Whether its list is proven by comparing passes, if it has several pages. What these differ in is asked for by
/// `filter.ids`, which all of these take.
fn is_compared(resource: &str) -> bool {
    is_read_by_default(resource) && !says_matches(resource)
}

fn is_counted(resource: &str) -> bool {
    is_read_by_default(resource) && says_matches(resource)
}

/// A row of a table of the syncs: a cell for each.
fn row(name: &str, ended: &[Ended], cell: impl Fn(&Ended) -> String) -> String {
    format!("| {name} | {} |", ended.iter().map(cell).collect::<Vec<_>>().join(" | "))
}

fn cell(asked: u64, least: u64) -> String {
    if asked == least { asked.to_string() } else { format!("{asked} ({least})") }
}

fn share(part: u64, all: u64) -> String {
    format!("{part} ({:.1} %)", 100.0 * part as f64 / all.max(1) as f64)
}

/// What the syncs took by kinds of requests, and what of it is for lists that do not say how many records they have.
fn table(account: &Account<'_>, ended: &[Ended]) -> String {
    let resources = all_resources();
    let is_resource = |name: &str| resources.iter().any(|resource| resource == name);
    let lists = |kind: &'static str| {
        let of_kind = move |resource: &str| is_resource(resource) && self::kind(account, resource) == kind;
        let number = resources.iter().filter(|resource| !SKIPPED.contains(&resource.as_str()));
        let number = number.filter(|of| !INCOMING.contains(&of.as_str()) && of_kind(of)).count();
        row(&format!("{kind}: {number}"), ended, |sync| {
            let (asked, least) = sync.sums(of_kind);
            cell(asked.lists(), least.lists())
        })
    };
    let total = |name, of: fn(&str) -> bool| {
        row(name, ended, |sync| {
            let (asked, least) = sync.sums(of);
            cell(asked.all(), least.all())
        })
    };
    let part = |name, part: fn(Requests) -> u64, of: fn(&str) -> bool| {
        row(name, ended, |sync| {
            let all = sync.sums(is_read_by_default).0.all();
            share(part(sync.sums(of).0), all)
        })
    };
    let heads: Vec<&str> = ended.iter().map(|sync| sync.what).collect();
    let mut rows = vec![
        format!("| requests (the least, if that is less) | {} |", heads.join(" | ")),
        format!("| --- |{}", " --- |".repeat(ended.len())),
    ];
    rows.extend([IN_ORDER, COUNTED, COMPARED, SHORT].map(lists));
    rows.extend([
        row("details", ended, |sync| {
            let (asked, least) = sync.sums(is_resource);
            cell(asked.details, least.details)
        }),
        row("whose account it is, which projects", ended, |sync| {
            let (asked, least) = sync.sums(|name| !is_resource(name));
            cell(asked.all(), least.all())
        }),
        total("**read by default**", is_read_by_default),
        part("of these, later passes without `matches`", |of| of.later, is_compared),
        part("by id, to compare passes", |of| of.comparing, is_compared),
        part("later passes with `matches`, for deletions", |of| of.later, is_counted),
        lists(BY_PARENT),
        total("**everything**", |_| true),
    ]);
    rows.join("\n")
}

/// What each resource took, the most expensive first; those of a few requests are left out.
fn table_by_resource(account: &Account<'_>, ended: &[Ended]) -> String {
    const FEW: u64 = 10;
    let most = |of: &str| ended.iter().map(|sync| sync.sums(|name| name == of).0.all()).max().unwrap_or_default();
    let mut resources = all_resources();
    resources.retain(|resource| most(resource) > FEW);
    resources.sort_by_key(|resource| std::cmp::Reverse(most(resource)));
    let rows = resources.iter().map(|resource| {
        let name = format!("`{resource}` | {}", account.count(resource));
        row(&name, ended, |sync| {
            let (asked, least) = sync.sums(|of| of == resource);
            cell(asked.all(), least.all())
        })
    });
    let heads: Vec<&str> = ended.iter().map(|sync| sync.what).collect();
    let head = format!("| resource | records | {} |\n| --- | --- |{}", heads.join(" | "), " --- |".repeat(ended.len()));
    [head].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

/// So many contacts, and everything else in proportion; 23 more of what there are many of, since a list that ends after
/// a round number of records takes a third pass, and few lists do.
fn config(contacts: usize) -> Config {
    let mut config = Config { projects_v2: true, ..Config::scaled(contacts) };
    config.counts.values_mut().filter(|count| **count >= 100).for_each(|count| *count += 23);
    config
}

/// A stage whose API notes what it is asked.
async fn stage(contacts: usize) -> (Stage, Arc<Mutex<Ledger>>) {
    let mut stage = Stage::with(config(contacts)).await.of_everything();
    let ledger = Arc::new(Mutex::new(Ledger::new()));
    let noting = Arc::clone(&ledger);
    let url = proxy(stage.simulator.url(), move |endpoint, asked, answer| {
        note(&mut noting.lock().unwrap(), endpoint, asked);
        answer
    });
    let url = url.await;
    stage.set("TEAMLEADER_API_URI", &url);
    // These syncs follow each other at once: what was read a moment ago has not changed.
    stage.set("SYNC_LOOKBACK", "0s");
    (stage, ledger)
}

/// Requests a sync, and gives its event and what was asked for.
async fn asked(stage: &Stage, ledger: &Mutex<Ledger>, request: Value) -> (Event, Ledger) {
    ledger.lock().unwrap().clear();
    let id = stage.request(request).await;
    let event = stage.ended(id).await;
    let asked = std::mem::take(&mut *ledger.lock().unwrap());
    let requests: u64 = asked.values().map(|requests| requests.all()).sum();
    assert_eq!(event.body["data"]["api_requests"], requests, "{}", event.body);
    (event, asked)
}

fn assert_verified(event: &Event, sync: &Run) {
    assert_eq!(event.kind(), "sync.completed", "{}", event.body);
    let mut resources = all_resources();
    // Children of parents that did not change are looked at by a full sync.
    resources.retain(|of| !SKIPPED.contains(&of.as_str()) && (sync.is_full() || is_read_by_default(of)));
    for resource in resources {
        assert_eq!(event.resource(&resource)["verified"], true, "{resource}: {}", event.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_of_the_whole_api_takes_hardly_more_requests_than_its_proofs_need() {
    let contacts = std::env::var("ECONOMY_OF").map_or(200, |value| value.parse().expect("a number"));
    let (stage, ledger) = stage(contacts).await;
    let _worker = stage.worker().await;
    let account = Account::of(&stage.simulator);
    let mut ended = Vec::new();
    for what in ["first sync", "full, nothing changed", "incremental, 100 changed", "incremental, none changed"] {
        stage.simulator.advance_clock(Duration::from_secs(10));
        let sync = match ended.len() {
            0 => Run::First,
            1 => Run::Unchanged,
            2 => Run::Changes(CHANGES.map(|(of, count)| (of, stage.simulator.update(of, count))).into()),
            _ => Run::Changes(Changed::new()),
        };
        stage.simulator.advance_clock(Duration::from_secs(10));
        let (event, asked) = asked(&stage, &ledger, sync.request()).await;
        assert_verified(&event, &sync);
        ended.push(Ended { what, asked, least: account.least(&sync) });
    }
    println!("{contacts} contacts, and everything else in proportion\n{}\n", table(&account, &ended));
    println!("{}\n", table_by_resource(&account, &ended));
    ended.iter().for_each(Ended::assert_economical);
    for resource in CHANGES.map(|(resource, _)| resource) {
        stage.database.assert_table_equals(&stage.simulator, resource).await;
    }
    while_it_changes(&stage, &ledger, contacts).await;
}

/// Only where records come and go while lists are read do comparisons have to ask for some by id. Prints what a full
/// sync takes then, at two paces, and what of it is for lists that do not say `matches`.
async fn while_it_changes(stage: &Stage, ledger: &Mutex<Ledger>, contacts: usize) {
    let mut names = all_resources();
    names.retain(|resource| is_read_by_default(resource) && !SKIPPED.contains(&resource.as_str()));
    let mut of_both = Requests::default();
    println!(
        "| a change after so many requests of each long list | requests | later passes without `matches` | by id, to \
         compare passes | verified |\n| --- | --- | --- | --- | --- |"
    );
    for every in [(contacts / 200).max(4), (contacts / 1_000).max(2)] {
        let kinds = [ChangeKind::Delete, ChangeKind::Add, ChangeKind::Update];
        for resource in names.iter().filter(|resource| stage.simulator.count(resource) >= 100) {
            stage.simulator.change_while_paging(resource, every as u32, &kinds);
        }
        let (event, asked) = asked(stage, ledger, json!({ "mode": "full", "resources": names })).await;
        stage.simulator.stop_changing();
        assert_ne!(event.kind(), "sync.failed", "{}", event.body);
        let all: u64 = asked.values().map(|requests| requests.all()).sum();
        let compared: Requests = asked.iter().filter(|(of, _)| is_compared(of)).map(|(_, requests)| *requests).sum();
        let verified = names.iter().filter(|resource| event.resource(resource)["verified"] == true).count();
        let (later, comparing) = (share(compared.later, all), share(compared.comparing, all));
        println!("| {every} | {all} | {later} | {comparing} | {verified} of {} |", names.len());
        of_both = of_both + compared;
    }
    assert!(of_both.later > 0 && of_both.comparing > 0, "{of_both:?}");
}

//! What a completion event certifies, holds: over seeds, with an account that changes after every second page, an API
//! that is odd in ways drawn from the seed, and 2 % faults.
//!
//! `make drift SEEDS=30` plays the whole size; `make test` a few seeds of a small account.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use serde_json::json;
use teamleader_simulator::{
    ChangeKind, Config, Fault, FaultKind, Matches, Oddity, Quirks, Simulator, TruthRecord, Version,
};
use uuid::Uuid;

use crate::stage::{Event, Stage};

/// How many records of each resource, at whole size; there is none of any other. Contacts are read by seeking, notes by parent (a contact,
/// an invoice or a quotation), the others by page number.
const COUNTS: [(&str, usize); 6] = [
    ("contacts", 20_000),
    ("invoices", 5_000),
    ("timeTracking", 20_000),
    ("quotations", 3_000),
    ("meetings", 2_000),
    ("notes", 400),
];

/// The smallest part of the whole size that still has a second page of everything but notes.
const SMALL: usize = 25;

pub fn number_from_make(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

fn resources() -> impl Iterator<Item = &'static str> {
    COUNTS.iter().map(|(resource, _)| *resource)
}

fn account(seed: u64, part: usize) -> Config {
    let counts = COUNTS.iter().map(|(name, count)| ((*name).to_owned(), count / part));
    Config { seed, counts: counts.collect(), ..Config::default() }
}

/// Xorshift: the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// After every second request of a list, one of its records changes, comes or goes.
fn begin_changes(simulator: &Simulator, dice: &mut Dice) {
    let mut kinds = [ChangeKind::Update, ChangeKind::Add, ChangeKind::Delete];
    for resource in resources() {
        for last in (1..kinds.len()).rev() {
            kinds.swap(last, dice.below(last as u64 + 1) as usize);
        }
        simulator.change_while_paging(resource, 2, &kinds);
    }
}

/// One of fifty requests fails, and four are answered oddly: an event certifies little where each list is. Gives the
/// number of faults.
fn begin_faults(simulator: &Simulator, dice: &mut Dice, requests: u64) -> usize {
    let mut faults = Vec::new();
    for _ in 0..4 {
        let kind = match dice.below(4) {
            0 => FaultKind::Date { seconds: [-86_400, -600, 5, 600, 86_400, 2_300_000_000][dice.below(6) as usize] },
            1 => FaultKind::PageSizeIgnored,
            2 => FaultKind::WrongMatches { matches: [0, 7, 1_000, u64::MAX][dice.below(4) as usize] },
            _ => FaultKind::BrokenInfo { status: 500, id: None },
        };
        faults.push(Fault::new(kind).after(dice.below(requests) as u32));
    }
    let mut at = 0;
    while at < requests {
        at += 1 + dice.below(99);
        let kind = match dice.below(9) {
            0 => FaultKind::ServerError { status: 500 },
            1 => FaultKind::ServerErrorHtml { status: 502 },
            2 => FaultKind::CutBeforeAnswer,
            3 => FaultKind::TruncatedJson,
            4 => FaultKind::CutMidBody,
            5 => FaultKind::ResetInThePast { seconds: 60 },
            6 => FaultKind::Edge404,
            7 => FaultKind::Html200,
            _ => FaultKind::RateLimited { reset_in_ms: Some(20) },
        };
        faults.push(Fault::new(kind).after(at as u32));
    }
    let count = faults.len();
    faults.into_iter().for_each(|fault| simulator.inject(fault.times(1)));
    count
}

/// Of one resource, which it gives, the API says what is not so, in answers that look like any other: what an event
/// certifies of it is what the API said.
fn begin_lies(simulator: &Simulator, dice: &mut Dice) -> &'static str {
    let liar = COUNTS[dice.below(COUNTS.len() as u64) as usize].0;
    for _ in 0..3 {
        let kind = match dice.below(6) {
            0 => FaultKind::EmptyList,
            1 => FaultKind::Capped { records: 1 + dice.below(300) as usize },
            2 => FaultKind::Lagging { changes: 1 + dice.below(10) as usize },
            3 => FaultKind::IncludesIgnored,
            4 => FaultKind::OtherVersion { version: Version::OLDEST },
            _ => FaultKind::OddRecord { odd: Oddity::ALL[dice.below(Oddity::ALL.len() as u64) as usize], id: None },
        };
        simulator.inject(Fault::new(kind).at(&format!("{liar}.list")).after(dice.below(8) as u32).times(2));
    }
    liar
}

type Records = BTreeMap<Uuid, TruthRecord>;

/// What the account holds, by resource.
type Truth = BTreeMap<&'static str, Records>;

fn records(simulator: &Simulator, resource: &str) -> Records {
    simulator.truth(resource).into_iter().map(|record| (record.id, record)).collect()
}

fn truth(simulator: &Simulator) -> Truth {
    resources().map(|resource| (resource, records(simulator, resource))).collect()
}

/// The records that were there throughout, unchanged.
fn unchanged<'a>(before: &'a Records, after: &Records) -> Vec<&'a TruthRecord> {
    before.values().filter(|record| after.get(&record.id) == Some(record)).collect()
}

/// What is wrong with a resource that an event calls completed and verified: unchanged records that have no row, or another content.
async fn broken_promises(
    stage: &Stage,
    event: &Event,
    liar: Option<&str>,
    before: &Truth,
    after: &Truth,
) -> Vec<String> {
    let mut broken = Vec::new();
    for resource in resources().filter(|resource| Some(*resource) != liar && is_certified(event, resource)) {
        let ids: Vec<Uuid> = unchanged(&before[resource], &after[resource]).iter().map(|record| record.id).collect();
        let lacking = stage.database.lacking(&stage.simulator, resource, &ids).await;
        if lacking > 0 {
            broken.push(format!(
                "{resource}: {lacking} of {} unchanged records differ, and it is called verified",
                ids.len()
            ));
        }
    }
    broken
}

fn is_certified(event: &Event, resource: &str) -> bool {
    let reported = event.resource(resource);
    reported["status"] == "completed" && reported["verified"] == true
}

/// A naive reader: page after page until one is empty. Gives the ids that it met.
async fn read_by_offset(simulator: &Simulator, resource: &str) -> BTreeSet<Uuid> {
    let (http, token) = (reqwest::Client::builder().no_proxy().build().unwrap(), simulator.grant().access_token);
    let mut seen = BTreeSet::new();
    for number in 1.. {
        let asked = http.post(format!("{}/{resource}.list", simulator.url())).bearer_auth(&token);
        let body = json!({ "page": { "size": 100, "number": number } });
        let answer = asked.json(&body).send().await.unwrap().text().await.unwrap();
        // Not as a `Value`, which refuses half a surrogate pair.
        let page: BTreeMap<&str, &serde_json::value::RawValue> = serde_json::from_str(&answer).unwrap();
        #[derive(serde::Deserialize)]
        struct Record {
            id: Uuid,
        }
        let records: Vec<Record> = serde_json::from_str(page["data"].get()).unwrap();
        if records.is_empty() {
            break;
        }
        seen.extend(records.iter().map(|record| record.id));
    }
    seen
}

/// What came of a seed.
#[derive(Default)]
struct Played {
    changes: usize,
    faults: usize,
    verified: usize,
    unverified: usize,
    broken: Vec<String>,
    requests: u64,
}

/// The rule by which a list is proven.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// The worker's own.
    AsBuilt,
    /// One pass is believed where a list does not say how much it holds, to see that this suite misses the rule. But for
    /// what changes, the account is quiet.
    OnePass,
}

/// The API of a seed. While `Date` is wrong nothing is certified, so it is in one seed of five.
fn quirks(seed: u64, matches: Matches) -> Quirks {
    let drawn = Quirks::random(seed);
    let date_offset_seconds = if seed.is_multiple_of(5) { drawn.date_offset_seconds } else { 0 };
    Quirks { matches, date_offset_seconds, ..drawn }
}

async fn play(seed: u64, part: usize, matches: Matches, rule: Rule) -> Played {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let quirks = match rule {
        Rule::AsBuilt => quirks(seed, matches),
        Rule::OnePass => Quirks { matches, ..Quirks::default() },
    };
    let mut stage = Stage::with(Config { quirks: quirks.clone(), ..account(seed, part) }).await;
    if rule == Rule::OnePass {
        stage.set("FAULT_ONE_PASS", "1");
    }
    let _worker = stage.worker().await;
    let names: Vec<&str> = resources().collect();
    // Each way to begin: with proof of everything, and with that of an incremental run.
    let mode = if seed.is_multiple_of(2) { "full" } else { "incremental" };
    let before = truth(&stage.simulator);
    let mut played = Played::default();
    begin_changes(&stage.simulator, &mut dice);
    let liar = match rule {
        Rule::AsBuilt => {
            let expected = COUNTS.iter().map(|(_, count)| count / part).sum::<usize>() as u64;
            played.faults = begin_faults(&stage.simulator, &mut dice, expected);
            Some(begin_lies(&stage.simulator, &mut dice))
        }
        Rule::OnePass => None,
    };
    let id = stage.request(json!({ "mode": mode, "resources": names })).await;
    let event = stage.ended(id).await;
    stage.simulator.stop_changing();
    stage.simulator.clear_faults();
    let after = truth(&stage.simulator);
    let broken = broken_promises(&stage, &event, liar, &before, &after).await;
    played.broken = broken.into_iter().map(|what| format!("seed {seed}, {mode}, {what}")).collect();
    for resource in resources() {
        match is_certified(&event, resource) {
            true => played.verified += 1,
            false => played.unverified += 1,
        }
        played.changes +=
            before[resource].len() + after[resource].len() - 2 * unchanged(&before[resource], &after[resource]).len();
    }
    if rule == Rule::AsBuilt {
        assert_the_rest_is_read(&stage, seed, quirks, &after).await;
    }
    played.requests = stage.simulator.counters().requests.values().sum();
    println!("seed {seed}, {mode}, matches {matches:?}, {rule:?}: {} broken certificates", played.broken.len());
    played
}

/// A full run in quiet puts right all that the first did not read. Of the notes, nearly all have gone meanwhile: the
/// guard would ask a person.
async fn assert_the_rest_is_read(stage: &Stage, seed: u64, quirks: Quirks, after: &Truth) {
    stage.simulator.set_quirks(Quirks { unstable_order: false, list_lag_seconds: 0, date_offset_seconds: 0, ..quirks });
    let names: Vec<&str> = resources().collect();
    let id = stage.request(json!({ "mode": "full", "resources": names, "allow_deletions": true })).await;
    let event = stage.ended(id).await;
    assert_eq!(event.kind(), "sync.completed", "seed {seed}: {}", event.body);
    for resource in resources() {
        assert_eq!(event.resource(resource)["verified"], true, "seed {seed}: {}", event.body);
        stage.database.assert_table_equals(&stage.simulator, resource).await;
        let living: BTreeSet<Uuid> = after[resource].keys().copied().collect();
        assert!(stage.database.deleted(resource).await.is_disjoint(&living), "seed {seed}: {resource}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_certifies_holds_although_the_account_changes_while_it_is_read() {
    let broken = play_all(seeds(), part(), Matches::Declared, Rule::AsBuilt).await;
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_certifies_holds_without_matches() {
    let broken = play_all(seeds(), part(), Matches::Nowhere, Rule::AsBuilt).await;
    assert!(broken.is_empty(), "{broken:?}");
}

/// The tests above can see a broken certificate: there are some as soon as one pass is believed.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_certifies_breaks_where_one_pass_is_believed() {
    let broken = play_all(seeds().clamp(3, 10), part().max(4), Matches::Declared, Rule::OnePass).await;
    broken.iter().for_each(|what| println!("{what}"));
    assert!(!broken.is_empty(), "this suite would see it if the proof were missing");
}

fn seeds() -> u64 {
    number_from_make("DRIFT_SEEDS", 2) as u64
}

fn part() -> usize {
    number_from_make("DRIFT_PART", SMALL)
}

async fn play_all(seeds: u64, part: usize, matches: Matches, rule: Rule) -> Vec<String> {
    let lanes = number_from_make("DRIFT_LANES", 2);
    // Most of a seed's time is waiting between two tries.
    let played = stream::iter(1..=seeds).map(|seed| play(seed, part, matches, rule)).buffer_unordered(lanes);
    let played: Vec<Played> = played.collect().await;
    let sum = |of: fn(&Played) -> usize| played.iter().map(of).sum::<usize>();
    println!(
        "{seeds} seeds, 1/{part} of the size, matches {matches:?}, {rule:?}: {} requests, {} faults, {} versions that came or \
         went while they were read; resources that an event of an unquiet run called verified: {}, and not: {}; broken \
         certificates: {}",
        played.iter().map(|played| played.requests).sum::<u64>(),
        sum(|played| played.faults),
        sum(|played| played.changes),
        sum(|played| played.verified),
        sum(|played| played.unverified),
        sum(|played| played.broken.len()),
    );
    played.into_iter().flat_map(|played| played.broken).collect()
}

/// The tests above can see losses: a reader that pages by number and believes what it gets has them.
#[tokio::test]
async fn a_plain_offset_reader_loses_records_in_the_same_account() {
    let (seeds, part) = (seeds(), part());
    let mut lost: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 1..=seeds {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let stage = Stage::with(account(seed, part)).await;
        begin_changes(&stage.simulator, &mut dice);
        for resource in resources().filter(|resource| *resource != "notes") {
            let before = records(&stage.simulator, resource);
            let seen = read_by_offset(&stage.simulator, resource).await;
            let after = records(&stage.simulator, resource);
            let stayed = unchanged(&before, &after);
            *lost.entry(resource).or_default() += stayed.iter().filter(|record| !seen.contains(&record.id)).count();
        }
    }
    println!(
        "records that were there throughout and that a plain offset reader did not meet, over {seeds} seeds: {lost:?}"
    );
    assert!(lost.values().sum::<usize>() > 0, "the test would see a loss");
}

#[tokio::test]
async fn three_thousand_contacts_of_one_moment_are_all_read_while_they_change() {
    let counts = [("contacts".to_owned(), 3_000)].into();
    let stage = Stage::with(Config { counts, ..Config::default() }).await;
    assert_eq!(stage.simulator.tie_updated_at("contacts", 3_000).len(), 3_000);
    let _worker = stage.worker().await;
    let before = truth(&stage.simulator);
    let kinds = [ChangeKind::Update, ChangeKind::Add, ChangeKind::Delete];
    stage.simulator.change_while_paging("contacts", 2, &kinds);
    let id = stage.request(json!({ "mode": "full", "resources": ["contacts"] })).await;
    let event = stage.final_event(id).await;
    stage.simulator.stop_changing();
    let after = truth(&stage.simulator);
    let stayed: Vec<Uuid> = unchanged(&before["contacts"], &after["contacts"]).iter().map(|record| record.id).collect();
    assert!(stayed.len() < 2_990 && stayed.len() > 2_000, "{}", stayed.len());
    assert_eq!(stage.database.lacking(&stage.simulator, "contacts", &stayed).await, 0, "{}", event.body);
    stage.complete(json!({ "mode": "full", "resources": ["contacts"] })).await;
    stage.database.assert_table_equals(&stage.simulator, "contacts").await;
}

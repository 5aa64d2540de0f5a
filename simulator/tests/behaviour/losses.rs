//! The truth of a loss meter: what clients found by lists and no call had announced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use teamleader_simulator::{ChangeKind, Fault, FaultKind, LossCounts, Losses, RecordsByResource, Webhooks, contract};
use uuid::Uuid;

use crate::webhooks::{called, settled};
use crate::{Api, read};

const LONG: Duration = Duration::from_secs(600);

impl Api {
    /// From now on calls come, or are lost.
    fn calls_come(&self, yes: bool) {
        let loss = if yes { 0.0 } else { 1.0 };
        self.simulator.set_webhooks(Webhooks { loss, ..self.simulator.webhooks() });
    }

    /// A pass: every record of the list.
    async fn pass(&self, endpoint: &str) {
        let answer = self.call(endpoint, json!({ "page": { "size": 100, "number": 1 } })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    fn found(&self) -> RecordsByResource {
        self.simulator.losses(LONG).found
    }
}

/// A watched account whose client has read these lists and is called for every type.
async fn watched(lists: &[&str]) -> Api {
    let (api, _) = called(&[], Webhooks::default()).await;
    api.simulator.track_losses();
    for endpoint in lists {
        api.pass(endpoint).await;
    }
    api
}

fn only(resource: &str, ids: impl IntoIterator<Item = Uuid>) -> RecordsByResource {
    BTreeMap::from([(resource.to_owned(), ids.into_iter().collect::<BTreeSet<Uuid>>())])
}

#[tokio::test]
async fn a_change_without_a_call_is_missed_and_one_with_a_call_is_announced() {
    let api = watched(&["contacts.list"]).await;
    api.calls_come(false);
    let lost = api.simulator.update("contacts", 2);
    api.calls_come(true);
    let contacts = api.simulator.truth("contacts");
    let come = contacts.iter().map(|contact| contact.id).find(|id| !lost.contains(id)).unwrap();
    assert!(api.simulator.update_record("contacts", come));
    settled(&api).await;
    assert_eq!(api.simulator.losses(LONG), Losses::default());

    api.pass("contacts.list").await;
    api.pass("contacts.list").await;
    let now = api.simulator.losses(Duration::ZERO);
    assert_eq!(now.found, only("contacts", lost.iter().copied().chain([come])));
    assert_eq!(now.announced, only("contacts", [come]));
    assert_eq!(now.missed, only("contacts", lost.clone()));
    assert_eq!((now.late, now.candidates), Default::default());
    let counts = LossCounts { found: 3, announced: 1, missed: 2, ..LossCounts::default() };
    assert_eq!(now.counts, BTreeMap::from([("contacts".to_owned(), counts)]));
    let soon = api.simulator.losses(LONG);
    assert_eq!((soon.candidates, soon.missed), (only("contacts", lost.clone()), BTreeMap::new()));

    // A call after the find is late, or for whom it comes too late nothing.
    assert!(api.simulator.storm("contact.updated", &lost[..1]));
    settled(&api).await;
    let after = api.simulator.losses(LONG);
    assert_eq!((after.late, after.candidates), (only("contacts", [lost[0]]), only("contacts", [lost[1]])));
    assert_eq!(api.simulator.losses(Duration::ZERO).missed, only("contacts", lost));
}

#[tokio::test]
async fn what_a_client_read_by_id_for_a_call_is_not_found_again() {
    let api = watched(&["contacts.list", "deals.list"]).await;
    let contact = api.simulator.update("contacts", 1)[0];
    let deal = api.simulator.update("deals", 1)[0];
    settled(&api).await;
    api.call("contacts.info", json!({ "id": contact })).await;
    api.call("deals.list", json!({ "filter": { "ids": [deal] } })).await;
    for endpoint in ["contacts.list", "deals.list"] {
        api.pass(endpoint).await;
    }
    assert_eq!(api.found(), BTreeMap::new());
    // A call from before the last answer announces nothing that comes later.
    api.calls_come(false);
    assert!(api.simulator.update_record("contacts", contact));
    api.pass("contacts.list").await;
    assert_eq!(api.simulator.losses(Duration::ZERO).missed, only("contacts", [contact]));
}

#[tokio::test]
async fn records_that_the_client_never_got_are_not_found() {
    let api = watched(&[]).await;
    api.calls_come(false);
    api.simulator.update("contacts", 5);
    let added = api.simulator.add("contacts", 2);
    assert!(api.simulator.update_record("contacts", added[0]));
    api.pass("contacts.list").await;
    assert_eq!(api.simulator.losses(LONG).found, RecordsByResource::new());
    assert!(api.simulator.update_record("contacts", added[1]));
    api.pass("contacts.list").await;
    assert_eq!(api.simulator.losses(Duration::ZERO).missed, only("contacts", [added[1]]));
}

#[tokio::test]
async fn a_deletion_is_found_where_a_record_is_asked_for_without_a_call() {
    let api = watched(&["contacts.list", "deals.list", "milestones.list"]).await;
    api.calls_come(false);
    let contact = api.simulator.delete("contacts", 1)[0];
    let deal = api.simulator.delete("deals", 1)[0];
    let milestone = api.simulator.delete("milestones", 1)[0];
    api.calls_come(true);
    let called = api.simulator.delete("contacts", 1)[0];
    settled(&api).await;
    for endpoint in ["contacts.list", "deals.list", "milestones.list"] {
        api.pass(endpoint).await;
    }
    api.simulator.inject(Fault::new(FaultKind::Lagging { changes: 1 }).at("deals.list").times(1));
    api.call("deals.list", json!({ "filter": { "ids": [deal] } })).await;
    assert_eq!(api.found(), BTreeMap::new());
    for _ in 0..2 {
        for id in [contact, called, Uuid::from_u128(7)] {
            assert_eq!(api.call("contacts.info", json!({ "id": id })).await.status, 404);
        }
        api.call("deals.list", json!({ "filter": { "ids": [deal] } })).await;
        // There is no type for it.
        assert_eq!(api.call("milestones.info", json!({ "id": milestone })).await.status, 404);
    }
    let losses = api.simulator.losses(Duration::ZERO);
    assert_eq!(
        losses.missed,
        [("contacts", contact), ("deals", deal)].into_iter().flat_map(|(r, id)| only(r, [id])).collect()
    );
    assert_eq!(losses.found, losses.missed);
}

#[tokio::test]
async fn what_has_no_type_or_no_address_or_shows_in_no_list_is_not_counted() {
    let api = watched(&["users.list", "tasks.list", "events.list", "contacts.list"]).await;
    api.calls_come(false);
    api.simulator.update("events", 3);
    for user in api.simulator.truth("users") {
        for _ in 0..2 {
            assert!(api.simulator.update_record("users", user.id));
        }
    }
    api.simulator.change("tasks", ChangeKind::UpdateInfo, 3);
    let types = contract::webhook_types().iter().filter(|kind| kind.starts_with("contact."));
    api.call("webhooks.unregister", json!({ "url": crate::webhooks::URL, "types": types.collect::<Vec<_>>() })).await;
    api.simulator.update("contacts", 3);
    for endpoint in ["users.list", "tasks.list", "events.list", "contacts.list"] {
        api.pass(endpoint).await;
    }
    for task in api.simulator.truth("tasks") {
        api.call("tasks.info", json!({ "id": task.id })).await;
    }
    assert_eq!(api.found(), BTreeMap::new());
    // A type of an update is enough for all updates, for a client cannot know which of them the change will be.
    api.call("webhooks.register", json!({ "url": crate::webhooks::URL, "types": ["contact.linkedToCompany"] })).await;
    let ids = api.simulator.tie_updated_at("contacts", 2);
    api.pass("contacts.list").await;
    assert_eq!(api.found(), only("contacts", ids));
}

#[tokio::test]
async fn an_answer_that_does_not_come_whole_shows_nothing() {
    let api = watched(&["contacts.list"]).await;
    api.calls_come(false);
    let id = api.simulator.update("contacts", 1)[0];
    for kind in [
        FaultKind::TruncatedJson,
        FaultKind::CutMidBody,
        FaultKind::CutBeforeAnswer,
        FaultKind::ServerError { status: 500 },
        FaultKind::GzipBomb { bytes: 1 << 20 },
        FaultKind::Html200,
        FaultKind::EmptyList,
    ] {
        api.simulator.inject(Fault::new(kind).at("contacts.list").times(1));
        let _ = api.send("contacts.list", json!({ "page": { "size": 100 } })).await;
    }
    assert_eq!(api.found(), BTreeMap::new());
    api.simulator.inject(Fault::new(FaultKind::SlowBody { milliseconds: 5 }).at("contacts.list").times(1));
    api.pass("contacts.list").await;
    assert_eq!(api.found(), only("contacts", [id]));
    // A list that lags behind shows nothing new, and what it shows is not found once more afterwards.
    api.simulator.inject(Fault::new(FaultKind::Lagging { changes: 1 }).at("contacts.list").times(1));
    api.pass("contacts.list").await;
    api.pass("contacts.list").await;
    assert_eq!(api.simulator.losses(LONG).counts["contacts"].found, 1);
}

#[tokio::test]
async fn expenses_are_found_as_the_documents_that_they_are() {
    let api = watched(&["expenses.list"]).await;
    api.calls_come(false);
    let mut expected = RecordsByResource::new();
    for resource in ["incomingInvoices", "incomingCreditNotes", "receipts"] {
        // One of two updates shows in `.info` alone.
        let id = api.simulator.truth(resource)[0].id;
        for _ in 0..2 {
            assert!(api.simulator.update_record(resource, id));
        }
        expected.extend(only(resource, [id]));
    }
    api.pass("expenses.list").await;
    assert_eq!(api.found(), expected);
}

#[tokio::test]
async fn a_call_that_names_another_account_announces_nothing() {
    let api = watched(&["contacts.list"]).await;
    api.simulator.set_webhooks(Webhooks { wrong_account: 1.0, ..api.simulator.webhooks() });
    let id = api.simulator.update("contacts", 1)[0];
    assert_eq!(settled(&api).await.answered, BTreeMap::from([(204, 1)]));
    api.pass("contacts.list").await;
    assert_eq!(api.simulator.losses(Duration::ZERO).missed, only("contacts", [id]));
}

/// A client with a meter of its own.
#[derive(Default)]
struct Client {
    /// What it got of each record, and when it asked for that.
    rows: BTreeMap<Uuid, (Value, Instant)>,
    hints: BTreeSet<Uuid>,
    came: BTreeMap<Uuid, Instant>,
    /// What passes found that no hint had announced, and whether one came since.
    unannounced: BTreeMap<Uuid, bool>,
    announced: BTreeSet<Uuid>,
}

impl Client {
    async fn take(&mut self, api: &Api) {
        settled(api).await;
        for delivery in api.simulator.drain_webhook_deliveries() {
            self.hints.insert(delivery.id);
            self.came.insert(delivery.id, Instant::now());
            self.unannounced.entry(delivery.id).and_modify(|followed| *followed = true);
        }
    }

    fn find(&mut self, id: Uuid) {
        let confirmed = self.rows.get(&id).map(|(_, asked)| *asked);
        match self.came.get(&id).is_some_and(|came| confirmed.is_none_or(|confirmed| *came > confirmed)) {
            true => drop(self.announced.insert(id)),
            false => drop(self.unannounced.insert(id, false)),
        }
    }

    async fn read(&mut self, api: &Api, body: Value, is_pass: bool) -> Vec<Uuid> {
        let asked = Instant::now();
        let records = api.call("contacts.list", body).await.json()["data"].as_array().unwrap().clone();
        let mut ids = Vec::new();
        for record in records {
            let id = record["id"].as_str().unwrap().parse().unwrap();
            ids.push(id);
            if is_pass && self.rows.get(&id).is_some_and(|(known, _)| *known != record) {
                self.find(id);
            }
            self.rows.insert(id, (record, asked));
        }
        ids
    }

    async fn pass(&mut self, api: &Api) {
        let found = self.read(api, json!({ "page": { "size": 100 } }), true).await;
        let missing: Vec<Uuid> = self.rows.keys().copied().filter(|id| !found.contains(id)).collect();
        for id in missing {
            assert_eq!(api.call("contacts.info", json!({ "id": id })).await.status, 404);
            // A hint that waits would have it look, too.
            if !self.hints.remove(&id) {
                self.find(id);
            }
            self.rows.remove(&id);
        }
    }

    async fn serve(&mut self, api: &Api) {
        let ids = std::mem::take(&mut self.hints);
        let body = json!({ "filter": { "ids": ids }, "page": { "size": 100 } });
        let found = self.read(api, body, false).await;
        self.rows.retain(|id, _| found.contains(id) || !ids.contains(id));
    }
}

#[tokio::test]
async fn a_client_that_counts_by_the_same_words_counts_the_same() {
    let (mut late, mut missed) = (0, 0);
    for seed in 1..=12_u64 {
        let (api, _) = called(&[("contacts", 40)], Webhooks::default()).await;
        let deliver_to = api.simulator.webhooks().deliver_to;
        api.simulator.set_webhooks(Webhooks { deliver_to, loss: 0.3, duplicates: 0.1, seed, ..Webhooks::default() });
        api.simulator.track_losses();
        let mut client = Client::default();
        client.read(&api, json!({ "page": { "size": 100 } }), false).await;
        for step in 0..60 {
            let kinds = [ChangeKind::Update, ChangeKind::Update, ChangeKind::Add, ChangeKind::Delete];
            let roll = (seed * 7919 + step * 104_729) % 1009;
            match roll % 7 {
                0 | 1 => client.pass(&api).await,
                2 if !client.hints.is_empty() => client.serve(&api).await,
                _ => {
                    api.simulator.change("contacts", kinds[(roll / 7 % 4) as usize], 1 + (roll % 3) as usize);
                    client.take(&api).await;
                }
            }
        }
        let losses = api.simulator.losses(LONG);
        let ids = |records: &RecordsByResource| records.get("contacts").cloned().unwrap_or_default();
        assert_eq!(ids(&losses.announced), client.announced, "seed {seed}");
        // Of a record that was found twice, the client keeps the last find.
        let unannounced: BTreeSet<Uuid> = client.unannounced.keys().copied().collect();
        assert_eq!(&ids(&losses.late) | &ids(&losses.candidates), unannounced, "seed {seed}");
        let waiting = client.unannounced.iter().filter(|(_, followed)| !**followed).map(|(id, _)| *id);
        assert_eq!(ids(&losses.candidates), waiting.collect(), "seed {seed}");
        late += losses.counts["contacts"].late;
        missed += losses.counts["contacts"].candidates;
    }
    assert!(late > 10 && missed > 10, "{late} {missed}");
}

#[tokio::test]
async fn routes_turn_it_on_and_give_it() {
    let (api, _) = called(&[], Webhooks::default()).await;
    let route = format!("{}/_simulator/webhooks/losses", api.simulator.url());
    let get = |query: &str| read(api.client.get(format!("{route}{query}")));
    api.pass("contacts.list").await;
    api.simulator.update("contacts", 1);
    api.pass("contacts.list").await;
    let losses: Losses = serde_json::from_str(&get("").await.unwrap().text).unwrap();
    assert_eq!(losses, Losses::default());
    assert_eq!(read(api.client.post(&route)).await.unwrap().status, 204);
    api.pass("contacts.list").await;
    api.calls_come(false);
    let id = api.simulator.update("contacts", 1)[0];
    api.pass("contacts.list").await;
    let losses: Value = get("?wait_seconds=0").await.unwrap().json();
    assert_eq!(losses["missed"], json!({ "contacts": [id] }));
    let losses: Value = get("?wait_seconds=900").await.unwrap().json();
    assert_eq!(losses["candidates"], json!({ "contacts": [id] }));
    assert_eq!(get("?wait_seconds=soon").await.unwrap().status, 400);
}

//! Webhooks: who is called, how, and what goes wrong on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use teamleader_simulator::{
    ChangeKind, Fault, FaultKind, Forgery, MessageSubject, Payload, WebhookCounts, WebhookDelivery, Webhooks, contract,
    webhook_types,
};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{Api, read, stored};

pub(crate) const URL: &str = "https://hooks.example/webhooks/main/5ecret";

/// A call as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Call {
    path: String,
    host: String,
    text: String,
}

impl Call {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().to_owned()
    }

    fn subject(&self) -> String {
        self.json()["subject"]["id"].as_str().unwrap_or_default().to_owned()
    }
}

/// What stands where the calls go.
#[derive(Default)]
pub(crate) struct Receiver {
    calls: Mutex<Vec<Call>>,
    /// The status of every answer; 0 stands for 204.
    status: AtomicU16,
    connections: AtomicU16,
}

impl Receiver {
    async fn start() -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let receiver = Arc::new(Self::default());
        let shared = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = shared.clone();
                receiver.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let service = service_fn(|request| receiver.take(request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        (receiver, url)
    }

    async fn take(&self, request: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.headers()["content-type"], "application/json");
        let (path, host) = (request.uri().path().to_owned(), request.headers()["host"].to_str().unwrap().to_owned());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        self.calls.lock().unwrap().push(Call { path, host, text: String::from_utf8(body.to_vec()).unwrap() });
        let status = match self.status.load(Ordering::Relaxed) {
            0 => 204,
            status => status,
        };
        Ok(Response::builder().status(status).body(Full::default()).unwrap())
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

/// An account whose calls of all types go to a receiver.
pub(crate) async fn called(counts: &[(&str, usize)], settings: Webhooks) -> (Api, Arc<Receiver>) {
    let api = Api::unlimited(counts).await;
    let (receiver, url) = Receiver::start().await;
    api.simulator.set_webhooks(Webhooks { deliver_to: Some(url), ..settings });
    let answer = api.call("webhooks.register", json!({ "url": URL, "types": contract::webhook_types() })).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    (api, receiver)
}

/// The counts when no call is pending any more.
pub(crate) async fn settled(api: &Api) -> WebhookCounts {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let counts = api.simulator.webhook_counts();
        if counts.pending == 0 {
            return counts;
        }
        assert!(Instant::now() < deadline, "{counts:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn registered(api: &Api) -> Value {
    api.call("webhooks.list", json!({})).await.json()["data"].clone()
}

#[tokio::test]
async fn addresses_are_registered_listed_and_unregistered() {
    let api = Api::unlimited(&[]).await;
    assert_eq!(registered(&api).await, json!([]));
    let register =
        |url: &'static str, types: Value| api.call("webhooks.register", json!({ "url": url, "types": types }));
    let unregister =
        |url: &'static str, types: Value| api.call("webhooks.unregister", json!({ "url": url, "types": types }));
    assert_eq!(register("https://b.example/x", json!(["deal.won"])).await.status, 204);
    assert_eq!(register("https://a.example", json!(["call.added"])).await.status, 204);
    assert_eq!(register("https://b.example/x", json!(["deal.lost", "deal.won"])).await.status, 204);
    let expected = json!([
        { "url": "https://a.example", "types": ["call.added"] },
        { "url": "https://b.example/x", "types": ["deal.lost", "deal.won"] },
    ]);
    assert_eq!(registered(&api).await, expected);

    assert_eq!(unregister("https://b.example/x", json!(["deal.lost", "task.created"])).await.status, 204);
    assert_eq!(unregister("https://nobody.example", json!(["deal.lost"])).await.status, 204);
    assert_eq!(unregister("https://a.example", json!(["call.added"])).await.status, 204);
    assert_eq!(registered(&api).await, json!([{ "url": "https://b.example/x", "types": ["deal.won"] }]));

    for (url, types) in [
        ("http://a.example", json!(["call.added"])),
        ("a.example", json!(["call.added"])),
        ("https://", json!(["call.added"])),
        ("https://a.example", json!(["call.teleported"])),
        ("https://a.example", json!([7])),
        ("https://a.example", json!([])),
        ("https://a.example", json!("call.added")),
    ] {
        let answer = register(url, types.clone()).await;
        assert_eq!(answer.status, 400, "{url} {types}");
        assert!(answer.json()["errors"][0]["title"].is_string(), "{}", answer.text);
    }
    assert_eq!(api.call("webhooks.register", json!({ "types": ["call.added"] })).await.status, 400);
    assert_eq!(unregister("https://b.example/x", json!(["call.teleported"])).await.status, 400);
    assert_eq!(registered(&api).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn they_are_endpoints_like_all_others() {
    let api = Api::unlimited(&[]).await;
    let body = json!({ "url": URL, "types": ["deal.won"] });
    let get = format!("{}/webhooks.register?url=https%3A%2F%2Fa.example&types[]=deal.won", api.simulator.url());
    let get = read(api.client.get(get).bearer_auth(&api.token)).await.unwrap();
    assert_eq!(get.status, 405);
    let anonymous = api.client.post(format!("{}/webhooks.register", api.simulator.url())).json(&body);
    assert_eq!(read(anonymous).await.unwrap().status, 401);

    api.simulator.inject(Fault::new(FaultKind::ServerError { status: 503 }).at("webhooks.register").times(1));
    api.simulator.inject(Fault::new(FaultKind::CutBeforeAnswer).at("webhooks").times(1));
    assert_eq!(api.call("webhooks.register", body.clone()).await.status, 503);
    assert!(api.send("webhooks.register", body.clone()).await.is_err());
    assert_eq!(registered(&api).await, json!([]));
    let answer = api.call("webhooks.register", body.clone()).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("x-api-version"), "2023-09-26");
    api.simulator.inject(Fault::new(FaultKind::EmptyList).at("webhooks.list").times(1));
    assert_eq!(registered(&api).await, json!([]));
    assert_eq!(registered(&api).await.as_array().unwrap().len(), 1);

    api.quirk(|quirks| quirks.webhooks_scope = false);
    for endpoint in ["webhooks.list", "webhooks.register", "webhooks.unregister"] {
        assert_eq!(api.call(endpoint, body.clone()).await.status, 403);
    }
    assert_eq!(api.call("users.me", json!({})).await.status, 200);
    api.quirk(|quirks| quirks.webhooks_scope = true);
    api.simulator.set_rate_limit(1, Duration::from_secs(60));
    assert_eq!(api.call("webhooks.list", json!({})).await.status, 429);
    assert_eq!(api.simulator.counters().requests["webhooks.register"], 6);
}

#[tokio::test]
async fn every_change_of_a_type_is_called_through_the_proxy() {
    let (api, receiver) = called(&[], Webhooks::default()).await;
    for resource in stored().chain(["incomingInvoices", "incomingCreditNotes", "receipts"]) {
        for kind in ChangeKind::ALL {
            let types = webhook_types(resource, kind);
            // Of an expense of each kind there is one in three.
            for _ in 0..types.len().max(1) {
                receiver.calls.lock().unwrap().clear();
                let changed = api.simulator.change(resource, kind, 1);
                assert_eq!(changed.len(), 1, "{resource} {kind:?}");
                settled(&api).await;
                let calls = receiver.calls();
                if types.is_empty() && resource != "expenses" {
                    assert_eq!(calls, [], "{resource} {kind:?}");
                    continue;
                }
                let [call] = &calls[..] else { panic!("{resource} {kind:?}: {calls:?}") };
                assert_eq!((call.path.as_str(), call.host.as_str()), ("/webhooks/main/5ecret", "hooks.example"));
                assert!(contract::webhook_types().contains(&call.kind()), "{call:?}");
                assert!(resource == "expenses" || types.contains(&call.kind().as_str()), "{call:?}");
                let (kind, _) =
                    call.kind().split_once('.').map(|(kind, event)| (kind.to_owned(), event.to_owned())).unwrap();
                let body = call.json();
                assert_eq!(body["account"], json!({ "type": "account", "id": api.simulator.account() }));
                if resource != "tickets.messages" {
                    assert_eq!(body["subject"], json!({ "type": kind, "id": changed[0] }));
                }
            }
        }
    }
    let counts = api.simulator.webhook_counts();
    let never = contract::webhook_types().iter().filter(|kind| !counts.sent.contains_key(*kind));
    assert_eq!(never.collect::<Vec<_>>(), ["account.deactivated", "account.deleted"]);
    assert_eq!(counts.sent, counts.due);
    assert_eq!(counts.answered, BTreeMap::from([(204, counts.total_due())]));
    assert_eq!(receiver.connections.load(Ordering::Relaxed), 1, "one connection stays open");
}

#[tokio::test]
async fn each_change_is_one_call_of_the_types_in_turn() {
    let (api, receiver) = called(&[], Webhooks::default()).await;
    let id = api.simulator.truth("contacts")[3].id;
    for kind in [ChangeKind::Update; 5].into_iter().chain([ChangeKind::Restore, ChangeKind::Touch, ChangeKind::Delete])
    {
        assert!(api.simulator.change_record("contacts", kind, id));
    }
    settled(&api).await;
    let kinds: Vec<String> = receiver.calls().iter().map(Call::kind).collect();
    let expected = [
        "contact.updated",
        "contact.linkedToCompany",
        "contact.unlinkedFromCompany",
        "contact.updatedLinkToCompany",
        "contact.updated",
        "contact.updated",
        "contact.updated",
        "contact.deleted",
    ];
    assert_eq!(kinds, expected);
    assert!(receiver.calls().iter().all(|call| call.subject() == id.to_string()));
}

#[tokio::test]
async fn changes_by_every_way_are_called() {
    let (api, receiver) = called(&[], Webhooks::default()).await;
    let deal = api.simulator.truth("deals")[0].id;
    assert!(api.simulator.update_record("deals", deal));
    assert!(api.simulator.delete_record("deals", deal));
    let route = api.client.post(format!("{}/_simulator/changes", api.simulator.url()));
    let route = route.json(&json!({ "resource": "companies", "kind": "add", "count": 2 }));
    assert_eq!(read(route).await.unwrap().status, 200);
    api.simulator.change_while_paging("tasks", 1, &[ChangeKind::Update]);
    api.call("tasks.list", json!({})).await;
    api.simulator.tie_updated_at("products", 3);
    let counts = settled(&api).await;
    let expected =
        [("company.added", 2), ("deal.deleted", 1), ("deal.updated", 1), ("product.updated", 3), ("task.updated", 1)];
    assert_eq!(counts.sent, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
    assert_eq!(receiver.calls().len(), 8);
}

#[tokio::test]
async fn an_address_gets_its_types_and_children_get_no_call() {
    let api = Api::unlimited(&[]).await;
    let (receiver, url) = Receiver::start().await;
    api.simulator.set_webhooks(Webhooks { deliver_to: Some(url), ..Webhooks::default() });
    for (url, types) in [
        ("https://a.example/a", json!(["ticket.deleted", "contact.updated"])),
        ("https://b.example/b", json!(["contact.updated"])),
    ] {
        api.call("webhooks.register", json!({ "url": url, "types": types })).await;
    }
    assert!(api.simulator.delete_record("tickets", api.simulator.truth("tickets")[0].id));
    let contact = api.simulator.truth("contacts")[0].id;
    // The second is `contact.linkedToCompany`, which nobody takes.
    assert!(api.simulator.update_record("contacts", contact));
    assert!(api.simulator.update_record("contacts", contact));
    settled(&api).await;
    let mut calls: Vec<_> = receiver.calls().iter().map(|call| (call.path.clone(), call.kind())).collect();
    calls.sort();
    let expected = [("/a", "contact.updated"), ("/a", "ticket.deleted"), ("/b", "contact.updated")];
    assert_eq!(calls, expected.map(|(path, kind)| (path.to_owned(), kind.to_owned())));
}

#[tokio::test]
async fn without_an_address_to_deliver_to_nobody_is_called() {
    let (api, receiver) = called(&[], Webhooks::default()).await;
    api.simulator.set_webhooks(Webhooks::default());
    api.simulator.update("contacts", 3);
    let counts = settled(&api).await;
    assert_eq!((counts.undeliverable, counts.total_due(), counts.sent.len()), (3, 3, 0));
    assert_eq!(receiver.calls(), []);
}

#[tokio::test]
async fn a_call_that_is_refused_or_finds_nobody_is_not_made_again() {
    let (api, receiver) = called(&[], Webhooks::default()).await;
    receiver.status.store(503, Ordering::Relaxed);
    api.simulator.update("contacts", 2);
    assert_eq!(settled(&api).await.answered, BTreeMap::from([(503, 2)]));
    assert_eq!(receiver.calls().len(), 2);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let deliver_to = Some(format!("http://{closed}"));
    api.simulator.set_webhooks(Webhooks { deliver_to, ..Webhooks::default() });
    api.simulator.update("contacts", 1);
    assert_eq!(settled(&api).await.failed, 1);
    let last = api.simulator.drain_webhook_deliveries().pop().unwrap();
    assert_eq!((last.status, last.answered_at), (None, None));
}

#[tokio::test]
async fn the_ids_stand_where_the_switches_say() {
    let settings = Webhooks { payload: Payload::Data, ..Webhooks::default() };
    let (api, receiver) = called(&[], settings.clone()).await;
    let contact = api.simulator.update("contacts", 1)[0];
    settled(&api).await;
    let body = receiver.calls()[0].json();
    assert_eq!(body["data"], json!({ "type": "contact", "id": contact }));
    assert!(body.get("subject").is_none());

    for (message_subject, expected) in
        [(MessageSubject::Ticket, "ticket"), (MessageSubject::Message, "ticketMessage"), (MessageSubject::Either, "")]
    {
        receiver.calls.lock().unwrap().clear();
        let deliver_to = api.simulator.webhooks().deliver_to;
        api.simulator.set_webhooks(Webhooks { deliver_to, message_subject, ..Webhooks::default() });
        let added = api.simulator.add("tickets.messages", 20);
        settled(&api).await;
        let messages = api.simulator.truth("tickets.messages");
        let parents: Vec<String> = messages
            .iter()
            .filter(|message| added.contains(&message.id))
            .map(|message| message.parent.clone().unwrap().1.to_string())
            .collect();
        let mut seen = BTreeSet::new();
        for call in receiver.calls() {
            let kind = call.json()["subject"]["type"].as_str().unwrap().to_owned();
            assert!(expected.is_empty() || kind == expected, "{call:?}");
            match kind.as_str() {
                "ticket" => assert!(parents.contains(&call.subject())),
                _ => assert!(added.iter().any(|id| id.to_string() == call.subject())),
            }
            seen.insert(kind);
        }
        assert_eq!(seen.len(), if expected.is_empty() { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_storm_calls_without_a_change() {
    let (api, receiver) = called(&[("contacts", 300)], Webhooks::default()).await;
    let before = api.simulator.truth("contacts");
    assert_eq!(api.simulator.storm_of("contact.updated", 500).unwrap().len(), 300);
    let unknown = Uuid::from_u128(7);
    assert!(api.simulator.storm("contact.deleted", &[unknown, before[0].id]));
    assert_eq!(api.simulator.storm_of("account.deleted", 2).unwrap(), [api.simulator.account(); 2]);
    assert!(!api.simulator.storm("contact.teleported", &[unknown]));
    let route = api.client.post(format!("{}/_simulator/webhooks/storm", api.simulator.url()));
    let route = route.json(&json!({ "type": "ticketMessage.added", "count": 2 }));
    assert_eq!(read(route).await.unwrap().json()["ids"].as_array().unwrap().len(), 2);
    let counts = settled(&api).await;
    assert_eq!(counts.answered, BTreeMap::from([(204, 306)]));
    assert_eq!(counts.sent["contact.updated"], 300);
    assert!(receiver.calls().iter().any(|call| call.subject() == unknown.to_string()));
    assert!(receiver.connections.load(Ordering::Relaxed) <= 32);
    assert_eq!(api.simulator.truth("contacts"), before);
}

#[tokio::test]
async fn deliveries_are_taken_once() {
    let (api, _receiver) = called(&[], Webhooks { delay_ms: (20, 20), ..Webhooks::default() }).await;
    let ids = api.simulator.update("deals", 3);
    settled(&api).await;
    let route = api.client.post(format!("{}/_simulator/webhooks/deliveries/drain", api.simulator.url()));
    let text = read(route).await.unwrap().text;
    let deliveries: Vec<WebhookDelivery> = serde_json::from_str(&text).unwrap();
    let mut found: Vec<Uuid> = deliveries.iter().map(|delivery| delivery.id).collect();
    found.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(found, ids);
    for delivery in deliveries {
        assert!(delivery.sent_at - delivery.changed_at >= chrono::TimeDelta::milliseconds(20), "{delivery:?}");
        assert!(delivery.answered_at.unwrap() >= delivery.sent_at && delivery.status == Some(204));
    }
    assert_eq!(api.simulator.drain_webhook_deliveries(), []);
}

/// What came of 400 changes of contacts, in no order.
async fn of_a_seed(settings: Webhooks) -> (WebhookCounts, Vec<Call>) {
    let (api, receiver) = called(&[("contacts", 200)], settings).await;
    for _ in 0..20 {
        assert_eq!(api.simulator.update("contacts", 20).len(), 20);
    }
    let counts = settled(&api).await;
    let mut calls = receiver.calls();
    calls.sort_by(|a, b| (&a.path, &a.text).cmp(&(&b.path, &b.text)));
    (counts, calls)
}

#[tokio::test]
async fn what_goes_wrong_follows_from_the_seed() {
    let settings = Webhooks {
        loss: 0.1,
        duplicates: 0.2,
        delay_ms: (0, 5),
        reorder: 0.2,
        reorder_ms: (1, 20),
        forged: 0.3,
        wrong_account: 0.1,
        seed: 7,
        ..Webhooks::default()
    };
    let (counts, calls) = of_a_seed(settings.clone()).await;
    let (again, same_calls) = of_a_seed(settings.clone()).await;
    assert_eq!((&counts, &calls), (&again, &same_calls));
    let (other, _) = of_a_seed(Webhooks { seed: 8, ..settings }).await;
    assert_ne!(counts.dropped, other.dropped);

    assert_eq!(counts.total_due(), 400);
    let (sent, dropped): (u64, u64) = (counts.sent.values().sum(), counts.dropped.values().sum());
    assert_eq!(sent, 400 - dropped + counts.duplicated);
    assert!((20..60).contains(&dropped) && (50..110).contains(&counts.duplicated), "{counts:?}");
    assert!((40..110).contains(&counts.reordered) && (20..60).contains(&counts.wrong_account), "{counts:?}");
    assert_eq!(counts.forged.keys().copied().collect::<Vec<_>>(), Forgery::ALL);
    assert_eq!(calls.len() as u64, sent + counts.forged.values().sum::<u64>());
    assert_eq!(counts.answered, BTreeMap::from([(204, sent)]));

    let forged = |forgery| counts.forged[&forgery] as usize;
    let secret = calls.iter().filter(|call| call.path == "/webhooks/main/xecret").count();
    assert_eq!(secret, forged(Forgery::WrongSecret));
    assert_eq!(calls.iter().filter(|call| call.json().is_null()).count(), forged(Forgery::NoJson));
    let unknown = calls.iter().filter(|call| call.kind() == "contact.teleported").count();
    assert_eq!(unknown, forged(Forgery::UnknownType));
}

#[tokio::test]
async fn calls_for_a_record_keep_their_order_unless_they_are_reordered() {
    let order = |receiver: &Receiver| receiver.calls().iter().map(Call::kind).collect::<Vec<_>>();
    let expected: Vec<String> = ["contact.updated", "contact.linkedToCompany", "contact.unlinkedFromCompany"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    let delayed = Webhooks { delay_ms: (0, 30), ..Webhooks::default() };
    let mut orders = BTreeSet::new();
    for (seed, reorder) in (1..9).flat_map(|seed| [(seed, 0.0), (seed, 0.5)]) {
        let (api, receiver) = called(&[], Webhooks { seed, reorder, reorder_ms: (20, 60), ..delayed.clone() }).await;
        let id = api.simulator.truth("contacts")[0].id;
        for _ in 0..3 {
            assert!(api.simulator.update_record("contacts", id));
        }
        settled(&api).await;
        match reorder {
            0.0 => assert_eq!(order(&receiver), expected),
            _ => drop(orders.insert(order(&receiver))),
        }
    }
    assert!(orders.len() > 1, "{orders:?}");
}

#[tokio::test]
async fn switches_are_set_by_routes_too() {
    let api = Api::unlimited(&[]).await;
    let route = |body: Value| {
        let post = api.client.post(format!("{}/_simulator/webhooks", api.simulator.url())).json(&body);
        async { read(post).await.unwrap().status }
    };
    assert_eq!(route(json!({ "deliver_to": "http://127.0.0.1:9", "delay_ms": [1, 5], "loss": 0.5 })).await, 204);
    assert_eq!(route(json!({ "payload": "data" })).await, 204);
    let settings = api.simulator.webhooks();
    assert_eq!((settings.loss, settings.delay_ms, settings.payload), (0.5, (1, 5), Payload::Data));
    for wrong in [
        json!({ "loss": 2 }),
        json!({ "delay_ms": [5, 1] }),
        json!({ "deliver_to": "https://a.example" }),
        json!({ "deliver_to": "nonsense" }),
        json!({ "nonsense": 1 }),
    ] {
        assert_eq!(route(wrong.clone()).await, 400, "{wrong}");
    }
    assert_eq!(api.simulator.webhooks(), settings);
    let counts = api.client.get(format!("{}/_simulator/webhooks", api.simulator.url()));
    let counts: WebhookCounts = serde_json::from_str(&read(counts).await.unwrap().text).unwrap();
    assert_eq!(counts, WebhookCounts::default());
}

//! Messages as no client library would send them.

use serde_json::json;
use uuid::Uuid;

use crate::dice::Dice;
use crate::json::{self, usize};
use crate::stage::{ACCOUNT, Property, RawProperties, long_string};
use crate::table;

/// What the worker keeps of a body.
pub const KEPT: usize = 64 * 1024;

/// Names of this lane, which no seed knows.
pub struct Names {
    pub prefix: String,
    /// The id of a run that has completed: its request asked for departments.
    pub known: Uuid,
}

/// Where a message is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The exchange of requests.
    Exchange,
    /// Straight into the queue of requests.
    Requests,
    /// Straight into the queue of what the broker gave up.
    Undelivered,
    /// Straight into the queue from which it comes back after 10 s.
    Delay,
    /// Straight into the queue of token pairs.
    Tokens,
}

/// What has to become of a message that the broker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A dead letter.
    Dead,
    /// A dead letter, or a run with this id that ends; without an id: with any.
    Ended(Option<Uuid>),
}

/// A message.
pub struct Message {
    pub kind: &'static str,
    pub target: Target,
    pub routing_key: Vec<u8>,
    pub properties: RawProperties,
    pub body: Vec<u8>,
    pub fate: Fate,
    /// The broker holds it back before the worker sees it.
    pub waits: bool,
}

/// What is hostile about it, beside where it is put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aspect {
    Headers,
    Strings,
    Body,
    Reply,
    KnownId,
    Expiration,
    Everything,
}

const ASPECTS: [(u64, Aspect); 7] = [
    (6, Aspect::Headers),
    (4, Aspect::Strings),
    (6, Aspect::Body),
    (4, Aspect::Reply),
    (2, Aspect::KnownId),
    (1, Aspect::Expiration),
    (3, Aspect::Everything),
];

const STRINGS: [(Property, u64); 9] = [
    (Property::ContentType, 3),
    (Property::ContentEncoding, 3),
    (Property::CorrelationId, 2),
    (Property::ReplyTo, 3),
    (Property::MessageId, 2),
    (Property::Type, 3),
    (Property::AppId, 3),
    (Property::ClusterId, 3),
    // The broker refuses all but its own name of the user.
    (Property::UserId, 30),
];

impl Message {
    /// The message of this seed.
    pub fn draw(dice: &mut Dice, names: &Names) -> Self {
        let target = dice.weighted(&[
            (40, Target::Exchange),
            (4, Target::Requests),
            (3, Target::Undelivered),
            (2, Target::Delay),
            (3, Target::Tokens),
        ]);
        let aspect = match dice.weighted(&ASPECTS) {
            // The broker would drop it: these queues have no dead letter exchange.
            Aspect::Expiration if matches!(target, Target::Undelivered | Target::Tokens) => Aspect::Headers,
            aspect => aspect,
        };
        let (id, mut properties) = (Uuid::from_u128(u128::from(dice.from(1..=u64::MAX - 1))), RawProperties::default());
        if matches!(aspect, Aspect::Headers | Aspect::Everything) {
            properties = properties.headers(&table::headers(dice));
        }
        if matches!(aspect, Aspect::Strings | Aspect::Everything) {
            properties = strings(dice, properties);
        }
        if matches!(aspect, Aspect::Reply | Aspect::Everything) {
            properties = properties.short(Property::ReplyTo, &reply_address(dice, names));
        }
        let mut waits = matches!(target, Target::Undelivered | Target::Delay);
        if aspect == Aspect::Expiration {
            let odd =
                ["0", "0", "1", "1", "20", "20", "4294967295", "-1", "", "1.5", "soon", "99999999999999999999", "\0"];
            properties = properties.short(Property::Expiration, dice.pick(&odd).as_bytes());
            waits = true;
        }
        let (body, fate) = match aspect {
            Aspect::KnownId if !waits => of_a_known_run(dice, names.known),
            Aspect::Body | Aspect::Everything => body(dice, id, waits),
            _ => (request(id), Fate::Ended(Some(id))),
        };
        let (kind, fate) = match target {
            Target::Exchange | Target::Requests => (aspect.name(), fate),
            Target::Undelivered => ("AMQP: among the undelivered", Fate::Dead),
            Target::Delay => ("AMQP: in a delay queue", fate),
            Target::Tokens => ("AMQP: among the token pairs", Fate::Dead),
        };
        let mut routing_key = ACCOUNT.as_bytes().to_vec();
        if target == Target::Exchange && aspect == Aspect::Strings && dice.one_in(4) {
            properties = properties.headers(&table::routing_keys(dice));
            routing_key = table::string(dice);
        }
        Self { kind, target, routing_key, properties, body, fate, waits }
    }

    /// What of the body the worker keeps.
    pub fn kept(&self) -> &[u8] {
        &self.body[..self.body.len().min(KEPT)]
    }
}

impl Aspect {
    fn name(self) -> &'static str {
        match self {
            Self::Headers => "AMQP: headers",
            Self::Strings => "AMQP: other properties",
            Self::Body => "AMQP: body",
            Self::Reply => "AMQP: reply address",
            Self::KnownId => "AMQP: id of a known run",
            Self::Expiration => "AMQP: expiration",
            Self::Everything => "AMQP: everything at once",
        }
    }
}

fn strings(dice: &mut Dice, mut properties: RawProperties) -> RawProperties {
    for (property, times) in STRINGS {
        if dice.one_in(times) {
            properties = properties.short(property, &table::string(dice));
        }
    }
    for (property, bytes) in [(Property::Priority, 1), (Property::Timestamp, 8)] {
        if dice.one_in(2) {
            properties = properties.raw(property, vec![dice.pick(b"\0\x01\x02\x09\x7f\x80\xff"); bytes]);
        }
    }
    if dice.one_in(4) {
        properties = properties.raw(Property::DeliveryMode, vec![dice.pick(&[1, 1, 1, 2, 2, 2, 0, 0xff])]);
    }
    // A length that reaches beyond the frame.
    if dice.one_in(20) {
        let beyond = [&u32::MAX.to_be_bytes()[..], &long_string(b"x")].concat();
        properties = properties.raw(Property::Headers, beyond);
    }
    properties
}

/// Queues that a reply must not reach, that do not exist, or that break what publishes to them.
fn reply_address(dice: &mut Dice, names: &Names) -> Vec<u8> {
    let prefix = &names.prefix;
    let own = [
        format!("{prefix}.tokens.{ACCOUNT}"),
        format!("{prefix}.tokens.{ACCOUNT}.lock"),
        format!("{prefix}.requests.{ACCOUNT}"),
        format!("{prefix}.requests.{ACCOUNT}.undelivered"),
        format!("{prefix}.requests.{ACCOUNT}.delay.10s"),
        format!("{prefix}.dead"),
        format!("{prefix}.events"),
        format!("{prefix}.airflow.nobody"),
    ];
    let others = [
        "amq.rabbitmq.reply-to",
        "amq.rabbitmq.reply-to.",
        "amq.rabbitmq.reply-to.x.y",
        "amq.rabbitmq.reply-to.g2Jh.YmFk",
        "amq.rabbitmq.reply-to.g1h3DnJhYmJpdEBub3doZXJlAAADIQAAAABlZWVl.xLqPKs4J",
        "amq.rabbitmq.reply-to.gw==",
        "amq.rabbitmq.log",
        "amq.gen-of-nobody",
        "amq.topic",
        "another.tokens.default",
        "another.requests.default",
        "of.nobody",
    ];
    match dice.from(0..=3) {
        0 | 1 => own[usize(dice, own.len() - 1)].clone().into_bytes(),
        2 => dice.pick(&others).into(),
        _ => table::string(dice),
    }
}

/// A sound request.
fn request(id: Uuid) -> Vec<u8> {
    json!({ "request_id": id, "resources": ["departments"], "mode": "full", "refetch": true }).to_string().into_bytes()
}

/// `certain`: it is a request or is none, beyond doubt.
fn body(dice: &mut Dice, id: Uuid, certain: bool) -> (Vec<u8>, Fate) {
    let body = match dice.from(0..=if certain { 1 } else { 6 }) {
        0 => return (request(id), Fate::Ended(Some(id))),
        // Small ones are more frequent: each doubling is as likely as the next.
        1 => {
            let most = 1 << dice.from(0..=24);
            vec![dice.pick(b"\0 x[\xff"); usize(dice, most)]
        }
        2 => json::any(dice),
        3 | 4 => json::exchanged(dice, &request(id)),
        _ => json::garbled(dice, &request(id)),
    };
    let is_object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body).is_ok();
    let fate = if is_object && body.len() <= KEPT { Fate::Ended(None) } else { Fate::Dead };
    (body, fate)
}

/// With the id of a run that has ended, in another spelling of it, and the same parameters or others.
fn of_a_known_run(dice: &mut Dice, known: Uuid) -> (Vec<u8>, Fate) {
    let same = (json!({ "resources": ["departments"] }), Fate::Ended(Some(known)));
    let other = (json!({ "resources": ["users"], "mode": "full" }), Fate::Dead);
    let (mut request, fate) = if dice.one_in(2) { same } else { other };
    request["request_id"] = match dice.from(0..=2) {
        0 => known.to_string().to_uppercase(),
        1 => known.simple().to_string(),
        _ => known.to_string(),
    }
    .into();
    (request.to_string().into_bytes(), fate)
}

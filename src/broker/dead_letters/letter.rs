//! A dead letter, as an operator sees it: what it is, and how it becomes a request again.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::{DeadLetterQueue, DeadLettersError, Verdict};
use crate::broker::consumer::Message;
use crate::broker::topology::Names;
use crate::ids::{Account, RunId};
use crate::messages::{self, Request};
use crate::store::pool::StoreError;
use crate::store::report;

/// An id has this many digits of hex.
const ID_DIGITS: usize = 12;

/// The beginning of an id has to be at least this long.
const MIN_PREFIX: usize = 4;

/// All but the body of a dead letter.
#[derive(Clone, Debug, Serialize)]
pub struct Letter {
    /// Made from the letter: the same as long as it is there.
    pub id: String,
    /// When it became one, if the worker has written that.
    pub at: Option<DateTime<Utc>>,
    /// Why, in the words of the event that its sender got.
    pub reason: Option<String>,
    /// Whose request it is, if that is known.
    pub account: Option<Account>,
    /// The id of its request, if it can be read.
    pub request_id: Option<RunId>,
    /// The sender's id of the message.
    pub message_id: Option<String>,
    /// What the sender knows the answer by.
    pub correlation_id: Option<String>,
    /// Where the sender expects it.
    pub reply_to: Option<String>,
    /// The sender's program.
    pub app_id: Option<String>,
    /// How many bytes the body has.
    pub bytes: usize,
    /// Why it is no valid request.
    pub invalid: Option<String>,
}

/// Why a letter is not sent again.
#[derive(Debug)]
pub enum Refusal {
    /// It is no valid request, for this reason.
    Invalid(String),
    /// The run of its request has ended so, and under its id nothing runs again.
    HasEnded(RunId, String),
}

impl Letter {
    /// Of a message of the queue.
    pub fn of(message: &Message, names: &Names) -> Self {
        let request = Request::parse(message.body(), message.message_id());
        let (request_id, wrong) = match request {
            Ok(request) => (request.id, None),
            Err(bad) => (bad.id, Some(bad.reason)),
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        // One that was put straight into the queue has the queue's name as its key.
        let account = Some(message.routing_key()).filter(|key| *key != names.dead()).and_then(|key| key.parse().ok());
        Self {
            id: id_of(message, names.account()),
            at: message.dead_since().and_then(|at| at.parse().ok()),
            reason: owned(message.reason()),
            account,
            request_id,
            message_id: owned(message.message_id()),
            correlation_id: owned(message.correlation_id()),
            reply_to: owned(message.reply_to()),
            app_id: owned(message.app_id()),
            bytes: message.body().len(),
            invalid: message.out_of_bounds().or(wrong),
        }
    }

    /// Whether it is the account's, or may be.
    pub fn is_of(&self, account: &Account) -> bool {
        self.account.as_ref().is_none_or(|its| its == account)
    }

    /// Whether an operator may mean it: by its id or the beginning of it, or as [`is_named`](Self::is_named).
    pub fn fits(&self, asked: &str) -> bool {
        asked.len() >= MIN_PREFIX && self.id.starts_with(asked) || self.is_named(asked)
    }

    /// Whether an operator names it: by its id, by its message id, or by its request's id.
    pub fn is_named(&self, asked: &str) -> bool {
        self.id == asked
            || self.message_id.as_deref() == Some(asked)
            || asked.parse().is_ok_and(|id: Uuid| self.request_id == Some(RunId(id)))
    }

    /// Why it would be of no use to send it again, as far as that can be known: without a database the runs are not.
    /// `new_id`: as a request with an id of its own.
    pub async fn refusal(
        &self,
        pool: Option<&PgPool>,
        account: &Account,
        new_id: bool,
    ) -> Result<Option<Refusal>, StoreError> {
        if let Some(invalid) = &self.invalid {
            return Ok(Some(Refusal::Invalid(invalid.clone())));
        }
        let (Some(pool), Some(id), false) = (pool, self.request_id, new_id) else { return Ok(None) };
        let run = report::runs(pool, account, Some(id), 1).await?.pop();
        Ok(run.filter(|run| run.finished_at.is_some()).map(|run| Refusal::HasEnded(id, run.status)))
    }
}

/// All letters, which stay where they are.
pub async fn all(queue: &mut DeadLetterQueue, names: &Names) -> Result<Vec<Letter>, DeadLettersError> {
    let mut letters = Vec::new();
    let round = queue.go_through(|message| {
        letters.push(Letter::of(message, names));
        Verdict::Stays
    });
    round.await?;
    // A process that was killed may have left the queue turned by some places. Those without a time are the oldest.
    letters.sort_by_key(|letter| letter.at);
    Ok(letters)
}

/// The letter as a request. In a body that is no JSON object there is no place for an id; the message's serves.
pub fn revived(message: &Message, new_id: Option<Uuid>) -> Verdict {
    let text = new_id.map(|id| id.to_string());
    let properties = message.revived_properties(text.as_deref());
    let mut body = message.body().to_vec();
    if let (Some(text), Ok(Value::Object(mut request))) = (text, serde_json::from_slice(&body))
        && request.contains_key("request_id")
    {
        request.insert("request_id".to_owned(), text.into());
        body = Value::Object(request).to_string().into_bytes();
    }
    Verdict::Resent(Box::new(properties), body)
}

/// The number that the worker gave it, else one made from its content: two that are equal have the same.
fn id_of(message: &Message, account: &Account) -> String {
    let number = message.dead_letter_id().and_then(|number| number.parse::<Uuid>().ok());
    let id = number.unwrap_or_else(|| {
        let ids = [message.message_id(), message.correlation_id(), message.reply_to(), message.reason()];
        let mut content = format!("{:?} {ids:?} ", message.routing_key()).into_bytes();
        content.extend_from_slice(message.body());
        messages::id_of_message(account, &content)
    });
    let mut digits = id.simple().to_string();
    digits.truncate(ID_DIGITS);
    digits
}

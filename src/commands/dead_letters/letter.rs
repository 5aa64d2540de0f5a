//! A dead letter, as an operator sees it.

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Table, presets};
use serde::Serialize;
use uuid::Uuid;

use crate::broker::consumer::Message;
use crate::broker::topology::Names;
use crate::commands::terminal::one_line;
use crate::ids::{Account, RunId};
use crate::messages::{self, Request, shortened};

/// The most characters of a text of others in a cell of the table.
const MAX_CELL: usize = 60;

/// The most characters of a reason in a line.
const MAX_REASON: usize = 120;

/// An id has this many digits of hex.
const ID_DIGITS: usize = 12;

/// The beginning of an id has to be at least this long.
const MIN_PREFIX: usize = 4;

/// All but the body of a dead letter.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Letter {
    /// Made from the letter: the same as long as it is there.
    pub(super) id: String,
    /// When it became one, if the worker has written that.
    pub(super) at: Option<DateTime<Utc>>,
    /// Why, in the words of the event that its sender got.
    pub(super) reason: Option<String>,
    /// Whose request it is, if that is known.
    pub(super) account: Option<Account>,
    /// The id of its request, if it can be read.
    pub(super) request_id: Option<RunId>,
    /// The sender's ids.
    pub(super) message_id: Option<String>,
    pub(super) correlation_id: Option<String>,
    pub(super) reply_to: Option<String>,
    pub(super) app_id: Option<String>,
    /// How many bytes the body has.
    pub(super) bytes: usize,
    /// Why it is no valid request.
    pub(super) invalid: Option<String>,
}

impl Letter {
    pub(super) fn of(message: &Message, names: &Names) -> Self {
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
    pub(super) fn is_of(&self, account: &Account) -> bool {
        self.account.as_ref().is_none_or(|its| its == account)
    }

    /// Whether an operator may mean it: by its id or the beginning of it, or as [`is_named`](Self::is_named).
    pub(super) fn fits(&self, asked: &str) -> bool {
        asked.len() >= MIN_PREFIX && self.id.starts_with(asked) || self.is_named(asked)
    }

    /// Whether an operator names it: by its id, by its message id, or by its request's id.
    pub(super) fn is_named(&self, asked: &str) -> bool {
        self.id == asked
            || self.message_id.as_deref() == Some(asked)
            || asked.parse().is_ok_and(|id: Uuid| self.request_id == Some(RunId(id)))
    }

    /// Its id, its request and the beginning of its reason, in a line.
    pub(super) fn in_a_line(&self) -> String {
        let request = self.request_id.map(|id| format!("request {id}, ")).unwrap_or_default();
        let reason = self.reason.as_deref().unwrap_or("no reason is known");
        one_line(&format!("{}: {request}{}", self.id, shortened(reason.to_owned(), MAX_REASON)))
    }

    /// Who sent it, as far as he said so.
    fn sender(&self) -> String {
        let parts = [("app", &self.app_id), ("correlation", &self.correlation_id), ("reply to", &self.reply_to)];
        let named = parts.iter().filter_map(|(name, text)| Some(format!("{name} {}", cell(text.as_deref()?))));
        let sender = named.collect::<Vec<_>>().join(", ");
        if sender.is_empty() { "-".to_owned() } else { sender }
    }
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

fn cell(text: &str) -> String {
    one_line(&shortened(text.to_owned(), MAX_CELL))
}

/// The letters, one a row; whose they are where they are not of one account.
pub(super) fn table(letters: &[Letter], with_accounts: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let account: &[&str] = if with_accounts { &["account"] } else { &[] };
    table.set_header([&["id", "when"], account, &["request", "sender", "reason"]].concat());
    for letter in letters {
        let when = letter.at.map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let request = letter.request_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let mut row = vec![letter.id.clone(), when];
        if with_accounts {
            row.push(letter.account.as_ref().map_or("-", Account::as_str).to_owned());
        }
        row.extend([request, letter.sender(), cell(letter.reason.as_deref().unwrap_or("-"))]);
        table.add_row(row);
    }
    table
}

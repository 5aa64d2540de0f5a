//! Dead letters in a terminal.

use chrono::SecondsFormat;
use comfy_table::{Table, presets};

use crate::broker::dead_letters::letter::Letter;
use crate::commands::terminal::one_line;
use crate::ids::Account;
use crate::messages::shortened;

/// The most characters of a text of others in a cell of the table.
const MAX_CELL: usize = 60;

/// The most characters of a reason in a line.
const MAX_REASON: usize = 120;

/// Its id, its request and the beginning of its reason, in a line.
pub(super) fn in_a_line(letter: &Letter) -> String {
    let request = letter.request_id.map(|id| format!("request {id}, ")).unwrap_or_default();
    let reason = letter.reason.as_deref().unwrap_or("no reason is known");
    one_line(&format!("{}: {request}{}", letter.id, shortened(reason.to_owned(), MAX_REASON)))
}

/// Who sent it, as far as he said so.
fn sender(letter: &Letter) -> String {
    let parts = [("app", &letter.app_id), ("correlation", &letter.correlation_id), ("reply to", &letter.reply_to)];
    let named = parts.iter().filter_map(|(name, text)| Some(format!("{name} {}", cell(text.as_deref()?))));
    let sender = named.collect::<Vec<_>>().join(", ");
    if sender.is_empty() { "-".to_owned() } else { sender }
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
        row.extend([request, sender(letter), cell(letter.reason.as_deref().unwrap_or("-"))]);
        table.add_row(row);
    }
    table
}

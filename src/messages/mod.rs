//! The messages: what a request and an event may hold.

mod event;
mod request;
#[cfg(test)]
mod schema;

use uuid::Uuid;

pub use event::{Audited, EVENT_CONTENT_TYPE, Event, Forecast, ResourceReport, ResourceStatus, RunReport, RunStatus};
pub use request::{BadRequest, MAX_REQUEST_BYTES, Mode, Parameters, Request, SyncRequest, from_object};

use crate::ids::Account;

/// Namespace of the ids that are made from other ids or from a message.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_4a9c_3b52_5c0e_9d3a_7e61_42b8_c0d5);

/// The most characters of an error in an event. It may hold what others wrote: a trigger's words, an answer of the API.
/// A broker may take messages of 1 MiB and no larger ones.
pub const MAX_ERROR: usize = 2_000;

/// The text, of which no more than `most` characters are left.
pub fn shortened(mut text: String, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// An id made from a message that has none or could not be read: the same bytes give the same id.
pub fn id_of_message(account: &Account, body: &[u8]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, &[account.as_str().as_bytes(), b"/", body].concat())
}

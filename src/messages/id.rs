//! Ids that are made from other ids or from a message.

use uuid::Uuid;

use crate::ids::Account;

/// Namespace of the ids that are made from other ids or from a message.
pub(super) const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_4a9c_3b52_5c0e_9d3a_7e61_42b8_c0d5);

/// An id made from a message that has none or could not be read: the same bytes give the same id.
pub fn id_of_message(account: &Account, body: &[u8]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, &[account.as_str().as_bytes(), b"/", body].concat())
}

//! Requests for a sync over HTTP, and the status of runs. A request becomes a message, like those of all other senders.

mod names;
pub(super) mod request;
pub(super) mod runs;
pub(super) mod status;

pub(super) use request::{Rejected, request_sync};
pub(super) use runs::cancel_run;

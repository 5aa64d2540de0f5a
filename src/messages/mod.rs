//! The messages: what a request and an event may hold.

mod cause;
mod event;
mod id;
mod request;
#[cfg(test)]
mod schema;
mod state;
mod text;

pub use cause::{Advice, Cause, command, request_command};
pub use event::{
    Audited, EVENT_CONTENT_TYPE, Event, EventKind, Forecast, ResourceReport, ResourceStatus, RunReport, RunStatus,
};
pub use id::id_of_message;
pub use request::{BadRequest, MAX_REQUEST_BYTES, Mode, Parameters, Request, SyncRequest, from_object, resource_names};
pub use state::{AccountState, QueueState, StateName, distance};
pub use text::{MAX_ERROR, shortened};

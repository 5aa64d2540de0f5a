//! Webhooks: who is called for which change, and what goes wrong on the way.

mod addresses;
mod dispatcher;
mod endpoints;
mod log;
mod losses;
mod plan;
mod sender;
mod settings;
mod table;

pub(crate) use dispatcher::{Dispatcher, Event};
pub(crate) use endpoints::respond;
pub use log::{WebhookCounts, WebhookDelivery};
pub(crate) use losses::{Change, Look, Sighting};
pub use losses::{LossCounts, Losses, RecordsByResource};
pub use plan::Forgery;
pub use settings::{MessageSubject, Payload, Webhooks};
pub use table::webhook_types;
pub(crate) use table::{resource_of, watched};

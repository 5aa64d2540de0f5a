//! The arguments of `doctor`.

use clap::Args;

use crate::config::{AmqpArgs, CopyArgs, HttpArgs, IntegrationArgs, KeyArgs, WebhookArgs};

/// What there is to check.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub(super) copy: CopyArgs,
    #[command(flatten)]
    pub(super) amqp: AmqpArgs,
    #[command(flatten)]
    pub(super) integration: IntegrationArgs,
    #[command(flatten)]
    pub(super) key: KeyArgs,
    #[command(flatten)]
    pub(super) http: HttpArgs,
    #[command(flatten)]
    pub(super) webhooks: WebhookArgs,
}

//! `worker`: consumes requests, syncs, publishes events and serves HTTP.

use clap::Args;
use tracing::info;

use super::outcome::Outcome;
use crate::app::{AccountConfig, Application, ProcessConfig, WorkerConfig};
use crate::config::{
    AmqpArgs, AuditArgs, ConfigError, CopyArgs, HttpArgs, IntegrationArgs, KeyArgs, ReplyArgs, SyncArgs, WebhookArgs,
};
use crate::process::json_lines;
use crate::process::lifecycle::Signals;
use crate::process::version;
use crate::store::retention::Retention;
use crate::store::schema;
use crate::sync::slice::Settings;

/// Up to this number of resources are named at the start.
const RESOURCES_NAMED: usize = 10;

/// The arguments of `worker`.
#[derive(Args, Debug)]
pub struct WorkerArgs {
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    replies: ReplyArgs,
    #[command(flatten)]
    integration: IntegrationArgs,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    webhooks: WebhookArgs,
    #[command(flatten)]
    sync: SyncArgs,
    #[command(flatten)]
    audit: AuditArgs,
}

impl WorkerArgs {
    /// Runs a worker until a signal.
    pub async fn run(self, signals: &mut Signals) -> anyhow::Result<Outcome> {
        let config = self.config()?;
        announce(&config);
        Application::build(config).await?.run_until_stopped(signals).await?;
        Ok(Outcome::Done)
    }

    fn config(self) -> Result<WorkerConfig, ConfigError> {
        let (listen, api_token) = self.http.listen()?;
        let names = self.amqp.names(self.copy.account())?;
        let sync = self.sync;
        let process = ProcessConfig {
            database_url: self.copy.database_url()?,
            migrate: sync.migrate_on_start,
            history: sync.history(),
            amqp_url: self.amqp.url()?,
            listen,
            api_token,
        };
        let account = AccountConfig {
            addresses: self.replies.addresses(names.clone())?,
            names,
            declare: self.amqp.amqp_declare,
            integration: self.integration.integration_of_worker()?,
            cipher: self.key.cipher()?,
            first_refresh_token: sync.first_refresh_token()?,
            rate_reserve: sync.rate_reserve,
            most_in_flight: sync.sync_concurrency,
            webhook_url: self.webhooks.url()?,
            webhook_patience: self.webhooks.webhook_patience,
            retention: Retention { keep: sync.retention_of_worker(), erase_deleted_after: sync.erase_deleted_after() },
            settings: Settings {
                resources: sync.resources()?,
                account: self.copy.account().clone(),
                slice: sync.sync_slice,
                lookback: sync.sync_lookback,
                detail_max_age: sync.detail_max_age,
                incremental_window: sync.incremental_window(),
                audit: self.audit.settings(),
            },
        };
        Ok(WorkerConfig { process, account })
    }
}

/// The first line of the log: what runs here, and for whom. Settings that cannot be used end the process before it.
fn announce(config: &WorkerConfig) {
    let Settings { account, resources, .. } = &config.account.settings;
    let (build, schema) = (version::BUILD, schema::version());
    json_lines::name_account(account.as_str());
    let names: Vec<&str> = resources.iter().map(|resource| resource.name).collect();
    let count = names.len();
    let resources = if count > RESOURCES_NAMED { format!("{count} resources") } else { names.join(", ") };
    let webhooks = config.account.webhook_url.as_deref().unwrap_or("none");
    info!(
        version = version::VERSION,
        commit = version::COMMIT,
        %account,
        resources,
        schema,
        webhooks,
        "teamleader2db {build} starts for the account {account}: {resources}, schema {schema}, webhooks: {webhooks}"
    );
}

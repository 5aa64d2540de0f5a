//! What the commands that publish a request share.

use clap::Args;
use sqlx::PgPool;

use super::outcome::Outcome;
use super::terminal;
use super::wait::{self, Ended};
use crate::broker::request_publisher::{self, OutgoingRequest};
use crate::config::{AmqpArgs, CopyArgs};
use crate::ids::TraceParent;
use crate::messages::Request;
use crate::store::accounts;
use crate::store::pool::{self, StoreError};

/// What publishing a request takes.
#[derive(Args, Debug)]
pub struct SenderArgs {
    /// The trace (W3C traceparent) of which the request's events and log lines are a part; ignored if it is invalid
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT")]
    traceparent: Option<String>,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
}

impl SenderArgs {
    /// One that cannot be read counts as none, as the specification has it: whatever set it, the sync is what was asked
    /// for.
    pub fn traceparent(&self) -> Option<TraceParent> {
        let traceparent = self.traceparent.as_ref().filter(|text| !text.is_empty())?;
        traceparent.parse().inspect_err(|error| tracing::warn!("TRACEPARENT is ignored: {error}")).ok()
    }

    /// Publishes a request and waits for its end.
    pub async fn send_and_wait(&self, outgoing: &OutgoingRequest) -> anyhow::Result<Ended> {
        let (url, names) = (self.amqp.url()?, self.amqp.names(self.copy.account())?);
        let pool = database(&self.copy).await?;
        Ok(wait::send_and_wait(&url, &names, self.amqp.amqp_declare, pool.as_ref(), outgoing).await?)
    }

    /// Publishes a request.
    pub async fn send(&self, outgoing: &OutgoingRequest) -> anyhow::Result<()> {
        let (url, names) = (self.amqp.url()?, self.amqp.names(self.copy.account())?);
        database(&self.copy).await?;
        Ok(request_publisher::send(&url, &names, self.amqp.amqp_declare, outgoing).await?)
    }
}

/// The database, for a command that needs the broker alone. One that is away is no obstacle. An account that it does
/// not know is an error: nobody would ever consume its queue.
pub async fn database(copy: &CopyArgs) -> anyhow::Result<Option<PgPool>> {
    let Some(url) = copy.database_url_if_set()? else { return Ok(None) };
    let looked = async {
        let pool = pool::open(&url).await?;
        let unknown = accounts::unknown(&pool, copy.account()).await?;
        Ok::<_, StoreError>((pool, unknown))
    };
    match looked.await {
        Ok((pool, None)) => Ok(Some(pool)),
        Ok((_, Some(unknown))) => Err(unknown.into()),
        Err(error @ StoreError::Url(_)) => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "Whether the account is there and authorized is not known");
            Ok(None)
        }
    }
}

/// Reports a request that the worker would reject, before it is published.
pub fn rejected(outgoing: &OutgoingRequest) -> Option<Outcome> {
    let bad = Request::parse(&outgoing.body(), None).err()?;
    terminal::complain(&bad.to_string());
    Some(Outcome::Usage)
}

/// Reports that nothing happens before the account is authorized.
pub fn not_authorized() -> Outcome {
    terminal::complain(
        "the account is not authorized: open the worker's /sync/authorize in a browser; the request waits in the queue \
         and runs then",
    );
    Outcome::NotAuthorized
}

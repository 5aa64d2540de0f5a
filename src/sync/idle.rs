//! What the consumer does while no run works: it serves hints, and has turns of the audit.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::draws::Auditor;
use super::engine::{Engine, into_store_error};
use super::hints::{self, HintServer, LookedAt};
use super::slice::WorkError;
use crate::api_client::client::ApiError;
use crate::api_client::rate_limit::Share;
use crate::ids::Epoch;
use crate::store::hints::wake;
use crate::store::pool::{self, StoreError};
use crate::store::tokens::authorization::Accepted;

impl Engine {
    /// Serves the hints that wait, while no run works: for a slice at most, or until `stop`.
    pub async fn serve_hints(&self, epoch: Epoch, stop: &CancellationToken) -> Result<hints::Ended, StoreError> {
        wake::serving(&self.pool, &self.settings.account).await?;
        self.read_clock().await?;
        let server = self.hint_server(epoch, Share::All);
        match self.verify_token_owner(&server.client).await {
            Ok(Accepted::Stored) => {}
            Ok(Accepted::OtherAccount { .. }) | Err(WorkError::Api(ApiError::NotAuthorized)) => {
                return Ok(hints::Ended::Unauthorized);
            }
            Err(error @ (WorkError::Store(_) | WorkError::Api(ApiError::Store(_)))) => {
                return Err(into_store_error(error));
            }
            // The API is down, or will not say who it is.
            Err(_) => return Ok(hints::Ended::Rests(hints::API_RESTS)),
        }
        let deadline = Instant::now() + self.settings.slice;
        let auditor = self.auditor(epoch);
        let serving = async {
            let ended = server.serve(|| stop.is_cancelled() || Instant::now() >= deadline).await?;
            if ended == hints::Ended::InOrder && !stop.is_cancelled() && Instant::now() < deadline {
                // A request that comes meanwhile waits for one turn at most. Hints do not.
                tokio::select! {
                    turned = auditor.turn() => turned?,
                    never = server.serve_beside_a_run() => match never {},
                    () = stop.cancelled() => {}
                }
            }
            Ok(ended)
        };
        tokio::select! {
            ended = serving => ended,
            never = server.say_so() => match never {},
        }
    }

    /// Nobody serves hints any more, and nobody is to be woken for them for so long. Where that cannot be stored, it
    /// shows by itself after a while.
    pub async fn end_serving_hints(&self, rests: Duration) {
        let ended = wake::ended(&self.pool, &self.settings.account, rests.as_secs_f64());
        let _ = pool::with_deadline(ended).await;
    }

    /// The always-on audit, with this lease.
    pub(super) fn auditor(&self, epoch: Epoch) -> Auditor<'_> {
        Auditor {
            pool: &self.pool,
            account: &self.settings.account,
            client: &self.client,
            epoch,
            elsewhere: &self.elsewhere,
            synced: &self.settings.resources,
            settings: self.settings.audit,
        }
    }

    /// What serves hints, with this lease.
    pub(super) fn hint_server(&self, epoch: Epoch, share: Share) -> HintServer<'_> {
        HintServer {
            pool: &self.pool,
            account: &self.settings.account,
            client: self.client.for_hints(epoch, share),
            epoch,
            elsewhere: &self.elsewhere,
            synced: &self.settings.resources,
            came: &self.hints_came,
            webhooks: self.webhooks.as_deref(),
            registration_looked_at: LookedAt::default(),
        }
    }
}

//! The handle to a running simulator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use uuid::Uuid;

use crate::changes::ChangeKind;
use crate::config::Config;
use crate::counters::Counters;
use crate::faults::Fault;
use crate::guise::Guise;
use crate::oauth::TokenPair;
use crate::quirks::Quirks;
use crate::refreshes::Refresh;
use crate::server::Server;
use crate::state::State;
use crate::store::TruthRecord;
use crate::webhooks::{Losses, WebhookCounts, WebhookDelivery, Webhooks};

/// A running simulator. Cloning gives another handle to the same one; it runs until [`Simulator::stop`], or until the
/// runtime ends.
#[derive(Clone)]
pub struct Simulator {
    state: Arc<State>,
    server: Arc<Server>,
    redirect_uri: Option<String>,
}

impl Simulator {
    /// Makes the records and serves the API and the authorization server on one address.
    ///
    /// # Errors
    ///
    /// If it cannot listen there.
    pub async fn start(config: Config, listen: SocketAddr) -> anyhow::Result<Self> {
        let redirect_uri = config.redirect_uri.clone();
        let state = tokio::task::spawn_blocking(move || Arc::new(State::new(&config))).await?;
        let server = Arc::new(Server::start(state.clone(), listen).await?);
        Ok(Self { state, server, redirect_uri })
    }

    /// The base URL of API and authorization server, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Stops listening and closes every connection, in the middle of an answer if need be.
    pub async fn stop(&self) {
        self.server.stop().await;
        self.state.webhooks.stop().await;
    }

    /// What the account holds of a resource, in the order of creation; nothing for an unknown resource.
    pub fn truth(&self, resource: &str) -> Vec<TruthRecord> {
        self.truth_for(resource, None)
    }

    /// The same with the optional fields of these includes alone, for clients that do not ask for all.
    pub fn truth_with(&self, resource: &str, includes: &[&str]) -> Vec<TruthRecord> {
        self.truth_for(resource, Some(includes))
    }

    fn truth_for(&self, resource: &str, includes: Option<&[&str]>) -> Vec<TruthRecord> {
        let store = &self.state.store;
        if resource == "userSchedules" {
            let today = self.state.clock.now().date_naive();
            return self.schedules(today, today + chrono::Days::new(6));
        }
        let Some((recipe, snapshot)) = store.snapshot(resource) else {
            return Vec::new();
        };
        let guise = Guise::new(resource, self.state.sparse(resource));
        snapshot.iter().map(|facts| store.truth_of(resource, recipe, facts, includes, &guise)).collect()
    }

    /// The schedules of all users from one day to another, both included. [`Simulator::truth`] has those of the seven
    /// days from today on.
    pub fn schedules(&self, from: NaiveDate, until: NaiveDate) -> Vec<TruthRecord> {
        self.state.store.schedules(from, until)
    }

    /// How many records of a resource live.
    pub fn count(&self, resource: &str) -> usize {
        self.state.store.count(resource)
    }

    /// What was asked of the simulator.
    pub fn counters(&self) -> Counters {
        self.state.counters.get()
    }

    /// Sets every counter to zero.
    pub fn reset_counters(&self) {
        self.state.counters.reset();
    }

    /// Every refresh token that came to the token endpoint, and what became of it, since the start.
    pub fn refreshes(&self) -> Vec<Refresh> {
        self.state.refreshes.list()
    }

    /// Makes something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.state.faults.add(fault);
    }

    /// The faults that still wait for requests.
    pub fn faults(&self) -> Vec<Fault> {
        self.state.faults.list()
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Adds records and gives their ids: none where they would have to belong to others and none of these live.
    pub fn add(&self, resource: &str, count: usize) -> Vec<Uuid> {
        self.state.change(resource, ChangeKind::Add, count)
    }

    /// Updates records that the seed chooses and gives their ids. See [`ChangeKind::Update`] for what changes.
    pub fn update(&self, resource: &str, count: usize) -> Vec<Uuid> {
        self.state.change(resource, ChangeKind::Update, count)
    }

    /// Deletes records that the seed chooses and gives their ids. What belongs to them goes as well.
    pub fn delete(&self, resource: &str, count: usize) -> Vec<Uuid> {
        self.state.change(resource, ChangeKind::Delete, count)
    }

    /// Sets `updated_at` of records that the seed chooses to the same moment, now, and gives their ids.
    pub fn tie_updated_at(&self, resource: &str, count: usize) -> Vec<Uuid> {
        self.state.change(resource, ChangeKind::Touch, count)
    }

    /// Makes any change to records that the seed chooses and gives their ids.
    pub fn change(&self, resource: &str, kind: ChangeKind, count: usize) -> Vec<Uuid> {
        self.state.change(resource, kind, count)
    }

    /// Makes any change but [`ChangeKind::Add`] to one record; false if it does not live.
    pub fn change_record(&self, resource: &str, kind: ChangeKind, id: Uuid) -> bool {
        self.state.change_record(resource, kind, id)
    }

    /// Updates one record; false if it does not live.
    pub fn update_record(&self, resource: &str, id: Uuid) -> bool {
        self.state.change_record(resource, ChangeKind::Update, id)
    }

    /// Deletes one record; false if it does not live.
    pub fn delete_record(&self, resource: &str, id: Uuid) -> bool {
        self.state.change_record(resource, ChangeKind::Delete, id)
    }

    /// From now on, one record changes after each `every` list requests of the resource, by each kind in turn.
    pub fn change_while_paging(&self, resource: &str, every: u32, kinds: &[ChangeKind]) {
        self.state.paging.start(resource, every, kinds.to_vec());
    }

    /// No more changes while paging.
    pub fn stop_changing(&self) {
        self.state.paging.stop();
    }

    /// Every access token that was issued is expired.
    pub fn expire_access_tokens(&self) {
        self.state.oauth.expire_access_tokens();
    }

    /// Every refresh token that was issued is revoked, as when somebody saves the integration's settings in the
    /// marketplace.
    pub fn revoke_refresh_tokens(&self) {
        self.state.oauth.revoke_refresh_tokens();
    }

    /// How long the access tokens work that are issued from now on.
    pub fn set_access_token_ttl(&self, ttl: Duration) {
        self.state.oauth.set_access_token_ttl(ttl);
    }

    /// Another rate limit, from now on and for the requests that were made already.
    pub fn set_rate_limit(&self, limit: u32, window: Duration) {
        self.state.rate_limit.set(limit, window);
    }

    /// Counts requests as if another program of the same integration had made them.
    pub fn spend_rate_limit(&self, requests: u32) {
        let State { rate_limit, oauth, clock, .. } = &*self.state;
        rate_limit.spend(oauth.client_id(), clock.millis(), requests);
    }

    /// Whether the user refuses when asked to authorize.
    pub fn deny_authorization(&self, deny: bool) {
        self.state.oauth.deny(deny);
    }

    /// The Teamleader account that `users.me` and every user give.
    pub fn account(&self) -> Uuid {
        self.state.store.world.account()
    }

    /// Makes it another Teamleader account: what the user who authorizes next belongs to.
    pub fn set_account(&self, account: Uuid) {
        self.state.store.set_account(account);
    }

    /// Whether `accounts.projects-v2-status` says `projects-v2` from now on, or `legacy`. The records of both kinds are
    /// served in any case.
    pub fn set_projects_v2(&self, projects_v2: bool) {
        self.state.set_projects_v2(projects_v2);
    }

    /// Whether answers come in gzip where that is asked for, as a proxy or a content delivery network sends them.
    pub fn set_compression(&self, yes: bool) {
        self.state.set_compression(yes);
    }

    /// How the API behaves at this moment.
    pub fn quirks(&self) -> Quirks {
        Quirks::clone(&self.state.quirks())
    }

    /// Makes the API behave otherwise from now on.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.state.set_quirks(quirks);
    }

    /// Whether the list of a resource comes in pages although the blueprint shows none.
    pub fn set_paged(&self, resource: &str, paged: bool) {
        self.state.set_paged(resource, paged);
    }

    /// How webhooks are delivered at this moment.
    pub fn webhooks(&self) -> Webhooks {
        Webhooks::clone(&self.state.webhooks.settings())
    }

    /// Delivers webhooks otherwise from now on. What the seed decides begins again: the same changes after this have
    /// the same calls.
    pub fn set_webhooks(&self, settings: Webhooks) {
        self.state.set_webhooks(settings);
    }

    /// Calls for records of a type's resource at once, whether or not they live, without a change of any; false if
    /// there is no such type. The switches apply.
    pub fn storm(&self, kind: &str, ids: &[Uuid]) -> bool {
        self.state.storm(kind, ids)
    }

    /// The same for so many records that live, the oldest, and gives their ids; none if there is no such type. A type
    /// of the account is called so many times.
    pub fn storm_of(&self, kind: &str, count: usize) -> Option<Vec<Uuid>> {
        self.state.storm_of(kind, count)
    }

    /// The registered addresses, and what became of the calls.
    pub fn webhook_counts(&self) -> WebhookCounts {
        self.state.webhooks.counts()
    }

    /// Sets the counts of calls to zero, but that of pending ones.
    pub fn reset_webhook_counts(&self) {
        self.state.webhooks.reset_counts();
    }

    /// Remembers from now on what clients get of which record and what they are called for, from nothing. For
    /// [`Simulator::losses`]; off until this is called.
    pub fn track_losses(&self) {
        self.state.webhooks.watch.start();
    }

    /// The records that clients found changed by reading lists, and whether a call had announced them or came up to
    /// `wait` later. See the README for the words of this.
    pub fn losses(&self, wait: Duration) -> Losses {
        self.state.webhooks.watch.losses(wait)
    }

    /// Takes what is known of the calls that were made since this was called last, at most the newest 100,000.
    pub fn drain_webhook_deliveries(&self) -> Vec<WebhookDelivery> {
        self.state.webhooks.drain()
    }

    /// A valid pair of tokens, without a browser.
    pub fn grant(&self) -> TokenPair {
        self.state.oauth.grant(self.state.clock.millis())
    }

    /// A refresh token that an earlier simulator has issued works here as well, once.
    pub fn remember_refresh_token(&self, refresh_token: &str) {
        self.state.oauth.remember(refresh_token.to_owned());
    }

    /// The refresh token that was issued last, if it was neither used nor revoked.
    pub fn live_refresh_token(&self) -> Option<String> {
        self.state.oauth.live_refresh_token()
    }

    /// A code as if the user had approved.
    pub fn issue_code(&self) -> String {
        self.state.oauth.issue_code(self.redirect_uri.as_deref(), self.state.clock.millis())
    }

    /// Moves the simulator's clock forward: tokens and codes expire, the rate limit's window slides, changes are dated
    /// later. `Date` gives the same time.
    pub fn advance_clock(&self, by: Duration) {
        self.state.clock.advance(by);
    }
}
